"""Nets and loaders of every style that learners write, for 8x8 images."""

import functools
import itertools

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune
from torch.utils import data
from torch.utils.data import DataLoader, TensorDataset

import d2lmini

BATCH_SIZE, SIDE, NUM_TRAIN, NUM_TEST = 16, 8, 80, 40  # the last test batch has 8


# ---------------------------------------------------------------- loaders


@functools.cache
def images(channels=1, side=SIDE):
    """X (120, channels, side, side) and y (120,): classes that a net can learn."""
    numbers = torch.Generator().manual_seed(0)
    X = torch.rand(NUM_TRAIN + NUM_TEST, channels, side, side, generator=numbers)
    directions = torch.randn(channels * side * side, 10, generator=numbers)
    return X, ((X.flatten(1) - 0.5) @ directions).argmax(1)


def loaders(X=None, y=None, **kwargs):
    """What most learners have: shuffled batches for training, others for testing."""
    X, y = images()[0] if X is None else X, images()[1] if y is None else y
    kwargs.setdefault("batch_size", BATCH_SIZE)
    train = TensorDataset(X[:NUM_TRAIN], y[:NUM_TRAIN])
    test = TensorDataset(X[NUM_TRAIN:], y[NUM_TRAIN:])
    return DataLoader(train, shuffle=True, **kwargs), DataLoader(test, **kwargs)


def with_train_iter(make):
    """make(dataset) gives the training loader; the test loader is the usual one."""

    def make_loaders():
        train_iter, test_iter = loaders()
        return make(train_iter.dataset), test_iter

    return make_loaders


def with_test_iter(make):
    def make_loaders():
        train_iter, test_iter = loaders()
        return train_iter, make(test_iter.dataset)

    return make_loaders


def batches(X=None, y=None):
    """Lists of batches, in place of loaders."""
    X, y = images()[0] if X is None else X, images()[1] if y is None else y
    pairs = list(zip(X.split(BATCH_SIZE), y.split(BATCH_SIZE), strict=True))
    return pairs[: NUM_TRAIN // BATCH_SIZE], pairs[NUM_TRAIN // BATCH_SIZE :]


class NoLength:
    """Batches, but not how many: no more than a test needs."""

    def __init__(self, pairs):
        self.pairs = pairs

    def __iter__(self):
        return iter(self.pairs)


class OwnLoader(NoLength):
    def __len__(self):
        return len(self.pairs)


class OwnIterator(OwnLoader):
    """Its own iterator, as some libraries have it; it starts again at its end."""

    i = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.i += 1
        if self.i > len(self.pairs):
            self.i = 0
            raise StopIteration
        return self.pairs[self.i - 1]


class Stream(data.IterableDataset):
    """Images one after the other, and no index."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __iter__(self):
        return iter(self.dataset)


class StreamOfKnownLength(Stream):
    def __len__(self):
        return len(self.dataset)


class Brightened(data.Dataset):
    """Images times the numbers that factors() gives."""

    def __init__(self, dataset, factors):
        self.dataset, self.factors = dataset, factors

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, i):
        X, y = self.dataset[i]
        return X * self.factors(), y


def brighter_each_time(dataset):
    """A data set with a memory."""
    reads = itertools.count(1)
    return Brightened(dataset, lambda: next(reads) / len(dataset))


def own_noise(dataset):
    """Augmented with random numbers of the data set's own."""
    rng = np.random.default_rng(0)
    return Brightened(dataset, lambda: np.float32(rng.random()))


def torch_noise(dataset):
    return Brightened(dataset, functools.partial(torch.rand, 1))


class OwnOrder(data.Sampler):
    """Shuffles with random numbers of its own."""

    def __init__(self, dataset):
        self.n, self.rng = len(dataset), np.random.default_rng(0)

    def __len__(self):
        return self.n

    def __iter__(self):
        return iter(self.rng.permutation(self.n).tolist())


def in_batches(dataset, **kwargs):
    """A batch_sampler for dataset."""
    order = data.RandomSampler(dataset, **kwargs)
    return data.BatchSampler(order, BATCH_SIZE, drop_last=False)


def generator():
    return torch.Generator().manual_seed(5)


def as_tuple(examples):
    return tuple(data.default_collate(examples))


class Images:
    """A batch class of a learner's own: what d2l's loop asks of X, and no more."""

    def __init__(self, pixels):
        self.pixels, self.shape = pixels, pixels.shape

    def to(self, device):
        return Images(self.pixels.to(device))


def columns_first(X):
    """X with the same values, transposed in memory."""
    return X.transpose(2, 3).contiguous().transpose(2, 3)


def pixels(dtype):
    """Loaders of images of whole numbers from 0 to 255."""
    X, y = images()
    return lambda: loaders((X * 255).to(dtype), y)


# ---------------------------------------------------------------- parts of nets


class Do(nn.Module):
    """A function as a layer."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, X):
        return self.function(X)


class Net(nn.Module):
    """Layers (and what else a net may hold) by name, and what it does with them."""

    def __init__(self, forward, **layers):
        super().__init__()
        self.function = forward
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, X):
        return self.function(self, X)


def conv(c_in=1, c_out=4, kernel_size=3):
    return nn.Conv2d(c_in, c_out, kernel_size, padding=kernel_size // 2)


def linear(num_classes=10):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, num_classes))


def conv_net(*between, c_in=1):
    """Two convolutions with layers between them, and a linear layer."""
    return nn.Sequential(
        conv(c_in, 4), *between, nn.ReLU(), nn.MaxPool2d(2), conv(4, 8), nn.ReLU(),
        nn.Flatten(), nn.Linear(8 * 16, 10),
    )  # fmt: skip


def after_conv(function, c_in=1):
    """A convolution, then function makes (n, 256) of (n, 4, 8, 8), then scores."""
    return Net(
        lambda net, X: net.out(function(F.relu(net.conv(X)))),
        conv=conv(c_in),
        out=nn.Linear(256, 10),
    )


def global_pooling(function):
    """function makes scores of (n, 10, 1, 1)."""
    layers = conv(), nn.ReLU(), conv(4, 10), nn.AdaptiveAvgPool2d(1)
    return nn.Sequential(*layers, Do(function))


def rows(X):
    """Images as sequences: (n, 8, 8), a row per step."""
    return X.squeeze(1)


def patches(X):
    """Sums over 2x2 patches of contiguous images, read straight from memory."""
    n, c, h, w = X.shape
    size = n, c, h // 2, w // 2, 2, 2
    X = torch.as_strided(X, size, (c * h * w, h * w, 2 * w, 2, w, 1))
    return X.sum((4, 5)).reshape(n, -1)


class OwnLinear(nn.Linear):
    """A layer of a learner's own, which Xavier's numbers do not reach."""


class OwnConv(nn.Conv2d):
    def forward(self, X):
        return super().forward(X).tanh()


class OwnFlatten(torch.autograd.Function):
    """A function of a learner's own, whose gradient must lie in one piece."""

    @staticmethod
    def forward(ctx, X):
        ctx.shape = X.shape
        return X.reshape(len(X), -1)

    @staticmethod
    def backward(ctx, grad):
        return grad.view(-1).clamp(-0.01, 0.01).view(ctx.shape)


class Scores(torch.Tensor):
    """A tensor subclass."""


# ---------------------------------------------------------------- architectures


def functional():
    def forward(net, X):
        X = F.max_pool2d(F.relu(net.conv(X)), 2)
        X = F.dropout(X.view(len(X), -1), 0.5, net.training)
        return F.linear(X, net.out.weight, net.out.bias)

    return Net(forward, conv=conv(), out=nn.Linear(64, 10))


def residual():
    def forward(net, X):
        X = F.relu(net.first(X))
        X = F.relu(X + net.second(X))
        return net.out(X.mean((2, 3)))

    return Net(forward, first=conv(), second=conv(4, 4), out=nn.Linear(4, 10))


def dense():
    def forward(net, X):
        for layer in net.layers:
            X = torch.cat((X, F.relu(layer(X))), 1)
        return net.out(F.avg_pool2d(X, 8).view(X.size(0), -1))

    layers = nn.ModuleList([conv(1, 3), conv(4, 3), conv(7, 3)])
    return Net(forward, layers=layers, out=nn.Linear(10, 10))


def inception():
    def forward(net, X):
        branches = [branch(X) for branch in net.branches]
        return net.out(torch.flatten(torch.cat(branches, 1), 1))

    pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(1, 2, 1))
    branches = nn.ModuleList([conv(1, 2, 1), conv(1, 2), conv(1, 2, 5), pooled])
    return Net(forward, branches=branches, out=nn.Linear(8 * 64, 10))


def two_halves():
    """A net of two inputs, which takes them as the halves of one image."""

    def forward(net, X):
        left, right = X.chunk(2, dim=3)
        return net.out(torch.cat((net.left(left), net.right(right)), 1).flatten(1))

    return Net(forward, left=conv(), right=conv(), out=nn.Linear(8 * 32, 10))


def unet():
    def forward(net, X):
        X = X + net.up(F.relu(net.down(X)))
        return net.out(X.view(len(X), -1))

    down, up = nn.Conv2d(1, 4, 2, stride=2), nn.ConvTranspose2d(4, 1, 2, stride=2)
    return Net(forward, down=down, up=up, out=nn.Linear(64, 10))


def volume():
    """Colours as a third dimension."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 3)), nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool3d(2), Do(lambda X: X.view(len(X), -1)), nn.Linear(32, 10),
    )  # fmt: skip


def recurrent(kind):
    """Reads an image row by row."""
    return Net(
        lambda net, X: net.out(net.rnn(rows(X))[0][:, -1]),
        rnn=kind(8, 12, batch_first=True),
        out=nn.Linear(12, 10),
    )


def stateful():
    """Goes on from the state in which the batch before ended."""

    def forward(net, X):
        if net.state is not None:
            net.state = net.state.detach()
        Y, net.state = net.rnn(rows(X), net.state)
        return net.out(Y[:, -1])

    rnn = nn.GRU(8, 12, batch_first=True)
    return Net(forward, rnn=rnn, out=nn.Linear(12, 10), state=None)


def attention():
    def forward(net, X):
        X = rows(X)
        return net.out(net.attention(X, X, X)[0].reshape(len(X), -1))

    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    return Net(forward, attention=layer, out=nn.Linear(64, 10))


def vision_transformer():
    """Patches of 4x4 pixels, a class token, learned positions."""

    def forward(net, X):
        X = net.patches(X).flatten(2).transpose(1, 2)
        X = torch.cat((net.token.expand(len(X), -1, -1), X), 1) + net.positions
        return net.out(net.encoder(X)[:, 0])

    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
    return Net(
        forward,
        patches=nn.Conv2d(1, 8, 4, stride=4),
        token=nn.Parameter(torch.zeros(1, 1, 8)),
        positions=nn.Parameter(torch.randn(1, 5, 8)),
        encoder=nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
        out=nn.Linear(8, 10),
    )


def learned_positions():
    """A parameter of four dimensions that is no convolution's."""
    return Net(
        lambda net, X: net.out((net.conv(X) + net.positions).view(len(X), 256)),
        positions=nn.Parameter(torch.randn(1, 4, 8, 8)),
        conv=conv(),
        out=nn.Linear(256, 10),
    )


def spectral():
    """Complex weights, a branch in Python and a mean by numpy."""

    def forward(net, X):
        if X.mean().item() > 0.5:
            X = X - float(X.detach().numpy().mean())
        return net.out(torch.fft.irfft2(torch.fft.rfft2(X) * net.weight))

    weight = nn.Parameter(torch.randn(1, 1, 8, 5, dtype=torch.complex64))
    return Net(forward, weight=weight, out=linear())


# ---------------------------------------------------------------- weights


def lazy(dry_run):
    net = nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(10))
    if dry_run:
        net(torch.zeros(1, 1, SIDE, SIDE))
    return net


def tied():
    """Two layers of one weight, and a layer that comes twice."""
    net = nn.Sequential(conv(1, 4), conv(4, 4), conv(4, 4), nn.Flatten())
    net.append(nn.Linear(256, 256)).append(net[-1]).append(nn.Linear(256, 10))
    net[2].weight = net[1].weight
    return net


def shared_memory():
    """Two parameters of one memory: the steps of both change it."""
    net = nn.Sequential(conv(), conv(4, 4), conv(4, 4), nn.Flatten())
    net[2].weight = nn.Parameter(net[1].weight.data)
    return net.append(nn.Linear(256, 10))


def transposed():
    """An autoencoder's trick: the second weight is the first one's, turned."""
    net = nn.Sequential(*linear(32), nn.Linear(32, 64), nn.Linear(64, 10))
    net[2].weight = nn.Parameter(net[1].weight.data.t())
    return net


def frozen():
    net = conv_net()
    net[0].requires_grad_(False)
    return net


def pruned():
    net = conv_net()
    prune.l1_unstructured(net[3], "weight", amount=0.5)
    return net


def parametrized(function):
    layers = function(conv()), nn.ReLU(), nn.Flatten(), function(nn.Linear(256, 10))
    return nn.Sequential(*layers)


def half_channels_last():
    net = conv_net()
    net[3].to(memory_format=torch.channels_last)
    return net


def own_strides():
    """A weight that lies in memory as in no layout of torch's."""
    net = conv_net()
    weight = net[3].weight
    weight.data = weight.data.permute(2, 0, 3, 1).contiguous().permute(1, 3, 0, 2)
    return net


# ---------------------------------------------------------------- habits


class FrozenBatchNorm(nn.Sequential):
    """Keeps its batch normalisation in evaluation mode."""

    def train(self, mode=True):
        super().train(mode)
        self[1].eval()
        return self


class OwnTrain(nn.Sequential):
    """Does something of its own when the mode changes."""

    scale = 1.0

    def train(self, mode=True):
        self.scale = 1.0 if mode else -1.0
        return super().train(mode)

    def forward(self, X):
        return self.scale * super().forward(X)


class OwnEval(OwnTrain):
    """The same, in the other of the two methods."""

    def train(self, mode=True):
        super().train(mode)
        self.scale = 1.0
        return self

    def eval(self):
        super().eval()
        self.scale = -1.0
        return self


class OwnTo(nn.Sequential):
    """Takes a tensor along that is neither parameter nor buffer."""

    mean = torch.full((1, 1, SIDE, SIDE), 0.5)

    def to(self, device):
        self.mean = self.mean.to(device)
        return super().to(device)

    def forward(self, X):
        return super().forward(X - self.mean)


def own_random_numbers():
    """Draws from a generator of its own."""
    return Net(
        lambda net, X: net.net(X + torch.rand(SIDE, generator=net.generator)),
        net=linear(),
        generator=generator(),
    )


def counts_its_calls():
    """Each batch is read more softly than the one before."""
    calls = itertools.count(1)
    return nn.Sequential(Do(lambda X: X / next(calls)), *linear())


def needs_batches():
    """Normalises over the batch whatever the mode, so one image is too few."""
    norm = Do(lambda X: F.batch_norm(X, None, None, training=True))
    return nn.Sequential(*linear(8), norm, nn.Linear(8, 10))


# ---------------------------------------------------------------- hooks

# What `net.seen` holds after a training, the tests compare.


def with_hook(register, hook, c_in=1):
    """register(net) takes a hook; what hook returns is kept in `net.seen`."""
    net = conv_net(c_in=c_in)
    net.seen = []
    register(net)(lambda *args: net.seen.append(hook(*args)))
    return net


def grad_cam():
    """Activations and gradients of the convolutions of d2lmini's own net."""
    net = d2lmini.vgg(((1, 4), (1, 8)), image_size=SIDE, hidden=(8,))
    net.seen = []
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda m, X, Y: net.seen.append(Y.detach()))
            layer.register_full_backward_hook(lambda m, X, Y: net.seen.append(Y[0]))
    return net


def hooks_that_change():
    net = conv_net()
    net[0].register_forward_pre_hook(lambda m, args: (args[0] - 0.5,))
    net[0].register_forward_hook(lambda m, X, Y: Y * 2)
    net[3].weight.register_hook(lambda grad: grad * 0.5)
    return net


def watched():
    """The learner keeps views of the weights, to look at them after training."""
    net = conv_net()
    net.seen = [net[0].weight.data, net[3].weight.detach()]
    return net


# ---------------------------------------------------------------- for what is refused


def one_hot():
    return F.one_hot(images()[1], 10).float()


def always_right(function=lambda X: X):
    """Reads the class from one-hot images, so that every accuracy is 1."""
    return Net(
        lambda net, X: function(net.scale * X), scale=nn.Parameter(torch.ones(()))
    )
