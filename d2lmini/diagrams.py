"""Drawings that teach VGG and whose code teaches only matplotlib: chapters call them.

Each draws a figure of its own, which a notebook shows at the end of the cell. Colours
mean what they mean in all chapters (see plotting.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import TYPE_CHECKING

from torch import Tensor, nn

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

COLORS = {"Conv2d": "C0", "ReLU": "C4", "MaxPool2d": "C2", "Linear": "C1"}


def new_drawing(width: float, height: float, title: str) -> Axes:
    """Empty axes without ticks, width by height inches; 1 is as long in x as in y."""
    from matplotlib import pyplot as plt

    ax = plt.subplots(figsize=(width, height))[1]
    ax.set(title=title, aspect="equal")
    ax.axis("off")
    return ax


# ---------------------------------------------------------------- whole networks


def draw_columns(networks: dict[str, Sequence], title: str) -> None:
    """Networks side by side, a column each, from the image at the bottom upwards.

    A layer is a text that begins with conv, pool or linear. A list of layers is a block
    and gets a frame: {"a tiny network": [["conv 3×3, 8", "pool"], "linear 10"]}.
    """
    from matplotlib.patches import Rectangle

    colors = {"conv": "C0", "pool": "C2", "linear": "C1"}
    ax = new_drawing(2.4 * len(networks), 6, title)
    highest = 0
    for left, (name, parts) in zip(range(0, 99, 4), networks.items(), strict=False):
        y = 0
        ax.text(left + 1.5, -0.5, name, ha="center", fontsize=11)
        for part in parts:
            layers = [part] if isinstance(part, str) else part
            if layers is part:
                frame = (left - 0.15, y - 0.1), 3.3, 0.6 * len(part) + 0.1
                ax.add_patch(Rectangle(*frame, fc="none", ec="0.4"))
            for layer in layers:
                color = colors[layer.split()[0]]
                ax.add_patch(Rectangle((left, y), 3, 0.5, color=color))
                style = {"ha": "center", "va": "center", "color": "white"}
                ax.text(left + 1.5, y + 0.25, layer, fontsize=9, **style)
                y += 0.6
            y += 0.15
        highest = max(highest, y)
    ax.set(xlim=(-0.3, left + 3.3), ylim=(-0.7, highest + 0.1))


def draw_network(
    conv_arch: Sequence[tuple[int, int]], image_size: int, title: str
) -> None:
    """A VGG network as boxes: as high as the images, the wider, the more channels.

    Below each block stands what it gives out. The head follows as bars, which are not
    to scale: it holds no images.
    """
    ax = new_drawing(9.5, 3.8, title)
    unit = image_size / 160  # all lengths below are for images of 160×160 pixels

    def label(x, y, text):
        style = {"ha": "center", "va": "center", "fontsize": 9}
        return ax.text(x, y * unit, text, **style)

    side = image_size
    left = draw_box(ax, 0, side, 3 * unit, "0.5") + 14 * unit
    label(20 * unit, -100, f"image\n1×{side}×{side}")
    for i, (num_convs, channels) in enumerate(conv_arch, start=1):
        start, high, width = left, side / unit, channels / 16 * unit
        name = label(start, high * 0.8 + 12, f"block {i}")
        for _ in range(num_convs):
            left = draw_box(ax, left, side, width, "C0", "convolution") + 3 * unit
        side //= 2
        left = draw_box(ax, left, side, width, "C2", "pooling")
        name.set_x((start + left) / 2)
        label((start + left) / 2, -high / 2 - 12, f"{channels}×{side}×{side}")
        left += 18 * unit
    left += 20 * unit
    label(left + 45 * unit, 66, "head (not to scale)")
    for features, height in (("1024", 60), ("128", 30), ("10", 12)):
        draw_box(ax, left, height * unit, 4 * unit, "C1", "linear layer")
        label(left + 4 * unit, -height / 2 - 10, features)
        left += 40 * unit
    ax.set(xlim=(-10 * unit, left), ylim=(-0.72 * image_size, 0.95 * image_size))


def draw_box(
    ax: Axes, left: float, side: float, width: float, color: str, name: str = ""
) -> float:
    """A box, side high and deep, seen from the front, above and right.

    Its front is centred on height 0. name: what it stands for, for a reader who does
    not see it. Returns its right end.
    """
    from matplotlib.patches import Polygon

    right, y, back = (
        left + width,
        side / 2,
        side * 0.3,
    )  # back: what is behind, is moved
    top = [(left, y), (left + back, y + back), (right + back, y + back), (right, y)]
    flank = [
        (right, -y),
        (right, y),
        (right + back, y + back),
        (right + back, back - y),
    ]
    front = [(left, -y), (left, y), (right, y), (right, -y)]
    for corners, shade in ((top, 0.35), (flank, 0.55), (front, 0.8)):
        ax.add_patch(Polygon(corners, fc="white", ec="white"))
        ax.add_patch(Polygon(corners, fc=color, ec="white", lw=0.7, alpha=shade))
    ax.patches[-1].set_label(name)
    return right + back


# ---------------------------------------------------------------- a block


def draw_block(block: nn.Sequential, X: Tensor, title: str) -> None:
    """The layers of block, and between them what flows: stacks of images, to scale.

    X: what goes in, of shape (1, channels, height, width). A stack has at most four
    sheets; below it stand channels × height × width.
    """
    ax = new_drawing(1.2 + 1.9 * len(block), 2, title)
    scale = 1 / X.shape[3]
    right = draw_stack(ax, 0, X, scale)
    for layer in block:
        name, X = type(layer).__name__, layer(X)
        arrow = {"arrowstyle": "->", "color": "0.4"}
        ax.annotate("", (right + 1.75, 0), (right, 0), arrowprops=arrow)
        pill = {"boxstyle": "round", "fc": COLORS[name], "ec": "none"}
        style = {"ha": "center", "va": "bottom", "fontsize": 9, "color": "white"}
        ax.text(right + 0.85, 0.14, name, bbox=pill, **style)
        right = draw_stack(ax, right + 1.8, X, scale)
    ax.set(xlim=(-0.1, right + 0.2), ylim=(-0.85, 0.75))


def draw_stack(ax: Axes, left: float, X: Tensor, scale: float) -> float:
    """X as a stack of up to four sheets, its size below; returns its right end."""
    from matplotlib.patches import Rectangle

    side, sheets = X.shape[3] * scale, min(4, X.shape[1])
    for k in reversed(range(sheets)):
        corner = (left + 0.06 * k, 0.06 * k - side / 2)
        ax.add_patch(Rectangle(corner, side, side, fc="white", ec="0.4"))
    size = "×".join(map(str, X.shape[1:]))
    ax.text(left + side / 2, -0.72, size, ha="center", va="center", fontsize=9)
    return left + side + 0.06 * (sheets - 1)


# ---------------------------------------------------------------- what a unit sees


def draw_windows(title: str) -> None:
    """5×5 pixels under one 3×3 convolution without padding, then under a second.

    A window and the value that it becomes have one colour.
    """
    from matplotlib.patches import Rectangle

    ax = new_drawing(7, 2.9, title)

    def square(left, top, side, **style):
        ax.add_patch(Rectangle((left, top - side), side, side, lw=2, **style))

    for left, side in ((0, 5), (8, 3), (14, 1)):
        for x in range(side):
            for y in range(side):
                square(left + x, side / 2 - y, 1, fc="0.93", ec="white")
        ax.text(left + side / 2, -3.2, f"{side}×{side}", ha="center", fontsize=9)
    for left in (5, 11):
        arrow = {"arrowstyle": "->", "color": "0.4"}
        ax.annotate("", (left + 2.6, 0), (left + 0.4, 0), arrowprops=arrow)
        ax.text(left + 1.5, 0.3, "3×3", ha="center", fontsize=9)

    # three of the nine windows (the second a little aside, to be seen), then the last
    for x, y, color, aside in ((0, 0, "C0", 0), (1, 0, "C4", 0.1), (2, 2, "C2", 0)):
        square(x + aside, 2.5 - y - aside, 3, fc="none", ec=color)
        square(8 + x, 1.5 - y, 1, color=color)
    square(8, 1.5, 3, fc="none", ec="C3")
    square(14, 0.5, 1, color="C3")
    ax.set(xlim=(-0.2, 15.3), ylim=(-3.6, 2.8))


def draw_receptive_field(title: str) -> None:
    """A row of pixels under two blocks of one convolution each, and what one unit sees.

    Each dot is a unit, above the middle of what it sees; in colour is all that the
    uppermost marked one depends on. At the right stand r, the number of pixels in a row
    that a unit sees, and d, the pixels from one unit to the next.
    """
    from matplotlib import pyplot as plt

    ax = plt.subplots(figsize=(8, 3.6))[1]
    ax.axis("off")
    ax.set(title=title, xlim=(-4, 17), ylim=(-0.5, 4.5))
    names = ["pixels", "convolution", "pooling", "convolution", "pooling"]
    places = [list(range(14))]  # of the units in each row
    for name in names[1:]:
        row = places[-1]  # a convolution with padding gives a unit for each one below
        if name == "pooling":
            row = [(a + b) / 2 for a, b in zip(row[::2], row[1::2], strict=False)]
        places.append(row)

    seen = {1}  # numbers of the marked units of a row, the uppermost row first
    for level in range(4, -1, -1):
        name, row, reads = names[level], places[level], set()
        color = {"pixels": "0.3", "convolution": "C0", "pooling": "C2"}[name]
        for i, x in enumerate(row):
            marker = "s" if name == "pixels" else "o"
            ax.plot(x, level, marker, ms=9, color=color if i in seen else "0.85")
        for i in seen if level else ():
            below = (2 * i, 2 * i + 1) if name == "pooling" else (i - 1, i, i + 1)
            for j in below:
                ends = [row[i], places[level - 1][j]], [level, level - 1]
                ax.plot(*ends, color="0.6", lw=1, zorder=1)
            reads.update(below)
        seen = reads

    r, d = 1, 1
    for level, name in enumerate(names):
        if name == "convolution":
            r += 2 * d
        elif name == "pooling":
            r, d = r + d, 2 * d
        ax.text(-1, level, name, ha="right", va="center", fontsize=9)
        ax.text(14, level, f"r = {r}, d = {d}", va="center", fontsize=9)


# ---------------------------------------------------------------- numbers per layer


def draw_bars(
    names: Sequence[str], values: Sequence[float], xlabel: str, title: str
) -> None:
    """A bar with its value for each layer; linear layers have another colour.

    names: a text per layer, "conv 1" or "linear 1".
    """
    from matplotlib import pyplot as plt

    ax = plt.subplots(figsize=(6, 3.2))[1]
    colors = ["C1" if name.startswith("linear") else "C0" for name in names]
    bars = ax.barh(names, values, color=colors)
    labels = [f"{v:.2f}" if v >= 0.01 else "<0.01" for v in values]
    ax.bar_label(bars, labels, padding=3, fontsize=9)
    ax.invert_yaxis()
    ax.set(title=title, xlabel=xlabel, xlim=(0, max(values) * 1.12))


# ---------------------------------------------------------------- chapter 6


def draw_memory_order(channels: int = 3, height: int = 2, width: int = 3) -> None:
    """An image's numbers as maps and as the line of memory, in both orders.

    A colour for each channel, a number for each pixel.
    """
    from matplotlib import pyplot as plt

    pixels = range(height * width)
    default = [(c, p) for c in range(channels) for p in pixels]
    last = [(c, p) for p in pixels for c in range(channels)]
    fig, ax = plt.subplots(figsize=(7, 2.8))
    ax.text(-0.3, 2, f"{channels} channels", ha="right", va="center")
    for c in range(channels):
        for p in pixels:
            x = c * (width + 1) + p % width
            _draw_cell(ax, x, 2 - p // width, c, p)
    for y, name, order in ((-0.8, "default", default), (-2.6, "channels last", last)):
        ax.text(-0.3, y + 0.5, name, ha="right", va="center")
        for x, (c, p) in enumerate(order):
            _draw_cell(ax, x, y, c, p)
    ax.set(xlim=(-4.2, len(default)), ylim=(-2.8, 3.2), aspect="equal")
    ax.set_axis_off()
    ax.set_title("The same numbers, in two orders in memory")


def _draw_cell(ax: Axes, x: float, y: float, channel: int, pixel: int) -> None:
    from matplotlib.patches import Rectangle

    ax.add_patch(Rectangle((x, y), 1, 1, facecolor=f"C{channel}", edgecolor="white"))
    style = {"ha": "center", "va": "center", "color": "white"}
    name = f"channel {channel} pixel {pixel}"  # for a reader who does not see colours
    ax.text(x + 0.5, y + 0.5, pixel, label=name, **style)


def draw_seeds(values: Mapping[str, Sequence[float]], ax: Axes) -> None:
    """A row for each name: a dot for each of its values, and a bar at their mean."""
    for row, numbers in enumerate(values.values()):
        ax.plot(numbers, [row] * len(numbers), "C2o", markersize=5, alpha=0.5)
        ax.plot(mean(numbers), row, "k|", markersize=14)
    ax.set_yticks(range(len(values)), values)
    ax.set_ylim(len(values) - 0.5, -0.5)
    ax.grid(axis="x")


# ---------------------------------------------------------------- chapter 5


def draw_confusion(confusion: Tensor, names: Sequence[str]) -> np.ndarray:
    """A confusion matrix with its numbers, and the shares of its rows and columns.

    confusion: (classes, classes) counts, a row for each true class; names: of the
    classes. A class that was never predicted has no bar for its column.
    """
    from matplotlib import pyplot as plt

    fig, (ax, bars) = plt.subplots(1, 2, figsize=(9, 5), width_ratios=(5, 3.5))
    ax.imshow(confusion, cmap="Blues")
    for i, row in enumerate(confusion.tolist()):
        for j, count in enumerate(row):
            color = "white" if count > confusion.max() / 2 else "black"
            ax.text(j, i, count, ha="center", va="center", fontsize=9, color=color)
    places = list(range(len(names)))
    ax.set_xticks(places, names, rotation=45, ha="right")
    ax.set_yticks(places, names)
    ax.set(xlabel="predicted", ylabel="true")

    correct = confusion.diagonal()
    found, right = correct / confusion.sum(dim=1), correct / confusion.sum(dim=0)
    style = {"height": 0.35}
    bars.barh([i - 0.2 for i in places], found, color="C2", label="row", **style)
    bars.barh([i + 0.2 for i in places], right, color="0.6", label="column", **style)
    bars.set_yticks(places, [])
    bars.set(xlim=(0, 1), ylim=ax.get_ylim(), xlabel="share on the diagonal")
    bars.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
    fig.tight_layout()
    return fig.axes


def draw_confusions(matrices: dict[str, Tensor], names: Sequence[str]) -> np.ndarray:
    """Confusion matrices side by side, without numbers, each under its title."""
    from matplotlib import pyplot as plt

    width = 2.3 * len(matrices)
    _, axes = plt.subplots(1, len(matrices), figsize=(width, 2.8), squeeze=False)
    places = range(len(names))
    for ax, (title, confusion) in zip(axes[0], matrices.items(), strict=True):
        ax.imshow(confusion, cmap="Blues")
        ax.set_xticks(places, names, rotation=90, fontsize=7)
        ax.set_yticks(places, [])
        ax.set(title=title)
    axes[0, 0].set_yticks(places, names, fontsize=7)
    axes[0, 0].set_ylabel("true")
    axes[0, 0].set_xlabel("predicted")
    return axes[0]


def draw_filters(filters: dict[str, Tensor]) -> np.ndarray:
    """Filters of a first convolution, a row for each name; returns axes (rows, n).

    filters: (n, 1, 3, 3) by name. Orange is positive, violet negative; all have one
    scale, which a bar at the right shows.
    """
    from matplotlib import pyplot as plt

    n = len(next(iter(filters.values())))
    size = (0.56 * n, 0.72 * len(filters))
    fig, axes = plt.subplots(len(filters), n, figsize=size, squeeze=False)
    largest = max(f.abs().max().item() for f in filters.values())
    for row, (name, weights) in zip(axes, filters.items(), strict=True):
        for ax, weight in zip(row, weights, strict=True):
            image = ax.imshow(weight[0], cmap="PuOr_r", vmin=-largest, vmax=largest)
            ax.set(xticks=[], yticks=[])
        row[0].set_ylabel(name, rotation=0, ha="right", va="center")
    fig.colorbar(image, ax=axes, fraction=0.02, pad=0.01, label="weight")
    return axes


def draw_feature_maps(maps: Sequence[Tensor], num_maps: int = 8) -> np.ndarray:
    """What an image becomes, a row for each block; returns axes (blocks, 1 + num_maps).

    maps: what each block gives out, (1, channels, h, w). A row shows the channels with
    the highest mean, black for 0 and white for the row's largest number.
    """
    from matplotlib import pyplot as plt

    size = (num_maps + 1, len(maps))
    _, axes = plt.subplots(len(maps), num_maps + 1, figsize=size, squeeze=False)
    for i, (row, x) in enumerate(zip(axes, maps, strict=True), start=1):
        row[0].text(0, 0.5, f"block {i}\n{x.shape[2]}×{x.shape[3]}", va="center")
        row[0].axis("off")
        strongest = x[0].mean(dim=(1, 2)).topk(num_maps).indices
        for ax, channel in zip(row[1:], strongest, strict=True):
            ax.imshow(x[0, channel], cmap="gray", vmin=0, vmax=x.max().item())
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set_visible(True)
    return axes
