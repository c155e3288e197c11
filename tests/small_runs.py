"""Small nets and batches, d2l's training of them, and all that a refusal must leave."""

import copy
import random
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

NUM_CLASSES = 3


def images(n=48, seed=0):
    """X (n, 1, 8, 8) and y: class k is brighter in the columns from 2k."""
    X = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    y = torch.arange(n) % NUM_CLASSES
    for k in range(NUM_CLASSES):
        X[y == k, :, :, 2 * k : 2 * k + 2] += 1
    return X, y


def batches(X=None, y=None, batch_size=8, **options):
    """A loader; of 48 images, unless said otherwise, in 6 batches: d2l needs five."""
    some_X, some_y = images()
    dataset = TensorDataset(some_X if X is None else X, some_y if y is None else y)
    return DataLoader(dataset, batch_size, **options)


def softmax_net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, NUM_CLASSES))


def conv_net():
    """A net with all that a training moves: weights, running means, random numbers."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(),
        nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
        nn.Flatten(), nn.Dropout(0.5), nn.Linear(256, NUM_CLASSES),
    )  # fmt: skip


class Silent:
    """Takes the place of d2l's Animator."""

    def __init__(self, *args, **kwargs): ...

    def add(self, x, y): ...


def xavier(module):
    if type(module) in (nn.Linear, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)


def plain_training(
    net, train_iter, test_iter, num_epochs, optimizer, loss=F.cross_entropy
):
    """d2l's loop for an optimizer and a loss of one's own; the mean losses."""
    net.apply(xavier)
    losses = []
    for _ in range(num_epochs):
        net.train()
        total = n = 0
        for X, y in train_iter:
            optimizer.zero_grad()
            l = loss(net(X), y)
            l.backward()
            optimizer.step()
            total, n = total + l.item() * len(X), n + len(X)
        losses.append(total / n)
        net.eval()
        for X, _ in test_iter:  # a loader draws a random number when it begins
            net(X)
    return losses


def seed_all(seed):
    for set_seed in (torch.manual_seed, np.random.seed, random.seed):
        set_seed(seed)


def assert_equal_states(net, expected):
    """The same parameters and buffers, but for rounding."""
    states = net.state_dict(), expected.state_dict()
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], atol=1e-6, rtol=1e-4)


def frozen(value):
    """value as something that == compares bit for bit, strides too."""
    if isinstance(value, torch.Tensor):
        numbers = value.detach().contiguous().numpy().tobytes()
        return value.dtype, value.shape, value.stride(), numbers
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    if isinstance(value, dict):
        return {k: frozen(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [frozen(v) for v in value]
    return copy.copy(value)


def everything(net, optimizer=None, scheduler=None, generators=(), folder=None):
    """All that a call that is refused must leave as it was."""
    tensors = dict([*net.named_parameters(), *net.named_buffers()])
    return {
        "values": frozen(tensors),
        "places": {name: value.data_ptr() for name, value in tensors.items()},
        "gradients": frozen({name: p.grad for name, p in net.named_parameters()}),
        "trained": {name: p.requires_grad for name, p in net.named_parameters()},
        "modes": [module.training for module in net.modules()],
        "optimizer": frozen(optimizer.state_dict()) if optimizer else None,
        "scheduler": frozen(scheduler.state_dict()) if scheduler else None,
        "random numbers": frozen(
            [torch.get_rng_state(), np.random.get_state(), random.getstate()]
            + [generator.get_state() for generator in generators]
        ),
        "files": {
            str(path.relative_to(folder)): path.is_file() and path.read_bytes()
            for path in (sorted(Path(folder).rglob("*")) if folder else ())
        },
        "matplotlib": dict(mpl.rcParams),
    }
