"""ReLU and max pooling the other way round: the same numbers, in less memory and time.

relu(pool(X)) is pool(relu(X)), bit for bit, and so are the gradients: they go to the
largest pixel of each window if it is above zero. But ReLU then has a quarter of the
numbers to read, and for the backward pass only these pixels and their places are kept.
And a convolution that is pooled goes through the batch in parts: its whole output, the
largest tensor of a VGG, is never there. Its own gradient is then a sum over the parts,
which is rounded differently.
"""

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

# Bytes of a convolution's output at a time, for each thread: VGG-11/4 took 6 to 11%
# longer with a quarter, half or 16 times as many (an AMD EPYC with AVX-512).
PART = 2 * 2**20


@contextlib.contextmanager
def pooling_first(net: nn.Module) -> Iterator[None]:
    """In the body, a max pooling comes before the ReLU that it follows in net.

    net has to be on the CPU: other devices' pooling may read its input again.
    """
    came_as = [(m, list(m)) for m in net.modules() if type(m) is nn.Sequential]
    try:
        for layers, _ in came_as:
            _pool_first(layers)
        yield
    finally:
        for layers, modules in came_as:
            for i, module in enumerate(modules):
                layers[i] = module


def _pool_first(layers: nn.Sequential) -> None:
    for i, (relu, pool) in enumerate(itertools.pairwise(list(layers))):
        if type(relu) is nn.ReLU and _is_pooling(pool):
            layers[i], layers[i + 1] = pool, nn.ReLU(inplace=True)
    for i, pool in enumerate(list(layers)):
        if _is_pooling(pool) and i and type(layers[i - 1]) is nn.Conv2d:
            layers[i - 1], layers[i] = _ConvAndPool(layers[i - 1], pool), nn.Identity()
        elif _is_pooling(pool):
            layers[i] = _Pool(pool)


def _is_pooling(layer: nn.Module) -> bool:
    return type(layer) is nn.MaxPool2d and not layer.return_indices


class _Pool(nn.Module):
    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, X: Tensor) -> Tensor:
        return _MaxPool.apply(X, self.pool) if X.requires_grad else self.pool(X)


class _ConvAndPool(_Pool):
    def __init__(self, conv: nn.Conv2d, pool: nn.MaxPool2d) -> None:
        super().__init__(pool)
        self._parameters = conv._parameters  # by conv's names in net.state_dict()
        self.convolve = conv.forward

    def forward(self, X: Tensor) -> Tensor:
        pool = super().forward
        image = len(self.weight) * X.shape[-2:].numel() * X.element_size()
        n = max(1, torch.get_num_threads() * PART // image)
        parts = X.split(n) if X.dim() == 4 else [X]  # 3: an image without a batch
        pooled = [pool(self.convolve(part)) for part in parts]
        return torch.cat(pooled) if len(pooled) > 1 else pooled[0]


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
        X = torch.empty_like(ctx.X, device="cpu")  # of X only the shape is read
        return torch.ops.aten.max_pool2d_with_indices_backward.grad_input(
            grad, X, *ctx.how, places.long(), grad_input=X
        ), None
