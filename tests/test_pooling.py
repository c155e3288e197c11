"""While a net is trained it pools before ReLU: the same numbers, in less memory."""

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import d2lmini
from d2lmini.engine import pooling
from d2lmini.engine.memory import fast_training
from d2lmini.engine.pooling import pooling_first

POOLS = {
    "VGG's": nn.MaxPool2d(2, 2),
    "AlexNet's, windows overlap": nn.MaxPool2d(3, 2),
    "padded": nn.MaxPool2d(3, 2, padding=1),
    "apart, padded, rounded up": nn.MaxPool2d((3, 2), padding=1, ceil_mode=True),
    "all arguments": nn.MaxPool2d((3, 2), (2, 1), (1, 0), (1, 2), ceil_mode=True),
}


def nets(pool):
    convs = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 3, padding=1)
    net = nn.Sequential(
        nn.Sequential(convs[0], nn.ReLU(), pool),
        nn.Sequential(convs[1], nn.ReLU(inplace=True), pool),
    )
    return net, convs


def gradients(net, X):
    net.zero_grad()
    X = X.clone().requires_grad_()
    y = net(X)
    (y * torch.arange(y.numel()).reshape(y.shape).remainder(7)).sum().backward()
    return [y, X.grad, *(p.grad for p in net.parameters() if p.requires_grad)]


def check_equal(net, X):
    """With whole numbers, whose sums are exact in any order."""
    for weight in net.parameters():
        weight.data = torch.randint_like(weight, -2, 3)
    plain = gradients(net, X)
    with pooling_first(net):
        ours = gradients(net, X)
        with torch.no_grad():
            assert torch.equal(net(X), plain[0])
    for a, b in zip(ours, plain, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("side", [21, 182])  # 2 bytes for a place, and 4
@pytest.mark.parametrize("part", [pooling.PART, 1])  # the batch, and each image alone
def test_the_numbers_are_the_same_to_the_last_bit(pool, order, side, part, monkeypatch):
    monkeypatch.setattr(pooling, "PART", part)
    net, _ = nets(pool)
    check_equal(net.to(memory_format=order), torch.randn(3, 1, side, side).round())


SAME = nn.Conv2d(2, 2, 3, padding=1)
OTHERS = {
    "one convolution twice": nn.Sequential(SAME, nn.ReLU(), SAME, nn.MaxPool2d(2)),
    "names": nn.Sequential(
        OrderedDict(conv=nn.Conv2d(2, 3, 3), relu=nn.ReLU(), pool=nn.MaxPool2d(2))
    ),
    "first ReLU, then pooling twice": nn.Sequential(
        nn.ReLU(), nn.MaxPool2d(2), nn.MaxPool2d(2), nn.Conv2d(2, 1, 3)
    ),
    "no weights to learn": nn.Sequential(
        nn.Conv2d(2, 3, 3).requires_grad_(False), nn.MaxPool2d(2), nn.ReLU()
    ),
}


@pytest.mark.parametrize("net", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("shape", [(5, 2, 12, 12), (2, 12, 12), (0, 2, 12, 12)])
def test_other_nets_a_single_image_and_none(net, shape, monkeypatch):
    monkeypatch.setattr(pooling, "PART", 1)
    check_equal(net, torch.randn(shape).round())


def test_the_net_is_as_it_came_also_after_an_error():
    pool = nn.MaxPool2d(2, 2)
    net, convs = nets(pool)
    modules, names = list(net.modules()), list(net.state_dict())
    with pytest.raises(KeyboardInterrupt), pooling_first(net):
        assert list(net.state_dict()) == names and net[0][2] is not pool
        assert net[0][0].weight is convs[0].weight
        raise KeyboardInterrupt
    assert all(a is b for a, b in zip(net.modules(), modules, strict=True))
    assert net[0][2] is pool is net[1][2]


def test_a_net_elsewhere_than_on_the_cpu_is_left_alone():
    net, _ = nets(nn.MaxPool2d(2, 2))
    relu = net[0][1]
    for device, replaced in (("cpu", True), ("meta", False)):
        optimizer = torch.optim.SGD(net.to(device).parameters(), 0.1)
        with fast_training(net, optimizer, nn.CrossEntropyLoss()):
            assert (net[0][1] is not relu) == replaced


def test_a_training_by_deterministic_algorithms_alone():
    """Pooling is one, as d2l trains it; its inverse, max_unpool2d, is refused there."""
    net = nn.Sequential(*nets(nn.MaxPool2d(2, 2))[0], nn.Flatten(), nn.Linear(392, 10))
    loaders = d2lmini.load_data_fashion_mnist(3000, sample=True)
    torch.use_deterministic_algorithms(True)
    try:
        history = d2lmini.train_ch6(net, *loaders, 1, 0.1, "cpu")
    finally:
        torch.use_deterministic_algorithms(False)
    assert len(history) == 1


def kept(net, X):
    """The bytes that the backward pass needs, those of weights and images left out."""
    storages = {}

    def note(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        y = net(X)
    for tensor in [X, *net.parameters()]:
        storages.pop(tensor.untyped_storage().data_ptr(), None)
    assert y.requires_grad
    return sum(tensor.numel() * tensor.element_size() for tensor in storages.values())


def test_what_is_kept_for_the_backward_pass():
    """Of 4 channels of 8x8 and 8 of 4x4: 4 bytes a number, 2 or 8 for its place."""
    net, _ = nets(nn.MaxPool2d(2, 2))
    X = torch.zeros(1, 1, 8, 8)
    large, pooled = 4 * 64 + 8 * 16, 4 * 16 + 8 * 4
    assert kept(net, X) == 4 * large + (4 + 8) * pooled - 4 * 8 * 4  # the last is y
    with pooling_first(net):
        assert kept(net, X) == (4 + 2) * pooled
    net = nn.Sequential(net[0][0], nn.Sequential(nn.ReLU(), nn.MaxPool2d(2, 2)))
    with pooling_first(net):
        assert kept(net, X) == (4 + 2) * 4 * 16


class Largest(TorchDispatchMode):
    """The most numbers that any tensor has which is made in its body."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        sizes = [t.numel() for t in tree_leaves(made) if isinstance(t, torch.Tensor)]
        self.numbers = max([self.numbers, *sizes])
        return made


def test_the_output_of_a_convolution_is_never_there_as_a_whole(monkeypatch):
    """6 images of 8x8 in 4 channels, and a quarter of that once they are pooled."""
    monkeypatch.setattr(pooling, "PART", 1)
    net, _ = nets(nn.MaxPool2d(2, 2))
    X = torch.zeros(6, 1, 8, 8)
    with Largest() as largest:
        net(X).sum().backward()
    assert largest.numbers == 6 * 4 * 64
    with pooling_first(net), Largest() as largest:
        net(X).sum().backward()
    assert largest.numbers == 6 * 4 * 16
