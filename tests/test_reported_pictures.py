"""Pictures that others could not read, did not get, or found changed."""

import os
import re

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from jupyter_client.manager import start_new_kernel
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from small_runs import batches, softmax_net

import d2lmini

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def tidy():
    """Each test begins with matplotlib's own settings, and leaves no figure."""
    with mpl.rc_context():
        mpl.rcdefaults()
        yield
    plt.close("all")


def train():
    return d2lmini.train_ch6(softmax_net(), batches(), batches(), 1, 0.1, "cpu")


def animated():
    animator = d2lmini.Animator("epoch", "loss", legend=["train loss"])
    animator.add(1, 0.5)
    animator.add(2, 0.7)
    animator.set_title("a title")
    return animator.fig


def shown():
    axes = d2lmini.show_images(torch.rand(2, 8, 8), 1, 2, titles=["a", "b"])
    return axes[0].figure


FIGURES = {
    "Animator": animated,
    "show_images": shown,
    "plot": lambda: train().plot(),
}
figures = pytest.mark.parametrize("draw", FIGURES.values(), ids=FIGURES)


def luminance(color):
    """From 0, black, to 1, white, as WCAG 2 has it."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def texts_of(fig):
    return [t for t in fig.findobj(Text) if t.get_text().strip() and t.get_visible()]


# ---------------------------------------------------------------- the reader's style


@figures
def test_our_pictures_change_no_setting_of_the_readers(draw):
    before = dict(mpl.rcParams)
    draw()
    assert dict(mpl.rcParams) == before


@figures
@pytest.mark.parametrize("style", ["dark_background", "grayscale", "ggplot"])
def test_our_pictures_are_dark_on_white_whatever_the_readers_style(draw, style):
    """In the style's colours title and axis names were white on white."""
    plt.style.use(style)
    fig = draw()
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    assert to_rgb(fig.get_facecolor()) == (1, 1, 1)
    texts = texts_of(fig)
    assert texts
    for text in texts:  # 4.5 is the contrast that WCAG asks for
        assert 1.05 / (luminance(text.get_color()) + 0.05) >= 4.5, text.get_text()
    for axes in fig.axes:
        assert to_rgb(axes.get_facecolor()) == (1, 1, 1)
        for line in axes.get_lines():
            assert 1.05 / (luminance(line.get_color()) + 0.05) >= 2


@figures
def test_a_saved_picture_is_dark_on_white_too(draw, tmp_path):
    """dark_background sets a paper for saving as well: black."""
    plt.style.use("dark_background")
    draw().savefig(tmp_path / "picture.png")
    pixels = plt.imread(tmp_path / "picture.png")[..., :3]
    corners = pixels[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == 1).all()
    assert pixels.min() < 0.4


@figures
def test_our_pictures_look_the_same_whatever_the_readers_style(draw):
    def pixels():
        torch.manual_seed(0)
        canvas = FigureCanvasAgg(draw())
        canvas.draw()
        return np.asarray(canvas.buffer_rgba()).copy()

    expected = pixels()
    plt.style.use(["ggplot", "dark_background"])
    mpl.rcParams.update({"font.size": 20, "lines.linewidth": 9, "figure.dpi": 50})
    assert np.array_equal(pixels(), expected)


def test_the_readers_pictures_keep_the_readers_style():
    plt.style.use("dark_background")
    animated()
    fig, axes = plt.subplots()
    assert to_rgb(fig.get_facecolor()) == to_rgb(axes.get_facecolor()) == (0, 0, 0)


def in_a_kernel(tmp_path, cells, **environment):
    """(names of the cells' outputs, data of what was displayed), for each cell"""
    manager, client = start_new_kernel(
        cwd=str(tmp_path), env={**os.environ, **environment}
    )
    results = []
    try:
        for cell in cells:
            shown = []
            reply = client.execute_interactive(
                cell,
                timeout=600,
                output_hook=lambda message, shown=shown: shown.append(message),
            )
            assert reply["content"]["status"] == "ok", reply["content"]
            data = [m["content"]["data"] for m in shown if "data" in m["content"]]
            text = "".join(m["content"].get("text", "") for m in shown)
            results.append((data, text))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return results


IMPORTS = """
import matplotlib as mpl, matplotlib.pyplot as plt, torch, d2lmini
plt.plot([1, 2]); plt.show()
before = dict(mpl.rcParams)
"""
OURS = """
animator = d2lmini.Animator(legend=["a"])
animator.add(1, 2); animator.add(2, 3)
"""
CHANGED = "print({k for k, v in mpl.rcParams.items() if v != before[k]})"
PLOT = "plt.plot([1, 2]); plt.show()"


@pytest.fixture(scope="module")
def around_an_animator(tmp_path_factory):
    """In a notebook: a plot, an Animator, what it changed, the same plot again."""
    cells = [IMPORTS, OURS, CHANGED, PLOT]
    return in_a_kernel(tmp_path_factory.mktemp("work"), cells, MPLBACKEND="")


def test_in_a_notebook_an_animator_changes_no_setting(around_an_animator):
    _, (animator, _), (_, changed), _ = around_an_animator
    assert "image/svg+xml" in animator[-1]
    assert changed == "set()\n"


def test_in_a_notebook_the_readers_plots_keep_their_format(around_an_animator):
    """It may have been chosen: thousands of points are large as SVG."""
    (before, _), _, _, (after, _) = around_an_animator
    assert before[0].keys() == {"image/png", "text/plain"} == after[0].keys()


def test_plots_are_shown_where_the_environment_says_agg(tmp_path):
    """As containers and clusters do, so that nothing asks for a screen."""
    cells = ["import matplotlib.pyplot as plt, d2lmini\nd2lmini.use_svg_display()"]
    cells += [PLOT, "_ = d2lmini.show_images([[[0, 1]]], 1, 1)"]
    _, plot, images = in_a_kernel(tmp_path, cells, MPLBACKEND="agg")
    for data, _ in (plot, images):
        assert len(data) == 1 and "image/svg+xml" in data[0]


# ---------------------------------------------------------------- saving


def count_pixels(path, color):
    pixels = np.round(255 * plt.imread(path)[..., :3])
    return int((pixels == np.round(255 * np.array(to_rgb(color)))).all(-1).sum())


def test_history_and_animator_save_their_curves(tmp_path):
    """d2l's `plt.savefig` would save a blank picture here."""
    history = d2lmini.History([2.0, 1.0], [0.2, 0.6], [0.3, 0.5], [1.0, 1.0])
    history.plot().savefig(tmp_path / "history.png")
    animator = d2lmini.Animator(fmts=("r-",))
    for x in (1, 2):
        animator.add(x, x)
    animator.fig.savefig(tmp_path / "animator.png")
    colors = [line.get_color() for line in history.plot().axes[0].get_lines()]
    assert len(set(colors)) == 3
    for color in colors:
        assert count_pixels(tmp_path / "history.png", color) > 50
    assert count_pixels(tmp_path / "animator.png", "red") > 50


def test_the_way_to_save_a_picture_is_told_where_readers_look():
    assert "plot()" in d2lmini.train_ch6.__doc__
    assert re.search(r"fig\.savefig", d2lmini.Animator.__doc__)


# ---------------------------------------------------------------- the Animator's curves


def test_a_point_that_is_refused_leaves_no_half():
    animator = d2lmini.Animator()
    animator.add(1, (10, 20))
    with pytest.raises((ValueError, TypeError, RuntimeError)):
        animator.add(2, (11, torch.ones(2)))
    assert (animator.X, animator.Y) == ([[1], [1]], [[10], [20]])
    animator.add(2, (11, 21))
    assert animator.Y == [[10, 11], [20, 21]]


def test_curves_may_begin_again():
    """As in d2l: without X and Y, the next point is the first."""
    animator = d2lmini.Animator(legend=["a"])
    animator.add(1, 1)
    animator.X = animator.Y = None
    animator.add(5, (6, 7))
    drawn = [list(line.get_ydata()) for line in animator.axes[0].get_lines()]
    assert (animator.X, animator.Y, drawn) == ([[5], [5]], [[6], [7]], [[6], [7]])


def test_no_formats_at_all_are_refused():
    with pytest.raises(ValueError, match="fmts"):
        d2lmini.Animator(fmts=()).add(1, 1)
