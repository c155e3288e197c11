import os
import re
import subprocess
import sys
import time
from types import SimpleNamespace

import matplotlib as mpl
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from jupyter_client.manager import start_new_kernel
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from nbclient import NotebookClient

import d2lmini


@pytest.fixture(autouse=True)
def tidy():
    """No figure and no setting of one test reaches another."""
    with mpl.rc_context():
        yield
    plt.close("all")


@pytest.fixture(scope="module")
def silent_d2l(d2l):
    """d2l without its prints of figures and without IPython's shell."""
    with pytest.MonkeyPatch.context() as patch:
        silent = SimpleNamespace(display=lambda _: None, clear_output=lambda wait: None)
        patch.setattr(d2l, "display", silent)
        patch.setattr(d2l, "use_svg_display", lambda: None)
        yield d2l


# Animator: the curves

value = st.none() | st.integers(-100, 100) | st.floats(-1e3, 1e3)


@st.composite
def add_calls(draw):
    """Arguments of a few add calls for the same curves, as d2l takes them."""
    n = draw(st.integers(1, 4))
    calls = draw(st.lists(st.tuples(value, st.tuples(*[value] * n)), max_size=5))
    if n == 1:  # then a bare number will do
        calls += [(x, y[0]) for x, y in calls if draw(st.booleans())]
    for i, (x, y) in enumerate(calls):
        if draw(st.booleans()) and hasattr(y, "__len__"):
            calls[i] = [draw(value) for _ in y], list(y)
        elif i > 0 and draw(st.booleans()) and hasattr(y, "__len__"):
            calls[i] = x, y[:-1]  # later calls may leave the last curves out
    return calls


@settings(max_examples=25)
@given(calls=add_calls())
def test_points_are_d2ls(silent_d2l, calls):
    ours, theirs = d2lmini.Animator(), silent_d2l.Animator()
    for x, y in calls:
        ours.add(x, y)
        theirs.add(x, y)
    plt.close(theirs.fig)
    assert (ours.X, ours.Y) == (theirs.X, theirs.Y)
    drawn = [[list(line.get_xdata()), list(line.get_ydata())] for line in ours.lines]
    assert drawn == [[x, y] for x, y in zip(ours.X or [], ours.Y or [], strict=True)]


@pytest.mark.parametrize(
    "number", [torch.tensor(0.5), np.float64(0.5), torch.tensor(0.5).requires_grad_()]
)
@pytest.mark.filterwarnings("error")
def test_tensors_and_numpy_numbers(number):
    animator = d2lmini.Animator()
    animator.add(1, number)
    animator.add(number, (number,))
    assert (animator.X, animator.Y) == ([[1.0, 0.5]], [[0.5, 0.5]])


def test_every_curve_is_drawn():
    """d2l draws four and drops the rest."""
    animator = d2lmini.Animator(legend=list("abcdef"))
    for x in (0, 1):
        animator.add(x, [x + i for i in range(6)])
    lines = animator.axes[0].get_lines()
    assert [list(line.get_ydata()) for line in lines] == [[i, i + 1] for i in range(6)]
    texts = animator.axes[0].get_legend().get_texts()
    assert [text.get_text() for text in texts] == list("abcdef")


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (3, (1, 2, 3), "3 x and 3 y values for 2 curves"),
        ([3, 4, 5], (1, 2), "3 x and 2 y values for 2 curves"),
        ([3], (1, 2), "1 x and 2 y values for 2 curves"),
    ],
)
def test_surplus_values_are_refused(x, y, message):
    animator = d2lmini.Animator()
    animator.add(1, (10, 20))
    with pytest.raises(ValueError, match=message):
        animator.add(x, y)
    assert (animator.X, animator.Y) == ([[1], [1]], [[10], [20]])
    animator.add(2, (11, 21))
    assert animator.Y == [[10, 11], [20, 21]]


def count_pixels(fig, color):
    canvas = FigureCanvasAgg(fig)
    canvas.draw()
    rgb = np.round(255 * np.array(mpl.colors.to_rgb(color)))
    return int((np.asarray(canvas.buffer_rgba())[..., :3] == rgb).all(-1).sum())


@pytest.mark.parametrize("fmt", ["r-", "r--", "r:"])
def test_a_single_point_is_visible(fmt):
    animator = d2lmini.Animator(fmts=(fmt,))
    animator.add(1, 2)
    assert count_pixels(animator.fig, "red") > 10
    animator.add(2, 3)  # now the line alone, as the format says
    assert animator.axes[0].get_lines()[0].get_marker() == "None"
    assert count_pixels(animator.fig, "red") > 30


def test_a_format_keeps_its_marker():
    animator = d2lmini.Animator(fmts=("x-",))
    for i in range(3):
        animator.add(i, i)
        assert animator.axes[0].get_lines()[0].get_marker() == "x"


def test_six_curves_look_different():
    animator = d2lmini.Animator()
    animator.add(1, range(6))
    lines = animator.axes[0].get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 6


@pytest.mark.parametrize("xscale", ["linear", "log"])
@pytest.mark.parametrize("yscale", ["linear", "log"])
def test_limits_take_in_every_point(xscale, yscale):
    animator = d2lmini.Animator(xscale=xscale, yscale=yscale)
    for x, y in ((1, 1e-6), (1000, 1e3), (1e-3, 0.1)):
        animator.add(x, y)
        axes = animator.axes[0]
        for values, limits in (
            (animator.X, axes.get_xlim()),
            (animator.Y, axes.get_ylim()),
        ):
            assert limits[0] <= min(values[0]) <= max(values[0]) <= limits[1]
    assert (axes.get_xscale(), axes.get_yscale()) == (xscale, yscale)


def test_limits_that_were_asked_for_stay():
    animator = d2lmini.Animator(xlim=[0, 10], ylim=(-1, 1))
    for x in (1, 100):
        animator.add(x, x)
        axes = animator.axes[0]
        assert (axes.get_xlim(), axes.get_ylim()) == ((0, 10), (-1, 1))


def test_a_long_training_draws_no_more_than_a_short_one():
    """After 2,000 points: as many lines and legends as after one, not 2,000 of them."""
    animator = d2lmini.Animator(legend=["loss", "acc"])
    animator.add(0, (1, 2))
    axes = animator.axes[0]
    artists, began = len(animator.fig.findobj()), []
    for i in range(1, 2_000):
        began.append(time.process_time())
        animator.add(i, (1 / i, None))
    early, late = began[201] - began[1], began[-1] - began[-201]
    assert late < 10 * early
    assert len(axes.get_lines()) == 2
    assert sum(isinstance(child, Legend) for child in axes.get_children()) == 1
    assert len(animator.fig.axes) == 1
    FigureCanvasAgg(animator.fig).draw()
    assert len(animator.fig.findobj()) < artists + 50  # ticks may come and go


@pytest.mark.filterwarnings("error")
def test_pyplot_holds_no_animator():
    """pyplot warns from the 21st figure on, and keeps them all."""
    before = plt.get_fignums()
    for _ in range(25):
        d2lmini.Animator(legend=["a"]).add(1, 2)
    assert plt.get_fignums() == before


def test_grid_of_axes():
    animator = d2lmini.Animator(nrows=2, ncols=3)
    animator.add(1, 2)
    assert len(animator.axes) == len(animator.fig.axes) == 6
    assert len(animator.axes[0].get_lines()) == 1


def test_script_is_silent_and_its_figure_can_be_saved(tmp_path):
    path = tmp_path / "curves.png"
    code = f"""
from d2lmini import Animator
animator = Animator(xlabel="epoch", legend=["loss"])
for i in range(3):
    animator.add(i, i * i)
animator.fig.savefig({str(path)!r})
print("done")
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
    assert path.read_bytes().startswith(b"\x89PNG")


# set_axes and show_images


def describe(axes):
    legend = axes.get_legend()
    return {
        "labels": (axes.get_xlabel(), axes.get_ylabel()),
        "limits": (axes.get_xlim(), axes.get_ylim()),
        "scales": (axes.get_xscale(), axes.get_yscale()),
        "legend": [text.get_text() for text in legend.get_texts()] if legend else None,
        "grid": [line.get_visible() for line in axes.get_xgridlines()],
    }


text = st.none() | st.text(max_size=10)
limits = st.none() | st.lists(st.floats(0.1, 1e6), min_size=2, max_size=2, unique=True)
scale = st.sampled_from(["linear", "log", "symlog"])
legend = st.none() | st.lists(st.text(max_size=5), max_size=2)


@settings(max_examples=25)
@given(st.tuples(text, text, limits, limits, scale, scale, legend))
def test_any_axes_are_d2ls(d2l, arguments):
    described = []
    for library in (d2lmini, d2l):
        axes = Figure().subplots()
        axes.plot([1, 2, 3], [1, 4, 9])
        axes.plot([1, 2, 3], [2, 3, 4])
        library.set_axes(axes, *arguments)
        described.append(describe(axes))
    assert described[0] == described[1]


def shown(axes):
    return [
        np.asarray(ax.get_images()[0].get_array()) for ax in axes if ax.get_images()
    ]


def test_images_and_titles_are_d2ls(d2l):
    imgs, titles = torch.rand(6, 4, 5), list("abcdef")
    ours = d2lmini.show_images(imgs, 2, 3, titles)
    theirs = d2l.show_images(imgs, 2, 3, titles)
    assert len(shown(ours)) == 6
    for a, b in zip(shown(ours), shown(theirs), strict=True):
        assert np.array_equal(a, b)
    assert [ax.get_title() for ax in ours] == [ax.get_title() for ax in theirs]
    sizes = [tuple(axes[0].figure.get_size_inches()) for axes in (ours, theirs)]
    assert sizes == [(4.5, 3.0)] * 2


@settings(max_examples=25)
@given(
    imgs=hnp.arrays(np.float32, st.tuples(*[st.integers(1, 7)] * 3)),
    rows=st.integers(1, 3),
    columns=st.integers(2, 3),  # d2l's cannot draw a single image
    titles=st.none() | st.just("abcdefg"),
    scale=st.floats(0.5, 2),
)
def test_any_images_are_d2ls(d2l, imgs, rows, columns, titles, scale):
    ours, theirs = (
        library.show_images(torch.from_numpy(imgs), rows, columns, titles, scale)
        for library in (d2lmini, d2l)
    )
    plt.close("all")
    assert len(shown(ours)) == len(shown(theirs)) == min(len(imgs), rows * columns)
    for a, b in zip(shown(ours), shown(theirs), strict=True):
        assert np.array_equal(a, b, equal_nan=True)
    assert [ax.get_title() for ax in ours] == [ax.get_title() for ax in theirs]
    sizes = [tuple(axes[0].figure.get_size_inches()) for axes in (ours, theirs)]
    assert sizes[0] == sizes[1]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "image",
    [
        torch.rand(3, 4),
        torch.rand(3, 4, requires_grad=True),
        np.random.default_rng(0).random((3, 4)),
        [[0.0, 0.5], [1.0, 0.25]],
        torch.rand(3, 4, 3),
    ],
    ids=["tensor", "requires grad", "array", "lists", "colour"],
)
def test_one_image(image):
    """A grid of one place, on which d2l fails, and whatever holds pixels."""
    (ax,) = d2lmini.show_images([image], 1, 1)
    expected = image.detach().numpy() if torch.is_tensor(image) else image
    assert np.array_equal(shown([ax])[0], expected)


def test_places_without_an_image_are_empty():
    axes = d2lmini.show_images(torch.rand(2, 4, 4), 2, 2, titles=["a", "b"])
    assert len(shown(axes)) == 2
    assert not any(ax.axison for ax in axes)
    assert [ax.get_title() for ax in axes] == ["a", "b", "", ""]


def test_surplus_images_and_titles_are_not_drawn():
    axes = d2lmini.show_images(torch.rand(5, 4, 4), 1, 2, titles=list("abcde"))
    assert [ax.get_title() for ax in axes] == ["a", "b"]


def test_too_few_titles_are_refused():
    with pytest.raises(ValueError, match="3 images, but 2 titles"):
        d2lmini.show_images(torch.rand(3, 4, 4), 1, 3, titles=["a", "b"])


# In a notebook

X, Y = [0, 1, 2, 3, 4], [5, 1, 4, 0, 3]
CURVE = f"""
animator = d2lmini.Animator(xlabel="epoch", legend=["loss"])
for x, y in zip({X}, {Y}):
    animator.add(x, y)
    time.sleep(pause)
"""
IMPORT = "import time, warnings, d2lmini"
FIGURE = "fig = plt.figure()\nax = plt.plot([1, 2])\nplt.title('up\\nand away');"
CELLS = {
    "first figure": f"""
{IMPORT}
import matplotlib.pyplot as plt
with warnings.catch_warnings():
    warnings.simplefilter("error")
    d2lmini.use_svg_display()
{FIGURE}
pause = 0
""",
    "second figure": FIGURE,
    "first curve": f"print('before')\n{CURVE}\nprint('after')",
    "second curve": CURVE,
    "nothing to see": "d2lmini.Animator().add(1, (None, None))",
}


@pytest.fixture(scope="module")
def in_kernels():
    """The cells' outputs by name as a notebook saves them, and CURVE's raw messages.

    Two kernels, which start side by side: one that saves a notebook, and one whose
    messages are kept, each with the time when it came.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MPLBACKEND", raising=False)  # a kernel chooses its own
        manager, client = start_new_kernel(kernel_name="python3")
        try:
            client.execute(IMPORT)  # meanwhile, the notebook
            cells = [nbformat.v4.new_code_cell(source) for source in CELLS.values()]
            notebook = nbformat.v4.new_notebook(cells=cells)
            NotebookClient(
                notebook, kernel_name="python3", timeout=600, allow_errors=True
            ).execute()
            messages = []
            client.execute_interactive(
                f"pause = 0.15\n{CURVE}",
                timeout=600,
                output_hook=lambda m: messages.append((time.monotonic(), m)),
            )
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)
    outputs = zip(CELLS, (cell.outputs for cell in cells), strict=True)
    return SimpleNamespace(outputs=dict(outputs), messages=messages)


def svg_of(output):
    return output["data"]["image/svg+xml"]


def size_of(svg):
    return re.search(r'<svg [^>]*?width="(\S+)"', svg)[1], re.search(
        r'<svg [^>]*?height="(\S+)"', svg
    )[1]


def points_of(svg):
    """The points of the only line that is not grey, in the picture's coordinates."""
    lines = re.findall(r'<path d="([^"]*)" clip-path[^>]*stroke: #(\w{6})', svg)
    (path,) = (d for d, rgb in lines if len({rgb[:2], rgb[2:4], rgb[4:]}) > 1)
    return np.array(re.findall(r"[ML] (\S+) (\S+)", path), dtype=float)


def test_use_svg_display_raises_no_warning(in_kernels):
    (figure,) = in_kernels.outputs["first figure"]
    assert svg_of(figure).startswith("<?xml")


def test_a_figure_can_be_read_by_ear_and_in_a_dark_theme(in_kernels):
    svg = svg_of(in_kernels.outputs["first figure"][0])
    assert "<title>up and away</title>" in svg
    first_patch = re.search(r'<g id="patch_1">(.*?)</g>', svg, re.S)[1]
    assert "fill: #ffffff" in first_patch


def test_text_around_the_curve_is_kept(in_kernels):
    """In order, with exactly one figure between."""
    before, figure, after = in_kernels.outputs["first curve"]
    assert (before["name"], before["text"]) == ("stdout", "before\n")
    assert figure["output_type"] == "display_data"
    assert (after["name"], after["text"]) == ("stdout", "after\n")


def test_saved_figure_has_every_point(in_kernels):
    points = points_of(svg_of(in_kernels.outputs["first curve"][1]))
    assert len(points) == len(X)
    for drawn, values, sign in zip(points.T, (X, Y), (1, -1), strict=True):
        assert np.corrcoef(drawn, values)[0, 1] == pytest.approx(sign, abs=1e-9)


@pytest.mark.parametrize("kind", ["figure", "curve"])
def test_first_and_second_figure_have_the_same_size(kind, in_kernels):
    first, second = (
        next(o for o in in_kernels.outputs[f"{n} {kind}"] if "data" in o)
        for n in ("first", "second")
    )
    assert size_of(svg_of(first)) == size_of(svg_of(second))
    # what inline figures are cut to is about what was asked for
    width = float(size_of(svg_of(first))[0].removesuffix("pt")) / 72
    assert width == pytest.approx(3.5 if kind == "curve" else 6.4, rel=0.2)


def test_nothing_is_shown_before_there_is_a_point(in_kernels):
    assert in_kernels.outputs["nothing to see"] == []


def frames_of(messages):
    kinds = ("display_data", "update_display_data")
    return [(t, m) for t, m in messages if m["msg_type"] in kinds]


def test_frames_come_while_the_cell_runs(in_kernels):
    """One for each point, as far apart in time as the points."""
    frames = frames_of(in_kernels.messages)
    kinds = [m["msg_type"] for _, m in frames]
    assert kinds == ["display_data"] + ["update_display_data"] * (len(X) - 1)
    ids = {m["content"]["transient"]["display_id"] for _, m in frames}
    assert len(ids) == 1
    assert frames[-1][0] - frames[1][0] > 0.3  # 0.45 s of sleep lie between
    assert not any(m["msg_type"] == "clear_output" for _, m in in_kernels.messages)


def test_first_frame_shows_a_point(in_kernels):
    """A front end that ignores updates is left with more than empty axes."""
    frame = svg_of(frames_of(in_kernels.messages)[0][1]["content"])
    blue = "#0072b2"  # Okabe and Ito's, the first curve's
    assert re.search(f"<use [^>]*fill: {blue}", frame)


def test_same_data_gives_the_same_bytes_in_another_kernel(in_kernels):
    """So that running a notebook again changes no file."""
    saved = svg_of(in_kernels.outputs["first curve"][1])
    _, last = frames_of(in_kernels.messages)[-1]
    assert svg_of(last["content"]) == saved
