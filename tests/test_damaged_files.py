"""Whatever befalls a file that is read: its right content comes out, or one error.

Hypothesis makes up the damages: a few hundred of each kind here, and thousands with
pytest --hypothesis-profile=thorough.
"""

import json
import os
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from helpers import NAMES, assert_loads, put
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import d2lmini
from d2lmini.engine import fashion_mnist

pytestmark = pytest.mark.usefixtures("one_thread")


@st.composite
def damaged(draw, content):
    """content with a piece cut out, bits flipped, bytes put in, or other content."""
    place = st.integers(0, len(content) - 1)
    kind = draw(st.sampled_from(["cut short", "cut out", "flip", "put in", "other"]))
    if kind == "cut short":
        return content[: draw(place)]
    if kind == "cut out":
        start, end = sorted([draw(place), draw(place)])
        return content[:start] + content[end:]
    if kind == "flip":
        content = bytearray(content)
        for i in draw(st.lists(place, min_size=1, max_size=4)):
            content[i] ^= draw(st.integers(1, 255))
        return bytes(content)
    if kind == "put in":
        i = draw(st.sampled_from([0, len(content)]) | place)
        return content[:i] + draw(st.binary(min_size=1, max_size=64)) + content[i:]
    return draw(st.sampled_from([b"", content + content, bytes(len(content))]))


# What can stand in the place of a file: name, how to put it there, whether it loads.
# `good` is a file with the right content elsewhere.
PLACES = {
    "folder": (lambda path, good: path.mkdir(), False),
    "full folder": (lambda path, good: (path / "x").mkdir(parents=True), False),
    "link in a circle": (lambda path, good: path.symlink_to(path), False),
    "link to nothing": (lambda path, good: path.symlink_to("none"), False),
    "link to a folder": (lambda path, good: path.symlink_to(good.parent), False),
    "link": (lambda path, good: path.symlink_to(good), True),
    "link to a link": (
        lambda path, good: (
            path.with_name("link").symlink_to(good),
            path.symlink_to("link"),
        ),
        True,
    ),
    "read-only file": (
        lambda path, good: (path.write_bytes(good.read_bytes()), path.chmod(0o444)),
        True,
    ),
}
in_its_place = pytest.mark.parametrize(("place", "loads"), PLACES.values(), ids=PLACES)


def refuse_to_read(monkeypatch, path):
    """As for a file of another user's; root may read those, too, so act as if."""

    def refusing(read):
        def refuse(self, *args, **kwargs):
            if self == path:
                raise PermissionError(13, "Permission denied", str(path))
            return read(self, *args, **kwargs)

        return refuse

    for name in ("read_bytes", "read_text"):
        monkeypatch.setattr(Path, name, refusing(getattr(Path, name)))


# ---------------------------------------------------------------- the four files


@given(st.data())
def test_damaged_data_files(places, tiny, tmp_path, data):
    folder, name = tmp_path / "root", data.draw(st.sampled_from(NAMES))
    packed = data.draw(st.booleans())
    put(tiny, folder, packed)
    path = folder / (f"{name}.gz" if packed else name)
    content = data.draw(damaged(path.read_bytes()))
    path.write_bytes(content)
    for other in folder.iterdir():
        if (other.suffix == ".gz") != packed:
            other.unlink()
    try:
        assert_loads(tiny, root=folder)
    except ValueError as error:
        assert f"{path} is not Fashion-MNIST's {name}" in str(error)
        assert "Move it away" in str(error)
    assert path.read_bytes() == content
    assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize("packed", [True, False])
@in_its_place
def test_what_stands_in_a_data_files_place(
    places, tiny, tmp_path, packed, place, loads
):
    """Where it is no file, the data are looked for elsewhere; here, nowhere else."""
    put(tiny, tmp_path / "elsewhere", packed)
    put(tiny, tmp_path / "root", packed)
    name = NAMES[1] + ".gz" * packed
    path = tmp_path / "root" / name
    path.unlink()
    place(path, tmp_path / "elsewhere" / name)
    if loads:
        assert_loads(tiny, root=tmp_path / "root")
    else:
        with pytest.raises(FileNotFoundError, match=f"(?s){name}.*Looked at.*root"):
            d2lmini.load_data_fashion_mnist(2, root=tmp_path / "root")
        put(tiny, tmp_path / "debian")
        assert_loads(tiny, root=tmp_path / "root")


def test_a_data_file_that_must_not_be_read(places, tiny, tmp_path, monkeypatch):
    put(tiny, tmp_path / "root")
    path = tmp_path / "root" / NAMES[2]
    refuse_to_read(monkeypatch, path)
    with pytest.raises(OSError, match=f"cannot read {path} .*denied.*: make it read"):
        d2lmini.load_data_fashion_mnist(2, root=tmp_path / "root")


@pytest.mark.parametrize("root", ["~nobody-of-this-name/data", "a\0b", "x" * 300])
def test_a_root_that_cannot_be(places, tiny, tmp_path, root):
    with pytest.raises(FileNotFoundError, match="(?s)Looked at"):
        d2lmini.load_data_fashion_mnist(2, root=root)
    put(tiny, tmp_path / "debian")
    assert_loads(tiny, root=root)


# ---------------------------------------------------------------- the sample


@pytest.fixture
def sample(tmp_path, monkeypatch):
    """A path that stands for the sample's, and the sample's content."""
    content, path = (
        fashion_mnist.SAMPLE.read_bytes(),
        tmp_path / fashion_mnist.SAMPLE.name,
    )
    monkeypatch.setattr(fashion_mnist, "SAMPLE", path)
    return path, content


@given(st.data())
def test_damaged_sample(sample, data):
    path, content = sample
    changed = data.draw(damaged(content).filter(lambda changed: changed != content))
    path.write_bytes(changed)
    with pytest.raises(ValueError, match=f"{path} is damaged: install d2lmini again"):
        d2lmini.load_data_fashion_mnist(8, sample=True)


@in_its_place
def test_what_stands_in_the_samples_place(sample, tmp_path, place, loads):
    path, content = sample
    (tmp_path / "elsewhere").mkdir()
    good = tmp_path / "elsewhere" / "good"
    good.write_bytes(content)
    place(path, good)
    if loads:
        train_iter, _ = d2lmini.load_data_fashion_mnist(8, sample=True)
        assert len(train_iter.dataset) == 6_000
    else:
        with pytest.raises(OSError, match=f"cannot read {path} .*install d2lmini"):
            d2lmini.load_data_fashion_mnist(8, sample=True)


# ---------------------------------------------------------------- checkpoints


def train(path, num_epochs=1):
    """(net, history) of a training with shuffling, dropout, momentum and a schedule."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    images = TensorDataset(torch.rand(12, 1, 4, 4), torch.arange(12) % 3)
    net = nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(16, 3))
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    history = d2lmini.train_ch6(
        net,
        DataLoader(images, 4, shuffle=True, generator=generator),
        DataLoader(images, 4),
        num_epochs,
        0.1,
        "cpu",
        optimizer=optimizer,
        checkpoint=path,
    )
    return net, history


def assert_same(run, expected):
    (net, history), (expected_net, expected_history) = run, expected
    assert history.points() == expected_history.points()
    for ours, theirs in zip(net.parameters(), expected_net.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.fixture
def checkpoint(tmp_path):
    """A path, the content of its checkpoint, and the run that wrote it."""
    run = train(tmp_path / "run")
    return tmp_path / "run", (tmp_path / "run").read_bytes(), run


@pytest.fixture
def untouched(monkeypatch):
    """Fails where a weight is changed, by the start of a training or from a file."""

    def forbidden(*args, **kwargs):
        raise AssertionError("net was changed")

    monkeypatch.setattr(nn.Module, "load_state_dict", forbidden)
    monkeypatch.setattr(nn.init, "xavier_uniform_", forbidden)


NOT_WHOLE = "run is damaged, or not a checkpoint of train_ch6: move it away"


@given(st.data())
def test_damaged_checkpoint(checkpoint, untouched, data):
    path, content, _ = checkpoint
    changed = data.draw(damaged(content).filter(lambda changed: changed != content))
    path.write_bytes(changed)
    with pytest.raises(ValueError, match=NOT_WHOLE):
        train(path)
    assert path.read_bytes() == changed
    assert os.listdir(path.parent) == ["run"]


def parts_of(value, path=()):
    """The paths of keys and indices to everything inside value."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield (*path, key)
        if isinstance(inner, dict | list | tuple):
            yield from parts_of(inner, (*path, key))


def exchange(value, path, new):
    """value with another thing at path, or with nothing there where new is ..."""
    key, *rest = path
    copy = dict(value) if isinstance(value, dict) else dict(enumerate(value))
    copy[key] = exchange(value[key], rest, new) if rest else new
    if copy[key] is ...:
        del copy[key]
    return copy if isinstance(value, dict) else type(value)(copy.values())


JUNK = [..., None, 0, -1, "x", [], {}, torch.zeros(2, 5), torch.zeros(0).byte()]


@given(st.data())
def test_a_checkpoint_with_junk_inside(checkpoint, untouched, data):
    """A whole file of torch's, with all keys, that train_ch6 did not write so."""
    path, content, _ = checkpoint
    path.write_bytes(content)
    state = torch.load(path, weights_only=True)
    where = data.draw(st.sampled_from(sorted(parts_of(state), key=str)))
    torch.save(exchange(state, where, data.draw(st.sampled_from(JUNK))), path)
    with pytest.raises(ValueError, match=NOT_WHOLE):
        train(path)


@in_its_place
def test_what_stands_in_a_checkpoints_place(checkpoint, tmp_path_factory, place, loads):
    """A link stays one when the training goes on; where nothing is, one begins."""
    elsewhere, _, run = checkpoint
    path = tmp_path_factory.mktemp("place") / "run"
    place(path, elsewhere)
    if path.is_dir():
        with pytest.raises(OSError, match=f"cannot read .* {path} .*move it away"):
            train(path)
        return
    linked = loads and path.is_symlink()
    assert_same(train(path), run)
    assert_same(train(path, 2), train(None, 2))
    assert (path.read_bytes() == elsewhere.read_bytes()) == linked
    assert not list(path.parent.glob("*.part"))


def test_a_checkpoint_that_must_not_be_read(checkpoint, untouched, monkeypatch):
    path, _, _ = checkpoint
    refuse_to_read(monkeypatch, path)
    with pytest.raises(OSError, match=f"cannot read .*{path} .*denied.*: move it away"):
        train(path)


# ---------------------------------------------------------------- History as JSON


def a_history(n, **more):
    metric = d2lmini.Accumulator(3)
    metric.add(2.5, 1, 4)
    history = d2lmini.History(**more)
    for _ in range(n):
        history.add_epoch(metric, 0.5, seconds=3.0, train_seconds=1.0)
    return history


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "history.json"
    a_history(3, about={"machine": "a laptop"}).save(path)
    return path, path.read_bytes()


def assert_a_history_or_refused(path):
    """What is loaded can be shown, drawn and saved; else one error that names path."""
    content = path.read_bytes()
    try:
        history = d2lmini.History.load(path)
    except ValueError as error:
        assert f"{path} is not a saved History" in str(error)
        assert "Give a file that save() wrote" in str(error)
        assert len(str(error)) < 400
    else:
        assert asdict(history) == asdict(d2lmini.History()) | json.loads(content)
        assert repr(history).startswith("History(")
        lengths = {len(curve) for curve in zip(*history.points(), strict=True)}
        assert lengths <= {len(history.seconds)}
    assert path.read_bytes() == content


@given(st.data())
def test_damaged_history(saved, data):
    path, content = saved
    path.write_bytes(data.draw(damaged(content)))
    assert_a_history_or_refused(path)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
anything = st.recursive(
    scalars | st.just(10**400) | st.just(-1e-9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
FIELDS = list(asdict(d2lmini.History()))
curves = st.lists(st.floats(0, 1) | anything, max_size=3)


@given(
    anything
    | st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, curves | anything))
    | st.fixed_dictionaries(
        dict.fromkeys(FIELDS[:4], curves),
        optional=dict.fromkeys([*FIELDS[4:], "more"], anything),
    )
)
def test_json_that_may_be_no_history(tmp_path, value):
    path = tmp_path / "history.json"
    path.write_text(json.dumps(value))
    assert_a_history_or_refused(path)


BAD_FIELDS = {
    "train_loss": [[1.0, "a"], [1.0, None], [1.0, True], [1.0, [1.0]], [1.0, 10**400]],
    "train_acc": [[1.0], [1.0, -0.1], {"a": 1, "b": 2}, "ab"],
    "test_acc": [[1.0, float("nan")], [1.0, float("inf")], None],
    "seconds": [[1.0, -1.0], 2, [1.0, 2.0, 3.0]],
    "examples": ["8", None, [8], -1, float("nan"), 10**400, True],
    "train_seconds": ["8", None, {}, -1, float("inf")],
    "about": [None, "a laptop", ["a laptop"], 1],
    "losses": [[1.0, 1.0]],
}


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name, values in BAD_FIELDS.items() for value in values],
    ids=lambda value: str(value)[:20],
)
def test_a_history_with_one_bad_field(tmp_path, name, value):
    path = tmp_path / "history.json"
    path.write_text(json.dumps(asdict(a_history(2)) | {name: value}))
    with pytest.raises(ValueError, match=r"history\.json is not a saved History"):
        d2lmini.History.load(path)


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b'{"train_loss": ' + b"[" * 100_000, b"9" * 5000, b"\xff\xfe{}"],
    ids=["deep", "deep in a list", "a long number", "UTF-16"],
)
def test_json_beyond_its_readers(tmp_path, content):
    path = tmp_path / "history.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"history\.json is not a saved History"):
        d2lmini.History.load(path)


@in_its_place
def test_what_stands_in_a_historys_place(saved, tmp_path_factory, place, loads):
    good, _ = saved
    path = tmp_path_factory.mktemp("place") / "history.json"
    place(path, good)
    if not loads:
        with pytest.raises(OSError, match=f"cannot read {path} .*that save.. wrote"):
            d2lmini.History.load(path)
        return
    assert d2lmini.History.load(path) == d2lmini.History.load(good)
    linked = path.is_symlink()
    a_history(1).save(path)
    assert d2lmini.History.load(path) == a_history(1)
    assert (path.read_bytes() == good.read_bytes()) == linked


def test_a_history_that_must_not_be_read(saved, monkeypatch):
    path, _ = saved
    refuse_to_read(monkeypatch, path)
    with pytest.raises(PermissionError, match=f"cannot read {path} .*denied"):
        d2lmini.History.load(path)


# ---------------------------------------------------------------- disks


def fill(disk):
    """Leave less room than any of the files takes."""
    with pytest.raises(OSError, match="space"), open(disk / "filler", "wb", 0) as file:
        while True:
            file.write(bytes(4096))


FULL = r"cannot write .*No space left on device.*: make room, or give another path"


def test_a_full_disk_keeps_the_old_checkpoint(small_disk):
    path = small_disk / "run"
    train(path)
    content = path.read_bytes()
    fill(small_disk)
    with pytest.raises(OSError, match=FULL):
        train(path, 2)
    assert path.read_bytes() == content
    assert sorted(os.listdir(small_disk)) == ["filler", "run"]
    (small_disk / "filler").unlink()
    assert_same(train(path, 2), train(None, 2))


def test_a_full_disk_is_told_before_training(small_disk):
    fill(small_disk)
    with pytest.raises(OSError, match=FULL):
        train(small_disk / "run")
    assert os.listdir(small_disk) == ["filler"]


def test_a_full_disk_keeps_the_old_history(small_disk):
    path = small_disk / "history.json"
    a_history(1).save(path)
    fill(small_disk)
    with pytest.raises(OSError, match=FULL):
        a_history(100).save(path)
    assert d2lmini.History.load(path) == a_history(1)
    assert sorted(os.listdir(small_disk)) == ["filler", "history.json"]


def test_a_read_only_disk_is_enough_to_read(small_disk, places, tiny):
    run, history = small_disk / "run", small_disk / "history.json"
    put(tiny, small_disk / "data", packed=True)
    train(run)
    a_history(2).save(history)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert_loads(tiny, root=small_disk / "data")
    assert d2lmini.History.load(history) == a_history(2)
    assert_same(train(run), train(None))
    content = run.read_bytes()
    with pytest.raises(OSError, match=f"cannot write {run} .*Read-only"):
        train(run, 2)
    assert run.read_bytes() == content
