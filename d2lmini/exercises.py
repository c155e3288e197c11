"""What the check cells of the exercises say: right, still to do, or which way to go.

A message never holds the right value, so that nobody can copy it. It is in the language
of the notebook: messages/ has translations.
"""

from __future__ import annotations

import linecache
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr
from numbers import Real
from types import FrameType
from typing import Any

from torch import Tensor

from d2lmini.engine.language import say


class NotYet(AssertionError):
    """An answer that is missing or wrong. A notebook shows its text, no traceback."""

    def __init__(self, text: str, **values: str) -> None:
        super().__init__(say(text, **values))

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


def check(
    what: str,
    answer: Any,
    expected: Any,
    hint: str,
    why: str = "",
    tolerance: float = 0,
) -> None:
    """Print that answer, which what names, is right, and why; or raise NotYet.

    answer: a number, a text, several in a sequence or tensor, or a function without
    arguments that computes it, as in `ask`. None: still to do.
    tolerance: how far a number may be off. The message says in which way the answer is
    wrong (too large, of another shape), and gives the hint.
    """
    if callable(answer):
        answer = ask(what, answer, hint)
    if answer is None:
        raise NotYet("{what}: still to do", what=what)
    fault = _fault(_plain(answer), _plain(expected), tolerance)
    if fault:
        text = "{what} is {answer}: {fault}.\nHint: {hint}"
        raise NotYet(text, what=what, answer=_shown(answer), fault=fault, hint=hint)
    print(say("{what}: right. {why}" if why else "{what}: right.", what=what, why=why))


def ask(what: str, function: Callable[[], Any], hint: str) -> Any:
    """What function returns, which what names; raises NotYet when that is None.

    What function raises is told in a line, with the line of the notebook where it was.
    """
    caller = sys._getframe(1)
    while caller.f_globals is globals():  # check itself
        caller = caller.f_back
    try:
        with redirect_stderr(sys.stdout):  # nbgrader takes a warning for a failure
            answer = function()
    except NotYet:  # of a check inside
        raise
    except (Exception, SystemExit) as error:
        line = _own_line(error, caller)
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        text = "{what} fails: {reason}\nIn your line: {line}\nHint: {hint}"
        if not line:
            text = "{what} fails: {reason}\nHint: {hint}"
        raise NotYet(text, what=what, reason=reason, line=line, hint=hint) from None
    if answer is None:
        text = "{what} returned None, or no return at all: still to do"
        raise NotYet(text, what=what)
    return answer


def _own_line(error: BaseException, check_cell: FrameType) -> str:
    """The innermost line of the notebook that led to error, outside of the check."""
    for frame, number in reversed(list(traceback.walk_tb(error.__traceback__))):
        name = frame.f_code.co_filename
        here = frame.f_globals is check_cell.f_globals
        if here and name != check_cell.f_code.co_filename:
            return linecache.getline(name, number).strip()
    return ""


def _plain(value: Any) -> Any:
    """Numbers, texts and lists of Python's own, whatever they came in."""
    if isinstance(value, Tensor):
        return value.detach().cpu().tolist()
    if isinstance(value, list | tuple | range):
        return [_plain(v) for v in value]
    if isinstance(value, bool | str | int | float):
        kind = next(k for k in (bool, str, int, float) if isinstance(value, k))
        return value if kind is bool else kind.__add__(value, kind())
    if hasattr(value, "tolist"):  # numpy's
        return _plain(value.tolist())
    return float(value) if isinstance(value, Real) else value


def _fault(answer: Any, expected: Any, tolerance: float) -> str:
    """In which way answer is wrong; "" when it is right. Both are plain."""
    if isinstance(expected, list):
        if not isinstance(answer, list):
            return "several values are wanted"
        if _shape(answer) != _shape(expected):
            return f"its shape is {_shape(answer)}, where {_shape(expected)} is wanted"
        for i, (a, b) in enumerate(zip(answer, expected, strict=True)):
            if fault := _fault(a, b, tolerance):
                return fault if ": " in fault else f"number {i + 1}: {fault}"
        return ""
    if isinstance(expected, bool | str):
        same = type(answer) is type(expected) and answer == expected
        return "" if same else "not right"
    if type(answer) not in (int, float):
        return "a number is wanted"
    if answer != answer:
        return "not a number"
    if abs(answer - expected) > tolerance:
        return "too large" if answer > expected else "too small"
    return ""


def _shape(value: Any) -> tuple[int, ...]:
    if not isinstance(value, list):
        return ()
    return (len(value), *(_shape(value[0]) if value else ()))


def _shown(answer: Any) -> str:
    if isinstance(answer, Tensor):
        answer = answer.detach()
        if answer.numel() > 20:
            return f"a tensor of shape {tuple(answer.shape)}"
    text = repr(answer)
    return text if len(text) < 100 else f"{text[:97]}..."
