"""What makes a step faster (memory kept, orders changed), and lets memory go.

A step frees gigabytes, which Linux's C library (glibc) gives back to the system at once
and asks for again in the next step: a third of the time of a step on a CPU was that.
"""

import contextlib
import ctypes
import functools
import os
import platform
import traceback
from collections.abc import Callable, Iterator

import torch
from torch import nn
from torch.optim import Optimizer

from d2lmini.engine.parallel import replicate
from d2lmini.engine.pooling import pooling_first

# glibc's numbers of the options of mallopt
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
DROPOUT = nn.Dropout.__module__
_depth = 0  # how many bodies of `keep_freed_memory` are running


@contextlib.contextmanager
def keep_freed_memory() -> Iterator[None]:
    """In the body, freed memory stays with the process; after it, all goes back.

    Does nothing without glibc, and where the environment variable D2LMINI_KEEP_MEMORY
    is 0. Source: man 3 mallopt.
    """
    global _depth
    wanted = os.environ.get("D2LMINI_KEEP_MEMORY") != "0"
    if not wanted or platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    _depth += 1
    libc.mallopt(MMAP_MAX, 0)
    libc.mallopt(TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        _depth -= 1
        if _depth == 0:
            # what glibc itself arrives at once a program has freed large blocks
            libc.mallopt(MMAP_MAX, 65536)
            libc.mallopt(MMAP_THRESHOLD, 32 * 2**20)
            libc.mallopt(TRIM_THRESHOLD, 64 * 2**20)
            libc.malloc_trim(0)


def let_go_on_error(function: Callable) -> Callable:
    """function; when it fails, its variables let go of their tensors.

    Otherwise the traceback, which Jupyter keeps, holds the tensors of the failed step,
    and the cell cannot be run again.
    """

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            del args, kwargs
            link, seen = error, set()
            while link is not None and id(link) not in seen:  # a chain may be a circle
                traceback.clear_frames(link.__traceback__)
                seen.add(id(link))
                link = link.__cause__ or link.__context__
            raise

    return wrapper


@contextlib.contextmanager
def fast_training(
    net: nn.Module, optimizer: Optimizer, loss: Callable
) -> Iterator[nn.Module]:
    """In the body, net as the training loop calls it: a copy in each process.

    Where nothing can notice, the weights of its convolutions are in channels-last
    order, and on a CPU it pools before ReLU, part by part of a batch. After the body
    net is as it came, in evaluation mode.
    """
    weights, pooling = [], contextlib.nullcontext()
    if _nothing_notices(net, optimizer, loss):
        weights = [m.weight for m in net.modules() if type(m) is nn.Conv2d]
        if all(p.device.type == "cpu" for p in net.parameters()):
            pooling = pooling_first(net)
    came_as = [weight.data for weight in weights]
    try:
        for weight in weights:
            # not contiguous(): with one input channel it returns the default order,
            # and a convolution's outputs come in the order of its weights
            weight.data = weight.data.to(memory_format=torch.channels_last)
        with keep_freed_memory(), pooling:
            yield replicate(net)
    finally:
        for weight, data in zip(weights, came_as, strict=True):
            weight.data = data.copy_(weight.data)  # where views of it look
            if weight.grad is not None:
                weight.grad = torch.empty_like(data).copy_(weight.grad)
            for name, value in optimizer.state.get(weight, {}).items():
                if isinstance(value, torch.Tensor) and value.shape == data.shape:
                    momentum = torch.empty_like(data).copy_(value)
                    optimizer.state[weight][name] = momentum
        net.eval()  # as d2l leaves it: ready for predictions, without dropout


def _nothing_notices(net: nn.Module, optimizer: Optimizer, loss: Callable) -> bool:
    """Whether layers, optimizer and loss are torch's own, and no two weights share
    memory.

    A reader's code may count on the default order (`x.view(len(x), -1)` fails without),
    and dropout would draw other numbers for an image than in the default order.
    """
    modules, ours = list(net.modules()), ("torch.nn.modules.", "torchvision.")
    hooks = [p._backward_hooks for p in net.parameters()]
    for module in modules[1:]:  # the whole net's own hooks see images and scores
        hooks += [module._forward_hooks, module._forward_pre_hooks]
        hooks += [module._backward_hooks, module._backward_pre_hooks]
    kinds = [type(module) for module in modules]
    flat = kinds.index(nn.Flatten) if nn.Flatten in kinds else len(kinds)
    weights = [m.weight for m in modules if type(m) is nn.Conv2d]
    return (
        all(kind.__module__.startswith(ours) for kind in kinds)
        and type(optimizer).__module__.startswith("torch.optim.")
        and getattr(loss, "__module__", "").startswith("torch.nn.")
        and not any(hooks)
        and not any(kind.__module__ == DROPOUT for kind in kinds[:flat])
        and not torch.is_autocast_enabled("cpu")
        and all(w.dtype == torch.float32 and w.is_contiguous() for w in weights)
        and all(w.untyped_storage().nbytes() == 4 * w.numel() for w in weights)
        and len({w.data_ptr() for w in weights}) == len(weights)
    )
