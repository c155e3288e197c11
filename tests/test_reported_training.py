"""Nets, optimizers, losses and numbers with which trainings of others went wrong."""

import math
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from small_runs import (
    Silent,
    assert_equal_states,
    batches,
    conv_net,
    images,
    plain_training,
    seed_all,
    softmax_net,
    xavier,
)
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parameters_to_vector, prune
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, IterableDataset

import d2lmini

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def equals_d2l(d2l, monkeypatch):
    """A function: trains make_net() with d2l and with d2lmini, and compares the nets.

    The random numbers drawn after the trainings as well.
    """
    monkeypatch.setattr(d2l, "Animator", Silent)

    def compare(make_net, lr=0.1, loaders=None):
        nets, drawn = [], []
        for library in (d2l, d2lmini):
            seed_all(1)
            nets.append(make_net())
            pair = loaders or (batches(shuffle=True), batches())
            library.train_ch6(nets[-1], *pair, 2, lr, CPU)
            drawn.append(torch.rand(2))
        assert_equal_states(nets[1], nets[0])
        assert torch.equal(*drawn)
        assert torch.isfinite(nets[1](images(8)[0])).all()
        return nets[1]

    return compare


# ---------------------------------------------------------------- memory order


class ViewedBackwards(torch.autograd.Function):
    @staticmethod
    def forward(ctx, Z):
        return Z.clone()

    @staticmethod
    def backward(ctx, grad):
        return grad.view(-1).view(grad.shape)


def view(Z):
    return Z.view(len(Z), -1).view(Z.shape)


class Net(nn.Module):
    """middle(Z, net) is between two convolutions; Z is (batch, 4, 8, 8), as is what it
    returns."""

    def __init__(self, middle):
        super().__init__()
        self.middle = middle
        self.first = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
        )
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(256, 3))

    def forward(self, X):
        return self.head(self.conv(self.middle(self.first(X), self)))


DEPENDS_ON_ORDER = {
    "view": lambda Z, net: view(Z),
    "view in training": lambda Z, net: view(Z) if net.training else Z,
    "view in evaluation": lambda Z, net: Z if net.training else view(Z),
    "view of the last batch": lambda Z, net: view(Z) if len(Z) < 8 else Z,
    "view backwards": lambda Z, net: ViewedBackwards.apply(Z),
    "view of a weight": lambda Z, net: Z * net.conv.weight.view(-1).norm(),
    # no error, other numbers
    "as_strided": lambda Z, net: Z.as_strided(Z.shape, (256, 64, 8, 1)),
}


@pytest.mark.parametrize("middle", DEPENDS_ON_ORDER.values(), ids=DEPENDS_ON_ORDER)
def test_a_net_that_depends_on_the_memory_order_trains_as_with_d2l(equals_d2l, middle):
    X, y = images(44)  # the last batch has 4
    equals_d2l(lambda: Net(middle), loaders=(batches(X, y, shuffle=True), batches()))


def test_a_hook_that_depends_on_the_memory_order(equals_d2l):
    def make_net():
        net = conv_net()
        net[2].register_forward_hook(lambda module, args, Z: view(Z))
        return net

    equals_d2l(make_net)


def test_a_net_of_3d_convolutions_trains_as_with_d2l(equals_d2l):
    """Channels last is an order of four dimensions."""
    equals_d2l(
        lambda: nn.Sequential(
            nn.Unflatten(1, (1, 1)),
            nn.Conv3d(1, 4, (1, 3, 3)),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(144, 3),
        )  # fmt: skip
    )


class FlatSGD(torch.optim.SGD):
    """Steps as SGD does, on flat views of the weights."""

    def step(self):
        for p in self.param_groups[0]["params"]:
            p.data.view(-1).sub_(self.param_groups[0]["lr"] * p.grad.view(-1))


@pytest.mark.parametrize("what", ["loss", "optimizer"])
def test_a_loss_or_an_optimizer_that_depends_on_the_memory_order(what):
    nets, results = [], []
    for train in (plain_training, d2lmini.train_ch6):
        seed_all(1)
        net = conv_net()
        weights, loss, optimizer = list(net.parameters()), F.cross_entropy, None
        if what == "loss":

            def loss(y_hat, y, weights=weights):
                penalty = sum(p.view(-1).square().sum() for p in weights)
                return F.cross_entropy(y_hat, y) + 0.01 * penalty

        kind = FlatSGD if what == "optimizer" else torch.optim.SGD
        optimizer = kind(weights, lr=0.1)
        if train is plain_training:
            results.append(train(net, batches(), batches(), 2, optimizer, loss))
        else:
            loaders = batches(), batches()
            history = train(net, *loaders, 2, 0.1, CPU, optimizer=optimizer, loss=loss)
            results.append(history.train_loss)
        nets.append(net)
    assert results[1] == pytest.approx(results[0], abs=1e-5)
    assert_equal_states(nets[1], nets[0])


def in_order(order):
    torch.manual_seed(0)
    net = conv_net()
    if order == "channels last":
        net.to(memory_format=torch.channels_last)
    if order == "mixed":  # (rows, columns, in, out) in memory, as TensorFlow stores it
        weight = torch.rand(3, 3, 4, 4).permute(3, 2, 0, 1)
        net[2].weight = nn.Parameter(weight)
    return net


def fail_in_step(net, number, error):
    steps = []

    def count(module, args):
        steps.append(module.training)
        if sum(steps) == number:
            raise error

    return net.register_forward_pre_hook(count)


@pytest.mark.parametrize("order", ["channels last", "mixed"])
def test_a_net_in_another_memory_order_trains_as_with_d2l(equals_d2l, order):
    """torch draws random weights in the order in which they lie."""
    equals_d2l(lambda: in_order(order))


@pytest.mark.parametrize("end", ["finished", "interrupted", "failed"])
@pytest.mark.parametrize("order", ["default", "channels last", "mixed"])
def test_a_net_is_given_back_in_the_memory_order_in_which_it_came(order, end):
    """Weights, buffers, what it computes; gradients and momentum too."""
    X, _ = images()
    net = in_order(order)
    features = net.eval()[:3]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    expected = {name: value.stride() for name, value in net.state_dict().items()}
    computed = features(X).stride()

    args = net, batches(), batches(), 2, 0.1, CPU
    if end == "finished":
        d2lmini.train_ch6(*args, optimizer=optimizer)
    elif end == "interrupted":
        fail_in_step(net, 4, KeyboardInterrupt())
        d2lmini.train_ch6(*args, optimizer=optimizer)
    else:
        fail_in_step(net, 4, ArithmeticError("in step 4"))
        with pytest.raises(ArithmeticError, match="in step 4"):
            d2lmini.train_ch6(*args, optimizer=optimizer)

    strides = {name: value.stride() for name, value in net.state_dict().items()}
    assert strides == expected
    assert features(X).stride() == computed
    if order == "default":
        for p in net.parameters():
            if end == "finished":
                assert len(p.view(-1)) == len(p.grad.view(-1)) == p.numel()
            assert len(optimizer.state[p]["momentum_buffer"].view(-1)) == p.numel()


def test_flat_vectors_and_pruning_work_after_a_training():
    net = in_order("default")
    d2lmini.train_ch6(net, batches(), batches(), 1, 0.1, CPU)
    num_weights = 4 * 9 + 4 + 16 * 9 + 4 + 8 + 256 * 3 + 3
    assert parameters_to_vector(net.parameters()).shape == (num_weights,)
    convolutions = [(net[0], "weight"), (net[2], "weight")]
    prune.global_unstructured(convolutions, prune.L1Unstructured, amount=0.5)
    zeros = sum(int((module.weight == 0).sum()) for module, _ in convolutions)
    assert zeros == (36 + 144) / 2


def test_who_holds_a_weight_sees_it_trained():
    """As in d2l: weights change where they are. `share_memory` needs that, say."""
    net = in_order("default")
    held = {name: value.detach() for name, value in net.state_dict().items()}
    before = {name: value.clone() for name, value in held.items()}
    d2lmini.train_ch6(net, batches(), batches(), 1, 0.1, CPU)
    for name, value in net.state_dict().items():
        assert torch.equal(held[name], value), name
        assert not torch.equal(before[name], value), name


# ---------------------------------------------------------------- the check before


class Pooled(nn.Module):
    """Its squeeze takes away the batch as well, where that is a single image."""

    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(1, 8, 3), nn.Linear(8, 3)

    def forward(self, X):
        return self.linear(F.adaptive_avg_pool2d(self.conv(X).relu(), 1).squeeze())


class EightAtATime(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 3)

    def forward(self, X):
        return self.linear(X.view(8, 64))


class Counting(nn.Module):
    """Counts its batches, whatever its mode."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 3)
        self.register_buffer("count", torch.tensor(0))

    def forward(self, X):
        self.count += 1
        return self.linear(X.flatten(1))


@pytest.mark.parametrize("make_net", [Pooled, EightAtATime, Counting])
def test_the_check_refuses_and_changes_no_net_that_d2l_trains(equals_d2l, make_net):
    net = equals_d2l(make_net)
    if make_net is Counting:
        assert net.count == 2 * (6 + 6) + 1  # two epochs with tests, and a look after


def test_a_lazy_net_trains_as_with_d2l(equals_d2l):
    """d2l draws no weights for layers whose sizes are not known yet."""
    equals_d2l(
        lambda: nn.Sequential(
            nn.LazyConv2d(4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)
        )
    )


def test_labels_that_the_loss_ignores_train_as_with_d2l(equals_d2l):
    X, y = images()
    y[::5] = nn.CrossEntropyLoss().ignore_index
    equals_d2l(softmax_net, loaders=(batches(X, y), batches()))


def test_memory_that_is_not_enough_is_not_called_a_misfit():
    """Advice to build the net for other images would lead nowhere."""
    net = softmax_net()
    error = torch.OutOfMemoryError("out of memory")
    net.register_forward_pre_hook(lambda module, args: (_ for _ in ()).throw(error))
    with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
        d2lmini.train_ch6(net, batches(), batches(), 1, 0.1, CPU)


def test_images_that_are_bytes_are_told_to_become_floats():
    X, y = images()
    with pytest.raises(ValueError, match=r"train_iter.*uint8.*float") as error:
        d2lmini.train_ch6(softmax_net(), batches(X.byte(), y), batches(), 1, 0.1, CPU)
    assert "image_size" not in str(error.value)


# ---------------------------------------------------------------- learning rates


def test_a_learning_rate_of_0_moves_no_weight(equals_d2l):
    equals_d2l(softmax_net, lr=0)
    torch.manual_seed(1)
    net = softmax_net()
    history = d2lmini.train_ch6(net, batches(), batches(), 2, 0, CPU)
    torch.manual_seed(1)
    assert_equal_states(net, softmax_net().apply(xavier))
    X, y = images()
    loss = F.cross_entropy(net(X), y).item()
    assert history.train_loss == pytest.approx([loss, loss], abs=1e-6)


def test_a_schedule_may_start_at_0():
    net = softmax_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    warm_up = lr_scheduler.LambdaLR(optimizer, lambda step: min(1, step / 6))
    assert optimizer.param_groups[0]["lr"] == 0
    options = {"optimizer": optimizer, "scheduler": warm_up}
    d2lmini.train_ch6(net, batches(), batches(), 1, 0, CPU, **options)
    assert optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize("lr", [-0.1, math.nan, math.inf, -math.inf])
def test_a_learning_rate_that_is_no_rate_is_refused(lr):
    with pytest.raises(ValueError, match=f"^lr .*{lr}"):
        d2lmini.train_ch6(softmax_net(), batches(), batches(), 1, lr, CPU)


# ---------------------------------------------------------------- not finite


def test_after_a_loss_of_nan_the_same_net_is_refused_and_a_new_one_asked_for():
    """A smaller lr alone does not help: biases and running means stay nan."""
    net = conv_net()
    with pytest.raises(FloatingPointError, match="a new net"):
        d2lmini.train_ch6(net, batches(), batches(), 2, 1e30, CPU)
    assert not all(torch.isfinite(value).all() for value in net.state_dict().values())
    with pytest.raises(ValueError, match=r"\d\.(bias|weight|running).*a new net"):
        d2lmini.train_ch6(net, batches(), batches(), 2, 0.01, CPU)
    assert len(d2lmini.train_ch6(conv_net(), batches(), batches(), 1, 0.01, CPU)) == 1


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    "name", ["2.bias", "3.weight", "3.running_mean", "3.running_var", "7.bias"]
)
def test_a_net_that_holds_what_is_not_finite_is_refused_by_name(name, value):
    net = conv_net()
    with torch.no_grad():
        net.state_dict()[name][0] = value
    with pytest.raises(ValueError, match=rf"{re.escape(name)}\b.*a new net"):
        d2lmini.train_ch6(net, batches(), batches(), 1, 0.1, CPU)


def test_a_momentum_that_is_not_finite_is_refused():
    net = softmax_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(images()[0]).sum().backward()
    optimizer.step()
    optimizer.state[net[1].bias]["momentum_buffer"][0] = math.nan
    with pytest.raises(ValueError, match="momentum.*a new optimizer"):
        d2lmini.train_ch6(net, batches(), batches(), 1, 0.1, CPU, optimizer=optimizer)


def test_weights_that_will_be_drawn_may_have_been_nan():
    net = conv_net()
    for i in (0, 2, 7):
        nn.init.constant_(net[i].weight, math.nan)
    history = d2lmini.train_ch6(net, batches(), batches(), 1, 0.1, CPU)
    assert math.isfinite(history.train_loss[0])


def test_a_mask_of_minus_infinity_trains_as_with_d2l(equals_d2l):
    """As attention has it: a buffer that is meant to be infinite."""

    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(64, 8)
            self.register_buffer("mask", torch.zeros(8))
            self.mask[3:] = -math.inf

        def forward(self, X):
            return self.linear(X.flatten(1)).add(self.mask).softmax(1)[:, :3]

    equals_d2l(Masked)


def test_data_that_are_nan_are_not_blamed_on_the_learning_rate():
    """Before the first step, no step was too large."""
    X, y = images()
    X[0] = math.nan
    with pytest.raises(
        (ValueError, FloatingPointError), match="train_iter|images"
    ) as e:
        d2lmini.train_ch6(softmax_net(), batches(X, y), batches(), 1, 0.1, CPU)
    assert "steps are too large" not in str(e.value)


# ---------------------------------------------------------------- optimizers, schedules


def sgd(net, **options):
    return torch.optim.SGD(net.parameters(), lr=0.1, **options)


def train_with(net, num_epochs=1, **options):
    return d2lmini.train_ch6(net, batches(), batches(), num_epochs, 0.1, CPU, **options)


def test_an_optimizer_of_another_net_is_refused():
    with pytest.raises(ValueError, match="optimizer.*net"):
        train_with(softmax_net(), optimizer=sgd(softmax_net()))


def test_a_scheduler_of_another_optimizer_is_refused():
    net = softmax_net()
    scheduler = lr_scheduler.StepLR(sgd(net), 3)
    with pytest.raises(ValueError, match="scheduler.*optimizer"):
        train_with(net, optimizer=sgd(net), scheduler=scheduler)


def test_a_scheduler_without_its_optimizer_is_refused():
    net = softmax_net()
    with pytest.raises(ValueError, match="scheduler.*optimizer="):
        train_with(net, scheduler=lr_scheduler.StepLR(sgd(net), 3))


def test_an_optimizer_of_a_part_of_the_net_trains_that_part():
    """All layers' weights are drawn again, as in d2l; then the head alone moves."""
    nets = []
    for train in (plain_training, d2lmini.train_ch6):
        torch.manual_seed(1)
        net = conv_net()
        optimizer = torch.optim.SGD(net[7].parameters(), lr=0.1)
        if train is plain_training:
            train(net, batches(), batches(), 2, optimizer)
        else:
            train(net, batches(), batches(), 2, 0.1, CPU, optimizer=optimizer)
        nets.append(net)
    assert_equal_states(nets[1], nets[0])


def test_an_optimizer_may_have_more_than_the_nets_parameters():
    """A loss that learns a number of its own, say."""
    net, scale = softmax_net(), nn.Parameter(torch.ones(()))
    optimizer = torch.optim.SGD([*net.parameters(), scale], lr=0.1)
    train_with(
        net,
        optimizer=optimizer,
        loss=lambda y_hat, y: F.cross_entropy(scale * y_hat, y),
    )
    assert scale.item() != 1


@pytest.mark.parametrize("kind", ["SequentialLR", "ChainedScheduler"])
def test_schedulers_made_of_schedulers_work(kind):
    """A tenth in each of the first two steps."""
    net = softmax_net()
    optimizer = sgd(net)
    if kind == "SequentialLR":
        parts = [lr_scheduler.MultiStepLR(optimizer, [1, 2]) for _ in range(2)]
        scheduler = lr_scheduler.SequentialLR(optimizer, parts, [100])
    else:
        parts = [lr_scheduler.MultiStepLR(optimizer, [k]) for k in (1, 2)]
        scheduler = lr_scheduler.ChainedScheduler(parts)
    train_with(net, optimizer=optimizer, scheduler=scheduler)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.001)


def test_reduce_on_plateau_steps_with_each_epochs_train_loss():
    given = []

    class Recording(lr_scheduler.ReduceLROnPlateau):
        def step(self, metrics):
            given.append(float(metrics))
            super().step(metrics)

    net = softmax_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-12)
    # no loss is ever 50% better than the first: every epoch from the second on halves
    scheduler = Recording(optimizer, factor=0.5, patience=0, threshold=0.5, eps=0)
    history = train_with(net, 3, optimizer=optimizer, scheduler=scheduler)
    assert given == history.train_loss and len(given) == 3
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-12 / 4)


# ---------------------------------------------------------------- losses


class VectorLoss:
    """No module, and no word of how it is reduced."""

    def __call__(self, y_hat, y):
        return F.cross_entropy(y_hat, y, reduction="none")


LOSSES = {
    "mean": nn.CrossEntropyLoss(),
    "sum": nn.CrossEntropyLoss(reduction="sum"),
    "none": nn.CrossEntropyLoss(reduction="none"),
    "a vector": VectorLoss(),
    "a number": F.cross_entropy,
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_history_holds_the_mean_loss_per_example(loss):
    """Batches of 8, 8 and 4; with lr 0 it is the loss of the net as it ends."""
    X, y = images(20)
    net = softmax_net()
    history = d2lmini.train_ch6(net, batches(X, y), batches(), 1, 0, CPU, loss=loss)
    expected = F.cross_entropy(net(X), y).item()
    assert history.train_loss == [pytest.approx(expected, abs=1e-5)]


@pytest.mark.parametrize("name", LOSSES)
def test_a_step_is_the_one_that_was_asked_for(name):
    """The gradient of the sum over 8 examples is 8 times that of their mean."""
    torch.manual_seed(1)
    expected = softmax_net()
    plain_training(expected, batches(), batches(), 2, sgd(expected))
    torch.manual_seed(1)
    net, lr = softmax_net(), 0.1 / 8 if name == "sum" else 0.1
    d2lmini.train_ch6(net, batches(), batches(), 2, lr, CPU, loss=LOSSES[name])
    assert_equal_states(net, expected)


# ---------------------------------------------------------------- loaders


class Stream(IterableDataset):
    """Images that come one after the other; nobody knows how many."""

    def __iter__(self):
        return iter(zip(*images(), strict=True))


class StreamWithLength(Stream):
    def __len__(self):
        return 48


class Batches:
    """Batches without a data set, a length or an order."""

    def __iter__(self):
        return iter(batches())


@pytest.mark.parametrize("checkpoint", [None, "run.pt"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: DataLoader(Stream(), 8),
        lambda: DataLoader(StreamWithLength(), 8),
        Batches,
    ],
    ids=["stream", "with length", "batches"],
)
def test_batches_that_cannot_be_counted_or_picked(make, checkpoint, tmp_path):
    torch.manual_seed(1)
    expected = d2lmini.train_ch6(softmax_net(), batches(), batches(), 2, 0.1, CPU)
    torch.manual_seed(1)
    history = d2lmini.train_ch6(
        softmax_net(), make(), make(), 2, 0.1, CPU,
        checkpoint=checkpoint and tmp_path / checkpoint,
    )  # fmt: skip
    assert history.points() == expected.points()
    assert history.examples == 96


def test_without_a_length_points_are_where_something_is_known(monkeypatch):
    """At the end of each epoch, that is: the first one's length is not known before."""
    points = []
    monkeypatch.setattr(
        d2lmini.Animator, "add_points", lambda self, x, y: points.append((x, *y))
    )
    loader = DataLoader(Stream(), 8)
    history = d2lmini.train_ch6(softmax_net(), loader, batches(), 2, 0.1, CPU)
    assert all(0 < x <= 2 for x, *_ in points)
    for epoch, expected in enumerate(history.points(), 1):
        drawn = [values for x, *values in points if x == epoch]
        for curve, value in enumerate(expected):
            assert value in [values[curve] for values in drawn]


@pytest.mark.parametrize("which", ["train_iter", "test_iter"])
def test_batches_that_can_be_read_only_once_are_refused(which):
    """An iterator would be read by the check, and be empty in the second epoch."""
    loaders = {"train_iter": batches(), "test_iter": batches()}
    loaders[which] = iter(list(batches()))
    with pytest.raises(ValueError, match=which):
        d2lmini.train_ch6(softmax_net(), **loaders, num_epochs=2, lr=0.1, device=CPU)
    assert len(list(loaders[which])) == 6


def test_a_stream_that_runs_dry_is_told():
    """Here after the first epoch, which ends when the test images have been read."""
    dry = []

    class Drying(Stream):
        def __iter__(self):
            return iter(()) if dry else super().__iter__()

    class Last(Batches):
        def __iter__(self):
            yield from super().__iter__()
            dry.append(True)

    with pytest.raises(ValueError, match="train_iter.*no .*epoch 2"):
        d2lmini.train_ch6(softmax_net(), DataLoader(Drying(), 8), Last(), 3, 0.1, CPU)


# ---------------------------------------------------------------- whole numbers


@pytest.mark.parametrize("number", [np.int64(1), np.uint8(1), torch.tensor(1), True])
def test_whole_numbers_of_every_kind_are_numbers_of_epochs(number):
    history = d2lmini.train_ch6(softmax_net(), batches(), batches(), number, 0.1, CPU)
    assert len(history) == 1


@pytest.mark.parametrize("number", [0, False, np.int64(0), -1, 1.0, "1", None])
def test_what_is_no_whole_number_from_1_is_no_number_of_epochs(number):
    with pytest.raises(ValueError, match="^num_epochs"):
        d2lmini.train_ch6(softmax_net(), batches(), batches(), number, 0.1, CPU)


@pytest.mark.parametrize("ratio", [2.5, 4.0, "4"])
def test_channels_are_not_divided_by_what_is_no_whole_number(ratio):
    """2.5 would leave 25.0 channels, which no convolution takes."""
    with pytest.raises(ValueError, match="ratio"):
        d2lmini.shrink(d2lmini.VGG11, ratio)


def test_numpys_whole_numbers_build_nets():
    arch = d2lmini.shrink(d2lmini.VGG11, np.int64(16))
    assert arch == ((1, 4), (1, 8), (2, 16), (2, 32), (2, 32))
    net = d2lmini.vgg(arch, np.int64(1), np.int64(3), np.int64(32), (np.int64(8),))
    assert net(torch.zeros(2, 1, 32, 32)).shape == (2, 3)


# ---------------------------------------------------------------- two classes

SCORES, RIGHT = torch.tensor([0.9, 0.2, 0.8, 0.6]), torch.tensor([1, 0, 1, 1])


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("dtype", [torch.int64, torch.float32])
@pytest.mark.parametrize("scores", [SCORES, torch.logit(SCORES), -SCORES])
def test_scores_are_not_taken_for_classes(scores, dtype, columns):
    y_hat, y = scores, RIGHT.to(dtype)
    if columns:
        y_hat, y = y_hat.unsqueeze(1), y.unsqueeze(1)
    with pytest.raises(ValueError, match=r"> 0\b"):
        d2lmini.accuracy(y_hat, y)
    with pytest.raises(ValueError, match=r"> 0\b"):
        d2lmini.evaluate_accuracy_gpu(nn.Identity(), [(y_hat, y)])


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("dtype", [torch.int64, torch.float32, torch.bool])
def test_what_the_message_advises_is_counted(dtype, columns):
    """0.2 > 0.5 is the one False; 3 of 4 labels of the second vector are right."""
    y = torch.tensor([1, 0, 0, 1])
    y_hat = (SCORES > 0.5).to(dtype)
    if columns:
        y_hat, y = y_hat.unsqueeze(1), y.unsqueeze(1)
    assert d2lmini.accuracy(y_hat, y) == 3
    assert d2lmini.accuracy(torch.stack([1 - SCORES, SCORES], 1), RIGHT) == 4


@pytest.mark.parametrize(
    ("y_hat", "y"),
    [
        (F.one_hot(torch.tensor([256]), 300).float(), torch.tensor([0]).byte()),
        (torch.tensor([256]), torch.tensor([0]).byte()),
        (torch.tensor([2]), torch.tensor([True])),
    ],
)
def test_classes_are_compared_as_numbers(y_hat, y):
    """As a byte 256 is 0; as a truth value 2 is True, which is 1."""
    assert d2lmini.accuracy(y_hat, y) == 0


def test_a_training_with_one_column_of_scores_is_refused_before_it_begins():
    X, y = images()
    loader = batches(X, (y == 0).float().unsqueeze(1))
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 1))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ValueError, match=r"> 0\b"):
        d2lmini.train_ch6(net, loader, loader, 1, 0.1, CPU, loss=nn.BCEWithLogitsLoss())
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])


# ---------------------------------------------------------------- hooks


def convolution_and_hooks():
    net = d2lmini.vgg(d2lmini.shrink(d2lmini.VGG11, 16), image_size=32, hidden=(8,))
    conv, seen = net[2][2], {}  # the second of the third block
    assert type(conv) is nn.Conv2d
    conv.register_forward_hook(lambda m, args, Z: seen.update(features=Z))
    conv.register_full_backward_hook(lambda m, args, grads: seen.update(grad=grads[0]))
    return net, conv, seen


def test_a_hook_keeps_what_a_convolution_computed(d2l):
    """As d2l's block does: half of it is negative, before ReLU."""
    net, conv, seen = convolution_and_hooks()
    X = torch.rand(2, 1, 32, 32)
    scores = net(X)
    assert seen["features"].min() < 0
    Z = net[1](net[0](X))
    torch.testing.assert_close(seen["features"], conv(net[2][1](net[2][0](Z))))
    scores[:, 0].sum().backward()
    assert seen["grad"].shape == seen["features"].shape == (2, 16, 8, 8)


def test_hooks_work_in_a_training():
    net, conv, seen = convolution_and_hooks()
    X, y = torch.rand(16, 1, 32, 32), torch.arange(16) % 10
    d2lmini.train_ch6(net, batches(X, y), batches(X, y), 1, 0.01, CPU)
    assert seen["grad"].shape == (8, 16, 8, 8)
    assert seen["features"].min() < 0


# ---------------------------------------------------------------- errors in a circle

CIRCLES = """
import sys
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
import d2lmini


def itself():
    error = LookupError("of the data set")
    raise error from error


def two_causes():
    error, other = LookupError("of the data set"), KeyError("other")
    error.__cause__, other.__cause__ = other, error
    raise error


def three_contexts():
    error, *others = LookupError("of the data set"), KeyError("b"), KeyError("c")
    try:
        raise error
    finally:
        error.__context__, others[0].__context__ = others
        others[1].__context__ = others[0]  # not even through where it began


class Images(Dataset):
    def __init__(self, fail):
        self.fail, self.readings = fail, 0

    def __len__(self):
        return 20

    def __getitem__(self, i):
        self.readings += 1
        if self.readings == 30:  # not in the check
            self.fail()
        return torch.ones(3), i % 3


for fail in (itself, two_causes, three_contexts):
    for evaluate in (False, True):
        batches, test_iter = (DataLoader(Images(fail), 4) for _ in range(2))
        net = nn.Sequential(nn.Linear(3, 3))
        try:
            if evaluate:
                for _ in range(2):
                    d2lmini.evaluate_accuracy_gpu(net, batches)
            else:
                d2lmini.train_ch6(net, batches, test_iter, 9, 0.1, "cpu")
        except LookupError as error:
            print(fail.__name__, evaluate, error, file=sys.stderr)
"""


def test_an_error_whose_chain_is_a_circle_comes_out():
    done = subprocess.run(
        [sys.executable, "-c", CIRCLES], capture_output=True, text=True, timeout=600
    )
    assert done.stderr.splitlines() == [
        f"{fail} {evaluate} of the data set"
        for fail in ("itself", "two_causes", "three_contexts")
        for evaluate in (False, True)
    ]
