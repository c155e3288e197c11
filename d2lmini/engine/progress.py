"""How a training is watched and left: its figure, its line in a terminal, its end."""

import logging
import math
import time
from typing import Any

from torch import nn
from torch.optim import Optimizer
from tqdm import tqdm

from d2lmini.engine.batches import num_batches
from d2lmini.engine.figures import in_notebook
from d2lmini.engine.parallel import num_processes, rank, sum_over_processes

log = logging.getLogger("d2lmini")


class Progress:
    """A training as its animator's figure shows it, and in a terminal a line.

    The title tells speed and time left, and at the end what was reached. Ctrl-C or the
    stop button ends the body without an error; a loss that is nan or infinite with one.
    animator: an Animator of three curves; history: a History, which gets the epochs.
    """

    def __init__(
        self,
        animator: Any,
        history: Any,
        num_epochs: int,
        train_iter: Any,
        optimizer: Optimizer,
    ):
        self.animator, self.history = animator, history
        self.num_epochs, self.train_iter = int(num_epochs), train_iter
        self.optimizer = optimizer
        # None for a stream, until it has ended once
        self.num_batches = num_batches(train_iter)
        self.batch, self.first_epoch = 0, len(history)
        self.drawn_at, self.seconds_to_draw = -math.inf, 0.0

    def __enter__(self):
        for epoch, point in enumerate(self.history.points(), start=1):
            self.animator.add_points(epoch, point)
        if len(self.history) > self.num_epochs:
            self.animator.axes[0].set_xlim(0, len(self.history))
        if len(self.history):  # perhaps there is no batch to come
            self.draw(self.history.title())
        done, total = len(self.history), None
        if self.num_batches:
            done, total = done * self.num_batches, self.num_epochs * self.num_batches
        # None: only in a terminal
        hidden = True if in_notebook() or rank() > 0 else None
        self.bar = tqdm(total=total, initial=done, unit="batch", disable=hidden)
        self.began = self.epoch_began = time.perf_counter()
        return self

    def add_batch(self, metric: Any, timer: Any) -> None:
        """Five times an epoch a point, every few seconds a drawing with time left.

        metric: an Accumulator of the epoch's loss, correct predictions and examples.
        """
        self.batch += 1
        self.check_finite(metric[0])
        epoch, done = len(self.history), None
        if self.num_batches:
            done = epoch + self.batch / self.num_batches
            every = max(1, self.num_batches // 5)
            # the very first batch too: the figure is there at once
            first = epoch == 0 and self.batch == 1
            if first or self.batch % every == 0 or self.batch == self.num_batches:
                means = metric[0] / metric[2], metric[1] / metric[2]
                self.animator.add_points(done, (*means, None))
        is_stale = self.is_stale()
        if self.bar.disable and not is_stale:  # timer adds up all its batches
            return
        where = f"epoch {epoch + 1}/{self.num_epochs}"
        speed = f"{num_processes() * metric[2] / timer.sum():.0f} examples/sec"
        if is_stale:
            self.draw(", ".join([where, speed, *self.time_left(done)]))
        if not self.bar.disable:
            self.bar.set_description(where, refresh=False)
            loss = f"loss {metric[0] / metric[2]:.3f}"
            self.bar.set_postfix_str(f"{loss}, {speed}", refresh=False)
            self.bar.update()

    def add_epoch(self, metric: Any, test_acc: float, timer: Any) -> None:
        """Add an epoch to the history and the point of its test to the figure."""
        now = time.perf_counter()
        metric = sum_over_processes(metric, self.train_iter)
        if metric[2] == 0:
            raise ValueError(
                f"train_iter gave no batch in epoch {len(self.history) + 1}: an "
                f"iterator can be read once only; give a DataLoader or a list"
            )
        seconds, self.epoch_began = now - self.epoch_began, now
        self.history.add_epoch(metric, test_acc, seconds, timer.sum())
        if self.num_batches:
            self.animator.add_points(len(self.history), (None, None, test_acc))
        else:
            self.num_batches = self.batch
            self.animator.add_points(len(self.history), self.history.points()[-1])
        self.batch = 0
        log.info("epoch %d/%d: %s", len(self.history), self.num_epochs, self.history)

    def __exit__(self, kind: type | None, error: Any, traceback: Any) -> bool:
        self.bar.close()
        title = self.history.title()
        if kind is KeyboardInterrupt:
            title = f"interrupted in epoch {len(self.history) + 1}"
            print(f"{title}: net is as far as it was trained")
        self.draw(title)
        return kind is KeyboardInterrupt

    def is_stale(self) -> bool:
        """Whether it is time for a drawing: the first, or the next, after 2 s or as
        many more as keep drawing below 2% of the time."""
        waited = time.perf_counter() - self.drawn_at
        return in_notebook() and waited > max(2, 50 * self.seconds_to_draw)

    def draw(self, title: str) -> None:
        began = time.perf_counter()
        self.animator.set_title(title)
        self.animator.draw()
        self.drawn_at = time.perf_counter()
        self.seconds_to_draw = self.drawn_at - began

    def time_left(self, done: float | None) -> list[str]:
        """done: epochs, with a part of the one that runs; None: not known."""
        if done is None:
            return []
        elapsed = time.perf_counter() - self.began
        left = elapsed / (done - self.first_epoch) * (self.num_epochs - done)
        return [f"{left:.0f} s left" if left < 100 else f"{left / 60:.0f} min left"]

    def check_finite(self, loss: float) -> None:
        """loss: the sum of the epoch so far."""
        if math.isfinite(loss):
            return
        epoch, lr = len(self.history) + 1, float(self.optimizer.param_groups[0]["lr"])
        advice = f"try a smaller lr than {lr:g}, say {lr / 10:g}"
        reason = "its steps are too large"
        if epoch == self.batch == 1 or lr == 0:
            reason = "no step has moved net yet"
            advice = "look for nan or infinity in the images and in what net computes"
        raise FloatingPointError(
            f"the loss became {loss} in epoch {epoch}, batch {self.batch}: {reason}. "
            f"Build a new net, and {advice}"
        )


def explain_guessing(history: Any, net: nn.Module) -> None:
    """Say what it means when the loss stayed where guessing puts it."""
    layers = [m for m in net.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    if not layers:
        return
    last = layers[-1]
    num_classes = getattr(last, "out_features", None) or last.out_channels
    guessing = math.log(num_classes)
    if all(abs(loss - guessing) < 0.01 for loss in history.train_loss):
        print(
            f"the loss stayed near {guessing:.3f} = ln({num_classes}): net gives every "
            f"class about the same chance. Train longer, or try another lr, "
            f"He's first weights (section 5.4) or batch normalisation (6.5)"
        )
