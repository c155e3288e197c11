"""A small class on a real hub; tools/classroom.py checks each of its steps."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import TOOLS

PROXY = shutil.which("configurable-http-proxy", path=Path(sys.executable).parent)


@pytest.mark.slow
@pytest.mark.skipif(
    not (PROXY and importlib.util.find_spec("jupyterhub")),
    reason="needs what make class installs",
)
def test_a_class_of_three_gets_the_right_points_though_a_server_is_killed():
    done = subprocess.run(
        [sys.executable, TOOLS / "classroom.py", "3", "--chapter-5=0"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    stages = [line.split(" | ")[0] for line in done.stdout.splitlines() if "|" in line]
    assert stages[2:] == ["| idle", "| chapter 1", "| exercise"]
