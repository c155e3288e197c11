"""Figures for all: text that is text, and what they show, in words and numbers."""

import shutil
from xml.etree import ElementTree

import pytest
import torch
from fontTools.ttLib import TTFont
from matplotlib import font_manager
from matplotlib import pyplot as plt

import d2lmini
from d2lmini import diagrams
from d2lmini.engine.figures import to_svg

CHROMIUM = shutil.which("chromium")


@pytest.fixture(autouse=True)
def course_style():
    d2lmini.use_svg_display()
    yield
    plt.close("all")


def told(fig=None):
    """The lines of a figure's description."""
    svg = ElementTree.fromstring(to_svg(fig or plt.gcf()))
    return (svg.find("{*}desc").text or "").splitlines()


def texts(fig=None):
    svg = ElementTree.fromstring(to_svg(fig or plt.gcf()))
    return list(svg.iter("{http://www.w3.org/2000/svg}text"))


# ---------------------------------------------------------------- what is told


def test_curves():
    """By their legend's names, as set_axes and d2l write it: not the lines' own."""
    animator = d2lmini.Animator("epoch", "value", ["loss", "acc"], yscale="log")
    for x, y in enumerate([(5, 0.1), (1, None), (4, 0.3), (0.25, 0.2)]):
        animator.add(x, y)
    assert told(animator.fig) == [
        "x: epoch.",
        "y: value (logarithmic).",
        "loss, 4 points: first and highest 5 at 0, 1 at 1, 4 at 2, "
        "lowest and last 0.25 at 3.",
        "acc, 3 points: first and lowest 0.1 at 0, highest 0.3 at 2, last 0.2 at 3.",
    ]


def test_of_a_long_curve_every_tenth_part_and_the_two_largest_steps():
    stair = [5] + [3 - i / 100 for i in range(1, 50)] + [1 - i / 100 for i in range(50)]
    plt.plot(range(1, 101), stair, label="mean")
    assert told() == [
        "mean, 100 points: first and highest and before a large step 5 at 1, "
        "after it 2.99 at 2, 2.9 at 11, 2.8 at 21, 2.7 at 31, 2.6 at 41, "
        "before a large step 2.51 at 50, after it 1 at 51, 0.9 at 61, "
        "0.8 at 71, 0.7 at 81, 0.6 at 91, lowest and last 0.51 at 100."
    ]


def test_a_curve_of_one_point_and_what_cannot_be_drawn():
    plt.plot([1, 2, float("nan")], [float("nan"), 4, 5], label="a")
    plt.plot([], [], label="b")
    assert told() == ["a: 4 at 2."]


def test_lines_and_bands_across_the_picture():
    plt.plot([0, 1], [0, 1], label="curve")
    plt.axhline(0.5, label="half")
    plt.axhspan(0.25, 0.75, label="d2l")
    assert told()[0] == "d2l: from 0.25 to 0.75."
    assert told()[-1] == "half: a level line at 0.5."


def test_bars_have_the_numbers_that_stand_at_them():
    names = ["conv 1", "conv 2", "linear 1"]
    diagrams.draw_bars(names, [2.345, 30, 0.001], "millions", "Title")
    assert told() == [
        "x: millions.",
        "conv 1: 2.35; conv 2: 30.00; linear 1: <0.01.",
    ]


def test_bars_without_numbers():
    plt.bar(["a", "b"], [2.5, 1e6])
    assert told() == ["a: 2.5; b: 1,000,000."]


def test_bars_one_behind_the_other():
    """Only the first of a colour has a label, and the legend."""
    ax = plt.subplots()[1]
    for y, (conv, pool) in enumerate(((80, 20), (60, 40))):
        ax.barh(y, conv, color="C0", label=None if y else "conv")
        ax.barh(y, pool, left=conv, color="C2", label=None if y else "pool")
        ax.text(conv / 2, y, f"{conv} %", ha="center")
    ax.set_yticks([0, 1], ["VGG", "AlexNet"])
    ax.legend()
    assert told() == [
        "conv: VGG: 80 %; AlexNet: 60 %.",
        "pool: VGG: 20; AlexNet: 40.",
    ]


def test_dots_in_rows():
    diagrams.draw_seeds({"VGG": [0.75, 1], "AlexNet": [0.5]}, plt.subplots()[1])
    assert told() == ["VGG: 0.75, 1.", "VGG: 0.875.", "AlexNet: 0.5.", "AlexNet: 0.5."]


def test_images_by_row():
    d2lmini.show_images(
        torch.rand(5, 2, 2), 2, 3, ["boot", "coat", "bag\n93%", "", "a"]
    )
    assert told() == ["row 1, 3 images: boot; coat; bag 93%.", "row 2, 2 images: a."]


def test_rows_of_images_are_named_at_their_side():
    filters = {"before": torch.full((4, 1, 3, 3), 0.5), "after": torch.rand(4, 1, 3, 3)}
    filters["after"][0, 0, 0, 0] = -2
    diagrams.draw_filters(filters)
    assert told() == [
        "row 1, 4 images: before.",
        "row 2, 4 images: after.",
        "colours from -2 to 2.",
    ]


def test_confusion_matrix():
    """By hand: 3 + 1 of class a, 2 + 2 of b; a was predicted five times, b three."""
    confusion = torch.tensor([[3, 1, 0], [2, 2, 0], [0, 0, 8]])
    diagrams.draw_confusion(confusion, ["a", "b", "c"])[0].set_title("Title")
    assert told() == [
        "Title.",
        "rows: true; columns: predicted.",
        "the largest numbers of each row.",
        "a: a 3, b 1.",
        "b: a 2, b 2.",
        "c: c 8.",
        "x: share on the diagonal.",
        "row: a: 0.75; b: 0.5; c: 1.",
        "column: a: 0.6; b: 0.6667; c: 1.",
    ]


def test_drawings():
    """A block's frame is told too: it is what the drawing is about."""
    networks = {"small": ["conv 5", "pool"], "VGG": [["conv 3", "pool"], "linear"]}
    diagrams.draw_columns(networks, "Title")
    assert told() == ["small; conv 5; pool; VGG; [conv 3; pool]; linear."]


def test_boxes_of_a_network():
    diagrams.draw_network(((1, 64), (2, 128)), 32, "Title")
    (line,) = told()
    assert line.startswith(
        "image 1×32×32; block 1; convolution; pooling; 64×16×16; "
        "block 2; convolution; convolution; pooling; 128×8×8; head"
    )


ODD = {
    "nothing": lambda ax: None,
    "points": lambda ax: ax.scatter([1, 2], [3, 4]),
    "words as places": lambda ax: ax.plot(["a", "b"], [1, 2]),
    "histogram": lambda ax: ax.hist([1, 2, 2, 3]),
    "error bars": lambda ax: ax.errorbar([1, 2], [3, 4], yerr=1, label="a"),
    "boxes": lambda ax: ax.boxplot([[1, 2, 3], [2, 3, 4]]),
    "pie": lambda ax: ax.pie([1, 2], labels=["a", "b"]),
    "surface": lambda ax: ax.figure.colorbar(ax.contourf(torch.eye(3).numpy())),
    "colour image": lambda ax: ax.imshow(torch.rand(2, 2, 3).numpy()),
    "text at a word": lambda ax: [ax.bar(["a"], [1]), ax.text("a", 1, "here")],
    "two scales": lambda ax: ax.twinx().bar([0, 1], [2, 3]),
    "formula and <&>": lambda ax: ax.annotate("$x^2$ <&>", (0, 0), (1, 1)),
}


@pytest.mark.parametrize("draw", ODD.values(), ids=ODD)
def test_a_readers_own_figure_is_shown_whatever_is_in_it(draw):
    draw(plt.subplots()[1])
    assert ElementTree.fromstring(to_svg(plt.gcf())).find("{*}desc") is not None


def test_an_empty_figure_shows_nothing():
    assert to_svg(plt.figure()) is None


# ---------------------------------------------------------------- text


def test_letters_are_text():
    ax = plt.subplots()[1]
    ax.set(title="up <&>\nand away", xlabel="epoch", xlim=(0.01, 100), xscale="log")
    words = ["".join(text.itertext()).strip() for text in texts()]
    assert {"up <&>", "and away", "epoch"} < set(words)
    assert "10−1" in {"".join(word.split()) for word in words}  # a power, as a formula


@pytest.mark.parametrize("weight", ["normal", "bold"])
def test_text_keeps_its_width_in_every_font(weight):
    """Measured here from the font's own table; digits have no kerning."""
    plt.subplots()[1].set_title("2026", fontweight=weight, fontsize=10)
    (title,) = (text for text in texts() if text.text == "2026")
    font = TTFont(font_manager.findfont(f"DejaVu Sans:{weight}"))
    (digit,) = {font["hmtx"][name][0] for name in ("zero", "two", "six")}
    expected = 4 * 10 * digit / font["head"].unitsPerEm
    assert float(title.get("textLength")) == pytest.approx(expected, abs=0.01)


def test_chinese_is_not_squeezed_into_the_width_of_a_font_without_it():
    plt.subplots()[1].set_title("训练")
    (title,) = (text for text in texts() if text.text == "训练")
    assert title.get("textLength") is None


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt install chromium")
def test_another_font_moves_no_text():
    sync_api = pytest.importorskip("playwright.sync_api")
    diagrams.draw_columns({"VGG": ["conv 3×3, 64", "pool", "linear 1000"]}, "A\nTitle")
    svg = to_svg(plt.gcf())
    places = []
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        page = browser.new_page()
        for font in ("'DejaVu Sans', Verdana, sans-serif", "serif", "monospace"):
            page.set_content(svg.replace("'DejaVu Sans', Verdana, sans-serif", font))
            places.append(
                page.evaluate(
                    """[...document.querySelectorAll("text")].map(text => {
                        const box = text.getBoundingClientRect();
                        return [box.left, box.width];
                    })"""
                )
            )
        browser.close()
    ours, *others = places
    assert len(ours) == 6
    for other in others:
        for a, b in zip(ours, other, strict=True):
            assert a == pytest.approx(b, abs=1.5)  # pixels; letters end on whole ones
