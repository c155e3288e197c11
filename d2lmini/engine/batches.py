"""What a batch may be made of, and what a loss may return for it."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn


def to_device(X: Any, device: torch.device | str | None) -> Any:
    """X on device: a tensor, or a list, tuple or dict of what goes there.

    With device None, X as it is.
    """
    if device is None:
        return X
    if isinstance(X, list | tuple):
        return [to_device(part, device) for part in X]
    if isinstance(X, dict):
        return {name: to_device(part, device) for name, part in X.items()}
    return X.to(device)


def num_batches(loader: Any) -> int | None:
    """Of an epoch; None for a stream, which does not know."""
    try:
        return len(loader)
    except TypeError:
        return None


def sum_of_losses(l: Tensor, loss: Callable, num_examples: int) -> Tensor:
    """The sum over a batch of what loss gave for it: a mean, a sum or one for each."""
    if l.dim() > 0 or getattr(loss, "reduction", None) == "sum":
        return l.sum()
    return l * num_examples


@contextlib.contextmanager
def evaluation_mode(net: Callable) -> Iterator[None]:
    """Evaluation mode (no dropout) in the body, then every layer's mode as before."""
    modules = list(net.modules()) if isinstance(net, nn.Module) else []
    modes = [module.training for module in modules]
    if modules:
        net.eval()
    try:
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
