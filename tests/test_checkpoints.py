"""train_ch6(checkpoint=...): an interrupted training goes on as if it had not been."""

import hashlib
import io
import math
import multiprocessing
import os
import random
import shutil
import signal
import time

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, RandomSampler

import d2lmini
from d2lmini.engine import files

pytestmark = pytest.mark.usefixtures("one_thread")


class Images(Dataset):
    """24 random images; noise > 0 augments them with every kind of random number."""

    def __init__(self, seed=0, noise=0.0, extra=0.0):
        generator = torch.Generator().manual_seed(seed)
        self.X = torch.rand(24, 1, 32, 32, generator=generator) + extra
        self.noise, self.rng = noise, None

    def __len__(self):
        return 24

    def __getitem__(self, i):
        X = self.X[i]
        if self.noise:
            number = random.random() + float(np.random.rand()) + torch.rand(1)
            X = X + self.noise * number
        if self.rng:
            X = X + 0.1 * float(self.rng.random())
        return X, i % 10


def seed_all(seed):
    for set_seed in (torch.manual_seed, np.random.seed, random.seed):
        set_seed(seed)


def drawn():
    return torch.rand(1).item(), np.random.rand(), random.random()


def setup(
    *, hidden=16, lr=0.05, batch_size=8, momentum=0.0, one_cycle=0, loss=None,
    noise=0.0, extra=0.0, test_seed=1, own="", norm=False,
):  # fmt: skip
    """net, both loaders and the options of train_ch6, in a fixed random state."""
    seed_all(0)
    arch = d2lmini.shrink(d2lmini.VGG11, 16)
    net = d2lmini.vgg(arch, image_size=32, hidden=(hidden,))
    if norm:
        net.insert(1, nn.BatchNorm2d(4))
    data, options = Images(noise=noise, extra=extra), {"loss": loss}
    generator = torch.Generator().manual_seed(7) if own else None
    if own == "data set":
        data.rng = np.random.default_rng(7)
    if own == "sampler":
        sampler = RandomSampler(data, generator=generator)
        train_iter = DataLoader(data, batch_size, sampler=sampler)
    else:
        train_iter = DataLoader(data, batch_size, shuffle=True, generator=generator)
    if momentum or one_cycle:
        optimizer = torch.optim.SGD(net.parameters(), lr=lr, momentum=momentum)
        options["optimizer"] = optimizer
    if one_cycle:
        options["scheduler"] = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, lr, total_steps=one_cycle
        )
    return net, train_iter, DataLoader(Images(test_seed), batch_size), lr, options


def train(num_epochs, checkpoint=None, interrupt=None, **what):
    """(net, history) of a training; interrupt: the step in which it is interrupted."""
    net, train_iter, test_iter, lr, options = setup(**what)
    steps = []

    def count(module, args):
        steps.append(module.training)
        if sum(steps) == interrupt:
            raise KeyboardInterrupt

    net.register_forward_pre_hook(count)
    history = d2lmini.train_ch6(
        net, train_iter, test_iter, num_epochs, lr, "cpu",
        checkpoint=checkpoint, **options,
    )  # fmt: skip
    net.steps = sum(steps)
    return net, history


def assert_equal_runs(run, expected):
    """Bit for bit."""
    (net, history), (expected_net, expected_history) = run, expected
    assert history.points() == expected_history.points()
    assert len(history.seconds) == len(history)
    assert history.examples == expected_history.examples
    assert_equal_states(net.state_dict(), expected_net.state_dict())


def assert_equal_states(state, expected):
    assert state.keys() == expected.keys()
    for name, value in state.items():
        assert torch.equal(value, expected[name]), name


# ---------------------------------------------------------------- going on


def new_function():
    return lambda y_hat, y: F.cross_entropy(y_hat, y)


@pytest.mark.parametrize(
    "what",
    [
        {},
        {"momentum": 0.9, "one_cycle": 9},
        {"own": "loader"},
        {"own": "sampler"},
        {"own": "data set"},
        {"noise": 0.1},
        {"norm": True},
        {"loss": new_function()},
    ],
    ids=[
        "plain",
        "one-cycle",
        "generator",
        "sampler",
        "data set",
        "augmented",
        "norm",
        "loss",
    ],
)
def test_an_interrupted_training_ends_as_an_uninterrupted_one(tmp_path, what):
    """Interrupted in the second batch of epoch 2; with dropout and shuffling."""
    whole = train(3, **what)
    expected = drawn()
    _, history = train(3, tmp_path / "run", interrupt=5, **what)
    assert history.points() == whole[1].points()[:1]

    if "loss" in what:  # as in a new process, where functions lie elsewhere
        what = {"loss": new_function()}
    resumed = train(3, tmp_path / "run", **what)
    assert_equal_runs(resumed, whole)
    assert drawn() == expected
    assert resumed[0].steps == 2 * 3  # of the two epochs that were missing
    assert os.listdir(tmp_path) == ["run"]


def test_more_epochs_can_be_added(tmp_path):
    train(1, tmp_path / "run")
    assert_equal_runs(train(3, tmp_path / "run"), train(3))


def test_a_finished_training_returns_at_once(tmp_path, capsys):
    done = train(2, tmp_path / "run")
    content, lines = (tmp_path / "run").read_bytes(), capsys.readouterr().out
    again = train(2, str(tmp_path / "run"))
    assert_equal_runs(again, done)
    assert again[1] == done[1]  # the times too
    assert again[0].steps == 0
    assert not again[0].training  # ready for predictions
    first, *results = lines.splitlines()
    told = [first, "already trained: 2 epochs are in run", *results]
    assert capsys.readouterr().out.splitlines() == told
    assert (tmp_path / "run").read_bytes() == content


def test_a_checkpoint_loads_as_data_alone(tmp_path):
    """weights_only=True runs no code from the file."""
    net, history = train(1, tmp_path / "run", momentum=0.9, own="loader")
    state = torch.load(tmp_path / "run", weights_only=True)
    assert_equal_states(state["parts"]["net"], net.state_dict())
    assert state["history"]["train_loss"] == history.train_loss


# ---------------------------------------------------------------- killing

NUM_EPOCHS = 70


class SlowFile(io.FileIO):
    """Written in two halves with a pause between; halfway says when it comes to it."""

    halfway, pause = None, 0.02

    def write(self, content):
        half = len(content) // 2
        super().write(content[:half])
        type(self).halfway()
        time.sleep(self.pause)
        return super().write(content[half:])


def train_in_a_process(path, write, halfway):
    """write: number of the writing of a checkpoint that stops halfway, never to end."""

    def count():
        nonlocal write
        write -= 1
        if write == 0:
            halfway.set()
            time.sleep(600)

    torch.set_num_threads(1)
    SlowFile.halfway = count
    files.open = SlowFile
    train(NUM_EPOCHS, path, momentum=0.9, one_cycle=3 * NUM_EPOCHS)


def whole_checkpoint(path):
    """What the file holds; it ends with the digest of all that comes before."""
    content = path.read_bytes()
    assert content[-32:] == hashlib.sha256(content[:-32]).digest()
    return torch.load(path, weights_only=True)


def num_epochs_in(path):
    return len(whole_checkpoint(path)["history"]["seconds"]) if path.exists() else -1


@pytest.mark.slow  # where processes cannot be forked, minutes
def test_a_training_that_is_killed_again_and_again_ends_the_same(tmp_path):
    """24 times: half of them at any moment, half of them while the file is written."""
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:  # import torch once, not in every process
        context.set_forkserver_preload(["d2lmini", "matplotlib.figure", "pytest"])

    def start(path, write=0):
        halfway = context.Event()
        arguments = path, write, halfway
        process = context.Process(target=train_in_a_process, args=arguments)
        process.start()
        return process, halfway

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    others, numbers = [start(whole)], random.Random(0)
    for kill in range(24):
        before = num_epochs_in(killed)
        if kill % 2 == 0:
            process, halfway = start(killed, write=numbers.randint(1, 2))
            assert halfway.wait(600)
            (aside,) = tmp_path.glob(f"*-{process.pid}-*.part")
            half = aside.stat().st_size
        else:
            process, _ = start(killed)
            target, deadline = before + numbers.randint(0, 1), time.monotonic() + 60
            while num_epochs_in(killed) < target and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(numbers.uniform(0, 0.05))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL if forks else process.exitcode
        assert before <= num_epochs_in(killed) < NUM_EPOCHS
        if kill % 2 == 0:
            assert 0 < half < (killed.stat().st_size if killed.exists() else math.inf)

    others.append(start(killed))
    for process, _ in others:
        process.join(600)
        assert process.exitcode == 0
    a, b = whole_checkpoint(whole), whole_checkpoint(killed)
    assert num_epochs_in(killed) == NUM_EPOCHS
    assert_equal_states(b["parts"]["net"], a["parts"]["net"])
    for name in ("train_loss", "train_acc", "test_acc", "examples"):
        assert a["history"][name] == b["history"][name]
    assert torch.equal(a["random"][0]["torch"], b["random"][0]["torch"])
    assert sorted(os.listdir(tmp_path)) == ["killed", "whole"]


def test_what_a_killed_run_left_aside_is_cleared(tmp_path):
    """And not what another process is still writing."""
    context = multiprocessing.get_context("spawn")
    halfway = context.Event()
    arguments = tmp_path / "run", 1, halfway
    process = context.Process(target=train_in_a_process, args=arguments)
    process.start()
    assert halfway.wait(600)
    (aside,) = tmp_path.glob("*.part")
    assert_equal_runs(train(1, tmp_path / "run"), train(1))
    assert sorted(os.listdir(tmp_path)) == sorted([aside.name, "run"])
    process.kill()
    process.join()
    assert_equal_runs(train(2, tmp_path / "run"), train(2))
    assert os.listdir(tmp_path) == ["run"]


# ---------------------------------------------------------------- what is refused


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Checkpoints of one epoch: plain, with a schedule for two, with a generator."""
    folder = tmp_path_factory.mktemp("checkpoints")
    train(1, folder / "plain")
    train(2, folder / "one_cycle", one_cycle=6, interrupt=5)
    train(1, folder / "own", own="loader")
    return folder


@pytest.mark.parametrize(
    ("saved", "what", "difference"),
    [
        ("plain", {"hidden": 17}, "net was .*features=16.* now .*features=17"),
        ("plain", {"norm": True}, "net was .*Sequential.* now .*BatchNorm2d"),
        ("plain", {"extra": 0.5}, "training data was .*24 .* now .*24 "),
        ("plain", {"test_seed": 2}, "test data was .*24 .* now .*24 "),
        ("plain", {"batch_size": 6}, "batch size was '8', and is now '6'"),
        ("plain", {"lr": 0.06}, r"lr was '0\.05', and is now '0\.06'"),
        ("plain", {"momentum": 0.9}, "optimizer was 'momentum: 0.* 'momentum: 0.9'"),
        (
            "plain",
            {"loss": nn.CrossEntropyLoss(label_smoothing=0.1)},
            "loss was .*=0.1",
        ),
        ("plain", {"loss": F.cross_entropy}, "loss was .* now .*cross_entropy"),
        ("plain", {"one_cycle": 6}, "optimizer was|scheduler was"),
        ("one_cycle", {"one_cycle": 9}, "num_epochs was '2', and is now '3'"),
        ("plain", {"own": "loader"}, "number of generators .* was '0', and is now '1'"),
        ("own", {}, "number of generators .* was '1', and is now '0'"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_the_checkpoint_of_another_training_is_refused(
    checkpoints, tmp_path, saved, what, difference
):
    """Naming the file and the difference; the file stays as it is."""
    path = shutil.copy(checkpoints / saved, tmp_path / "run")
    content = path.read_bytes()
    net, train_iter, test_iter, lr, options = setup(**what)
    with pytest.raises(
        ValueError, match=f"(?s)run is of another training: {difference}"
    ):
        d2lmini.train_ch6(
            net, train_iter, test_iter, 3, lr, "cpu", checkpoint=path, **options
        )
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["run"]


@pytest.mark.parametrize(
    "damage",
    ["cut short", "empty", "text", "a weight changed", "another file of torch's"],
)
def test_a_damaged_checkpoint_is_refused(checkpoints, tmp_path, damage):
    """By name; the file stays as it is."""
    path = shutil.copy(checkpoints / "plain", tmp_path / "run")
    content = bytearray(path.read_bytes())
    if damage == "cut short":
        content = content[: len(content) // 2]
    elif damage == "empty":
        content = b""
    elif damage == "text":
        content = b"loss 0.3\n" * 1000
    elif damage == "a weight changed":
        weights = torch.load(path, weights_only=True)["parts"]["net"]
        content[content.index(weights["6.weight"].numpy().tobytes())] ^= 1
    path.write_bytes(content)
    if damage.startswith("another"):
        torch.save({"weight": torch.zeros(3)}, path)
    content = path.read_bytes()
    with pytest.raises(
        ValueError, match="run is damaged, or not a checkpoint of train_ch6"
    ):
        train(2, path)
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["run"]


class MakesAFolder:
    """Runs code where it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_a_checkpoint_with_code_in_it_is_refused_and_not_run(tmp_path):
    content = io.BytesIO()
    torch.save({"settings": MakesAFolder(tmp_path / "run by the file")}, content)
    content = content.getvalue()
    (tmp_path / "run").write_bytes(content + hashlib.sha256(content).digest())
    with pytest.raises(ValueError, match="run is damaged, or not a checkpoint"):
        train(1, tmp_path / "run")
    assert os.listdir(tmp_path) == ["run"]


def test_a_folder_that_is_not_there_is_refused_before_training(tmp_path):
    net, train_iter, test_iter, lr, _ = setup()
    trained = []
    net.register_forward_hook(lambda m, X, y: trained.append(m.training))
    with pytest.raises(OSError, match="none.*run"):
        d2lmini.train_ch6(
            net, train_iter, test_iter, 1, lr, "cpu", checkpoint=tmp_path / "none/run"
        )
    assert not any(trained)
    assert os.listdir(tmp_path) == []


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "run"
    train(1, path)
    content = path.read_bytes()

    def full(source, target):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match="cannot write .*run .no space"):
            train(2, path)
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["run"]
    assert_equal_runs(train(2, path), train(2))
