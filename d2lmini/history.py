"""History, what train_ch6 returns: a training in numbers."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from d2lmini.engine.checks import check_history
from d2lmini.engine.files import write_whole
from d2lmini.metrics import Accumulator
from d2lmini.plotting import Animator

if TYPE_CHECKING:
    import torch
    from matplotlib.figure import Figure

LEGEND = ["train loss", "train acc", "test acc"]
FIGSIZE = (5, 3.2)  # inches


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
        animator = Animator("epoch", legend=LEGEND, figsize=FIGSIZE)
        for epoch, point in enumerate(self.points(), start=1):
            animator.add_points(epoch, point)
        animator.set_title(self.title())
        return animator.fig

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

    def report(self, device: torch.device | str) -> None:
        """Print the last epoch's results and the speed, as d2l does."""
        print(
            f"loss {self.train_loss[-1]:.3f}, train acc {self.train_acc[-1]:.3f}, "
            f"test acc {self.test_acc[-1]:.3f}"
        )
        print(f"{self.examples_per_sec:.1f} examples/sec on {device}")

    def save(self, path: str | os.PathLike) -> None:
        """Write JSON to path, whole or not at all."""
        check_history(**asdict(self))
        write_whole(Path(path), (json.dumps(asdict(self), indent=1) + "\n").encode())

    @classmethod
    def load(cls, path: str | os.PathLike) -> History:
        """Read what `save` wrote. Raises ValueError for any other content."""
        try:
            history = cls(**json.loads(Path(path).read_text(encoding="utf-8")))
            check_history(**asdict(history))
            return history
        except OSError as error:
            raise type(error)(
                f"cannot read {path} ({error.strerror}): give a file that save() wrote"
            ) from None
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(
                f"{path} is not a saved History: {error}. Give a file that save() wrote"
            ) from None
