"""The course's style for figures: course.mplstyle, and how it is put on and off."""

from contextlib import AbstractContextManager
from pathlib import Path

# Over matplotlib's own defaults, so that a dark style of the reader's has no say.
STYLE = ["default", str(Path(__file__).parents[1] / "course.mplstyle")]


def course_style() -> AbstractContextManager:
    """In the body, the course's style; after it, the reader's settings as before."""
    from matplotlib import style

    return style.context(STYLE)
