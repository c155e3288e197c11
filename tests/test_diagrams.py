"""Drawings: what stands in them is what was asked for, in the right proportions."""

import pytest
import torch
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex
from matplotlib.patches import Polygon

import d2lmini
from d2lmini import diagrams


@pytest.fixture(autouse=True)
def course_style():
    d2lmini.use_svg_display()
    yield
    plt.close("all")


def drawn():
    """The axes of the figure drawn last."""
    ax = plt.gca()
    assert ax.get_title() == "Title"
    return ax


def texts(ax):
    return [text.get_text() for text in ax.texts if text.get_text()]


def test_draw_columns_frames_the_blocks():
    networks = {"a": ["conv x", "linear 10"], "b": [["conv y", "pool"]]}
    diagrams.draw_columns(networks, "Title")
    ax = drawn()
    assert texts(ax) == ["a", "conv x", "linear 10", "b", "conv y", "pool"]
    frames = [box for box in ax.patches if box.get_facecolor()[3] == 0]
    assert len(frames) == 1
    assert len(ax.patches) - len(frames) == 4


def test_draw_network_is_to_scale():
    diagrams.draw_network(d2lmini.VGG11, 160, "Title")
    ax = drawn()
    sizes = ["64×80×80", "128×40×40", "256×20×20", "512×10×10", "512×5×5"]
    assert [
        text for text in texts(ax) if text.startswith(("64", "128×", "2", "5"))
    ] == sizes
    boxes = [box.get_xy() for box in ax.patches if isinstance(box, Polygon)]
    fronts = boxes[5::6]  # three faces to a box, each over a white one
    heights = [int(front[:, 1].max() - front[:, 1].min()) for front in fronts]
    # image; then each block's convolutions and its pooling; then the head
    assert heights[:6] == [160, 160, 80, 80, 40, 40]
    assert heights[6:14] == [40, 20, 20, 20, 10, 10, 10, 5]
    widths = [front[:, 0].max() - front[:, 0].min() for front in fronts]
    assert widths[1:6:2] == pytest.approx([4, 8, 16])  # 64, 128, 256 channels


def test_draw_block_says_what_flows():
    block = d2lmini.vgg_block(2, in_channels=3, out_channels=8)
    diagrams.draw_block(block, torch.zeros(1, 3, 16, 16), "Title")
    ax = drawn()
    same = ["8×16×16"] * 4
    sizes = [text for text in texts(ax) if "×" in text]
    assert sizes == ["3×16×16", *same, "8×8×8"]
    names = [text for text in texts(ax) if "2d" in text or "ReLU" in text]
    assert names == ["Conv2d", "ReLU", "Conv2d", "ReLU", "MaxPool2d"]


def test_draw_windows_has_nine_values_between_25_and_1():
    diagrams.draw_windows("Title")
    ax = drawn()
    assert texts(ax) == ["5×5", "3×3", "1×1", "3×3", "3×3"]
    squares = [box for box in ax.patches if to_hex(box.get_facecolor()) == "#ededed"]
    assert len(squares) == 25 + 9 + 1


def test_draw_receptive_field_follows_both_rules():
    """By hand: 1, then 3, 4, 8 and 10 pixels; neighbours 1, 1, 2, 2 and 4 apart."""
    diagrams.draw_receptive_field("Title")
    ax = drawn()
    rules = [text for text in texts(ax) if "=" in text]
    expected = zip((1, 3, 4, 8, 10), (1, 1, 2, 2, 4), strict=True)
    assert rules == [f"r = {r}, d = {d}" for r, d in expected]
    units = [line for line in ax.lines if len(line.get_xdata()) == 1]
    grey = to_hex("0.85")
    for level, marked in enumerate([10, 8, 4, 2, 1]):
        row = [line for line in units if line.get_ydata()[0] == level]
        assert sum(to_hex(line.get_color()) != grey for line in row) == marked
        distance = row[1].get_xdata()[0] - row[0].get_xdata()[0]
        assert distance == [1, 1, 2, 2, 4][level]


def test_draw_bars():
    diagrams.draw_bars(["conv 1", "linear 1"], [2.5, 0.001], "millions", "Title")
    ax = drawn()
    assert [bar.get_width() for bar in ax.patches] == [2.5, 0.001]
    assert texts(ax) == ["2.50", "<0.01"]
    colors = [to_hex(bar.get_facecolor()) for bar in ax.patches]
    assert colors == [to_hex("C0"), to_hex("C1")]
    assert ax.get_xlabel() == "millions"
