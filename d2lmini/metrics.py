"""Counting and timing: accuracy, Accumulator, Timer."""

import time
from itertools import accumulate

from torch import Tensor

from d2lmini.engine.checks import (
    check_number_of_values,
    check_predictions,
    check_timed,
    check_whole,
)


def accuracy(y_hat: Tensor, y: Tensor) -> float:
    """Number of correct predictions, as a float (not a share: divide by len(y)).

    y_hat: scores of shape (batch, classes), where the largest score is the
    prediction, or predicted classes in the shape of y. y: true classes.
    Raises ValueError when the two do not fit. Source: d2l 1.0.3, section 23.7.
    """
    if y_hat.dim() > 1 and y_hat.shape[1] > 1:
        y_hat = y_hat.argmax(dim=1)
    check_predictions(y_hat, y)
    return float((y_hat == y).sum())


class Accumulator:
    """Running sums over n variables. Source: d2l 1.0.3, `Accumulator`."""

    def __init__(self, n: int):
        self.data = [0.0] * check_whole("Accumulator's n", n)

    def add(self, *args: float | Tensor) -> None:
        """Add one number (or tensor of one element) to each of the n sums."""
        check_number_of_values(args, self.data)
        # detach: float() of a loss that still requires grad would warn
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
        """Mean length of the intervals. Raises ValueError without an interval."""
        check_timed(self.times)
        return self.sum() / len(self.times)

    def sum(self) -> float:
        """Total length of the intervals."""
        return self.cumsum()[-1] if self.times else 0.0

    def cumsum(self) -> list[float]:
        """Total length after each interval."""
        return list(accumulate(self.times))
