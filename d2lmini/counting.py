"""What several chapters count, measure and list: parameters, operations, time, tables.

Each is written out where a chapter first needs it, and imported from then on.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from statistics import stdev
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from d2lmini.engine.batches import evaluation_mode
from d2lmini.history import History

if TYPE_CHECKING:
    from IPython.display import Markdown


def num_params(net: nn.Module) -> int:
    """Number of net's parameters: its weights and biases."""
    return sum(p.numel() for p in net.parameters())


def weight_layers(net: nn.Module) -> list[nn.Module]:
    """The convolutions and the linear layers of net, in their order."""
    return [
        layer for layer in net.modules() if isinstance(layer, nn.Conv2d | nn.Linear)
    ]


def count_flops(net: nn.Module, X: Tensor) -> int:
    """Floating point operations of net's forward pass for the batch X.

    Multiplications and additions of convolutions and linear layers, each as one.
    """
    with evaluation_mode(net), torch.no_grad(), FlopCounterMode(display=False) as count:
        net(X)
    return count.get_total_flops()


def milliseconds(function: Callable[[], object], repeats: int = 5) -> float:
    """The fastest of several calls of function, after one to warm up.

    The fastest, since other programs can only make it slower.
    """
    function()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(1000 * (time.perf_counter() - start))
    return min(times)


def read_runs(path: str | os.PathLike) -> tuple[dict, dict[str, list[History]]]:
    """What a record of several runs holds: notes on all, and by name their histories.

    A history's own notes (`about`) hold name, epochs and seed.
    """
    with open(path, encoding="utf-8") as file:
        record = json.load(file)
    runs: dict[str, list[History]] = {}
    for run in record["runs"]:
        runs.setdefault(run["about"]["name"], []).append(History(**run))
    return record["about"], runs


def standard_error(values: Sequence[float]) -> float:
    """That of the mean of values: their standard deviation by the root of their number.

    Raises statistics.StatisticsError for fewer than two values.
    """
    return stdev(values) / math.sqrt(len(values))


def table(header: Sequence[str], rows: Iterable[Sequence]) -> Markdown:
    """A table for a notebook; numbers stand at the right of their column."""
    from IPython.display import Markdown

    rows = [[str(value) for value in row] for row in rows]
    right = [
        all(row[i][:1].isdigit() or row[i][:1] in "-−." for row in rows)
        for i in range(len(header))
    ]
    lines = [list(header), ["--:" if r else "---" for r in right], *rows]
    return Markdown("\n".join("| " + " | ".join(line) + " |" for line in lines))
