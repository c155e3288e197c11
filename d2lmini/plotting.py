"""Pictures: use_svg_display, set_axes, Animator, show_images.

matplotlib and IPython are imported inside the functions: a training without pictures
needs neither, and they would make `import d2lmini` a fifth slower.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind tell apart. The same thing has one
# colour in all chapters:
COLORS = [
    "#0072B2",  # C0: training loss; convolution; VGG-11
    "#D55E00",  # C1: training accuracy; linear layer; a quarter of the channels
    "#009E73",  # C2: test accuracy; pooling
    "#CC79A7",  # C3: AlexNet; number of parameters
    "#E69F00",  # C4: ReLU; number of operations; what is marked in an image
    "#56B4E9",  # C5: time; batch normalisation
]
FMTS = ("C0-", "C1--", "C2-.", "C3:", "C4-", "C5--")


def use_svg_display() -> None:
    """Draw as SVG in notebooks, in the course's style; same data, same bytes.

    Titles become the text that a screen reader reads. Source: d2l 1.0.3, section 2.4,
    which sets the format alone.
    """
    import matplotlib as mpl

    mpl.rcParams.update(
        {
            "axes.prop_cycle": mpl.cycler(color=COLORS),
            "axes.edgecolor": "#666666",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "axes.titlesize": "medium",
            "axes.titleweight": "bold",
            "figure.facecolor": "white",  # readable in a dark theme too
            "figure.titlesize": "medium",
            "figure.titleweight": "bold",
            "grid.color": "#dddddd",
            "legend.frameon": False,
            "xtick.color": "#444444",
            "ytick.color": "#444444",
            "svg.hashsalt": "d2lmini",  # else the ids inside an SVG are random
        }
    )
    if in_notebook():
        from IPython import get_ipython
        from matplotlib.figure import Figure
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("svg")
        formatters = get_ipython().display_formatter.formatters
        formatters["image/svg+xml"].for_type(Figure, _svg)


def _svg(fig: Figure) -> str:
    """fig as SVG, without today's date, and with a title of its own."""
    from IPython.core.pylabtools import print_figure

    titles = [fig.get_suptitle(), *(ax.get_title() for ax in fig.axes)]
    title = "; ".join(filter(None, titles)).replace("\n", " ")
    return print_figure(fig, "svg", metadata={"Date": None, "Title": title})


def in_notebook() -> bool:
    """Whether a front end with pictures is listening (a plain script has none)."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    return hasattr(get_ipython(), "kernel")


def set_axes(
    axes: Axes, xlabel, ylabel, xlim, ylim, xscale, yscale, legend: Sequence[str]
) -> None:
    """Set labels, limits (None: as the data need), scales, legend and grid of axes.

    Source: d2l 1.0.3, section 2.4.
    """
    axes.set_xlabel(xlabel)
    axes.set_ylabel(ylabel)
    axes.set_xscale(xscale)
    axes.set_yscale(yscale)
    if xlim is not None:  # set_xlim(None) would end the automatic limits
        axes.set_xlim(xlim)
    if ylim is not None:
        axes.set_ylim(ylim)
    if legend:
        axes.legend(legend)
    axes.grid(True)


class Animator:
    """Curves that grow while the cell runs: one figure, updated in place.

    In a script it draws nothing; save its picture with `animator.fig.savefig(path)`.
    X and Y hold the points of each curve. Source: d2l 1.0.3, `Animator`.
    """

    def __init__(
        self, xlabel=None, ylabel=None, legend=None, xlim=None, ylim=None,
        xscale="linear", yscale="linear", fmts=FMTS,
        nrows=1, ncols=1, figsize=(3.5, 2.5),
    ):  # fmt: skip
        from matplotlib.figure import Figure

        use_svg_display()
        # Not plt.subplots: pyplot would keep every figure alive.
        self.fig = Figure(figsize=figsize)
        self.axes = self.fig.subplots(nrows, ncols, squeeze=False).ravel()
        self.config_axes = lambda: set_axes(
            self.axes[0], xlabel, ylabel, xlim, ylim, xscale, yscale, legend
        )
        self.X, self.Y, self.lines, self.fmts = None, None, [], fmts
        self._handle, self._drawn_at, self._draw_seconds = None, -math.inf, 0.0

    def add(self, x, y, draw: bool = True) -> None:
        """Add one point to each curve: y is a number or a sequence, None adds none.

        x is one number for all curves, or a sequence as long as y. draw=False leaves
        the drawing to a later `draw()`.
        """
        y = list(y) if _is_sequence(y) else [y]
        x = list(x) if _is_sequence(x) else [x] * len(y)
        if self.X is None:
            self._add_curves(len(y))
        if len(x) != len(y) or len(y) > len(self.Y):
            raise ValueError(
                f"Animator.add got {len(x)} x and {len(y)} y values for "
                f"{len(self.Y)} curves"
            )
        for i, (a, b) in enumerate(zip(x, y, strict=True)):
            if a is not None and b is not None:
                self.X[i].append(_number(a))
                self.Y[i].append(_number(b))
                self.lines[i].set_data(self.X[i], self.Y[i])
                # one point alone makes no line, so mark it
                alone = len(self.X[i]) == 1 and self._markers[i] == "None"
                self.lines[i].set_marker("o" if alone else self._markers[i])
        self.axes[0].relim()
        self.axes[0].autoscale_view()
        if draw:
            self.draw()

    def set_title(self, text: str) -> None:
        """Write text above the curves, to be seen from the next drawing on."""
        self.axes[0].set_title(text, fontsize="medium")

    def is_stale(self) -> bool:
        """Whether it is time for a drawing: the first, or the next, after 2 s or as
        many more as keep drawing below 2% of the time."""
        waited = time.perf_counter() - self._drawn_at
        return in_notebook() and waited > max(2, 50 * self._draw_seconds)

    def _add_curves(self, n: int) -> None:
        self.X, self.Y = [[] for _ in range(n)], [[] for _ in range(n)]
        for _, fmt in zip(range(n), cycle(self.fmts)):
            self.lines += self.axes[0].plot([], [], fmt)
        self._markers = [line.get_marker() for line in self.lines]
        self.config_axes()

    def draw(self) -> None:
        """Show the figure, once there is a point to see; from then on update it."""
        if not self.X or not any(self.X) or not in_notebook():
            return
        from IPython.display import display

        began = time.perf_counter()
        if self._handle is None:
            self._handle = display(self.fig, display_id=True)
        else:
            self._handle.update(self.fig)
        self._drawn_at = time.perf_counter()
        self._draw_seconds = self._drawn_at - began


def _is_sequence(value) -> bool:
    """Whether value holds several numbers; a tensor of 0 dimensions does not."""
    return hasattr(value, "__len__") and getattr(value, "ndim", 1) > 0


def _number(value) -> float:
    """value as a float; a loss is detached first, else torch warns."""
    return float(value.detach() if hasattr(value, "detach") else value)


def show_images(
    imgs: Sequence, num_rows: int, num_cols: int, titles=None, scale: float = 1.5
) -> np.ndarray:
    """Draw images in num_rows rows and num_cols columns; returns their axes, flat.

    imgs: tensors, arrays or PIL images of shape (h, w) or (h, w, 3); surplus ones are
    not drawn. titles: one text per image. scale: inches per image. Source: d2l 1.0.3.
    """
    import matplotlib.pyplot as plt

    if titles is not None and len(titles) < min(len(imgs), num_rows * num_cols):
        raise ValueError(f"{len(imgs)} images, but {len(titles)} titles")
    figsize = (num_cols * scale, num_rows * scale)
    _, axes = plt.subplots(num_rows, num_cols, figsize=figsize, squeeze=False)
    axes = axes.ravel()
    for ax in axes:
        ax.set_axis_off()
    for i, (ax, img) in enumerate(zip(axes, imgs, strict=False)):
        if hasattr(img, "detach"):
            img = img.detach().cpu().numpy()
        ax.imshow(img, cmap="gray")
        if titles is not None:
            ax.set_title(titles[i], fontweight="normal")
    return axes
