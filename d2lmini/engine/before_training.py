"""What is refused before a training has changed anything, and nothing else.

Refused is what cannot train, or would without a word give wrong numbers.
"""

import contextlib
import copy
import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from d2lmini.engine.batches import num_batches, to_device
from d2lmini.engine.checks import check_number, check_predictions, check_whole
from d2lmini.engine.random_states import same_random_numbers_after


def check_training(
    net: nn.Module,
    train_iter: Any,
    test_iter: Any,
    num_epochs: int,
    lr: float,
    device: torch.device | str,
    optimizer: Optimizer | None,
    scheduler: LRScheduler | None,
    loss: Callable | None,
    checkpoint: str | os.PathLike | None,
) -> None:
    """Raise ValueError for what cannot work; leave everything as it is.

    A batch of each loader is tried on a copy of net: who counts how often a net or a
    data set is asked will find one more.
    """
    check_whole("num_epochs", num_epochs)
    check_number("lr", lr, "0 or a positive number such as 0.05")
    _check_read_once(train_iter, test_iter, num_epochs)
    for name, value in {"optimizer": optimizer, "loss": loss}.items():
        if isinstance(value, type):
            raise ValueError(f"{name} is a class: call it, {value.__name__}(...)")
    _check_device(device)
    _check_optimizer(net, optimizer, scheduler)
    _check_finite(net, optimizer)
    if checkpoint is None or not os.path.exists(checkpoint):  # which holds its state
        _check_schedule(scheduler, train_iter, num_epochs)
    _check_batches(net, train_iter, test_iter, loss)


def _check_device(device: torch.device | str | None) -> None:
    if device is None:  # where net is
        return
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError, NotImplementedError) as error:
        raise ValueError(
            f"cannot compute on {device} ({str(error).splitlines()[0]}): "
            f"d2lmini.try_gpu() finds a device that works"
        ) from None


def _check_read_once(train_iter: Any, test_iter: Any, num_epochs: int) -> None:
    for name, loader in {"train_iter": train_iter, "test_iter": test_iter}.items():
        one_pass = type(loader).__module__ == "builtins" and hasattr(loader, "__next__")
        if one_pass and num_epochs > 1:
            raise ValueError(
                f"{name} is a {type(loader).__name__}, which can be read once, not "
                f"{num_epochs} times: give a DataLoader or a list of batches"
            )


def _check_optimizer(
    net: nn.Module, optimizer: Optimizer | None, scheduler: LRScheduler | None
) -> None:
    if scheduler is not None and optimizer is None:
        raise ValueError("scheduler= needs its optimizer too: give it as optimizer=")
    if optimizer is None:
        return
    moved = [p for group in optimizer.param_groups for p in group["params"]]
    if not {id(p) for p in moved} & {id(p) for p in net.parameters()}:
        raise ValueError(
            "optimizer moves no weight of net: it was made for another net, perhaps "
            "for one of the same name. Make a new one from net.parameters()"
        )
    if getattr(scheduler, "optimizer", optimizer) is not optimizer:
        raise ValueError(
            "scheduler is not of this optimizer: make a new one, after the optimizer"
        )


def _check_schedule(
    scheduler: LRScheduler | None, train_iter: Any, num_epochs: int
) -> None:
    """A schedule that ends (OneCycleLR) would raise an error in its middle."""
    total = getattr(scheduler, "total_steps", None)
    batches = num_batches(train_iter)
    if not isinstance(total, int) or batches is None:
        return
    needed, left = num_epochs * batches, total - scheduler.last_epoch
    if needed > left:
        raise ValueError(
            f"scheduler has {left} of its {total} steps left, and {num_epochs} epochs "
            f"of {batches} batches need {needed}: make a new "
            f"optimizer and a new scheduler, with total_steps={needed}"
        )


def _check_finite(net: nn.Module, optimizer: Optimizer | None) -> None:
    """What is left of a training that failed would spoil the next one.

    Weights that will be drawn do not count, nor -inf in a buffer: attention uses such
    masks.
    """
    drawn = {id(m.weight) for m in net.modules() if type(m) in (nn.Linear, nn.Conv2d)}
    tensors = [
        (f"net's {name}", p, torch.isfinite)
        for name, p in net.named_parameters()
        if id(p) not in drawn
    ]
    for name, b in net.named_buffers():
        running = name.endswith(("running_mean", "running_var"))
        tensors.append((f"net's {name}", b, torch.isfinite if running else _not_nan))
    for state in (optimizer.state if optimizer else {}).values():
        for name, value in state.items():
            if isinstance(value, Tensor):
                tensors.append((f"optimizer's {name}", value, torch.isfinite))
    for name, tensor, is_good in tensors:
        if nn.parameter.is_lazy(tensor) or not tensor.is_floating_point():
            continue
        if not is_good(tensor.detach()).all():
            raise ValueError(
                f"{name} holds nan or infinity, probably from a training that failed: "
                f"build a new net and a new optimizer"
            )


def _not_nan(tensor: Tensor) -> Tensor:
    return ~torch.isnan(tensor)


# ---------------------------------------------------------------- batches


def _check_batches(
    net: nn.Module, train_iter: Any, test_iter: Any, loss: Callable | None
) -> None:
    home = next((p.device for p in net.parameters()), torch.device("cpu"))
    loaders = {"train_iter": train_iter, "test_iter": test_iter}
    with same_random_numbers_after(home, list(loaders.values())), torch.no_grad():
        double = _double(net)
        for name, loader in loaders.items():
            batch = _first_batch(name, loader)
            if batch is not None and double is not None:
                _check_batch(name, double, *to_device(batch, home), loss)


def _double(net: nn.Module) -> nn.Module | None:
    """net for a try: with its weights, but buffers and attributes of its own, and
    without the reader's hooks, who would count one batch more. None: it has none."""
    net = getattr(net, "_orig_mod", net)  # without compiling it
    weights = (p for p in net.parameters() if not nn.parameter.is_lazy(p))
    try:
        double = copy.deepcopy(net, {id(p): p for p in weights}).eval()
    except Exception:  # whatever its attributes are
        return None
    for module in double.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key, hook in list(hooks.items()):
                made_by = getattr(hook, "__module__", None) or type(hook).__module__
                if not made_by.startswith("torch."):
                    del hooks[key]
    return double


def _first_batch(name: str, loader: Any) -> Any:
    """[X, y] of the first examples, or None where a look would change what follows.

    The loader itself is not asked: its workers would take seconds to start.
    """
    if not isinstance(loader, DataLoader | list | tuple):
        return None
    if num_batches(loader) == 0:
        raise ValueError(
            f"{name} holds no batch: its data set is empty, or with drop_last smaller "
            f"than a batch"
        )
    if not isinstance(loader, DataLoader):
        return loader[0]
    if type(loader).__iter__ is not DataLoader.__iter__ or loader.batch_size is None:
        return None
    dataset = loader.dataset
    try:
        indices = range(min(loader.batch_size, len(dataset)))
        if hasattr(dataset, "__getitems__"):
            return loader.collate_fn(dataset.__getitems__(indices))
        return loader.collate_fn([dataset[i] for i in indices])
    except Exception:  # a stream; or an error, which the training itself will raise
        return None


def _check_batch(
    name: str, net: nn.Module, X: Any, y: Any, loss: Callable | None
) -> None:
    try:
        y_hat = _scores(net, X)
    except RuntimeError as error:
        what = f"{X.dtype} of shape {tuple(X.shape)}" if isinstance(X, Tensor) else X
        advice = (
            "Build the net for such images (in_channels, image_size), or load others "
            "(resize)"
        )
        if isinstance(X, Tensor) and not X.is_floating_point():
            advice = "Make them floats first: X.float() / 255"
        raise ValueError(
            f"net cannot read the batches of {name}, {what}: {error}. {advice}"
        ) from None
    if not isinstance(y_hat, Tensor) or not isinstance(y, Tensor) or y_hat.dim() < 2:
        return
    if loss is None:
        _check_labels(name, y, y_hat)
    predicted = y_hat.argmax(dim=1) if y_hat.shape[1] > 1 else y_hat
    check_predictions(predicted, y[: len(predicted)])


def _scores(net: nn.Module, X: Any) -> Any:
    """Of the first image, where net takes one alone; else of the whole batch."""
    if isinstance(X, Tensor):
        with contextlib.suppress(Exception):
            y_hat = net(X[:1].clone())  # a net may write into its images
            if len(y_hat) == 1:
                return y_hat
    return net(copy.deepcopy(X))


def _check_labels(name: str, y: Tensor, y_hat: Tensor) -> None:
    if y.dim() == 1 and y_hat.dim() > 2:
        raise ValueError(
            f"net gives scores of shape {(len(y), *y_hat.shape[1:])} for {name}: "
            f"(batch, classes) is needed; try nn.Flatten() as its last layer"
        )
    learned = name == "train_iter" and y.dtype not in (torch.int64, torch.uint8)
    if learned or y.shape[1:] != y_hat.shape[2:]:
        raise ValueError(
            f"the labels of {name} are {y.dtype} of shape {tuple(y.shape)}: one whole "
            f"number per image is needed; try y.long()"
        )
    classes = y_hat.shape[1]
    y = y[y != -100]  # which cross entropy leaves out
    if y.numel() and (y.min() < 0 or y.max() >= classes):
        raise ValueError(
            f"the labels of {name} run from {y.min()} to {y.max()}, but net has "
            f"{classes} classes, 0 to {classes - 1}"
        )
