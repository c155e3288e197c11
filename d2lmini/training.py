"""Training a classifier: try_gpu, evaluate_accuracy_gpu, train_ch6, History.

Checkpoints, which let an interrupted run go on, are in `checkpoints.py`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader
from tqdm import tqdm

from d2lmini.checkpoints import (
    Checkpoint,
    describe_run,
    replace_file,
    same_random_numbers_after,
)
from d2lmini.memory import careful_with_memory
from d2lmini.metrics import Accumulator, Timer, accuracy
from d2lmini.parallel import (
    num_processes,
    rank,
    replicate,
    start_epoch,
    sum_over_processes,
)
from d2lmini.plotting import FMTS, Animator, in_notebook, set_axes, use_svg_display

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEGEND = ["train loss", "train acc", "test acc"]
FIGSIZE = (5, 3.2)  # inches


def try_gpu(i: int = 0) -> torch.device:
    """The i-th accelerator that torch knows (NVIDIA, Apple, Intel, ...), else the CPU.

    Source: d2l 1.0.3, section 6.7, which knows NVIDIA's alone.
    """
    if i < 0:
        raise ValueError(f"try_gpu counts accelerators from 0, got {i}")
    if torch.accelerator.is_available() and i < torch.accelerator.device_count():
        return torch.device(torch.accelerator.current_accelerator().type, i)
    return torch.device("cpu")


@contextlib.contextmanager
def _evaluating(net: Callable) -> Iterator[None]:
    """Evaluation mode (no dropout) in the body, then every layer's mode as before."""
    modules = list(net.modules()) if isinstance(net, nn.Module) else []
    modes = [module.training for module in modules]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode


@careful_with_memory
def evaluate_accuracy_gpu(
    net: Callable, data_iter: DataLoader, device: torch.device | None = None
) -> float:
    """Share of right predictions, in [0, 1], over all batches of data_iter.

    device: where to compute; None means where net is. A net in training mode is put
    into evaluation mode (no dropout) and back. Source: d2l 1.0.3, section 7.6.
    """
    if device is None and isinstance(net, nn.Module):
        device = next((p.device for p in net.parameters()), None)
    metric = Accumulator(2)  # right predictions, predictions
    with _evaluating(net), torch.no_grad():
        for X, y in data_iter:
            # a list of tensors is what nets with several inputs take
            X = [x.to(device) for x in X] if isinstance(X, list) else X.to(device)
            y = y.to(device)
            metric.add(accuracy(net(X), y), y.numel())
    metric = sum_over_processes(metric, data_iter)
    if metric[1] == 0:
        raise ValueError("evaluate_accuracy_gpu: data_iter holds no examples")
    return metric[0] / metric[1]


@dataclass
class History:
    """What a training measured: lists with an entry per epoch.

    train_loss and train_acc: means over the epoch's training examples; test_acc: after
    the epoch; seconds: wall time of the epoch with its evaluation. examples and
    train_seconds: over all epochs, the training steps alone. about: notes on a recorded
    run (machine, settings).
    """

    train_loss: list[float] = field(default_factory=list)
    train_acc: list[float] = field(default_factory=list)
    test_acc: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    examples: float = 0.0
    train_seconds: float = 0.0
    about: dict = field(default_factory=dict)

    @property
    def examples_per_sec(self) -> float:
        """Speed of the training steps, as d2l counts it: loading and tests left out."""
        return self.examples / self.train_seconds if self.train_seconds else 0.0

    def __len__(self) -> int:
        return len(self.train_loss)

    def __repr__(self) -> str:
        if not len(self):
            return "History(no epoch)"
        return (
            f"History({len(self)} epochs: train loss {self.train_loss[-1]:.3f}, train "
            f"acc {self.train_acc[-1]:.3f}, test acc {self.test_acc[-1]:.3f}, "
            f"{self.examples_per_sec:.1f} examples/sec)"
        )

    def plot(self) -> Figure:
        """The curves, a point per epoch; in a notebook, make it a cell's last line."""
        from matplotlib.figure import Figure

        use_svg_display()
        fig = Figure(figsize=FIGSIZE)
        axes = fig.subplots()
        marks = (fmt + "o" for fmt in FMTS)
        for values, fmt in zip(zip(*self.points(), strict=True), marks, strict=False):
            axes.plot(range(1, len(self) + 1), values, fmt, markersize=3)
        set_axes(axes, "epoch", None, None, None, "linear", "linear", LEGEND)
        axes.set_title(self.title())
        return fig

    def title(self) -> str:
        """What the curves have led to, for the figures that show them."""
        if not len(self):
            return ""
        epochs = "1 epoch" if len(self) == 1 else f"{len(self)} epochs"
        return f"Test accuracy {self.test_acc[-1]:.3f} after {epochs}"

    def points(self) -> list[tuple[float, float, float]]:
        """(train loss, train acc, test acc) of each epoch."""
        curves = self.train_loss, self.train_acc, self.test_acc
        return list(zip(*curves, strict=True))

    def add_epoch(
        self, metric: Accumulator, test_acc: float, seconds: float, train_seconds: float
    ) -> None:
        """Add an epoch; metric: sums of loss, of right predictions, of examples."""
        self.train_loss.append(metric[0] / metric[2])
        self.train_acc.append(metric[1] / metric[2])
        self.test_acc.append(test_acc)
        self.seconds.append(seconds)
        self.examples += metric[2]
        self.train_seconds += train_seconds

    def save(self, path: str | os.PathLike) -> None:
        """Write JSON to path, whole or not at all."""
        replace_file(Path(path), (json.dumps(asdict(self), indent=1) + "\n").encode())

    @classmethod
    def load(cls, path: str | os.PathLike) -> History:
        """Read what `save` wrote. Raises ValueError for any other content."""
        try:
            history = cls(**json.loads(Path(path).read_text(encoding="utf-8")))
            history._check()
            return history
        except OSError as error:
            raise type(error)(
                f"cannot read {path} ({error.strerror}): give a file that save() wrote"
            ) from None
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(
                f"{path} is not a saved History: {error}. Give a file that save() wrote"
            ) from None

    def _check(self) -> None:
        curves = [self.train_loss, self.train_acc, self.test_acc, self.seconds]
        sums = [self.examples, self.train_seconds]
        lengths = {len(curve) if isinstance(curve, list) else None for curve in curves}
        if len(lengths) > 1 or None in lengths:
            raise ValueError("its curves are not lists of one length")
        largest = sys.float_info.max  # whole numbers may be too large for isfinite
        for n in sum(curves, sums):
            if type(n) not in (int, float) or not -largest <= n <= largest:
                raise ValueError("its curves and sums hold what is no finite number")
        if min(sum(curves[1:], sums)) < 0:
            raise ValueError("of its numbers, a loss alone may be negative")
        if not isinstance(self.about, dict):
            raise ValueError("its notes (about) are no dict")


@careful_with_memory
def train_ch6(
    net: nn.Module,
    train_iter: DataLoader,
    test_iter: DataLoader,
    num_epochs: int,
    lr: float,
    device: torch.device | str,
    *,
    optimizer: Optimizer | None = None,
    scheduler: LRScheduler | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    checkpoint: str | os.PathLike | None = None,
) -> History:
    """Initialise net, train it and draw the curves. Source: d2l 1.0.3, section 7.6.

    optimizer: of net.parameters(); without one, SGD with learning rate lr.
    scheduler: of that optimizer; it makes a step after every batch.
    loss: without one, nn.CrossEntropyLoss().
    checkpoint: a file that is written after every epoch. The same call with the same
    file goes on where it was interrupted, and ends with the same weights.

    Interrupting returns the history so far. Raises ValueError for what net cannot read
    and FloatingPointError when the loss is no longer a number.
    """
    loaders, device = [train_iter, test_iter], torch.device(device)
    num_classes = _check(net, loaders, num_epochs, lr, device, loss)
    optimizer = optimizer or torch.optim.SGD(net.parameters(), lr=lr)
    loss = loss or nn.CrossEntropyLoss()
    run = net, loaders, num_epochs, lr, optimizer, scheduler, loss
    saved = Checkpoint(
        checkpoint,
        {} if checkpoint is None else describe_run(*run),
        {"net": net, "optimizer": optimizer, "scheduler": scheduler},
        device,
        loaders,
    )
    # Xavier's numbers are drawn in memory order, so before that order changes
    net.to(memory_format=torch.contiguous_format).apply(_init_weights)
    print("training on", device)
    net.to(device, memory_format=torch.channels_last)  # a third faster on a CPU
    model = replicate(net)
    history = History(**saved.begin(asdict(History())))
    curves, title = _Curves(history, num_epochs, len(train_iter)), ""
    try:
        for epoch in range(len(history), num_epochs):
            # Sum of training loss, sum of right predictions, number of examples
            metric, timer, epoch_timer = Accumulator(3), Timer(), Timer()
            net.train()
            start_epoch(train_iter, epoch)
            for i, (X, y) in enumerate(train_iter):
                timer.start()
                optimizer.zero_grad()
                X, y = X.to(device), y.to(device)
                y_hat = model(X)
                l = loss(y_hat, y)
                l.backward()
                optimizer.step()
                if scheduler:
                    scheduler.step()
                metric.add(l * X.shape[0], accuracy(y_hat, y), X.shape[0])
                timer.stop()
                _check_finite(metric[0], epoch, i, optimizer)
                curves.add_batch(epoch, i, metric, timer)
            metric = sum_over_processes(metric, train_iter)
            test_acc = evaluate_accuracy_gpu(net, test_iter)
            curves.add_test(epoch, test_acc)
            history.add_epoch(metric, test_acc, epoch_timer.stop(), timer.sum())
            saved.save(asdict(history))
    except KeyboardInterrupt:
        title = f"interrupted in epoch {epoch + 1}"
        print(f"{title}: net is as far as it was trained")
        return history
    finally:
        net.eval()  # as d2l leaves it: ready for predictions, without dropout
        curves.finish(title)
    print(
        f"loss {history.train_loss[-1]:.3f}, train acc {history.train_acc[-1]:.3f}, "
        f"test acc {history.test_acc[-1]:.3f}"
    )
    print(f"{history.examples_per_sec:.1f} examples/sec on {device}")
    _explain_guessing(history, num_classes)
    return history


class _Curves:
    """How a training is shown: d2l's three curves, under a title that shows it lives.

    In a terminal, which has no place for a figure, a progress line tells the same.
    """

    def __init__(self, history: History, num_epochs: int, num_batches: int):
        self.history, self.num_epochs = history, num_epochs
        self.num_batches, self.timer = num_batches, Timer()
        self.first_epoch = len(history)
        xlim = [0, max(num_epochs, len(history))]
        self.animator = Animator("epoch", xlim=xlim, legend=LEGEND, figsize=FIGSIZE)
        for epoch, point in enumerate(history.points()):
            self.animator.add(epoch + 1, point, draw=False)
        self.bar = tqdm(
            total=num_epochs * num_batches,
            initial=len(history) * num_batches,
            unit="batch",
            # None: only in a terminal
            disable=True if in_notebook() or rank() > 0 else None,
        )

    def add_batch(self, epoch: int, i: int, metric: Accumulator, timer: Timer) -> None:
        """Five times an epoch a point, every few seconds a drawing with time left."""
        done = epoch + (i + 1) / self.num_batches
        every = max(1, self.num_batches // 5)
        where = f"epoch {epoch + 1}/{self.num_epochs}"
        # the very first batch too: the figure is there at once
        first = epoch == i == 0
        if first or (i + 1) % every == 0 or i == self.num_batches - 1:
            means = metric[0] / metric[2], metric[1] / metric[2]
            self.animator.add(done, (*means, None), draw=False)
        if self.animator.is_stale():
            elapsed = time.perf_counter() - self.timer.tik
            left = elapsed / (done - self.first_epoch) * (self.num_epochs - done)
            self.draw(f"{where}, {_speed(metric, timer)}, {_duration(left)} left")
        if not self.bar.disable:
            loss = f"loss {metric[0] / metric[2]:.3f}"
            self.bar.set_description(where, refresh=False)
            self.bar.set_postfix_str(f"{loss}, {_speed(metric, timer)}", refresh=False)
            self.bar.update()

    def add_test(self, epoch: int, test_acc: float) -> None:
        self.animator.add(epoch + 1, (None, None, test_acc), draw=False)

    def draw(self, title: str) -> None:
        self.animator.set_title(title)
        self.animator.draw()

    def finish(self, title: str) -> None:
        self.bar.close()
        self.draw(title or self.history.title())


def _speed(metric: Accumulator, timer: Timer) -> str:
    return f"{num_processes() * metric[2] / timer.sum():.0f} examples/sec"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _init_weights(module: nn.Module) -> None:
    if type(module) in (nn.Linear, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)


def _check(
    net: nn.Module,
    loaders: list,
    num_epochs: int,
    lr: float,
    device: torch.device,
    loss: Callable | None,
) -> int:
    """Refuse what cannot work before any weight is changed.

    Reads one batch of each loader, puts the random numbers back and returns the number
    of classes.
    """
    if not isinstance(num_epochs, int) or num_epochs < 1:
        raise ValueError(
            f"num_epochs must be a whole number from 1, got {num_epochs!r}"
        )
    if not 0 < lr < math.inf:
        raise ValueError(f"lr must be a positive number such as 0.05, got {lr!r}")
    home = next((p.device for p in net.parameters()), device)
    with (
        same_random_numbers_after(device, loaders),
        _evaluating(net),
        torch.no_grad(),
    ):
        for name, loader in zip(("train_iter", "test_iter"), loaders, strict=True):
            if len(loader) == 0:
                raise ValueError(f"{name} holds no batch: its data set is empty")
            X, y = next(iter(loader))
            try:
                scores = net(X[:1].to(home))
            except RuntimeError as error:
                raise ValueError(
                    f"net cannot read the batches of {name}, {X.dtype} of shape "
                    f"{tuple(X.shape)}: {error}. Build the net for such images "
                    f"(in_channels, image_size), or load others (resize)"
                ) from None
            if loss is None:
                _check_labels(name, y, scores.shape[1])
    return scores.shape[1]


def _check_labels(name: str, y: Tensor, num_classes: int) -> None:
    if y.dtype not in (torch.int64, torch.uint8) or y.dim() != 1:
        raise ValueError(
            f"the labels of {name} are {y.dtype} of shape {tuple(y.shape)}: one whole "
            f"number per image is needed; try y.long()"
        )
    if y.min() < 0 or y.max() >= num_classes:
        raise ValueError(
            f"the labels of {name} run from {y.min()} to {y.max()}, but net has "
            f"{num_classes} classes, 0 to {num_classes - 1}"
        )


def _check_finite(loss: float, epoch: int, i: int, optimizer: Optimizer) -> None:
    if not math.isfinite(loss):
        lr = optimizer.param_groups[0]["lr"]
        raise FloatingPointError(
            f"the loss became {loss} in epoch {epoch + 1}, batch {i + 1}: its "
            f"steps are too large. Try a smaller lr than {lr:g}, say {lr / 10:g}"
        )


def _explain_guessing(history: History, num_classes: int) -> None:
    """Say what it means when the loss stayed where guessing puts it."""
    guessing = math.log(num_classes)
    if all(abs(loss - guessing) < 0.01 for loss in history.train_loss):
        print(
            f"the loss stayed at {guessing:.3f} = ln({num_classes}): net still gives "
            f"every class the same chance. Train longer, or try a smaller "
            f"batch, larger images or another lr"
        )
