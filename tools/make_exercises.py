"""Make the exercises from the solutions, and enter their points in the gradebook.

python tools/make_exercises.py [COURSE]    COURSE: nbgrader's folder, else notebooks/

All is made aside: when nbgrader refuses, exercises and gradebook stay as they were.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

KEPT = ("nbgrader_config.py", "gradebook.db")
REFUSED = """nbgrader could not make the exercises; what was there is unchanged.
What has been handed in binds them: then no graded cell may be added, removed or given
other points. To begin with a new class, move gradebook.db away: it holds the grades."""


def environment() -> dict[str, str]:
    """Where nbgrader finds its helper alembic, and only the settings of its course.

    Another course's, in the teacher's home, would lead it there.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "JUPYTER_NO_CONFIG": "1"}


def make(course: Path) -> None:
    """Replace course/exercises, and bring course/gradebook.db up to date."""
    with tempfile.TemporaryDirectory(dir=course) as name:
        aside = Path(name)
        shutil.copytree(course / "solutions", aside / "solutions")
        for file in KEPT:
            if (course / file).exists():
                shutil.copy(course / file, aside)
        command = [sys.executable, "-m", "nbgrader", "generate_assignment", "*"]
        if subprocess.run(command, cwd=aside, env=environment()).returncode:
            sys.exit(REFUSED)
        if (course / "exercises").exists():
            (course / "exercises").replace(aside / "before")
        for file in ("exercises", "gradebook.db"):
            (aside / file).replace(course / file)


if __name__ == "__main__":
    notebooks = Path(__file__).parents[1] / "notebooks"
    make(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else notebooks)
