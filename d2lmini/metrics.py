"""Counting and timing: accuracy, Accumulator, Timer."""

import time
from itertools import accumulate

from torch import Tensor


def accuracy(y_hat: Tensor, y: Tensor) -> float:
    """Number of correct predictions, as a float (not a share: divide by len(y)).

    y_hat: scores of shape (batch, classes), where the largest score is the
    prediction, or predicted classes in the shape of y. y: true classes.
    Raises ValueError when the two do not fit. Source: d2l 1.0.3, section 3.6 (old API).
    """
    if y_hat.dim() > 1 and y_hat.shape[1] > 1:
        y_hat = y_hat.argmax(dim=1)
    if y_hat.shape != y.shape:  # broadcasting would compare every row with every label
        raise ValueError(
            f"accuracy got predictions of shape {tuple(y_hat.shape)} for labels of "
            f"shape {tuple(y.shape)}: one prediction per label is needed"
        )
    return float((y_hat.type(y.dtype) == y).sum())


class Accumulator:
    """Running sums over n variables. Source: d2l 1.0.3, `Accumulator`."""

    def __init__(self, n: int):
        if n < 1:
            raise ValueError(f"Accumulator needs at least 1 variable, got n={n}")
        self.data = [0.0] * n

    def add(self, *args: float | Tensor) -> None:
        """Add one number (or tensor of one element) to each of the n sums."""
        if len(args) != len(self.data):
            raise ValueError(
                f"Accumulator({len(self.data)}).add takes {len(self.data)} "
                f"values, got {len(args)}"
            )
        # detach: a sum must not keep the graph behind a loss alive
        args = [b.detach() if isinstance(b, Tensor) else b for b in args]
        self.data = [a + float(b) for a, b in zip(self.data, args, strict=True)]

    def reset(self) -> None:
        """Set all sums to 0."""
        self.data = [0.0] * len(self.data)

    def __getitem__(self, idx: int) -> float:
        return self.data[idx]


class Timer:
    """A stopwatch that keeps every interval, in seconds. Source: d2l 1.0.3, `Timer`."""

    def __init__(self):
        self.times: list[float] = []
        self.start()

    def start(self) -> None:
        """Start an interval."""
        self.tik = time.perf_counter()  # monotonic: setting the clock cannot break it

    def stop(self) -> float:
        """End the interval, keep it and return its length."""
        self.times.append(time.perf_counter() - self.tik)
        return self.times[-1]

    def avg(self) -> float:
        """Mean length of the intervals."""
        if not self.times:
            raise ValueError(
                "Timer.avg: no interval yet; call start() and stop() first"
            )
        return self.sum() / len(self.times)

    def sum(self) -> float:
        """Total length of the intervals."""
        return self.cumsum()[-1] if self.times else 0.0

    def cumsum(self) -> list[float]:
        """Total length after each interval."""
        return list(accumulate(self.times))
