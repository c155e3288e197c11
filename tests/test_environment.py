"""The environment that each make command begins with, and lines as git keeps them."""

import os
import shutil
import subprocess
import sys

import pytest
from helpers import ROOT

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs make")
NAME = "课程 für alle"  # of the course's folder


def sh(command, folder):
    """What command prints. Whoever would download something fails."""
    environment = os.environ | {"PIP_NO_INDEX": "1", "PYTHON": sys.executable}
    # Inside `make test`, make would name its folder and take that command's options.
    for name in ("PYTHONPATH", "MAKELEVEL", "MAKEFLAGS", "MFLAGS"):
        environment.pop(name, None)
    done = subprocess.run(
        ["sh", "-c", command],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A course without requirements, after `make environment`."""
    course = tmp_path_factory.mktemp("makes") / NAME
    for name in ("Makefile", "pyproject.toml", "tools/moved.py", "d2lmini/__init__.py"):
        (course / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, course / name)
    (course / "d2lmini/__init__.py").write_text("")
    (course / "requirements.txt").write_text("# none\n")
    sh("make environment", course)
    return course


@pytest.fixture
def course(made, tmp_path):
    """A copy of it elsewhere."""
    shutil.copytree(made, tmp_path / NAME, symlinks=True)
    return tmp_path / NAME


INSTALLS = "pip install -r requirements.txt"


def test_an_environment_is_made_once(made):
    assert sh("make environment", made).endswith("'environment'.\n")


def test_a_new_date_of_the_requirements_installs_nothing(made):
    sh("touch requirements.txt pyproject.toml Makefile", made)
    assert INSTALLS not in sh("make environment", made)


@pytest.mark.parametrize("name", ["requirements.txt", "pyproject.toml"])
def test_a_new_text_of_the_requirements_installs_them_and_back_nothing(course, name):
    sh("make environment", course)
    old = (course / name).read_text()
    (course / name).write_text(old + "# another\n")
    assert INSTALLS in sh("make environment", course)
    (course / name).write_text(old)
    assert INSTALLS not in sh("make environment", course)


@pytest.mark.parametrize("name", ["moved", "a b 课 " + "long" * 40])
def test_an_environment_works_after_its_folder_was_moved(course, name):
    """Its programs, its activation and d2lmini are those of the new folder."""
    here = course.rename(course.with_name(name))
    assert INSTALLS not in sh("make environment", here)
    ways = ".venv/bin/pip --version", ". .venv/bin/activate; pip --version"
    for command in ways:
        assert f"from {here}/.venv/lib/" in sh(command, here)
    where = "import d2lmini; print(d2lmini.__file__)"
    found = sh(f"cd /; '{here}/.venv/bin/python' -c '{where}'", here)
    assert found == f"{here}/d2lmini/__init__.py\n"


def test_an_environment_works_after_its_folder_was_moved_back(course):
    sh("make environment", course)
    there = course.rename(course.with_name("there"))
    sh("make environment", there)
    here = there.rename(course)
    sh("make environment", here)
    assert f"from {here}/.venv/lib/" in sh(".venv/bin/pip --version", here)


# ---------------------------------------------------------------- lines

IN_GIT = (ROOT / ".git").exists() and shutil.which("git")
STUBS = """
for name in apt-get make; do printf '#!/bin/sh\\necho %s "$@"\\n' $name > ../$name; done
chmod +x ../apt-get ../make
PATH=$(cd ..; pwd):$PATH bash .ci/run
"""


@pytest.mark.skipif(not IN_GIT, reason="needs git, and a clone")
def test_a_clone_made_for_windows_runs_on_linux(tmp_path):
    clone = ["git", "clone", "-q", "-c", "core.autocrlf=true", ROOT, tmp_path / "clone"]
    subprocess.run(clone, check=True)
    files = sh("git ls-files -z --eol", tmp_path / "clone").split("\0")
    assert len(files) > 50
    assert [line for line in files if "w/crlf" in line or "w/mixed" in line] == []
    ran = sh(STUBS, tmp_path / "clone").splitlines()
    assert ran[0].startswith("apt-get update")
    assert [line for line in ran if line.startswith("make ")] == [
        "make test test-slow",
        "make browser-test",
        "make class STUDENTS=3 --chapter-5=0",
    ]
