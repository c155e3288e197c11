"""ReLU and max pooling the other way round: the same numbers, in less memory and time.

relu(pool(X)) is pool(relu(X)), bit for bit, and so are the gradients: they go to the
largest pixel of each window if it is above zero. But ReLU then has a quarter of the
numbers to read, and for the backward pass only these pixels and their places are kept.
"""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


@contextlib.contextmanager
def pooling_first(net: nn.Module) -> Iterator[None]:
    """In the body, a max pooling comes before the ReLU that it follows in net.

    net has to be on the CPU: other devices' pooling may read its input again.
    """
    replaced = []
    try:
        for layers in [m for m in net.modules() if type(m) is nn.Sequential]:
            for i, (relu, pool) in enumerate(itertools.pairwise(layers)):
                pair = type(relu) is nn.ReLU and type(pool) is nn.MaxPool2d
                if pair and not pool.return_indices:
                    replaced.append((layers, i, relu, pool))
                    layers[i], layers[i + 1] = nn.Identity(), _PoolAndReLU(pool)
        yield
    finally:
        for layers, i, relu, pool in replaced:
            layers[i], layers[i + 1] = relu, pool


class _PoolAndReLU(nn.Module):
    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, X: Tensor) -> Tensor:
        pooled = _MaxPool.apply(X, self.pool) if X.requires_grad else self.pool(X)
        return pooled.relu_()


class _MaxPool(torch.autograd.Function):
    """Max pooling that keeps the places alone, each in 2 or 4 bytes instead of 8."""

    @staticmethod
    def forward(ctx: Any, X: Tensor, pool: nn.MaxPool2d) -> Tensor:
        how = pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode
        pooled, places = torch.ops.aten.max_pool2d_with_indices(X, *how)
        small = X.shape[-2:].numel() <= 2**15
        ctx.save_for_backward(places.to(torch.int16 if small else torch.int32))
        ctx.how, ctx.X = how, torch.empty_like(X, device="meta")
        return pooled

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        X = torch.empty_like(ctx.X, device="cpu")  # its numbers are not read there
        return torch.ops.aten.max_pool2d_with_indices_backward(
            grad, X, *ctx.how, places.long()
        ), None
