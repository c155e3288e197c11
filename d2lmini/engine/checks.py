"""What is refused, and in which words: what was given, what is wanted, what to do.

Each function returns nothing (check_whole: the number) or raises ValueError. Whatever
d2l computes rightly passes.
"""

import math
import operator
import sys
from collections.abc import Sequence
from typing import Any

from torch import Tensor

# ---------------------------------------------------------------- arguments


def check_whole(name: str, value: Any, smallest: int = 1) -> int:
    """value as an int, where it is one (of Python's, numpy's, torch's)."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or number < smallest:
        raise ValueError(f"{name} must be a whole number from {smallest}, got {value}")
    return number


def check_number(name: str, value: Any, advice: str) -> None:
    """A finite number from 0."""
    try:
        fits = 0 <= value < math.inf
    except (TypeError, RuntimeError):
        fits = False
    if not fits:
        raise ValueError(f"{name} must be {advice}, got {value!r}")


def check_size(resize: Any) -> list[int] | None:
    """[height, width] of what load_data_fashion_mnist takes as resize."""
    if resize is None:
        return None
    several = hasattr(resize, "__len__") and getattr(resize, "ndim", 1) > 0
    size = list(resize) if several else [resize, resize]
    if len(size) != 2:
        raise ValueError(f"resize is a side or (height, width), got {resize!r}")
    return [check_whole("resize", side) for side in size]


# ---------------------------------------------------------------- models


def check_image_size(image_size: int, num_blocks: int) -> None:
    """Each block halves the image."""
    smallest = 2**num_blocks
    if image_size < smallest:
        raise ValueError(
            f"images of {image_size}x{image_size} are too small for {num_blocks} "
            f"poolings: the smallest side that works is {smallest}; "
            f"load larger ones with load_data_fashion_mnist(..., resize={smallest})"
        )


def check_ratio(ratio: int, channels: Sequence[int]) -> None:
    """Dividing by ratio must leave each layer a channel."""
    if check_whole("ratio", ratio) > min(channels):
        raise ValueError(
            f"ratio {ratio} would leave 0 of the {min(channels)} channels of a layer: "
            f"the largest ratio that works is {min(channels)}"
        )


# ---------------------------------------------------------------- metrics


def check_predictions(predicted: Tensor, y: Tensor) -> None:
    """One class for each label: broadcasting would compare all with all."""
    if predicted.shape != y.shape:
        raise ValueError(
            f"accuracy got predictions of shape {tuple(predicted.shape)} for labels of "
            f"shape {tuple(y.shape)}: one prediction per label is needed"
        )
    if predicted.is_floating_point() and (predicted != predicted.round()).any():
        raise ValueError(
            "accuracy got one score per label where it needs a class: give "
            "(y_hat > 0.5).long() for probabilities, (y_hat > 0).long() for scores "
            "before a sigmoid, or give net two columns of scores, one for each class"
        )


def check_number_of_values(values: Sequence, sums: Sequence) -> None:
    if len(values) != len(sums):
        raise ValueError(
            f"Accumulator({len(sums)}).add takes {len(sums)} values, got {len(values)}"
        )


def check_not_empty(num_predictions: float) -> None:
    if num_predictions == 0:
        raise ValueError("evaluate_accuracy_gpu: data_iter holds no examples")


def check_timed(times: Sequence) -> None:
    if not times:
        raise ValueError("Timer.avg: no interval yet; call start() and stop() first")


# ---------------------------------------------------------------- plotting


def check_points(x: Sequence, y: Sequence, curves: Sequence) -> None:
    if len(x) != len(y) or len(y) > len(curves):
        raise ValueError(
            f"Animator.add got {len(x)} x and {len(y)} y values for "
            f"{len(curves)} curves"
        )


def check_titles(titles: Sequence | None, num_images: int) -> None:
    if titles is not None and len(titles) < num_images:
        raise ValueError(f"{num_images} images, but {len(titles)} titles")


def check_formats(fmts: Sequence) -> None:
    if not fmts:
        raise ValueError("Animator draws its curves as fmts say: give at least one")


def check_label(i: Any) -> int:
    """The number of a class of Fashion-MNIST."""
    if int(i) != i or not 0 <= i <= 9:
        raise ValueError(f"labels are whole numbers from 0 to 9, got {i}")
    return int(i)


# ---------------------------------------------------------------- history


def check_history(
    train_loss: list,
    train_acc: list,
    test_acc: list,
    seconds: list,
    examples: float,
    train_seconds: float,
    about: dict,
) -> None:
    """What a file gave for a History must be what `save` writes."""
    curves, sums = [train_loss, train_acc, test_acc, seconds], [examples, train_seconds]
    lengths = {len(curve) if isinstance(curve, list) else None for curve in curves}
    if len(lengths) > 1 or None in lengths:
        raise ValueError("its curves are not lists of one length")
    largest = sys.float_info.max  # whole numbers may be too large for isfinite
    for n in sum(curves, sums):
        if type(n) not in (int, float) or not -largest <= n <= largest:
            raise ValueError("its curves and sums must hold finite numbers")
    if min(sum(curves[1:], sums)) < 0:
        raise ValueError("a number that cannot be negative is (only a loss can)")
    if not isinstance(about, dict):
        raise ValueError("its notes (about) are not a dict")
