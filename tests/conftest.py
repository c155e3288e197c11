"""Fixtures that several test files use."""

import hashlib
import importlib
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from torchvision.datasets import FashionMNIST

from d2lmini.engine import fashion_mnist

pytest.register_assert_rewrite("helpers")

# A busy machine is no failure, and nothing is kept between runs. Each example writes
# again what it reads, so that all may share the folder of a test.
settings.register_profile(
    "d2lmini",
    deadline=None,
    database=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("d2lmini")
# pytest --hypothesis-profile=thorough
settings.register_profile("thorough", settings(max_examples=10_000))


@pytest.fixture(scope="session")
def d2l():
    """d2l's own helpers, the yardstick. Importing them warns; that is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("d2l.torch")


@pytest.fixture(scope="session")
def full_folder():
    """The folder of the full Fashion-MNIST set, where this machine has it."""
    folder = fashion_mnist.find_fashion_mnist()
    if folder is None:
        pytest.skip("the full set is not here: python -m d2lmini data")
    return folder


@pytest.fixture(scope="module")
def one_thread():
    """Nets this small lose more than they gain from a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def idx(values):
    """The format of the files: type and dimensions, then bytes, row by row."""
    header = [0x0800 + values.ndim, *values.shape]
    return b"".join(n.to_bytes(4, "big") for n in header) + values.tobytes()


@pytest.fixture
def tiny(monkeypatch):
    """The four files' content by name; taken for the official ones while a test runs"""
    rng = np.random.default_rng(0)
    files = {}
    for name in fashion_mnist.FILES:
        n = 5 if name.startswith("train") else 3
        shape, top = ((n, 28, 28), 256) if "images" in name else ((n,), 10)
        files[name] = idx(rng.integers(0, top, shape, dtype=np.uint8))
        digest = hashlib.sha256(files[name]).hexdigest()
        monkeypatch.setitem(fashion_mnist.FILES, name, (len(files[name]), digest))
    return files


@pytest.fixture
def places(tmp_path, monkeypatch):
    """The folders that are looked at, in their order, all inside tmp_path and empty."""
    for name in ("root", "env", "data", "debian", "cache", "work"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("D2LMINI_DATA", str(tmp_path / "env"))
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.setattr(fashion_mnist, "cache_folder", lambda: tmp_path / "cache")
    monkeypatch.setattr(fashion_mnist, "TIMEOUT", 1)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    # nobody listens there: a test that would download fails at once
    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://127.0.0.1:1/"])
    parents = [tmp_path / name for name in ("root", "env", "data", "debian", "cache")]
    return [f for p in parents for f in (p / "FashionMNIST/raw", p)]


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a disk of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder]
    if sys.platform != "linux" or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs Linux and root")
    yield folder
    subprocess.run(["umount", folder], check=True)
