"""Chapter 5's own loop, as somebody who types it in again would run it."""

from itertools import islice

import pytest
import torch
from helpers import CHAPTERS, code_cells
from torch import nn

import d2lmini as d2l


@pytest.fixture
def names():
    """What the cell with the first weights and the loop defines."""
    names = {"torch": torch, "nn": nn, "d2l": d2l}
    cells = [cell.source for cell in code_cells(CHAPTERS[4])]
    (source,) = [cell for cell in cells if cell.startswith("def he(")]
    exec(source, names)
    return names


def test_loop_learns(names):
    torch.manual_seed(0)
    train_iter, test_iter = d2l.load_data_fashion_mnist(16, 32, sample=True)
    batches = list(islice(train_iter, 150))  # of 375
    net = d2l.vgg(d2l.shrink(d2l.VGG11, 8), image_size=32)
    losses = torch.tensor(names["train"](net, batches, 2, 0.03, names["he"]))
    assert len(losses) == 2 * 150
    assert losses[:20].mean() > 2.2  # ln 10 is 2.303
    assert losses[-100:].mean() < 1.5
    assert d2l.evaluate_accuracy_gpu(net, test_iter) > 0.5
