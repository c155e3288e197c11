"""What the check cells of the exercises say: right, still to do, or expected."""

import contextlib

import numpy as np


class NotYet(AssertionError):
    """An answer that is missing or wrong. A notebook shows its text, no traceback."""

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


def check(what: str, answer, expected, hint: str, tolerance: float = 0) -> None:
    """Print that answer, which what names, is the expected one, or raise NotYet.

    answer: a number, a text, or several in a sequence or tensor; None: still to do.
    tolerance: how far a number may be off.
    """
    if answer is None:
        raise NotYet(f"{what}: still to do")
    right = np.array_equal(answer, expected)
    if tolerance:
        with contextlib.suppress(TypeError, ValueError, RuntimeError):  # no number
            right = abs(float(answer) - expected) <= tolerance
    if not right:
        raise NotYet(f"{what} is {answer}, expected {expected}.\nHint: {hint}")
    print(f"{what}: right")
