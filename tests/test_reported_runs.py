"""Checkpoints, files and commands with which long runs of others went wrong."""

import functools
import json
import math
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import batches, conv_net, everything, images, seed_all, softmax_net
from torch import nn
from torch.nn import functional as F
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, Dataset

import d2lmini
from d2lmini.__main__ import main

pytestmark = pytest.mark.usefixtures("one_thread")


def assert_equal_runs(run, expected):
    """Bit for bit."""
    (net, history), (expected_net, expected_history) = run, expected
    assert history.points() == expected_history.points()
    for name, value in net.state_dict().items():
        assert torch.equal(value, expected_net.state_dict()[name]), name


# ---------------------------------------------------------------- the same cell again


def one_cycle(optimizer):
    return lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=18)


def plateau(optimizer):
    """Halves the rate after every epoch but the first."""
    return lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=0, threshold=0.99, eps=0
    )


@pytest.mark.parametrize("make_scheduler", [one_cycle, plateau])
def test_the_stop_button_then_the_same_cell_again(tmp_path, capsys, make_scheduler):
    """net, optimizer and scheduler are those of the cell before, and have moved."""

    def cells_before():
        seed_all(0)
        net = conv_net()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        return net, optimizer, make_scheduler(optimizer)

    def cell(net, optimizer, scheduler, checkpoint=None):
        history = d2lmini.train_ch6(
            net, batches(shuffle=True), batches(), 3, 0.1, "cpu",
            optimizer=optimizer, scheduler=scheduler, checkpoint=checkpoint,
        )  # fmt: skip
        return net, history

    whole = cells_before()
    expected = cell(*whole)

    objects = cells_before()
    steps = []

    def stop(module, args):
        steps.append(module.training)
        if sum(steps) == 9:  # in the second of three epochs of 6 batches
            raise KeyboardInterrupt

    handle = objects[0].register_forward_pre_hook(stop)
    cell(*objects, checkpoint=tmp_path / "run.pt")
    handle.remove()
    capsys.readouterr()
    assert_equal_runs(cell(*objects, checkpoint=tmp_path / "run.pt"), expected)
    assert re.search("after epoch 1", capsys.readouterr().out)
    assert objects[1].param_groups[0]["lr"] == whole[1].param_groups[0]["lr"]
    # the run is at its end; the cell a third time
    assert_equal_runs(cell(*objects, checkpoint=tmp_path / "run.pt"), expected)
    assert re.search("already", capsys.readouterr().out)


def test_a_loss_with_weights_of_its_own_goes_on_too(tmp_path):
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, y_hat, y):
            return F.cross_entropy(self.scale * y_hat, y)

    def train(num_epochs, checkpoint=None):
        seed_all(0)
        net, loss = softmax_net(), Scaled()
        weights = [*net.parameters(), *loss.parameters()]
        history = d2lmini.train_ch6(
            net, batches(), batches(), num_epochs, 0.1, "cpu", loss=loss,
            optimizer=torch.optim.SGD(weights, lr=0.1), checkpoint=checkpoint,
        )  # fmt: skip
        return net, history

    train(1, tmp_path / "run.pt")
    assert_equal_runs(train(2, tmp_path / "run.pt"), train(2))


# ---------------------------------------------------------------- data


class Augmented(Dataset):
    """Images with noise of a generator of the data set's own."""

    def __init__(self, generator, n=48, labels=3):
        self.X, self.y = images(n)
        self.y, self.generator = self.y % labels, generator

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        if isinstance(self.generator, np.random.Generator):
            noise = float(self.generator.random())
        else:
            noise = torch.rand((), generator=self.generator)
        return self.X[i] + noise, self.y[i]


GENERATORS = {
    "numpy": lambda: np.random.default_rng(),
    "torch": lambda: torch.Generator().manual_seed(torch.seed() % 1000),
}


@pytest.mark.parametrize("make", GENERATORS.values(), ids=GENERATORS)
def test_data_with_a_generator_of_their_own_can_go_on(make, tmp_path):
    for num_epochs in (1, 2):
        loader = DataLoader(Augmented(make()), 8)
        history = d2lmini.train_ch6(
            softmax_net(), loader, batches(), num_epochs, 0.1, "cpu",
            checkpoint=tmp_path / "run.pt",
        )  # fmt: skip
        assert len(history) == num_epochs


@pytest.mark.parametrize("other", [{"n": 40}, {"labels": 2}], ids=["number", "labels"])
def test_augmented_data_are_known_by_what_is_not_chance(other, tmp_path):
    def train(num_epochs, **options):
        loader = DataLoader(Augmented(np.random.default_rng(), **options), 8)
        d2lmini.train_ch6(
            softmax_net(), loader, batches(), num_epochs, 0.1, "cpu",
            checkpoint=tmp_path / "run.pt",
        )  # fmt: skip

    train(1)
    with pytest.raises(ValueError, match="of another training: training data"):
        train(2, **other)


def as_dicts():
    return [{"image": X, "label": str(int(y))} for X, y in zip(*images(), strict=True)]


def from_dicts(batch):
    y = torch.tensor([int(row["label"]) for row in batch])
    return torch.stack([row["image"] for row in batch]), y


def test_data_become_tensors_where_the_reader_says(tmp_path):
    """In collate_fn, say; until then they may be dicts, texts or pictures."""
    for num_epochs in (1, 2):
        loader = DataLoader(as_dicts(), 8, collate_fn=from_dicts)
        history = d2lmini.train_ch6(
            softmax_net(), loader, batches(), num_epochs, 0.1, "cpu",
            checkpoint=tmp_path / "run.pt",
        )  # fmt: skip
        assert len(history) == num_epochs


# ---------------------------------------------------------------- another run


class Named(nn.Module):
    """Prints the same whatever its width."""

    def __init__(self, width):
        super().__init__()
        self.a = nn.Parameter(torch.zeros(64, width))
        self.b = nn.Parameter(torch.zeros(width, 3))

    def forward(self, X):
        return X.flatten(1) @ self.a @ self.b


def sgd(weights, net):
    return torch.optim.SGD(weights(net), lr=0.1)


def everything_of(net):
    return net.parameters()


def head_of(net):
    return net[1].parameters()


def bias_of(net):
    return [net[1].bias]


def scheduled(make, **options):
    def make_both(net):
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        return optimizer, make(optimizer, **options)

    return make_both


def weighted(*weights):
    return nn.CrossEntropyLoss(weight=torch.tensor(weights))


def with_frozen_weights():
    net = softmax_net()
    net[1].weight.requires_grad_(False)
    return net


OTHERS = {
    "class weights": ({"loss": weighted(1.0, 1, 1)}, {"loss": weighted(1.0, 2, 3)}),
    "ignored class": (
        {"loss": nn.CrossEntropyLoss()},
        {"loss": nn.CrossEntropyLoss(ignore_index=1)},
    ),
    "reduction": (
        {"loss": nn.CrossEntropyLoss()},
        {"loss": nn.CrossEntropyLoss(reduction="sum")},
    ),
    "option of a function": (
        {"loss": functools.partial(F.cross_entropy, label_smoothing=0.1)},
        {"loss": functools.partial(F.cross_entropy, label_smoothing=0.2)},
    ),
    "width": ({"net": lambda: Named(4)}, {"net": lambda: Named(5)}),
    "weights that are trained": ({"weights": bias_of}, {"weights": everything_of}),
    "frozen": ({}, {"net": with_frozen_weights}),
    "shuffled": ({}, {"train_iter": lambda: batches(shuffle=True)}),
    "last batch dropped": ({}, {"train_iter": lambda: batches(drop_last=True)}),
    "gamma": (
        {"schedule": scheduled(lr_scheduler.StepLR, step_size=9, gamma=0.5)},
        {"schedule": scheduled(lr_scheduler.StepLR, step_size=9, gamma=0.1)},
    ),
    "largest rate": (
        {"schedule": scheduled(lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=18)},
        {"schedule": scheduled(lr_scheduler.OneCycleLR, max_lr=0.2, total_steps=18)},
    ),
}


def train_with(
    num_epochs, checkpoint, net=softmax_net, weights=None, schedule=None, loss=None,
    train_iter=batches, stop=False,
):  # fmt: skip
    seed_all(0)
    net, optimizer, scheduler = net(), None, None
    if weights:
        optimizer = sgd(weights, net)
    if schedule:
        optimizer, scheduler = schedule(net)
    if stop:
        tests = []

        def interrupt(module, args):
            if module.training and sum(tests) >= 6:  # the first epoch is tested
                raise KeyboardInterrupt
            tests.append(not module.training)

        net.register_forward_pre_hook(interrupt)
    before = everything(net, optimizer, folder=checkpoint.parent)
    try:
        return d2lmini.train_ch6(
            net, train_iter(), batches(), num_epochs, 0.1, "cpu",
            optimizer=optimizer, scheduler=scheduler, loss=loss, checkpoint=checkpoint,
        )  # fmt: skip
    except ValueError:
        assert everything(net, optimizer, folder=checkpoint.parent) == before
        raise


@pytest.mark.parametrize(("first", "second"), OTHERS.values(), ids=OTHERS)
def test_a_run_goes_on_as_the_same_run_or_not_at_all(tmp_path, first, second):
    """Otherwise the history tells of a training that nobody has run."""
    history = train_with(2, tmp_path / "run.pt", stop=True, **first)
    assert len(history) == 1
    with pytest.raises(ValueError, match="of another training"):
        train_with(2, tmp_path / "run.pt", **second)
    assert len(train_with(2, tmp_path / "run.pt", **first)) == 2


def test_numbers_of_every_kind_describe_the_same_run(tmp_path):
    """0.1 is 0.1 as a numpy number and as a tensor of Python's precision."""
    rates = 0.1, np.float64(0.1), torch.tensor(0.1, dtype=torch.float64)
    for num_epochs, lr in enumerate(rates, 1):
        history = d2lmini.train_ch6(
            softmax_net(), batches(), batches(), np.int64(num_epochs), lr, "cpu",
            checkpoint=tmp_path / "run.pt",
        )  # fmt: skip
        assert len(history) == num_epochs


# ---------------------------------------------------------------- the command

QUICK = ["train", "--sample", "--resize=32", "--ratio=64", "--batch-size=1000"]
RUN = [*QUICK, "--checkpoint=run.pt", "--history=h.json"]


def files():
    return {path.name: path.read_bytes() for path in Path().iterdir()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with the files of one epoch with seed 0."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*RUN, "--num-epochs=1"]) == 0
    return folder


@pytest.fixture
def in_a_copy(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in finished.iterdir():
        Path(path.name).write_bytes(path.read_bytes())


@pytest.mark.parametrize("num_epochs", [1, 2], ids=["finished", "to go on"])
@pytest.mark.parametrize(
    "other", ["--seed=1", "--lr=0.1", "--batch-size=500", "--depth=13", "--ratio=32",
              "--resize=40"]
)  # fmt: skip
def test_the_checkpoint_of_another_command_is_refused(
    in_a_copy, capsys, other, num_epochs
):
    before = files()
    assert main([*RUN, f"--num-epochs={num_epochs}", other]) == 1
    printed = capsys.readouterr()
    assert "run.pt is of another training" in printed.err
    assert len(printed.err.splitlines()) <= 2 and "examples/sec" not in printed.out
    if other == "--seed=1":
        assert "seed" in printed.err
    assert files() == before


def test_the_command_says_where_it_goes_on_and_that_it_was_finished(in_a_copy, capsys):
    assert main([*RUN, "--num-epochs=2"]) == 0
    assert re.search("after epoch 1", capsys.readouterr().out)
    history = d2lmini.History.load("h.json")
    assert len(history) == history.about["settings"]["num_epochs"] == 2
    assert main([*RUN, "--num-epochs=2"]) == 0
    assert re.search("already.*2", capsys.readouterr().out)
    assert d2lmini.History.load("h.json").points() == history.points()


def test_fewer_epochs_than_were_run_are_not_recorded_as_fewer(in_a_copy, capsys):
    """Two were run: no record may say one, beside two entries."""
    assert main([*RUN, "--num-epochs=2"]) == 0
    main([*RUN, "--num-epochs=1"])
    printed = capsys.readouterr()
    assert "2 epochs" in printed.out + printed.err
    history = d2lmini.History.load("h.json")
    assert len(history) == history.about["settings"]["num_epochs"] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--checkpoint=same", "--history=same"],
        ["--checkpoint=same", "--history=./same"],
        ["--history=folder"],
        ["--checkpoint=folder"],
        ["--seed=100000000000000000000"],
    ],
)
def test_what_cannot_be_kept_is_refused_before_the_training(
    tmp_path, monkeypatch, capsys, arguments
):
    """Not after hours, when the results have nowhere to go."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("folder")
    try:
        status = main([*QUICK, "--num-epochs=1", *arguments])
    except SystemExit as exit_:
        status = exit_.code
    printed = capsys.readouterr()
    assert status in (1, 2)
    assert "examples/sec" not in printed.out and "training on" not in printed.out
    assert "Traceback" not in printed.err and printed.err
    assert os.listdir() == ["folder"]


# Ends, without writing what is still in a buffer, at the first training step after the
# test of epoch 1: its last batch has 400 of 1,000 images.
ENDS_IN_EPOCH_2 = """
import os
from torch.nn.modules.module import register_module_forward_pre_hook
from d2lmini.__main__ import main

tested = []

def end(module, args):
    if not module.training and len(args[0]) == 400:
        tested.append(True)
    if tested and module.training:
        os._exit(7)

register_module_forward_pre_hook(end)
main({arguments} + ["--batch-size=600", "--num-epochs=3"])
"""


def test_a_log_is_written_as_the_run_goes(tmp_path):
    script = ENDS_IN_EPOCH_2.format(arguments=QUICK)
    with open(tmp_path / "log", "w") as log:
        done = subprocess.run(
            [sys.executable, "-c", script],
            stdout=log,
            stderr=subprocess.PIPE,
            text=True,
            timeout=600,
        )
    assert (done.returncode, done.stderr) == (7, "")
    first, *others = (tmp_path / "log").read_text().splitlines()
    assert first.startswith("training on")
    (line,) = [line for line in others if "epoch 1" in line]
    assert len(re.findall(r"\d\.\d{3}", line)) >= 2  # what a reader waits for
    assert not [line for line in others if "epoch 2" in line]


# ---------------------------------------------------------------- files of several

WRITER = """
import sys
import torch
import d2lmini
from small_runs import batches, softmax_net

sys.stdin.readline()  # both at once
history = d2lmini.History([2.0] * 500, [0.5] * 500, [0.5] * 500, [1.0] * 500)
history.about = {"who": sys.argv[1] * 1000 * int(sys.argv[1])}
for _ in range(50):
    history.save("h.json")
for k in range(1, 7):
    torch.manual_seed(0)
    args = softmax_net(), batches(), batches(), k, 0.01, "cpu"
    d2lmini.train_ch6(*args, checkpoint="run.pt")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no file is replaced while read")
def test_two_processes_may_write_one_file(tmp_path):
    """Neither dies, and at every moment the file is a whole one."""
    tests = Path(__file__).parent
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(k)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tests), *sys.path])},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for k in (1, 2)
    ]
    for writer in writers:
        writer.stdin.write("go\n")
        writer.stdin.flush()
    while any(writer.poll() is None for writer in writers):
        if (tmp_path / "h.json").exists():
            assert len(d2lmini.History.load(tmp_path / "h.json")) == 500
        time.sleep(0.01)
    errors = [writer.communicate()[1] for writer in writers]
    assert [(w.returncode, e) for w, e in zip(writers, errors, strict=True)] == [
        (0, "")
    ] * 2
    args = softmax_net(), batches(), batches(), 6, 0.01, "cpu"
    history = d2lmini.train_ch6(*args, checkpoint=tmp_path / "run.pt")
    assert len(history) == 6
    assert sorted(os.listdir(tmp_path)) == ["h.json", "run.pt"]


KILLED_WHILE_WRITING = """
import os
import d2lmini

os.replace = lambda source, target: os._exit(7)
d2lmini.History([1.0], [0.5], [0.5], [1.0]).save("h.json")
"""


def test_what_a_killed_run_left_is_no_obstacle(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_WRITING], cwd=tmp_path, timeout=600
    )
    assert done.returncode == 7
    assert len(os.listdir(tmp_path)) == 1
    history = d2lmini.History([2.0], [0.5], [0.5], [1.0])
    history.save(tmp_path / "h.json")
    assert d2lmini.History.load(tmp_path / "h.json") == history
    assert os.listdir(tmp_path) == ["h.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="no such permissions")
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_a_saved_file_may_be_read_by_whom_a_new_file_may(tmp_path, mask):
    before = os.umask(mask)
    try:
        d2lmini.History().save(tmp_path / "h.json")
        (tmp_path / "new").touch()
    finally:
        os.umask(before)
    modes = [
        stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("h.json", "new")
    ]
    assert modes == [0o666 & ~mask] * 2


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes in folders")
def test_what_is_no_file_is_not_replaced_by_one(tmp_path):
    """`--history /dev/null` must leave the machine its /dev/null."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    written = True
    try:
        d2lmini.History([1.0], [0.5], [0.5], [1.0]).save(pipe)
    except OSError:
        written = False
    try:
        assert pipe.is_fifo()
        if written:
            assert json.loads(os.read(reader, 10_000))["train_loss"] == [1.0]
    finally:
        os.close(reader)
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_history_that_cannot_be_loaded_is_not_saved(tmp_path):
    """JSON has no nan. The message says so where the history is, not later."""
    history = d2lmini.History([math.nan], [0.5], [0.5], [1.0])
    with pytest.raises(ValueError, match="finite"):
        history.save(tmp_path / "h.json")
    assert os.listdir(tmp_path) == []
