"""Several processes, started by torchrun, train as one process does."""

import os
import subprocess
import sys

import pytest
import torch

import d2lmini
from d2lmini.engine import parallel

# A network with or without dropout, trained by as many processes as run this script.
# Smooth layers: at the kinks of ReLU and max pooling, rounding would grow with time.
SCRIPT = """
import sys
import torch
from torch import nn
import d2lmini as d2l
from d2lmini.engine.parallel import process_group, rank, split

folder, dropout, num_epochs = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
with process_group(torch.device("cpu")) as device:
    torch.manual_seed(rank())
    block = nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2)
    net = nn.Sequential(*block, nn.Flatten(), nn.Dropout(dropout), nn.Linear(784, 10))
    loaders = split(*d2l.load_data_fashion_mnist(128, sample=True), seed=3)
    history = d2l.train_ch6(
        net, *loaders, num_epochs, 0.1, device, checkpoint=f"{folder}/run.pt"
    )
    print("done")
    if rank() == 0:
        history.save(f"{folder}/history.json")
        torch.save(net.state_dict(), f"{folder}/net.pt")
"""


def torchrun(processes, *command):
    """The finished torchrun of this environment, on a free port."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", str(processes), *map(str, command)),
        ],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done


def run(folder, *, processes, dropout=0.0, num_epochs=2):
    """(history, weights, what was printed) of a training in folder."""
    folder.mkdir(exist_ok=True)
    script = folder / "script.py"
    script.write_text(SCRIPT)
    done = torchrun(processes, script, folder, dropout, num_epochs)
    history = d2lmini.History.load(folder / "history.json")
    return history, torch.load(folder / "net.pt", weights_only=True), done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="torchrun needs Linux or macOS")
def test_two_processes_give_the_curve_of_one(tmp_path):
    one, weights_of_one, _ = run(tmp_path / "one", processes=1)
    two, weights_of_two, printed = run(tmp_path / "two", processes=2)
    # every image was counted once, in both
    assert one.examples == two.examples == 2 * 6000
    # sums are added up in another order, which may flip a borderline image or two
    assert one.train_loss == pytest.approx(two.train_loss, rel=1e-5)
    assert one.train_acc == pytest.approx(two.train_acc, abs=5e-4)
    assert one.test_acc == pytest.approx(two.test_acc, abs=2e-3)
    for name, weights in weights_of_one.items():
        torch.testing.assert_close(weights_of_two[name], weights, atol=1e-5, rtol=0)
    assert one.train_loss[-1] < 1  # it learned, so equality says something
    assert printed.count("training on cpu") == printed.count("done") == 1
    names = {"script.py", "history.json", "net.pt", "run.pt"}
    assert {path.name for path in (tmp_path / "two").iterdir()} == names


@pytest.mark.skipif(sys.platform == "win32", reason="torchrun needs Linux or macOS")
@pytest.mark.slow
def test_two_processes_go_on_where_they_were_stopped(tmp_path):
    """Each with its own random numbers for dropout: bit for bit."""
    whole, weights, _ = run(tmp_path / "whole", processes=2, dropout=0.5)
    run(tmp_path / "parts", processes=2, dropout=0.5, num_epochs=1)
    parts, resumed, _ = run(tmp_path / "parts", processes=2, dropout=0.5)
    assert parts.points() == whole.points()
    for name in weights:
        assert torch.equal(resumed[name], weights[name])


@pytest.mark.parametrize("n", [1, 2, 3, 4, 8])
def test_shares_hold_every_image_once(n, monkeypatch):
    """The batches of all processes together are those of one process."""
    monkeypatch.setattr(parallel, "num_processes", lambda: n)
    loaders = d2lmini.load_data_fashion_mnist(24 * 8, sample=True)
    shares = []
    for i in range(n):
        monkeypatch.setattr(parallel, "rank", lambda i=i: i)
        shares.append(parallel.split(*loaders))
    tested = [i for _, test_iter in shares for i in test_iter.sampler]
    assert sorted(tested) == list(range(1000))
    trained = [list(train_iter.sampler) for train_iter, _ in shares]
    assert sorted(sum(trained, [])) == list(range(6000))
    assert {train_iter.batch_size for train_iter, _ in shares} == {24 * 8 // n}
    # position by position, the shares interleave into the order of one process
    monkeypatch.setattr(parallel, "num_processes", lambda: 1)
    monkeypatch.setattr(parallel, "rank", lambda: 0)
    order = list(parallel.split(*loaders)[0].sampler)
    assert [i for together in zip(*trained, strict=True) for i in together] == order


def test_every_epoch_has_its_own_order():
    train_iter, _ = parallel.split(*d2lmini.load_data_fashion_mnist(100, sample=True))
    orders = []
    for epoch in (0, 1, 0):
        parallel.start_epoch(train_iter, epoch)
        orders.append(list(train_iter.sampler))
    assert orders[0] == orders[2] != orders[1]


def test_a_batch_that_cannot_be_split_is_refused(monkeypatch):
    monkeypatch.setattr(parallel, "num_processes", lambda: 3)
    with pytest.raises(ValueError, match="128 cannot be split among 3 processes"):
        parallel.split(*d2lmini.load_data_fashion_mnist(128, sample=True))
