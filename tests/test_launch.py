"""Opening the course without `make lab`: a bare Jupyter, a dev container."""

import json
import os
import re
import subprocess
import sys

import pytest
from helpers import CHAPTERS, ROOT, code_cells

FIRST_LINES = """\
try:
    import d2lmini as d2l
except ModuleNotFoundError as error:
    error.msg += ": run %pip install .. in a new cell, then this cell again"
    raise

"""
# No d2lmini, and no way to start a program or to reach a server.
BARE_JUPYTER = """
import sys

class Bare:
    def find_spec(name, path, target=None):
        if name == "d2lmini":
            raise ModuleNotFoundError("No module named 'd2lmini'", name=name)

def refuse(event, arguments):
    if event in ("subprocess.Popen", "os.system", "os.exec", "socket.connect"):
        print("refused:", event, flush=True)
        raise PermissionError(event)

sys.meta_path.insert(0, Bare)
sys.addaudithook(refuse)
exec(sys.stdin.read())
"""


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
class TestFirstCell:
    def test_begins_alike_in_every_chapter(self, path):
        assert code_cells(path)[0].source.startswith(FIRST_LINES)

    def test_says_what_to_run_and_runs_nothing_itself(self, path):
        """The line is right there: a chapter's parent folder is the package."""
        run = subprocess.run(
            [sys.executable, "-c", BARE_JUPYTER],
            input=code_cells(path)[0].source,
            cwd=path.parent,
            capture_output=True,
            text=True,
        )
        assert run.stdout == ""
        assert run.stderr.splitlines()[-1] == (
            "ModuleNotFoundError: No module named 'd2lmini': "
            "run %pip install .. in a new cell, then this cell again"
        )
        package = (path.parent / ".." / "pyproject.toml").read_text(encoding="utf-8")
        assert 'name = "d2lmini"' in package


@pytest.mark.skipif(sys.platform == "win32", reason="needs make, and a Unix shell")
def test_dev_container_makes_the_environment_and_opens_a_chapter():
    text = (ROOT / ".devcontainer/devcontainer.json").read_text(encoding="utf-8")
    settings = json.loads(re.sub("^ *//.*$", "", text, flags=re.M))
    plan = subprocess.run(
        settings["postCreateCommand"],
        shell=True,
        env=os.environ | settings["remoteEnv"] | {"MAKEFLAGS": "nB"},  # a dry run
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    python = settings["customizations"]["vscode"]["settings"].popitem()[1]
    assert f"{python} -m pip install -r requirements.txt" in plan.stdout
    # in the clone lies the host's environment, if it has one
    assert python.startswith("/home/vscode/")
    (opened,) = settings["customizations"]["codespaces"]["openFiles"]
    assert ROOT / opened == CHAPTERS[0]
