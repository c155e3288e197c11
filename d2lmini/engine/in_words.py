"""What a figure shows, in words and numbers, for a reader who does not see it.

Everything is read from the figure's own artists, once it has been drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.text import Text

Names = dict[float, str]  # of places on an axis


def in_words(fig: Figure) -> str:
    """A line for each curve, series of bars, row of a matrix, or row of images.

    A curve without a name is called as its y axis.
    """
    panels = [ax for ax in fig.axes if ax.get_label() != "<colorbar>"]
    lines, rows, legend = [], {}, legend_of(fig)
    if is_grid_of_images(panels):
        lines += grid_of_images(panels)
    else:
        for ax in panels:
            if len(panels) > 1 and ax.get_title():
                lines.append(plain(ax.get_title()))
            rows = names_on(ax.yaxis, rows)
            lines += panel(ax, rows, legend)
    for ax in fig.axes:
        if ax not in panels:
            lines.append("colours from {} to {}".format(*map(number, ax.get_ylim())))
    return "\n".join(f"{line}." for line in lines)


def panel(ax: Axes, rows: Names, legend: dict) -> Iterator[str]:
    """The lines about one axes; rows: the names on its y axis."""
    columns = names_on(ax.xaxis)
    if not ax.axison:
        yield from drawing(ax)
    elif ax.images:
        grey = np.ndim(ax.images[0].get_array()) == 2
        yield from matrix(ax, rows, columns) if columns and grey else ["an image"]
    else:
        for axis in (ax.xaxis, ax.yaxis):
            scale = " (logarithmic)" if axis.get_scale() == "log" else ""
            if text := plain(axis.get_label_text() + scale):
                yield f"{axis.axis_name}: {text}"
        yield from bands(ax)
        yield from curves(ax, rows, legend)
        yield from bars(ax, rows, columns, legend)


# ---------------------------------------------------------------- kinds of pictures


def is_grid_of_images(panels: list[Axes]) -> bool:
    """Whether there are images, without names on their axes, and nothing else."""
    named = any(names_on(ax.xaxis) for ax in panels)
    others = any(ax.has_data() and not ax.images for ax in panels)
    return any(ax.images for ax in panels) and not named and not others


def grid_of_images(panels: list[Axes]) -> Iterator[str]:
    """For each row of axes how many images, and all that is written there."""
    from matplotlib.text import Text

    def row_of(ax):
        place = ax.get_subplotspec()
        return place.rowspan.start if place else 0

    rows = [list(row) for _, row in groupby(sorted(panels, key=row_of), row_of)]
    for i, row in enumerate(rows, start=1):
        names = []
        for ax in row:
            texts = [ax.get_title(), ax.get_ylabel(), *map(Text.get_text, ax.texts)]
            names += map(plain, filter(None, texts))
        n = sum(len(ax.images) for ax in row)
        count = f"row {i}, " * (len(rows) > 1) + f"{n} image" + "s" * (n != 1)
        yield f"{count}: {'; '.join(names)}" if names else count


def drawing(ax: Axes) -> Iterator[str]:
    """The texts, and the shapes that have a label, in the order of drawing.

    A label goes before a text; what stands in a frame stands in brackets.
    """
    from matplotlib.patches import Rectangle

    frames = [
        p for p in ax.patches if isinstance(p, Rectangle) and not p.get_facecolor()[3]
    ]

    def frame_of(artist):
        place = ax.transData.transform(anchor(artist)) if artist in ax.texts else (0, 0)
        return next((f for f in frames if f.contains_point(place)), None)

    def word(artist):
        return label(artist) or plain(artist.get_text() if artist in ax.texts else "")

    drawn = [c for c in ax.get_children() if c in ax.texts or c in ax.patches]
    parts = []
    for frame, artists in groupby(filter(word, drawn), frame_of):
        words = "; ".join(map(word, artists))
        parts.append(f"[{words}]" if frame else words)
    if parts:
        yield "; ".join(parts)


def matrix(ax: Axes, rows: Names, columns: Names) -> Iterator[str]:
    """Of each row of an image with names the three largest numbers."""
    labels = plain(ax.get_ylabel()), plain(ax.get_xlabel())
    if any(labels):
        yield "rows: {}; columns: {}".format(*labels)
    yield "the largest numbers of each row"
    for i, values in enumerate(np.asarray(ax.images[0].get_array())):
        largest = [j for j in np.argsort(-values, kind="stable")[:3] if values[j] > 0]
        parts = (f"{columns.get(j, j)} {number(values[j])}" for j in largest)
        yield f"{rows.get(i, i)}: {', '.join(parts) or 'none above 0'}"


def bands(ax: Axes) -> Iterator[str]:
    """The shapes with a label that are no bars: of a band, where it begins and ends."""
    in_bars = {bar for container in ax.containers for bar in container}
    for patch in ax.patches:
        if label(patch) and patch not in in_bars:
            box = patch.get_window_extent()
            (_, low), (_, high) = ax.transData.inverted().transform(box)
            ends = f": from {number(low)} to {number(high)}"
            yield label(patch) + (ends if box.width >= ax.bbox.width else "")


def curves(ax: Axes, rows: Names, legend: dict) -> Iterator[str]:
    """Of a line its telling points; of dots in a row with a name, all."""
    for line in ax.lines:
        points = np.ma.filled(np.ma.asarray(line.get_xydata(), float), np.nan)
        points = points[np.isfinite(points).all(axis=1)].tolist()
        with_x, with_y = line.get_transform().contains_branch_seperately(ax.transData)
        if not points or not (with_x or with_y):
            continue
        name = name_of(line, legend) or plain(ax.get_ylabel()) or "curve"
        xs, ys = zip(*points, strict=True)
        if not with_x:  # axhline
            yield f"{name}: a level line at {number(ys[0])}"
        elif not with_y:  # axvline
            yield f"{name}: an upright line at {number(xs[0])}"
        elif line.get_linestyle() == "None" and len({*ys}) == 1 and ys[0] in rows:
            yield f"{rows[ys[0]]}: {', '.join(map(number, xs))}"
        elif len(points) == 1:
            yield f"{name}: {number(ys[0])} at {number(xs[0])}"
        else:
            parts = (
                f"{' and '.join(marks)} {number(ys[i])} at {number(xs[i])}".lstrip()
                for i, marks in telling_points(ys)
            )
            yield f"{name}, {len(points)} points: {', '.join(parts)}"


def telling_points(ys: tuple[float, ...]) -> list[tuple[int, list[str]]]:
    """Places in ys, in order, with what is special there: all of up to 20 points, of
    more every tenth part and the two largest steps."""
    n = len(ys)
    special = [("first", 0), ("lowest", np.argmin(ys)), ("highest", np.argmax(ys))]
    special += [("last", n - 1)]
    if n > 20:
        for i in np.argsort(-np.abs(np.diff(ys)), kind="stable")[:2]:
            special += [("before a large step", i), ("after it", i + 1)]
    marks = {i: [] for i in range(0, n, 1 if n <= 20 else n // 10)}
    for mark, i in special:
        marks.setdefault(int(i), []).append(mark)
    return sorted(marks.items())


def bars(ax: Axes, rows: Names, columns: Names, legend: dict) -> Iterator[str]:
    """Of each series of bars the names, and the values as they are written there;
    before them what else is written."""
    from matplotlib.container import BarContainer
    from matplotlib.text import Text

    flat, values, series = {}, {}, {}  # the first two by bar
    for container in ax.containers:
        if isinstance(container, BarContainer):
            for bar in container:
                flat[bar] = container.orientation == "horizontal"
                values[bar] = number(bar.get_width() if flat[bar] else bar.get_height())
                name = label(container) or name_of(bar, legend)
                series.setdefault(name, []).append(bar)

    def distance(text, bar):
        x, y = np.abs(anchor(text) - bar.get_center()).round(6).tolist()
        return (y, x) if flat[bar] else (x, y)

    for text in filter(Text.get_text, ax.texts):
        nearest = min(
            values, key=lambda bar, text=text: distance(text, bar), default=None
        )
        if nearest and distance(text, nearest)[0] == 0:
            values[nearest] = plain(text.get_text())
        else:
            yield plain(text.get_text())

    for name, several in series.items():
        parts = []
        for bar in several:
            place = bar.get_center()[1 if flat[bar] else 0]
            names = rows if flat[bar] else columns
            parts.append(f"{nearest_name(place, names)}: {values[bar]}")
        yield (f"{name}: " if name else "") + "; ".join(parts)


# ---------------------------------------------------------------- names and numbers


def names_on(axis: Axis, default: Names | None = None) -> Names:
    """What stands at an axis in place of numbers; default, where it was left out.

    Panels side by side often have their names at the first alone.
    """
    from matplotlib.category import StrCategoryLocator
    from matplotlib.ticker import FixedLocator

    if not isinstance(axis.get_major_locator(), FixedLocator | StrCategoryLocator):
        return {}
    places = axis.get_majorticklocs()
    texts = [plain(str(t)) for t in axis.get_major_formatter().format_ticks(places)]
    if not any(texts):
        return default or {}
    return dict(zip(map(float, places), texts, strict=True))


def nearest_name(place: float, names: Names) -> str:
    nearest = min(names, key=lambda tick: abs(tick - place), default=np.inf)
    return names[nearest] if abs(nearest - place) < 0.5 else number(place)


def legend_of(fig: Figure) -> dict:
    """The names in the figure's legends, by how their lines and patches look."""
    legends = [*fig.legends, *filter(None, (ax.get_legend() for ax in fig.axes))]
    return {
        look(handle): plain(text.get_text())
        for legend in legends
        for handle, text in zip(legend.legend_handles, legend.texts, strict=False)
    }


def look(artist: Artist) -> tuple:
    """Colour, and the dashes of a line."""
    from matplotlib.colors import to_hex
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    if isinstance(artist, Line2D):
        return to_hex(artist.get_color()), artist.get_linestyle()
    return (to_hex(artist.get_facecolor()),) if isinstance(artist, Patch) else (artist,)


def name_of(artist: Artist, legend: dict) -> str:
    """Its own label, or that of what looks the same in a legend."""
    return label(artist) or legend.get(look(artist), "")


def label(artist: Artist) -> str:
    """Its label; matplotlib's own begin with a line."""
    text = plain(str(artist.get_label() or ""))
    return "" if text.startswith("_") else text


def anchor(text: Text) -> np.ndarray:
    """The point that a text belongs to, in the numbers of the axes."""
    x, y = getattr(text, "xy", text.get_position())
    return np.array([text.convert_xunits(x), text.convert_yunits(y)])


def plain(text: str) -> str:
    """text in one line."""
    return " ".join(text.split())


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
