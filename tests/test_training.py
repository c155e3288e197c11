"""try_gpu, evaluate_accuracy_gpu, train_ch6 (against d2l and plain torch), History."""

import contextlib
import gc
import json
import math
import os
import random
import re
import subprocess
import sys
import weakref

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jupyter_client.manager import start_new_kernel
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

import d2lmini
from d2lmini.engine import files
from d2lmini.engine.progress import Progress

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")


def small_vgg():
    arch = d2lmini.shrink(d2lmini.VGG11, 16)
    return d2lmini.vgg(arch, image_size=32, hidden=(16,))


def softmax_net():
    return nn.Sequential(nn.Flatten(), nn.Linear(1024, 10))


def lenet(activation):
    """d2l's LeNet, without the padding that makes 28x28 images as large as these."""
    return nn.Sequential(
        nn.Conv2d(1, 6, kernel_size=5), activation(), nn.AvgPool2d(2),
        nn.Conv2d(6, 16, kernel_size=5), activation(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), activation(),
        nn.Linear(120, 84), activation(), nn.Linear(84, 10),
    )  # fmt: skip


@pytest.fixture(scope="module")
def images():
    """X, y of 80 training images, then of 50 test images, 32x32."""
    loaders = d2lmini.load_data_fashion_mnist(80, resize=32, sample=True)
    torch.manual_seed(0)
    train, test = (next(iter(loader)) for loader in loaders)
    return (*train, *(part[:50] for part in test))


@pytest.fixture
def loaders(images):
    """5 shuffled batches of 16 for training, and batches for testing."""
    return make_loaders(images, 80)


def make_loaders(images, num_examples):
    X, y, X_test, y_test = images
    train = TensorDataset(X[:num_examples], y[:num_examples])
    test_iter = DataLoader(TensorDataset(X_test, y_test), 16)
    return DataLoader(train, 16, shuffle=True), test_iter


def loader(X, y, batch_size=4):
    return DataLoader(TensorDataset(X, y), batch_size)


def plain_training(net, train_iter, test_iter, lr, num_epochs, momentum=0, loss=None):
    """What train_ch6 should compute, in plain torch: (losses, test accuracies)."""
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
    loss, params = loss or F.cross_entropy, list(net.parameters())
    velocities = [torch.zeros_like(p) for p in params]
    losses, accuracies = [], []
    for _ in range(num_epochs):
        net.train()
        batch_losses = []
        for X, y in train_iter:
            l = loss(net(X), y)
            with torch.no_grad():
                grads = torch.autograd.grad(l, params)
                for p, v, grad in zip(params, velocities, grads, strict=True):
                    v.mul_(momentum).add_(grad)
                    p -= lr * v
            batch_losses += [l.item()] * len(y)
        losses.append(np.mean(batch_losses))
        net.eval()
        right = torch.cat([net(X).argmax(1) == y for X, y in test_iter])
        accuracies.append(right.float().mean().item())
    return losses, accuracies


@contextlib.contextmanager
def in_training_step(net, number, action):
    """Call action when net reads a batch for training for the number-th time."""
    steps = []

    def count(module, args):
        if module.training:
            steps.append(1)
            if len(steps) == number:
                action()

    handle = net.register_forward_pre_hook(count)
    yield
    handle.remove()


@pytest.fixture
def record(monkeypatch):
    """record(module) returns the list of points that its Animator is given."""

    def replace(module):
        points = []

        class Recorder:
            def __init__(self, *args, **kwargs): ...

            def add(self, x, y):
                points.append((x, *y))

            add_points = add

            def set_title(self, text): ...

            def draw(self): ...

        monkeypatch.setattr(module, "Animator", Recorder)
        return points

    return replace


# ---------------------------------------------------------------- try_gpu


def test_without_accelerator_try_gpu_is_the_cpu(monkeypatch):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    assert d2lmini.try_gpu() == d2lmini.try_gpu(3) == CPU


@pytest.mark.parametrize(
    ("kind", "count", "i", "expected"),
    [
        ("cuda", 2, 0, "cuda:0"),
        ("cuda", 2, 1, "cuda:1"),
        ("cuda", 2, 2, "cpu"),
        ("mps", 1, 0, "mps:0"),
        ("mps", 1, 1, "cpu"),
        ("xpu", 1, 0, "xpu:0"),
    ],
)
def test_try_gpu_knows_every_accelerator(monkeypatch, kind, count, i, expected):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)
    monkeypatch.setattr(
        torch.accelerator, "current_accelerator", lambda: torch.device(kind)
    )
    assert d2lmini.try_gpu(i) == torch.device(expected)


def test_try_gpu_refuses_negative_numbers():
    with pytest.raises(ValueError, match="-1"):
        d2lmini.try_gpu(-1)


def test_nothing_becomes_float64(loaders):
    """Apple's GPUs have no float64."""

    class Float64Refused(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                assert result.dtype != torch.float64
            return result

    net = small_vgg()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    with Float64Refused():
        d2lmini.train_ch6(net, *loaders, 1, 0.1, "cpu", optimizer=optimizer)
        with pytest.raises(AssertionError):
            torch.zeros(1).double()


# ---------------------------------------------------------------- evaluate_accuracy_gpu

SCORES = torch.eye(5)  # row i has its largest score at class i


def test_three_of_five_is_an_accuracy_of_0_6():
    batches = loader(SCORES, torch.tensor([0, 1, 2, 0, 0]), 5)
    assert d2lmini.evaluate_accuracy_gpu(nn.Identity(), batches) == 0.6


def test_an_uneven_last_batch_weighs_as_its_examples():
    """4 of 4 right, then 0 of 1: 4 / 5, not the mean of 1 and 0."""
    batches = loader(SCORES, torch.tensor([0, 1, 2, 3, 0]), 4)
    assert d2lmini.evaluate_accuracy_gpu(nn.Identity(), batches) == 0.8


def test_evaluation_equals_d2ls(d2l, loaders):
    net = lenet(nn.ReLU)
    for batches in loaders:
        ours = d2lmini.evaluate_accuracy_gpu(net, batches)
        assert ours == d2l.evaluate_accuracy_gpu(net, batches)


@given(st.data(), st.integers(1, 30), st.integers(2, 10), st.integers(1, 12))
def test_evaluation_of_any_scores_equals_d2ls(d2l, data, rows, classes, batch_size):
    scores = data.draw(hnp.arrays(np.float32, (rows, classes)))  # nan and inf as well
    y = data.draw(hnp.arrays(np.int64, rows, elements=st.integers(0, classes - 1)))
    batches = loader(torch.from_numpy(scores), torch.from_numpy(y), batch_size)
    accuracies = [
        library.evaluate_accuracy_gpu(nn.Identity(), batches, CPU)
        for library in (d2lmini, d2l)
    ]
    assert accuracies[0] == accuracies[1]


def test_evaluation_takes_a_function_and_lists_of_inputs():
    batches = [([SCORES, 2 * SCORES], torch.tensor([1, 1, 2, 3, 4]))]
    assert d2lmini.evaluate_accuracy_gpu(lambda X: X[0] + X[1], batches) == 0.8


def test_evaluation_refuses_what_holds_no_examples():
    with pytest.raises(ValueError, match="no examples"):
        d2lmini.evaluate_accuracy_gpu(nn.Identity(), [])


def test_evaluation_switches_dropout_off():
    """Dropout(1.0) makes every score 0, which predicts class 0."""
    batches = loader(SCORES, torch.arange(5))
    assert d2lmini.evaluate_accuracy_gpu(nn.Dropout(1.0), batches) == 1.0


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("labels", [torch.zeros(4), "no tensor"], ids=["ok", "raises"])
def test_evaluation_leaves_every_mode_as_found(training, labels):
    """A frozen BatchNorm stays frozen, and nothing is learned from test data."""
    net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout())
    net.train(training)
    net[1].train(not training)
    modes = [module.training for module in net.modules()]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    error = contextlib.nullcontext()
    if labels == "no tensor":
        error = pytest.raises(AttributeError)
    with error:
        d2lmini.evaluate_accuracy_gpu(net, [(torch.ones(4, 3), labels)])
    assert [module.training for module in net.modules()] == modes
    assert_equal_states(net.state_dict(), before)


def assert_equal_states(state, expected):
    assert state.keys() == expected.keys()
    for name, value in state.items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("device", [None, "cpu"])
def test_evaluation_moves_the_data_to_the_net(device):
    """To the device that is asked for; without one, to where the net's weights are."""
    moved = []

    class Batch:
        def to(self, where):
            moved.append(where)
            return SCORES.argmax(1)

    class OnMeta(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1, device="meta"))

        def forward(self, X):
            return X

    d2lmini.evaluate_accuracy_gpu(OnMeta(), [(Batch(), Batch())], device)
    assert moved == [device or torch.device("meta")] * 2


@pytest.mark.skipif(not torch.accelerator.is_available(), reason="no accelerator")
def test_training_and_evaluation_on_an_accelerator(loaders):
    net, device = small_vgg(), d2lmini.try_gpu()
    history = d2lmini.train_ch6(net, *loaders, 1, 0.1, device)
    assert next(net.parameters()).device == device
    assert history.test_acc[0] == d2lmini.evaluate_accuracy_gpu(net, loaders[1])


# ---------------------------------------------------------------- the same as d2l


@pytest.mark.parametrize(
    ("make_net", "lr"),
    [
        (lambda: lenet(nn.Sigmoid), 0.9),
        (lambda: lenet(nn.ReLU), 0.1),
        (small_vgg, 0.1),
        (softmax_net, 0.1),
    ],
    ids=["lenet-sigmoid", "lenet-relu", "vgg", "softmax"],
)
def test_training_equals_d2ls(d2l, images, record, capsys, make_net, lr):
    """Same seed, same numbers: the first batch's, and each later point's."""
    points, nets, lines = {}, {}, {}
    for module in (d2l, d2lmini):
        drawn = record(d2l if module is d2l else d2lmini.training)
        torch.manual_seed(1)
        nets[module] = make_net()
        loaders = make_loaders(images, 80)
        history = module.train_ch6(nets[module], *loaders, 2, lr, CPU)
        points[module], lines[module] = drawn, capsys.readouterr().out

    assert len(points[d2l]) == 2 * (5 + 1)  # five batches and a test per epoch
    for ours, theirs in zip(points[d2lmini], points[d2l], strict=True):
        assert ours == pytest.approx(theirs, abs=1e-3)
    assert points[d2lmini][0][1] == pytest.approx(points[d2l][0][1], abs=1e-5)
    for epoch in range(2):
        (_, *curves, _), (*_, test_acc) = points[d2l][6 * epoch + 4 : 6 * epoch + 6]
        assert history.points()[epoch] == pytest.approx((*curves, test_acc), abs=1e-3)

    ours, theirs = (re.sub(r"[\d.]+", "N", lines[m]) for m in (d2lmini, d2l))
    assert ours == theirs
    assert nets[d2lmini].training == nets[d2l].training
    for ours, theirs in zip(*(net.parameters() for net in nets.values()), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("num_batches", [1, 2, 4, 5])
def test_few_batches_are_enough(images, record, num_batches):
    """A point per batch, though num_batches // 5 is 0 below five."""
    points = record(d2lmini.training)
    d2lmini.train_ch6(
        softmax_net(), *make_loaders(images, 16 * num_batches), 1, 0.1, "cpu"
    )
    expected = [(i + 1) / num_batches for i in range(num_batches)] + [1]
    assert [x for x, *_ in points] == pytest.approx(expected)


def test_printed_lines_hold_the_numbers_of_the_history(loaders, capsys):
    history = d2lmini.train_ch6(softmax_net(), *loaders, 2, 0.1, "cpu")
    first, result, speed = capsys.readouterr().out.splitlines()
    assert first == "training on cpu"
    numbers = re.fullmatch(
        r"loss (\d\.\d{3}), train acc (\d\.\d{3}), test acc (\d\.\d{3})", result
    )
    assert numbers.groups() == tuple(f"{x:.3f}" for x in history.points()[-1])
    rate = re.fullmatch(r"(\d+\.\d) examples/sec on cpu", speed)
    assert rate[1] == f"{history.examples_per_sec:.1f}"
    assert history.examples == 2 * 80


def test_an_epochs_loss_is_over_all_its_examples(images):
    """With next to no steps, it is the loss of the fixed net on the training set."""
    net = softmax_net()
    train_iter, test_iter = make_loaders(images, 72)  # the last batch has 8
    history = d2lmini.train_ch6(net, train_iter, test_iter, 1, 1e-30, "cpu")
    X, y, *_ = (part[:72] for part in images)
    with torch.no_grad():
        loss, right = F.cross_entropy(net(X), y), net(X).argmax(1) == y
    assert history.train_loss == [pytest.approx(loss.item(), abs=1e-5)]
    assert history.train_acc == [pytest.approx(right.float().mean().item())]


# ---------------------------------------------------------------- optimizer and others


def by_hand_smoothed(y_hat, y):
    log_p = F.log_softmax(y_hat, dim=1)
    return -(0.8 * log_p[range(len(y)), y] + 0.2 * log_p.mean(dim=1)).mean()


@pytest.mark.parametrize(
    ("plain", "momentum", "loss"),
    [
        ({}, None, None),
        ({"momentum": 0.9}, 0.9, None),
        ({"loss": by_hand_smoothed}, None, nn.CrossEntropyLoss(label_smoothing=0.2)),
    ],
    ids=["default", "momentum", "label smoothing"],
)
def test_training_equals_plain_torch(loaders, plain, momentum, loss):
    """The drawn numbers too (dropout, shuffling): the checks before use none up."""
    torch.manual_seed(2)
    net = small_vgg()
    losses, accuracies = plain_training(net, *loaders, 0.05, 2, **plain)
    drawn = torch.rand(3)

    torch.manual_seed(2)
    net, optimizer = small_vgg(), None
    if momentum:
        optimizer = torch.optim.SGD(net.parameters(), 0.05, momentum=momentum)
    history = d2lmini.train_ch6(
        net, *loaders, 2, 0.05, "cpu", optimizer=optimizer, loss=loss
    )
    assert history.train_loss == pytest.approx(losses, abs=1e-5)
    assert history.test_acc == pytest.approx(accuracies)
    assert torch.equal(torch.rand(3), drawn)


class Noisy(Dataset):
    """Images with noise from the random numbers of torch, numpy and Python."""

    def __init__(self, X, y):
        self.X, self.y = X, y

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        noise = random.random() + float(np.random.rand()) + torch.rand(1)
        return noise * self.X[i], self.y[i]


def test_the_checks_use_up_no_random_numbers(images):
    """An augmenting data set gives the same images as without the checks."""
    X, y, X_test, y_test = images
    loaders = DataLoader(Noisy(X, y), 16, True), DataLoader(Noisy(X_test, y_test), 16)
    results = []
    for train in (plain_training, d2lmini.train_ch6):
        for seed in (torch.manual_seed, np.random.seed, random.seed):
            seed(3)
        more = (0.05, 2) if train is plain_training else (2, 0.05, "cpu")
        results.append(train(softmax_net(), *loaders, *more))
    (losses, accuracies), history = results
    assert history.train_loss == pytest.approx(losses, abs=1e-5)
    assert history.test_acc == pytest.approx(accuracies)


def test_batches_need_no_data_set(images):
    """A list of batches, say, or any object with a length that can be iterated."""

    class Batches:
        def __len__(self):
            return 1

        def __iter__(self):
            yield images[:2]

    history = d2lmini.train_ch6(softmax_net(), Batches(), [images[2:]], 1, 0.1, "cpu")
    assert history.examples == 80


def test_a_scheduler_makes_a_step_per_batch(loaders):
    net = softmax_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=10)
    d2lmini.train_ch6(
        net, *loaders, 2, 0.1, "cpu", optimizer=optimizer, scheduler=scheduler
    )
    assert scheduler.last_epoch == 10


def test_a_second_training_of_a_net_equals_that_of_a_fresh_one(loaders):
    """Only biases stay, as in d2l; how the weights lie in memory must not matter."""
    net, fresh = small_vgg(), small_vgg()
    d2lmini.train_ch6(net, *loaders, 1, 0.1, "cpu")
    fresh.load_state_dict(net.state_dict())
    histories = []
    for each in (net, fresh):
        torch.manual_seed(4)
        histories.append(d2lmini.train_ch6(each, *loaders, 1, 0.1, "cpu"))
    assert histories[0].points() == histories[1].points()
    assert_equal_states(net.state_dict(), fresh.state_dict())


def orders(net):
    """Of each convolution, whether its weights lie in channels-last order.

    Asked of the strides: is_contiguous says yes to both orders with one input channel,
    but convolutions do not.
    """
    return [m.weight.stride(1) == 1 for m in net.modules() if type(m) is nn.Conv2d]


def test_convolutions_are_channels_last_while_they_are_trained(loaders):
    """And after it as they came, gradients and momentum too."""
    net, seen = small_vgg(), []
    net.register_forward_pre_hook(lambda net, _: seen.append(orders(net)))
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    d2lmini.train_ch6(net, *loaders, 1, 0.1, "cpu", optimizer=optimizer)
    assert len(seen) == 5 + 4 and all(all(order) for order in seen)
    assert not any(orders(net))
    for parameter in net.parameters():
        assert parameter.is_contiguous() and parameter.grad.is_contiguous()
    nn.utils.parameters_to_vector(net.parameters())


# ---------------------------------------------------------------- what is refused

GOOD = torch.zeros(8, 1, 32, 32), torch.arange(8)


def labels(y):
    return GOOD[0], torch.as_tensor(y)


@pytest.mark.parametrize("which", ["train_iter", "test_iter"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ((torch.zeros(8, 3, 32, 32), GOOD[1]), r"\(4, 3, 32, 32\).* 1 ch.* 3 ch"),
        ((torch.zeros(8, 1, 64, 64), GOOD[1]), r"\(4, 1, 64, 64\).*x128 and 32x16"),
        ((torch.zeros(8, 1, 28, 28), GOOD[1]), r"\(4, 1, 28, 28\)"),
        (labels([0.0] * 8), r"float32 of shape \(4,\)"),
        (labels([[0]] * 8), r"int64 of shape \(4, 1\)"),
        (labels([0, 10] * 4), "from 0 to 10.*10 classes"),
        (labels([0, -1] * 4), "from -1 to 0.*10 classes"),
        ((GOOD[0][:0], GOOD[1][:0]), "holds no batch"),
    ],
    ids=["channels", "side", "small", "float", "2-D", "large", "negative", "empty"],
)
def test_data_that_do_not_fit_are_refused(which, bad, message):
    """By the loader's name, with the shapes, before any weight has changed."""
    if which == "test_iter" and bad[1].is_floating_point():
        pytest.skip("accuracy compares them as numbers, rightly")
    net = small_vgg()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    loaders = [
        loader(*(bad if which == n else GOOD)) for n in ("train_iter", "test_iter")
    ]
    with pytest.raises(ValueError, match=f"(?s){which}.*{message}"):
        d2lmini.train_ch6(net, *loaders, 1, 0.1, "cpu")
    assert_equal_states(net.state_dict(), before)


@pytest.mark.parametrize("lr", [-0.1, math.nan, math.inf, -math.inf])
def test_a_learning_rate_that_cannot_work_is_refused(lr):
    with pytest.raises(ValueError, match=f"^lr .*got {lr}$"):
        d2lmini.train_ch6(small_vgg(), loader(*GOOD), loader(*GOOD), 1, lr, "cpu")


@pytest.mark.parametrize("num_epochs", [0, -1, 1.5])
def test_a_number_of_epochs_that_cannot_work_is_refused(num_epochs):
    with pytest.raises(ValueError, match=f"^num_epochs .*got {num_epochs}$"):
        d2lmini.train_ch6(
            small_vgg(), loader(*GOOD), loader(*GOOD), num_epochs, 0.1, "cpu"
        )


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_is_told_and_the_plot_kept(loaders, record, value):
    """The 7th step, with five batches an epoch, is batch 2 of epoch 2."""
    points, net, factor = record(d2lmini.training), softmax_net(), [1.0]

    def loss(y_hat, y):
        return factor[0] * F.cross_entropy(y_hat, y)

    with (
        in_training_step(net, 7, lambda: factor.insert(0, value)),
        pytest.raises(
            FloatingPointError, match=rf"{value} in epoch 2, batch 2.* 0\.5, say 0\.05"
        ),
    ):
        d2lmini.train_ch6(net, *loaders, 3, 0.5, "cpu", loss=loss)
    xs = [1 / 5, 2 / 5, 3 / 5, 4 / 5, 1, 1, 6 / 5]
    assert [x for x, *_ in points] == pytest.approx(xs)
    assert all(math.isfinite(v) for p in points for v in p if v is not None)


def test_a_huge_learning_rate_is_told(loaders):
    with pytest.raises(FloatingPointError, match=r"the loss became .* smaller lr"):
        d2lmini.train_ch6(small_vgg(), *loaders, 2, 1e20, "cpu")


class ZeroScores(nn.Linear):
    """Gives every class the same chance; as a subclass, it is not initialised."""

    def __init__(self, num_classes):
        super().__init__(1024, num_classes)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)


@pytest.mark.parametrize(
    ("num_classes", "lrs", "told"),
    [
        (10, (1e-9, 1e-9), r"2\.303 = ln\(10\)"),
        (20, (1e-9, 1e-9), r"2\.996 = ln\(20\)"),
        (10, (0.1, 0.1), None),
        (10, (1e-9, 0.1), None),
    ],
    ids=["10 classes", "20 classes", "learning", "learning late"],
)
def test_a_loss_that_stays_at_guessing_is_explained(
    loaders, capsys, num_classes, lrs, told
):
    """lrs: the learning rates of the two epochs."""
    net = nn.Sequential(nn.Flatten(), ZeroScores(num_classes))
    optimizer = torch.optim.SGD(net.parameters(), lr=1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: lrs[min(step // 5, 1)]
    )
    d2lmini.train_ch6(
        net, *loaders, 2, 1, "cpu", optimizer=optimizer, scheduler=scheduler
    )
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == (4 if told else 3)
    if told:
        remedies = "longer.*He's first weights.*batch normalisation"  # chapters 5, 6
        assert re.search(f"stayed near {told}.*same chance.*{remedies}", lines[-1])


class FailsInStep3(nn.Module):
    """Passes its input on, until there is no more memory."""

    def __init__(self):
        super().__init__()
        self.seen = []  # weak references to the activations

    def forward(self, X):
        if self.training:
            self.seen.append(weakref.ref(X))
        if len(self.seen) == 3:
            raise RuntimeError("out of memory")
        return X


def test_a_failed_training_keeps_nothing_alive(loaders):
    """Though its error is kept, as Jupyter does: the cell can be run again."""
    figures = plt.get_fignums()
    net = nn.Sequential(*small_vgg(), FailsInStep3(), nn.Linear(10, 10))
    with pytest.raises(RuntimeError, match="out of memory") as kept:
        d2lmini.train_ch6(net, *loaders, 1, 0.1, "cpu")
    gc.collect()
    assert [ref() for ref in net[-2].seen] == [None] * 3
    assert not [o for o in gc.get_objects() if type(o) is torch.optim.SGD]

    refs = [weakref.ref(net)] + [weakref.ref(p) for p in net.parameters()]
    del net
    gc.collect()
    assert {ref() for ref in refs} == {None}
    assert kept.value.__traceback__ is not None
    assert plt.get_fignums() == figures
    assert len(d2lmini.train_ch6(small_vgg(), *loaders, 1, 0.1, "cpu")) == 1


@pytest.mark.filterwarnings("error")
def test_the_figure_tells_how_far_the_training_is(loaders, monkeypatch):
    titles = []
    monkeypatch.setattr(Progress, "is_stale", lambda _: True)
    monkeypatch.setattr(
        d2lmini.Animator, "set_title", lambda _, text: titles.append(text)
    )
    history = d2lmini.train_ch6(softmax_net(), *loaders, 2, 0.1, "cpu")
    *during, last = titles
    assert len(during) == 10  # 2 epochs of 5 batches
    for k, title in enumerate(during):
        epoch = "1/2" if k < 5 else "2/2"
        assert re.fullmatch(rf"epoch {epoch}, \d+ examples/sec, \d+ s left", title)
    assert during[-1].endswith(" 0 s left")
    assert last == f"Test accuracy {history.test_acc[1]:.3f} after 2 epochs"
    monkeypatch.undo()
    assert history.plot().axes[0].get_title() == last


def test_no_drawing_lacks_the_title(loaders, monkeypatch, tmp_path):
    """Else the figure would grow when it gets one, and move what is below."""
    titles = []
    monkeypatch.setattr(Progress, "is_stale", lambda _: True)
    monkeypatch.setattr(
        d2lmini.Animator, "draw", lambda self: titles.append(self.axes[0].get_title())
    )
    for num_epochs in (1, 2, 2):  # from the start, continued, finished
        args = softmax_net(), *loaders, num_epochs, 0.1, "cpu"
        d2lmini.train_ch6(*args, checkpoint=tmp_path / "run.pt")
    assert len(titles) == 15  # 2 epochs of 5 batches, 2 from a file, 3 ends
    assert all(titles)


@pytest.mark.filterwarnings("error")
def test_25_trainings_open_no_figures(loaders):
    figures = plt.get_fignums()
    for _ in range(25):
        d2lmini.train_ch6(softmax_net(), *loaders, 1, 0.1, "cpu").plot()
    assert plt.get_fignums() == figures


SCRIPT = """
import torch
from torch import nn
import d2lmini

train_iter, test_iter = d2lmini.load_data_fashion_mnist(1000, sample=True)
net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
history = d2lmini.train_ch6(net, train_iter, test_iter, 1, 0.1, d2lmini.try_gpu())
history.plot().savefig("curves.svg")
"""


def test_a_script_prints_its_numbers_and_nothing_else(tmp_path):
    """No notebook, no screen: no `<Figure ...>` lines, yet the figure can be saved."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    where = str(d2lmini.try_gpu())
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(
        rf"training on {where}\n"
        r"loss \d\.\d{3}, train acc 0\.\d{3}, test acc 0\.\d{3}\n"
        rf"\d+\.\d examples/sec on {where}\n",
        done.stdout,
    )
    assert "train loss" in (tmp_path / "curves.svg").read_text(encoding="utf-8")


# ---------------------------------------------------------------- interrupting


def test_interrupting_returns_what_was_done(loaders, capsys):
    """In the loader, at batch 3 of epoch 2; net keeps the seven steps made."""
    torch.manual_seed(5)
    net, steps = softmax_net(), []
    net.register_forward_hook(lambda m, X, y: steps.append(m.training))

    class Interrupting(DataLoader):
        def __iter__(self):
            for batch in super().__iter__():
                if sum(steps) == 7:
                    raise KeyboardInterrupt
                yield batch

    train_iter, test_iter = loaders
    train_iter = Interrupting(train_iter.dataset, 16)
    history = d2lmini.train_ch6(net, train_iter, test_iter, 3, 0.1, "cpu")
    assert len(history) == len(history.test_acc) == len(history.seconds) == 1
    assert "interrupted in epoch 2" in capsys.readouterr().out
    assert not net.training  # ready for predictions

    torch.manual_seed(5)
    plain = softmax_net()
    nn.init.xavier_uniform_(plain[1].weight)
    for X, y in (list(DataLoader(train_iter.dataset, 16)) * 2)[:7]:
        grads = torch.autograd.grad(F.cross_entropy(plain(X), y), plain.parameters())
        with torch.no_grad():
            for p, grad in zip(plain.parameters(), grads, strict=True):
                p -= 0.1 * grad
    torch.testing.assert_close(net[1].weight, plain[1].weight)


CELL = """
import time, torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
import d2lmini

class Slow(nn.Linear):
    def forward(self, X):
        time.sleep(0.1)
        return super().forward(X)

batches = DataLoader(TensorDataset(torch.rand(64, 4), torch.arange(64) % 3), 32)
net = nn.Sequential(Slow(4, 3))
history = d2lmini.train_ch6(net, batches, batches, 1000, 0.1, "cpu")
"""


def test_interrupting_a_notebooks_kernel_keeps_figure_and_history(tmp_path):
    """The stop button: one figure, still there, no error, `history` usable."""
    shown = []
    manager, client = start_new_kernel(cwd=str(tmp_path))

    def on_output(message):
        shown.append((message["msg_type"], message["content"]))
        if len(shown) == 6:  # busy, input, a line, three drawings seconds apart
            manager.interrupt_kernel()

    try:
        reply = client.execute_interactive(CELL, timeout=600, output_hook=on_output)
        assert reply["content"]["status"] == "ok"
        kinds = [kind for kind, _ in shown]
        assert kinds.count("display_data") == 1
        assert not {"error", "clear_output"} & set(kinds)
        pictures = [content["data"] for _, content in shown if "data" in content]
        assert re.search("interrupted in epoch", pictures[-1]["image/svg+xml"])
        text = "".join(content.get("text", "") for _, content in shown)
        assert re.fullmatch(
            "training on cpu\ninterrupted in epoch \\d+: net is .*\n", text
        )
        del shown[:]
        code = "print(len(history) > 1, len(history) == len(history.test_acc))"
        client.execute_interactive(code, timeout=600, output_hook=on_output)
        assert ("stream", {"name": "stdout", "text": "True True\n"}) in shown
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


# ---------------------------------------------------------------- History


@pytest.fixture
def history():
    """Two epochs of 4 examples, by hand: sums of loss, right predictions, examples."""
    history = d2lmini.History()
    for sums, test_acc in (((8.0, 1, 4), 0.25), ((4.0, 3, 4), 0.5)):
        metric = d2lmini.Accumulator(3)
        metric.add(*sums)
        history.add_epoch(metric, test_acc, seconds=3.0, train_seconds=1.0)
    return history


def test_history_holds_an_entry_per_epoch(history):
    assert history.train_loss == [2.0, 1.0]
    assert history.train_acc == [0.25, 0.75]
    assert history.test_acc == [0.25, 0.5]
    assert history.seconds == [3.0, 3.0]
    assert len(history) == 2
    assert history.examples_per_sec == 8 / 2.0


def test_history_of_no_epoch():
    empty = d2lmini.History()
    assert (len(empty), empty.examples_per_sec) == (0, 0)
    assert repr(empty) == "History(no epoch)"


def test_history_is_told_in_a_line(history):
    text = repr(history)
    assert len(text) < 120
    for part in ("2 epochs", "1.000", "0.750", "0.500", "4.0 examples/sec"):
        assert part in text


def test_saving_and_loading_changes_nothing(history, tmp_path):
    path = tmp_path / "history.json"
    history.about = {"machine": "a laptop", "batch size": 128}
    history.save(path)
    assert d2lmini.History.load(path) == history
    assert json.loads(path.read_text())["train_loss"] == [2.0, 1.0]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1, 2]",
        '{"losses": [1.0]}',
        '{"train_loss": [1.0]}',
        '{"train_loss": 1, "train_acc": 1, "test_acc": 1, "seconds": 1}',
        '{"train_loss": [NaN], "train_acc": [1], "test_acc": [1], "seconds": [1]}',
        '{"train_loss": ["a"], "train_acc": [1], "test_acc": [1], "seconds": [1]}',
        '{"train_loss": [1], "train_acc": [1], "test_acc": [1], "seconds": []}',
        "\x00\xff",
    ],
)
def test_a_damaged_history_is_refused_by_name(tmp_path, text):
    path = tmp_path / "history.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"history\.json is not a saved History"):
        d2lmini.History.load(path)


@pytest.mark.parametrize("reason", ["no JSON", "cannot write", "cannot replace"])
def test_a_history_that_cannot_be_written_leaves_the_old_one(
    history, tmp_path, monkeypatch, reason
):
    path = tmp_path / "history.json"
    history.save(path)
    before = path.read_bytes()
    history.train_loss[0] = 7.0
    if reason == "no JSON":
        history.about = {"machine": object()}
    elif reason == "cannot write":

        def refuse(*args):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(files, "open", refuse, raising=False)
    else:
        monkeypatch.setattr(os, "replace", lambda a, b: os.listdir(f"{a}/none"))
    with pytest.raises((TypeError, OSError)):
        history.save(path)
    assert path.read_bytes() == before


def test_plot_draws_exactly_the_values(history):
    (axes,) = history.plot().axes
    names = [text.get_text() for text in axes.get_legend().get_texts()]
    drawn = {
        name: (list(line.get_xdata()), list(line.get_ydata()))
        for name, line in zip(names, axes.lines, strict=True)
    }
    assert drawn == {
        "train loss": ([1, 2], [2.0, 1.0]),
        "train acc": ([1, 2], [0.25, 0.75]),
        "test acc": ([1, 2], [0.25, 0.5]),
    }
