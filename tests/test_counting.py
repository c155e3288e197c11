"""Counts against arithmetic by hand, and tables."""

import itertools
import json
import time
from statistics import StatisticsError

import pytest
import torch
import torchvision
from torch import nn

import d2lmini
from d2lmini import counting
from d2lmini.counting import (
    count_flops,
    milliseconds,
    num_params,
    read_runs,
    standard_error,
    table,
    weight_layers,
)


def small_net():
    return nn.Sequential(
        nn.Conv2d(2, 3, kernel_size=3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(3 * 4 * 5, 7),
    )


def test_num_params_by_hand():
    assert num_params(small_net()) == (2 * 3 * 9 + 3) + (3 + 3) + (60 * 7 + 7)


def test_num_params_of_torchvisions_vgg11():
    with torch.device("meta"):
        net = torchvision.models.vgg11()
    assert num_params(net) == 132_863_336  # as its documentation says


def test_weight_layers_are_convolutions_and_linear_layers_in_order():
    net = d2lmini.vgg(d2lmini.VGG11)
    widths = [layer.weight.shape[0] for layer in weight_layers(net)]
    assert widths == [64, 128, 256, 256, 512, 512, 512, 512, 1024, 128, 10]
    assert len(weight_layers(small_net())) == 2


def test_count_flops_by_hand():
    """A multiplication and an addition for each weight, place and image."""
    X = torch.zeros(6, 2, 4, 5)
    conv, linear = 2 * (2 * 3 * 9) * (4 * 5), 2 * 60 * 7
    assert count_flops(small_net(), X) == 6 * (conv + linear)


def test_count_flops_leaves_the_net_as_it_was():
    net = small_net().train()
    count_flops(net, torch.randn(6, 2, 4, 5))
    assert net[1].num_batches_tracked == 0  # a batch in training mode would count
    assert all(layer.training for layer in net)


def test_milliseconds_is_the_fastest_call_after_the_first(monkeypatch):
    clock = iter([0.0, 3.0, 3.0, 5.0, 5.0, 9.0])  # calls of 3, 2 and 4 seconds
    monkeypatch.setattr(counting.time, "perf_counter", lambda: next(clock))
    calls = itertools.count()
    assert milliseconds(lambda: next(calls), repeats=3) == 2000
    assert next(calls) == 4


def test_milliseconds_measures_time():
    assert milliseconds(lambda: time.sleep(0.02), repeats=2) >= 19


def test_standard_error_by_hand():
    # distances 1, 0, 1 from the mean 2; the sum of their squares by two is 1
    assert standard_error([1, 2, 3]) == pytest.approx(1 / 3**0.5)
    with pytest.raises(StatisticsError):
        standard_error([1])


def test_read_runs_sorts_by_name(tmp_path):
    def run(name, test_acc):
        curves = {"train_loss": [0.5], "train_acc": [0.75], "test_acc": [test_acc]}
        about = {"name": name, "epochs": 1, "seed": 0}
        sums = {"seconds": [2.0], "examples": 10, "train_seconds": 2.0}
        return curves | sums | {"about": about}

    runs = [run("a", 0.5), run("b", 0.25), run("a", 0.75)]
    path = tmp_path / "record.json"
    path.write_text(json.dumps({"about": {"torch": "2.6"}, "runs": runs}))
    about, runs = read_runs(path)
    assert about == {"torch": "2.6"}
    accs = {name: [h.test_acc for h in histories] for name, histories in runs.items()}
    assert accs == {"a": [[0.5], [0.75]], "b": [[0.25]]}


@pytest.mark.parametrize(
    ("column", "mark"),
    [(["1,234", "5"], "--:"), (["-1", "0.5"], "--:"), (["1", "two"], "---")],
)
def test_table(column, mark):
    text = table(["name", "n"], [("a", column[0]), ("b", column[1])]).data
    assert text.splitlines() == [
        "| name | n |",
        f"| --- | {mark} |",
        f"| a | {column[0]} |",
        f"| b | {column[1]} |",
    ]
