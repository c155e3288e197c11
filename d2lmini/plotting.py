"""Pictures: use_svg_display, set_axes, Animator, show_images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from typing import TYPE_CHECKING

from d2lmini.engine.checks import check_formats, check_points, check_titles
from d2lmini.engine.figures import (
    as_numbers,
    new_figure,
    new_grid,
    set_points,
    show,
    show_figures_as_svg,
)
from d2lmini.engine.style import STYLE, course_style

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

# The palette is Okabe and Ito's, which the colour-blind tell apart. The same thing has
# one colour in all chapters:
#   C0 (blue)      training loss; convolution; VGG-11
#   C1 (vermilion) training accuracy; linear layer; a quarter of the channels
#   C2 (green)     test accuracy; pooling
#   C3 (pink)      AlexNet; number of parameters
#   C4 (orange)    ReLU; number of operations; what is marked in an image
#   C5 (sky blue)  time; batch normalisation
FMTS = ("C0-", "C1--", "C2-.", "C3:", "C4-", "C5--")


def use_svg_display() -> None:
    """Show figures as SVG in a notebook, and draw all in the course's style.

    Titles and values become text that a screen reader reads. Source: d2l 1.0.3,
    section 2.4, which sets the format alone.
    """
    import matplotlib.pyplot as plt

    plt.style.use(STYLE)
    show_figures_as_svg()


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
        check_formats(fmts)
        self.fig, self.axes = new_figure(nrows, ncols, figsize)
        self.config_axes = lambda: set_axes(
            self.axes[0], xlabel, ylabel, xlim, ylim, xscale, yscale, legend
        )
        self.X, self.Y, self.fmts, self.lines, self.handle = None, None, fmts, [], None

    def add(self, x, y) -> None:
        """Add one point to each curve, and draw: y is a number, or several.

        x is one number for all curves, or as many as y. None adds no point.
        """
        self.add_points(x, y)
        self.draw()

    def add_points(self, x, y) -> None:
        """As `add`, but leave the drawing to a later `draw()`."""
        y = as_numbers(y)
        x = as_numbers(x, repeat=len(y))
        if self.X is None:
            self.X, self.Y = [[] for _ in y], [[] for _ in y]
            while self.lines:
                self.lines.pop().remove()
            with course_style():
                for _, fmt in zip(y, cycle(self.fmts)):
                    self.lines += self.axes[0].plot([], [], fmt)
                self.config_axes()
        check_points(x, y, self.Y)
        for i, (a, b) in enumerate(zip(x, y, strict=True)):
            if a is not None and b is not None:
                self.X[i].append(a)
                self.Y[i].append(b)
                set_points(self.lines[i], self.X[i], self.Y[i])
        self.axes[0].relim()
        self.axes[0].autoscale_view()

    def draw(self) -> None:
        """Show the figure, once there is a point to see; from then on update it."""
        if self.X and any(self.X):
            self.handle = show(self.fig, self.handle)

    def set_title(self, text: str) -> None:
        """Write text above the curves, to be seen from the next drawing on."""
        with course_style():
            self.axes[0].set_title(text)


def show_images(
    imgs: Sequence, num_rows: int, num_cols: int, titles=None, scale: float = 1.5
) -> np.ndarray:
    """Draw images in num_rows rows and num_cols columns; returns their axes, flat.

    imgs: tensors, arrays or PIL images of shape (h, w) or (h, w, 3); surplus ones are
    not drawn. titles: one text per image. scale: inches per image. Source: d2l 1.0.3.
    """
    check_titles(titles, min(len(imgs), num_rows * num_cols))
    with course_style():
        axes = new_grid(num_rows, num_cols, (num_cols * scale, num_rows * scale))
        for i, (ax, img) in enumerate(zip(axes, imgs, strict=False)):
            if hasattr(img, "detach"):
                img = img.detach().cpu().numpy()
            ax.imshow(img, cmap="gray")
            if titles is not None:
                ax.set_title(titles[i], fontweight="normal")
    return axes
