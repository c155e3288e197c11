"""Whatever d2l's train_ch6 trains, ours trains too, with the same numbers.

Nets and loaders of every style that learners write (in styles.py), each trained by d2l
and by us under the same seed; and what ours refuses, each beside a run that shows d2l
failing or wrong.
"""

import contextlib
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import styles as s
import torch
from styles import Do, Net, batches, conv, conv_net, images, linear, loaders
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, spectral_norm, weight_norm
from torch.utils import data
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Subset, TensorDataset
from torchvision import models, tv_tensors
from tqdm import tqdm

import d2lmini

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    # what torch says about features that are old, or that need a GPU
    pytest.mark.filterwarnings("ignore"),
]
CPU = torch.device("cpu")


@dataclass
class Case:
    """make_net(); make_loaders() gives (train_iter, test_iter)."""

    make_net: Callable
    make_loaders: Callable = loaders
    num_epochs: Any = 1
    lr: Any = 0.1
    device: Any = CPU
    context: Callable = contextlib.nullcontext  # entered around everything
    # Of what ours refuses: a part of the message, and whether d2l's last point (train
    # loss, train acc, test acc) is wrong; without is_wrong, d2l raises an error.
    message: str = ""
    is_wrong: Callable | None = None


def colours(side=s.SIDE):
    return loaders(*images(3, side))


def labels(change):
    return lambda: loaders(y=change(images()[1]))


def test_labels(change):
    return lambda: (loaders()[0], labels(change)()[1])


test_labels.__test__ = False  # no test, though its name begins like one

# ---------------------------------------------------------------- the same as d2l

NETS = {
    "view": Case(lambda: s.after_conv(lambda X: X.view(X.shape[0], -1))),
    "reshape": Case(lambda: s.after_conv(lambda X: X.reshape(len(X), -1))),
    "flatten": Case(lambda: s.after_conv(lambda X: X.flatten(1))),
    "torch.flatten": Case(lambda: s.after_conv(lambda X: torch.flatten(X, 1))),
    "own flatten": Case(lambda: s.after_conv(s.OwnFlatten.apply)),
    "view of colours": Case(
        lambda: s.after_conv(lambda X: X.view(X.size(0), -1), c_in=3), colours
    ),
    "view of the input": Case(
        lambda: nn.Sequential(Do(lambda X: X.view(-1, 192)), nn.Linear(192, 10)),
        colours,
    ),
    "input read by strides": Case(
        lambda: nn.Sequential(Do(s.patches), nn.Linear(48, 10)), colours
    ),
    "feature maps read by strides": Case(
        lambda: nn.Sequential(conv(3), Do(s.patches), nn.Linear(64, 10)),
        colours,
        lr=0.01,
    ),
    "squeeze": Case(lambda: s.global_pooling(lambda X: X.squeeze())),
    "functional": Case(s.functional),
    "residual": Case(s.residual),
    "dense": Case(s.dense),
    "inception": Case(s.inception),
    "two halves": Case(s.two_halves),
    "transposed convolution": Case(s.unet),
    "lazy": Case(lambda: s.lazy(dry_run=False)),
    "lazy after a dry run": Case(lambda: s.lazy(dry_run=True)),
    "tied": Case(s.tied, num_epochs=2, lr=0.01),
    "two parameters of one memory": Case(s.shared_memory, num_epochs=2, lr=0.01),
    "a weight that is another one's transpose": Case(s.transposed),
    "frozen": Case(s.frozen),
    "own layers": Case(
        lambda: nn.Sequential(s.OwnConv(1, 4, 3), nn.Flatten(), s.OwnLinear(144, 10))
    ),
    "Conv1d over rows": Case(
        lambda: nn.Sequential(
            Do(s.rows), nn.Conv1d(8, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 10)
        )
    ),
    "Conv3d": Case(s.volume, colours),
    "RNN": Case(lambda: s.recurrent(nn.RNN)),
    "GRU": Case(lambda: s.recurrent(nn.GRU)),
    "LSTM": Case(lambda: s.recurrent(nn.LSTM)),
    "attention": Case(s.attention),
    "vision transformer": Case(s.vision_transformer),
    "learned positions": Case(s.learned_positions),
    "complex weights": Case(s.spectral),
    "embedding of pixels": Case(
        lambda: nn.Sequential(
            nn.Flatten(), nn.Embedding(256, 3), nn.Flatten(), nn.Linear(192, 10)
        ),
        s.pixels(torch.int64),
    ),
    "sparse gradients": Case(
        lambda: nn.Sequential(nn.Flatten(), nn.EmbeddingBag(256, 10, sparse=True)),
        s.pixels(torch.int32),
    ),
    "images as bytes": Case(
        lambda: nn.Sequential(Do(lambda X: X.float() / 255), *linear()),
        s.pixels(torch.uint8),
    ),
    "BatchNorm": Case(lambda: conv_net(nn.BatchNorm2d(4)), num_epochs=2),
    "BatchNorm without averages": Case(
        lambda: conv_net(nn.BatchNorm2d(4, track_running_stats=False))
    ),
    "BatchNorm averaging over all": Case(
        lambda: conv_net(nn.BatchNorm2d(4, momentum=None))
    ),
    "one image is too few": Case(s.needs_batches),
    "GroupNorm": Case(lambda: conv_net(nn.GroupNorm(2, 4))),
    "LayerNorm": Case(lambda: conv_net(nn.LayerNorm((4, 8, 8)))),
    "InstanceNorm": Case(
        lambda: conv_net(nn.InstanceNorm2d(4, affine=True, track_running_stats=True))
    ),
    "PReLU": Case(lambda: conv_net(nn.PReLU(4))),
    "Dropout": Case(lambda: conv_net(nn.Dropout2d(), nn.Dropout())),
    "random ReLU": Case(lambda: conv_net(nn.RReLU())),
    "Softmax": Case(lambda: linear().append(nn.Softmax(dim=1))),
    "log-softmax": Case(lambda: linear().append(nn.LogSoftmax(dim=1))),
    "two classes": Case(lambda: linear(2), labels(lambda y: y % 2)),
    "float64": Case(
        lambda: conv_net(nn.BatchNorm2d(4)).double(),
        lambda: loaders(images()[0].double()),
    ),
    "bfloat16": Case(
        lambda: conv_net().bfloat16(), lambda: loaders(images()[0].bfloat16())
    ),
    "autocast": Case(
        lambda: Net(
            torch.autocast("cpu", torch.bfloat16)(lambda net, X: net.net(X)),
            net=conv_net(),
        )
    ),
    "a fixed batch size": Case(
        lambda: nn.Sequential(Do(lambda X: X.view(16, -1)), nn.Linear(64, 10)),
        lambda: loaders(drop_last=True),
    ),
    "states between batches": Case(
        s.stateful, lambda: loaders(drop_last=True), num_epochs=2
    ),
    "tensor subclass": Case(
        lambda: linear().append(Do(lambda X: X.as_subclass(s.Scores)))
    ),
    "unused parameters": Case(
        lambda: Net(lambda net, X: net.a(X), a=conv_net(), b=conv_net())
    ),
    "ends without parameters": Case(
        lambda: nn.Sequential(nn.Upsample(scale_factor=2), nn.AvgPool2d(2), *linear())
    ),
    "channels-last": Case(lambda: conv_net().to(memory_format=torch.channels_last)),
    "channels-last, with its images": Case(
        lambda: conv_net(c_in=3).to(memory_format=torch.channels_last),
        lambda: batches(images(3)[0].to(memory_format=torch.channels_last)),
    ),
    "half channels-last": Case(s.half_channels_last),
    "own strides": Case(s.own_strides),
    "images not contiguous": Case(
        conv_net, lambda: batches(s.columns_first(images()[0]))
    ),
    "images expanded": Case(
        lambda: conv_net(c_in=3), lambda: batches(images()[0].expand(-1, 3, -1, -1))
    ),
    "resnet18": Case(
        lambda: models.resnet18(num_classes=10), lambda: colours(32), lr=1e-4
    ),
    "mobilenet": Case(
        lambda: models.mobilenet_v3_small(num_classes=10), lambda: colours(32), lr=0.01
    ),
    "squeezenet": Case(
        lambda: models.squeezenet1_1(num_classes=10), lambda: colours(32), lr=0.01
    ),
    "vgg": Case(
        lambda: d2lmini.vgg(((1, 4), (2, 8)), image_size=s.SIDE, hidden=(16,)),
        num_epochs=2,
    ),
    "hooks that look: Grad-CAM": Case(s.grad_cam),
    "hooks that look: inputs": Case(
        lambda: s.with_hook(
            lambda net: net[3].register_forward_pre_hook, lambda m, X: X[0].detach()
        )
    ),
    "hooks that look: gradients": Case(
        lambda: s.with_hook(
            lambda net: net[0].weight.register_post_accumulate_grad_hook,
            lambda weight: weight.grad.clone(),
        )
    ),
    "hooks that look: strides": Case(
        lambda: s.with_hook(
            lambda net: net[3].register_forward_hook,
            lambda m, X, Y: torch.tensor([X[0].stride(), Y.stride()]),
            c_in=3,
        ),
        colours,
    ),
    "hooks that change": Case(s.hooks_that_change),
    "views of the weights": Case(s.watched),
    "DataParallel": Case(lambda: nn.DataParallel(conv_net())),
    "weight_norm": Case(lambda: s.parametrized(parametrizations.weight_norm)),
    "old weight_norm": Case(lambda: s.parametrized(weight_norm)),
    "spectral_norm": Case(lambda: s.parametrized(parametrizations.spectral_norm)),
    "old spectral_norm": Case(lambda: s.parametrized(spectral_norm)),
    "pruned": Case(s.pruned),
    "compiled": Case(lambda: torch.compile(conv_net(), backend="eager")),
    "scripted": Case(lambda: torch.jit.script(conv_net())),
    "gradient checkpointing": Case(
        lambda: Net(
            lambda net, X: checkpoint(net.net, X, use_reentrant=False),
            net=conv_net(nn.Dropout()),
        )
    ),
    "frozen BatchNorm": Case(lambda: s.FrozenBatchNorm(*conv_net(nn.BatchNorm2d(4)))),
    "own train": Case(lambda: s.OwnTrain(*linear())),
    "own eval": Case(lambda: s.OwnEval(*linear())),
    "own to": Case(lambda: s.OwnTo(*linear())),
    "own random numbers": Case(s.own_random_numbers),
    "changes its images": Case(
        lambda: nn.Sequential(Do(lambda X: X.sub_(0.5).mul_(2)), *linear()),
        lambda: batches(images()[0].clone()),
    ),
    "classes when tested": Case(
        lambda: Net(
            lambda net, X: net.net(X) if net.training else net.net(X).argmax(1),
            net=linear(),
        )
    ),
    "cannot be copied": Case(
        lambda: Net(lambda net, X: net.net(X), net=linear(), lock=threading.Lock())
    ),
}

LOADERS = {
    "two epochs": Case(conv_net, num_epochs=2),
    "no shuffling": Case(conv_net, s.with_train_iter(lambda d: DataLoader(d, 16))),
    "own generator": Case(
        linear,
        s.with_train_iter(lambda d: DataLoader(d, 16, True, generator=s.generator())),
        num_epochs=2,
    ),
    "batch_sampler": Case(
        linear,
        s.with_train_iter(lambda d: DataLoader(d, batch_sampler=s.in_batches(d))),
    ),
    "batch_sampler with a generator": Case(
        linear,
        s.with_train_iter(
            lambda d: DataLoader(
                d, batch_sampler=s.in_batches(d, generator=s.generator())
            )
        ),
    ),
    "a list of batches as batch_sampler": Case(
        linear,
        s.with_train_iter(
            lambda d: DataLoader(d, batch_sampler=[range(i, 80, 5) for i in range(5)])
        ),
    ),
    "own sampler": Case(
        linear, s.with_train_iter(lambda d: DataLoader(d, 16, sampler=s.OwnOrder(d)))
    ),
    "drop_last": Case(conv_net, lambda: loaders(batch_size=15, drop_last=True)),
    "a last batch of one image": Case(
        lambda: s.after_conv(lambda X: X.view(X.shape[0], -1)),
        s.with_train_iter(lambda d: DataLoader(Subset(d, range(65)), 16)),
    ),
    "batches of one image": Case(conv_net, lambda: loaders(batch_size=1), lr=0.01),
    "a worker": Case(conv_net, lambda: loaders(num_workers=1)),
    "two workers": Case(linear, lambda: loaders(num_workers=2)),
    "a worker that stays": Case(
        linear,
        s.with_train_iter(
            lambda d: DataLoader(
                s.torch_noise(d), 16, True, num_workers=1, persistent_workers=True
            )
        ),
        num_epochs=2,
    ),
    "collated to tuples": Case(linear, lambda: loaders(collate_fn=s.as_tuple)),
    "pinned": Case(linear, lambda: loaders(pin_memory=True)),
    "batches made by the data set": Case(
        linear,
        lambda: [
            DataLoader(pairs, batch_size=None, shuffle=True) for pairs in batches()
        ],
    ),
    "labels as bytes": Case(linear, labels(lambda y: y.byte())),
    "test labels as int32": Case(linear, test_labels(lambda y: y.int())),
    "test labels as floats": Case(linear, test_labels(lambda y: y.float())),
    "labels to be ignored": Case(
        linear, labels(lambda y: torch.where(torch.arange(len(y)) % 7 == 0, -100, y))
    ),
    "labels in a tensor subclass": Case(
        linear, lambda: batches(y=images()[1].as_subclass(s.Scores))
    ),
    "images of torchvision's class": Case(
        linear, lambda: batches(tv_tensors.Image(images()[0]))
    ),
    "own batch class": Case(
        lambda: nn.Sequential(Do(lambda X: X.pixels), *conv_net()),
        lambda: [[(s.Images(X), y) for X, y in pairs] for pairs in batches()],
    ),
    "test images of another size": Case(
        lambda: s.global_pooling(lambda X: X.flatten(1)),
        lambda: (loaders()[0], loaders(*images(side=12))[1]),
    ),
    "test images as lists": Case(
        lambda: nn.Sequential(
            Do(lambda X: sum(X) if isinstance(X, list) else 2 * X), *linear()
        ),
        lambda: (batches()[0], [([X, X], y) for X, y in batches()[1]]),
    ),
    "stream of known length": Case(
        linear,
        s.with_train_iter(lambda d: DataLoader(s.StreamOfKnownLength(d), 16)),
    ),
    "tests from a stream": Case(
        linear, s.with_test_iter(lambda d: DataLoader(s.Stream(d), 16)), num_epochs=2
    ),
    "an empty test batch": Case(
        linear, lambda: (loaders()[0], [[part[:0] for part in images()]] + batches()[1])
    ),
    "tests without a length": Case(
        linear, lambda: (loaders()[0], s.NoLength(batches()[1])), num_epochs=2
    ),
    "tests from a generator": Case(linear, lambda: (loaders()[0], iter(batches()[1]))),
    "lists of batches": Case(conv_net, batches, num_epochs=2),
    "loaders in a progress bar": Case(
        linear, lambda: [tqdm(loader, disable=True) for loader in loaders()]
    ),
    "own loader": Case(conv_net, lambda: [s.OwnLoader(pairs) for pairs in batches()]),
    "own loader, its own iterator": Case(
        linear, lambda: [s.OwnIterator(pairs) for pairs in batches()], num_epochs=2
    ),
    "a data set with its own noise": Case(
        linear,
        s.with_test_iter(lambda d: DataLoader(s.own_noise(d), 16)),
        num_epochs=2,
    ),
}


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


SETTINGS = {
    "default dtype": Case(
        lambda: conv_net(nn.BatchNorm2d(4)),
        lambda: loaders(images()[0].double()),
        context=lambda: default_dtype(torch.float64),
    ),
    "default device": Case(conv_net, context=lambda: default_device("cpu")),
    "device as text": Case(linear, device="cpu"),
    "device with a number": Case(linear, device=torch.device("cpu", 0)),
    "no device": Case(linear, device=None),
    "num_epochs of numpy": Case(linear, num_epochs=np.int64(2)),
    "lr of numpy": Case(linear, lr=np.float32(0.1)),
    "lr as a tensor": Case(linear, lr=torch.tensor(0.1)),
}


@pytest.fixture
def d2ls_points(d2l, monkeypatch):
    """What d2l's Animator is given: (train loss, train acc, test acc), None in part."""
    points = []

    class Recorder:
        def __init__(self, *args, **kwargs): ...

        def add(self, x, y):
            points.append(y)

    monkeypatch.setattr(d2l, "Animator", Recorder)
    return points


def per_epoch(points):
    """(train loss, train acc, test acc) of each epoch, from d2l's points."""
    return [
        (*last[:2], tested[2])
        for last, tested in zip(points, points[1:], strict=False)
        if tested[2] is not None
    ]


def train(library, case):
    """(net, History, state of torch's random numbers) after case's training."""
    torch.manual_seed(1)
    with case.context():
        net, loaders = case.make_net(), case.make_loaders()
        history = library.train_ch6(
            net, *loaders, case.num_epochs, case.lr, case.device
        )
    return net, history, torch.get_rng_state()


def assert_same_nets(ours, theirs):
    """Values, places in memory, modes, and what hooks saw."""
    values, d2ls = (
        [*net.state_dict(keep_vars=True).items(), *net.named_parameters()]
        for net in (ours, theirs)
    )
    for (name, value), (_, expected) in zip(values, d2ls, strict=True):
        torch.testing.assert_close(value, expected, atol=1e-3, rtol=1e-3)
        assert value.stride() == expected.stride(), name
        assert value.requires_grad == expected.requires_grad, name
    modes = [[m.training for m in net.modules()] for net in (ours, theirs)]
    assert modes[0] == modes[1]
    seen = [getattr(net, "seen", []) for net in (ours, theirs)]
    for value, expected in zip(*seen, strict=True):
        torch.testing.assert_close(value, expected, atol=1e-3, rtol=1e-3)


CASES = NETS | LOADERS | SETTINGS


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_d2l_trains_is_trained_alike(d2l, d2ls_points, case):
    """The numbers of every epoch, the net, and the random numbers that come next."""
    theirs, _, drawn = train(d2l, case)
    ours, history, also_drawn = train(d2lmini, case)
    expected = per_epoch(d2ls_points)
    assert len(expected) == case.num_epochs
    for point, d2ls in zip(history.points(), expected, strict=True):
        assert point == pytest.approx(d2ls, abs=1e-3)
    assert_same_nets(ours, theirs)
    assert torch.equal(drawn, also_drawn)


# ---------------------------------------------------------------- our own data set


def some():
    """100 of the numbers from 0 to 999, in a tensor."""
    return torch.randperm(1000)[:100]


PARTS = {
    "whole": lambda d: DataLoader(d, 200, shuffle=True),
    "list": lambda d: DataLoader(Subset(d, some().tolist()), 16),
    "array": lambda d: DataLoader(Subset(d, some().numpy()), 16),
    "tensor": lambda d: DataLoader(Subset(d, some()), 16),
    "range": lambda d: DataLoader(Subset(d, range(100)), 16, shuffle=True),
    "part of a part": lambda d: DataLoader(
        Subset(Subset(d, torch.randperm(1000)), some()), 16
    ),
    "random_split": lambda d: DataLoader(data.random_split(d, [100, 900])[0], 16),
    "SubsetRandomSampler of a tensor": lambda d: DataLoader(
        d, 16, sampler=data.SubsetRandomSampler(some())
    ),
    "SubsetRandomSampler of an array": lambda d: DataLoader(
        d, 16, sampler=data.SubsetRandomSampler(some().numpy())
    ),
    "WeightedRandomSampler": lambda d: DataLoader(
        d, 16, sampler=data.WeightedRandomSampler(torch.arange(1000.0), 100)
    ),
    "a tensor as sampler": lambda d: DataLoader(d, 16, sampler=some()),
    "batch_sampler": lambda d: DataLoader(
        d, batch_sampler=s.in_batches(d, num_samples=100)
    ),
    "tensors as batch_sampler": lambda d: DataLoader(d, batch_sampler=some().split(16)),
    "ConcatDataset": lambda d: DataLoader(
        data.ConcatDataset([Subset(d, range(70)), Subset(d, some())]), 16, shuffle=True
    ),
    "last batch of one": lambda d: DataLoader(Subset(d, range(81)), 16),
    "own collate function": lambda d: DataLoader(
        Subset(d, range(100)), 16, collate_fn=s.as_tuple
    ),
    "a worker": lambda d: DataLoader(Subset(d, some()), 16, num_workers=1),
    "list of examples": lambda d: DataLoader([d[i] for i in range(100)], 16),
    "list of examples by numbers of torch": lambda d: DataLoader(
        [d[i] for i in some()], 16
    ),
    "list of examples by numbers of numpy": lambda d: DataLoader(
        [d[i] for i in -some().numpy()], 16
    ),
}


@pytest.fixture(scope="module")
def data_sets():
    """d2lmini's own data set of 1000 images, and one of torch's of the same images."""
    _, test_iter = d2lmini.load_data_fashion_mnist(1000, resize=s.SIDE, sample=True)
    (X, y), *_ = test_iter
    return test_iter.dataset, TensorDataset(X, y)


@pytest.mark.parametrize("make_loader", PARTS.values(), ids=PARTS)
def test_parts_of_our_data_set_are_those_of_a_plain_one(
    d2l, d2ls_points, data_sets, make_loader
):
    """As training data and as test data."""
    ours, plain = (
        Case(linear, lambda d=d: (make_loader(d), make_loader(d))) for d in data_sets
    )
    theirs, _, drawn = train(d2l, plain)
    net, history, also_drawn = train(d2lmini, ours)
    assert history.points()[0] == pytest.approx(per_epoch(d2ls_points)[0], abs=1e-3)
    assert_same_nets(net, theirs)
    assert torch.equal(drawn, also_drawn)


# ---------------------------------------------------------------- evaluation alone


def scores(X):
    return X.flatten(1)[:, :10]


# net and batches
EVALUATIONS = {
    "lists of inputs": lambda: (
        Do(lambda X: scores(X[0] + X[1])),
        [([X, 2 * X], y) for X, y in batches()[1]],
    ),
    "predicted classes": lambda: (Do(lambda X: scores(X).argmax(1)), loaders()[1]),
    "predicted classes in a column": lambda: (
        Do(lambda X: scores(X).argmax(1, keepdim=True)),
        batches(y=images()[1][:, None])[1],
    ),
    "a class per pixel": lambda: (
        conv(1, 10),
        batches(y=(images()[0] * 10).long().squeeze(1))[1],
    ),
    "a generator": lambda: (Do(scores), iter(batches()[1])),
    "a function": lambda: (scores, loaders()[1]),
    "own train": lambda: (s.OwnTrain(*linear()), loaders()[1]),
    "own eval": lambda: (s.OwnEval(*linear()), loaders()[1]),
}


@pytest.mark.parametrize("make", EVALUATIONS.values(), ids=EVALUATIONS)
def test_what_d2l_evaluates_is_evaluated_alike(d2l, make):
    accuracies = []
    for library in (d2l, d2lmini):
        torch.manual_seed(1)
        accuracies.append(library.evaluate_accuracy_gpu(*make(), CPU))
    assert accuracies[1] == pytest.approx(accuracies[0])


# ---------------------------------------------------------------- what is refused


def refused(message, make_net=linear, make_loaders=loaders, is_wrong=None, **kwargs):
    return Case(make_net, make_loaders, message=message, is_wrong=is_wrong, **kwargs)


def more_than_all_are_right(point):
    return point[1] > 1


def not_all_are_right(point):
    return point[1:] != (1, 1)


def no_number(point):
    return not math.isfinite(point[0])


ONE_LABEL = "one whole number per image is needed"
ONE_PREDICTION = "one prediction per label is needed"
IMAGES = "Build the net for such images"
EPOCHS, LR = "num_epochs must be a whole number from 1", "lr must be 0 or a positive"

REFUSED = {
    "labels from 1": refused(
        "net has 10 classes, 0 to 9", make_loaders=labels(lambda y: y + 1)
    ),
    "labels from -1": refused(
        "net has 10 classes, 0 to 9", make_loaders=labels(lambda y: y - 1)
    ),
    "test labels from 1": refused(
        "labels of test_iter run from 1 to 10",
        s.always_right,
        lambda: (loaders(s.one_hot())[0], loaders(s.one_hot(), images()[1] + 1)[1]),
        not_all_are_right,
    ),
    "labels in a column": refused(ONE_LABEL, make_loaders=labels(lambda y: y[:, None])),
    "labels as int32": refused(
        r"try y\.long\(\)", make_loaders=labels(lambda y: y.int())
    ),
    "labels as floats": refused(
        r"try y\.long\(\)", make_loaders=labels(lambda y: y.float())
    ),
    "one-hot labels": refused(ONE_LABEL, make_loaders=lambda: loaders(y=s.one_hot())),
    "one-hot labels, batches of ten": refused(
        ONE_LABEL,
        s.always_right,
        lambda: loaders(s.one_hot(), s.one_hot(), batch_size=10),
        not_all_are_right,
    ),
    "one output": refused(
        ONE_PREDICTION,
        lambda: linear(1),
        labels(lambda y: 0 * y),
        more_than_all_are_right,
    ),
    "one output, targets of its shape": refused(
        ONE_LABEL,
        lambda: linear(1),
        labels(lambda y: (y[:, None] % 2).float()),
        lambda point: point[0] == point[1] == 0,  # a loss of 0, and none correct
    ),
    "one output, two classes": refused(
        "net has 1 classes, 0 to 0", lambda: linear(1), labels(lambda y: y % 2)
    ),
    "squeeze of a last test batch of one": refused(
        ONE_PREDICTION,
        lambda: s.always_right(lambda X: X.squeeze()),
        lambda: (loaders(s.one_hot())[0], loaders(s.one_hot(), batch_size=1)[1]),
        not_all_are_right,
    ),
    "scores of four dimensions": refused(
        r"\(16, 10, 1, 1\)", lambda: s.global_pooling(lambda X: X)
    ),
    "two results": refused("tuple", lambda: linear().append(Do(lambda X: (X, X)))),
    "large images": refused(IMAGES, conv_net, lambda: loaders(*images(side=12))),
    "images in colours": refused(IMAGES, conv_net, colours),
    "images as doubles": refused(
        "net cannot read the batches", conv_net, lambda: loaders(images()[0].double())
    ),
    "large test images": refused(
        "net cannot read the batches of test_iter",
        conv_net,
        lambda: (loaders()[0], loaders(*images(side=12))[1]),
    ),
    "no training images": refused(
        "train_iter holds no batch", make_loaders=lambda: ([], batches()[1])
    ),
    "no test images": refused(
        "test_iter holds no batch", make_loaders=lambda: (batches()[0], [])
    ),
    "no epoch": refused(EPOCHS, num_epochs=0),
    "half an epoch": refused(EPOCHS, num_epochs=0.5),
    "negative lr": refused(LR, lr=-0.1),
    "no lr": refused(LR, lr=math.nan, is_wrong=no_number),
    "infinite lr": refused(LR, lr=math.inf, is_wrong=no_number),
    "an impossible class": refused(
        "look for nan or infinity in the images and in what net",
        lambda: linear().append(Do(lambda X: X - torch.tensor([math.inf] + 9 * [0]))),
        is_wrong=no_number,
    ),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_what_is_refused_fails_or_is_wrong_in_d2l(d2l, d2ls_points, case):
    """By a ValueError, a TypeError or, once it is no number, for the loss."""
    if case.is_wrong:
        train(d2l, case)
        assert case.is_wrong(per_epoch(d2ls_points)[-1])
    else:
        with pytest.raises(Exception):  # noqa: B017, of whatever kind
            train(d2l, case)
    with pytest.raises((ValueError, TypeError, FloatingPointError), match=case.message):
        train(d2lmini, case)


# ---------------------------------------------------------------- more than d2l trains

MORE = {
    "a label per pixel": (
        lambda: s.conv(1, 10),
        lambda: loaders(y=(images()[0] * 9).long().squeeze(1)),
    ),
    "images as lists": (
        lambda: nn.Sequential(Do(lambda X: X[0] + X[1]), *linear()),
        lambda: [[([X, X], y) for X, y in pairs] for pairs in batches()],
    ),
    "batches without a length": (linear, lambda: map(s.NoLength, batches())),
}


@pytest.mark.parametrize("net, make_loaders", MORE.values(), ids=MORE)
def test_what_d2l_does_not_train_has_right_numbers(net, make_loaders):
    """The accuracies are those of the net afterwards: lr 0 does not move it."""
    torch.manual_seed(1)
    net, (train_iter, test_iter) = net(), make_loaders()
    history = d2lmini.train_ch6(net, train_iter, test_iter, 1, 0.0, CPU)
    shares = []
    for data_iter in (train_iter, test_iter):
        correct = [net(X).argmax(1).eq(y).flatten() for X, y in data_iter]
        shares.append(torch.cat(correct).float().mean().item())
    assert [history.train_acc[0], history.test_acc[0]] == pytest.approx(shares)
    losses = [(F.cross_entropy(net(X), y).item(), len(y)) for X, y in train_iter]
    mean = sum(loss * n for loss, n in losses) / sum(n for _, n in losses)
    assert history.train_loss[0] == pytest.approx(mean, rel=1e-5)
