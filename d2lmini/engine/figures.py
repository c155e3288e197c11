"""How figures look and how they are shown: the course's style, SVG, a notebook or none.

matplotlib and IPython are imported where they are used: a training without pictures
needs neither, and they would make `import d2lmini` a fifth slower.
"""

from __future__ import annotations

import re
import sys
from html import escape, unescape
from typing import TYPE_CHECKING, Any

from d2lmini.engine.style import course_style

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


def new_figure(
    nrows: int, ncols: int, figsize: tuple[float, float]
) -> tuple[Figure, np.ndarray]:
    """A figure in the course's style and its axes, flat. pyplot does not hold it."""
    from d2lmini.engine.course_figure import Figure

    with course_style():
        fig = Figure(figsize=figsize)
        return fig, fig.subplots(nrows, ncols, squeeze=False).ravel()


def new_grid(nrows: int, ncols: int, figsize: tuple[float, float]) -> np.ndarray:
    """Axes for images, flat, in a figure that pyplot shows at the end of a cell."""
    from matplotlib import pyplot as plt

    from d2lmini.engine.course_figure import Figure

    options = {"figsize": figsize, "squeeze": False, "FigureClass": Figure}
    axes = plt.subplots(nrows, ncols, **options)[1].ravel()
    for ax in axes:
        ax.set_axis_off()
    return axes


def set_points(line: Line2D, x: list[float], y: list[float]) -> None:
    """Let line go through these points. One alone makes no line, so it gets a mark,
    which may stand on the edge."""
    line.set_data(x, y)
    if len(x) == 1 and line.get_marker() == "None":
        line.set(marker="o", gid="alone", clip_on=False)
    elif line.get_gid() == "alone":
        line.set(marker="None", gid=None, clip_on=True)


def in_notebook() -> bool:
    """Whether a front end with pictures is listening (a plain script has none)."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return hasattr(get_ipython(), "kernel")


def show(fig: Figure, handle: Any = None) -> Any:
    """Show fig in a notebook, or update it where handle, an earlier answer, has it."""
    if not in_notebook():
        return None
    from IPython.display import display

    # ready-made, so that it needs no setting that the reader's own figures would feel
    output = {"image/svg+xml": to_svg(fig), "text/plain": repr(fig)}
    if handle is None:
        return display(output, raw=True, display_id=True)
    handle.update(output, raw=True)
    return handle


def show_figures_as_svg() -> None:
    """In a notebook, from now on; the reader's other settings stay as they are."""
    if not in_notebook():
        return
    import matplotlib
    from IPython import get_ipython
    from matplotlib.figure import Figure
    from matplotlib_inline.backend_inline import set_matplotlib_formats

    if matplotlib.get_backend().lower() == "agg":  # MPLBACKEND, which shows nothing
        get_ipython().run_line_magic("matplotlib", "inline")
    set_matplotlib_formats("svg")
    formatters = get_ipython().display_formatter.formatters
    formatters["image/svg+xml"].for_type(Figure, to_svg)


def to_svg(fig: Figure) -> str | None:
    """fig as SVG, with a title and a description that a screen reader reads.

    Same data, same bytes. None where there is nothing to see.
    """
    from IPython.core.pylabtools import print_figure

    from d2lmini.engine.in_words import in_words

    titles = [fig.get_suptitle(), *(ax.get_title() for ax in fig.axes)]
    titles = [" ".join(title.split()) for title in titles if title]
    title = "; ".join(titles) if len(titles) < 4 else f"{len(titles)} pictures"
    svg = print_figure(fig, "svg", metadata={"Date": None, "Title": title})
    if svg is None:
        return None
    svg = re.sub(r'<text style="([^"]*)"([^>]*)>([^<]+)', with_width, svg)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "'DejaVu Sans', Verdana, sans-serif", svg)
    description = f"<desc>{escape(in_words(fig), quote=False)}</desc>"
    return svg.replace("<metadata>", f"{description}\n <metadata>", 1)


def with_width(text: re.Match) -> str:
    """A text of an SVG, with the width that it has here: so wide it is drawn
    everywhere, with whatever font. Chinese is not in ours, which can't measure it."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    style, place, words = text.groups()
    size = re.search(r"([\d.]+)px", style)
    if not re.search("(px|family:) 'DejaVu Sans'", style) or max(words) >= "\u2e80":
        return text[0]
    bold = re.search(r"\b700\b", style)
    font = FontProperties(size=size[1], weight="bold" if bold else "normal")

    def width(string):
        return text_to_path.get_text_width_height_descent(string, font, ismath=False)[0]

    # from bar to bar: a width alone is that of the ink, without the space around it
    length = width(f"|{unescape(words)}|") - width("||")
    fit = f'textLength="{length:.2f}" lengthAdjust="spacingAndGlyphs"'
    return f'<text style="{style}"{place} {fit}>{words}'


def as_numbers(value: Any, repeat: int = 1) -> list[float | None]:
    """Several numbers (a list, array or tensor) as a list, or one, repeat times.

    None stays None.
    """
    if hasattr(value, "__len__") and getattr(value, "ndim", 1) > 0:
        return [number for part in value for number in as_numbers(part)]
    if hasattr(value, "detach"):  # a loss that still requires grad
        value = value.detach()
    return [None if value is None else float(value)] * repeat
