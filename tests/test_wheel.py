"""The package as it is installed from a wheel, without this folder around it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

SOURCES = ["d2lmini", "pyproject.toml", "README.md", "LICENSE"]
USE = """
import torch, d2lmini
print(d2lmini.__file__)
for loader in d2lmini.load_data_fashion_mnist(100, sample=True):
    counts = sum(torch.bincount(y, minlength=10) for _, y in loader)
    print(len(loader.dataset), *counts.tolist())
"""
EXPLORE = """
from torch import nn
from d2lmini.explorer import write_page
write_page(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), "page.html")
"""


def run(*command, **more):
    return subprocess.run(command, check=True, capture_output=True, text=True, **more)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the wheel installed; it is built from a copy, to leave no trace."""
    source, wheels, folder = map(tmp_path_factory.mktemp, ["source", "wheels", "site"])
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name)
        else:
            shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    offline = ["--no-deps", "--no-index"]
    run(*pip, "wheel", *offline, "--no-build-isolation", "-w", wheels, source)
    (wheel,) = wheels.iterdir()
    run(*pip, "install", *offline, "--target", folder, wheel)
    return folder


def test_the_sample_loads_from_an_installed_wheel(installed, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = run(sys.executable, "-c", USE, cwd=tmp_path, env=environment)
    place, train, test = done.stdout.splitlines()
    assert Path(place) == installed / "d2lmini" / "__init__.py"
    assert train.split() == ["6000", *["600"] * 10]
    assert test.split() == ["1000", *["100"] * 10]


def test_the_messages_in_chinese_are_in_the_wheel(installed):
    name = "d2lmini/messages/zh.json"
    assert (installed / name).read_bytes() == (ROOT / name).read_bytes()


def test_the_explorer_writes_its_page_from_an_installed_wheel(installed, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(installed)}
    run(sys.executable, "-c", EXPLORE, cwd=tmp_path, env=environment)
    assert "</html>" in (tmp_path / "page.html").read_text("utf-8")


def test_the_licences_are_in_the_wheel(installed):
    sample = (ROOT / "d2lmini/sample/LICENSE").read_bytes()
    assert (installed / "d2lmini/sample/LICENSE").read_bytes() == sample
    (licences,) = installed.glob("d2lmini-*.dist-info/licenses")
    assert (licences / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert (licences / "d2lmini/sample/LICENSE").read_bytes() == sample
