"""Run the chapters in the places where people are, and make a table of what came out.

python tools/places.py [--chapters 1-7] [--write] [PLACE ...]

Without names all places, which takes long. --write keeps the table in
CONTRIBUTING.md, between two markers. Each place is asked one of two questions:

printed   nbval, as in `make test`: is each printed line the one in the chapter?
pictures  `jupyter nbconvert --execute`, as a reader runs a chapter: are chapters 1, 2
          and 4 without an error, and are their pictures, byte for byte, those of a
          reader who has set nothing? (The others draw times.)
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from pathlib import Path

import nbformat
from packaging.requirements import Requirement

COURSE = Path(__file__).resolve().parents[1]
TABLE = COURSE / "CONTRIBUTING.md"
BEGIN, END = "<!-- make places -->\n", "<!-- end of make places -->\n"
# What google-colab 1.0.0 requires; with another IPython its notebooks may not connect.
COLAB = ["ipython==7.34.0", "ipykernel==6.17.1", "notebook==6.5.7", "tornado==6.4.2"]
COLAB += ["pandas==2.2.2", "requests==2.32.3", "portpicker==1.5.2"]


@dataclass
class Place:
    """Where a chapter runs; `{}` in a text stands for a folder that is empty at first.

    environment: variables; None removes one. files: texts by name, written before.
    around: the command that starts a command there. folder: the course's, if it is to
    be another; it is copied there.
    """

    name: str
    made_by: str
    question: str = "printed"
    environment: Mapping[str, str | None] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    around: Sequence[str] = ()
    folder: str | None = None
    python: Callable[[Path], str] = lambda folder: sys.executable


def lend(names: Sequence[str], there: Path) -> None:
    """Link packages of this environment, and what they require, into another's folder.

    What is there already stays. PyTorch would be a download of 3 GB.
    """
    for name in names:
        package = importlib.metadata.distribution(name)
        if any(there.glob(f"{name.replace('-', '_')}-*.dist-info")):
            continue
        for top in {Path(file).parts[0] for file in package.files} - {".."}:
            if not (there / top).exists():
                (there / top).symlink_to(package.locate_file(top))
        required = map(Requirement, package.requires or [])
        extra = {"extra": ""}
        lend(
            [r.name for r in required if not r.marker or r.marker.evaluate(extra)],
            there,
        )


def colab(folder: Path) -> str:
    """An environment with Colab's pins, PyTorch, and then the course; its Python."""
    python = str(folder / "colab/bin/python")
    pip = [python, "-m", "pip", "install", "--quiet"]
    run([sys.executable, "-m", "venv", folder / "colab"])
    run([*pip, *COLAB, "matplotlib", "tqdm", "platformdirs", "setuptools>=77.0.3"])
    (there,) = (folder / "colab/lib").glob("python*/site-packages")
    lend(["torch", "torchvision"], there)
    before = run([python, "-m", "pip", "freeze", "--all"]).splitlines()
    run([*pip, COURSE])
    after = run([python, "-m", "pip", "freeze", "--all"]).splitlines()
    if replaced := set(before) - set(after):
        raise RuntimeError(f"installing the course replaced {', '.join(replaced)}")
    return python


ALONE = 'ip link set lo up && exec "$@"'  # kernels talk through the loopback device
READ_ONLY = """
mount --bind "$PWD" "$PWD" && mount -o remount,bind,ro "$PWD" && cd "$PWD" && exec "$@"
"""
SHOWS_ALL = {
    "profile_default/ipython_config.py": (
        'c.InteractiveShell.ast_node_interactivity = "all"\n'
    )
}
PLACES = [
    Place("the reader's own machine", "nothing is set"),
    Place(
        "a path with spaces and Chinese characters",
        "the course is copied there",
        folder="课程 of 2026/d2l mini",
    ),
    Place(
        "a classroom without a network",
        "`unshare --net`: only the machine itself answers",
        around=["unshare", "-r", "--net", "sh", "-c", ALONE, "sh"],
    ),
    Place(
        "a course that can only be read",
        "mounted read-only",
        around=["unshare", "-r", "--mount", "sh", "-c", READ_ONLY, "sh"],
        folder="read-only",
    ),
    Place(
        "a container with a user id without a name",
        "user 12345, `HOME` is a folder that is not there",
        around=["unshare", "--map-user=12345", "--map-group=12345"],
        environment={"HOME": "/nonexistent", "USER": None, "LOGNAME": None},
    ),
    Place(
        "a system without a language",
        "`LANG=C`, without `PYTHONUTF8`; Python neither coerces nor assumes UTF-8",
        environment={"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0"}
        | {"PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": None},
    ),
    Place("one thread", "`OMP_NUM_THREADS=1`", environment={"OMP_NUM_THREADS": "1"}),
    Place(
        "a processor without AVX",
        "`ATEN_CPU_CAPABILITY=default`, `ONEDNN_MAX_CPU_ISA=SSE41`",
        environment={"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    ),
    Place(
        "the tests of a reader with settings",
        "`MPLBACKEND=agg`, and an IPython profile that shows every expression",
        environment={"MPLBACKEND": "agg", "IPYTHONDIR": "{}"},
        files=SHOWS_ALL,
    ),
    Place(
        "a cluster",
        "`MPLBACKEND=agg`",
        question="pictures",
        environment={"MPLBACKEND": "agg"},
    ),
    Place(
        "VS Code's dark plots",
        '`plt.style.use("dark_background")` before the first cell',
        question="pictures",
        environment={"IPYTHONDIR": "{}"},
        files={
            "profile_default/startup/00-dark.py": (
                'import matplotlib.pyplot as plt\nplt.style.use("dark_background")\n'
            )
        },
    ),
    Place(
        "a profile that shows every expression",
        'IPython\'s `ast_node_interactivity = "all"`',
        question="pictures",
        environment={"IPYTHONDIR": "{}"},
        files=SHOWS_ALL,
    ),
    Place(
        "a reader's matplotlibrc",
        "large fonts, wide lines, coarse figures, another backend",
        question="pictures",
        environment={"MATPLOTLIBRC": "{}"},
        files={
            "matplotlibrc": (
                "font.size: 24\nlines.linewidth: 6\nfigure.dpi: 40\nbackend: pdf\n"
            )
        },
    ),
    Place(
        "Colab",
        "its pinned IPython 7.34; the course is installed and replaces nothing",
        question="pictures",
        environment={"PYTHONPATH": None},
        python=colab,
    ),
]


def run(command: Sequence, **more) -> str:
    """What command prints on stdout; RuntimeError, with what it says, if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, **more)
    if done.returncode:
        raise RuntimeError(f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def chapters(course: Path, numbers: Sequence[int]) -> Iterator[Path]:
    for number in numbers:
        yield from (course / "notebooks").glob(f"{number:02}_*.ipynb")


def printed(start: Callable, course: Path, numbers: Sequence[int], _: Path) -> str:
    """Which chapters print another line there than they did."""
    nbval = ["pytest", "-q", "-p", "no:cacheprovider"]
    nbval += ["--nbval", "--nbval-sanitize-with=tests/sanitize.cfg"]
    try:
        start(["-m", *nbval, *chapters(course, numbers)])
    except RuntimeError as error:
        wrong = sorted(set(re.findall(r"^FAILED \S*?/0?(\d+)_", str(error), re.M)))
        if not wrong:
            raise
        print(error, file=sys.stderr)
        return f"another output in chapter {', '.join(wrong)}"
    return "passes"


def pictures_of(start: Callable, path: Path, folder: Path) -> list[str]:
    """The pictures that a chapter shows there, as SVG."""
    nbconvert = ["nbconvert", "--execute", "--to=notebook", "--log-level=ERROR"]
    start(["-m", *nbconvert, path, f"--output-dir={folder}"])
    cells = nbformat.read(folder / path.name, as_version=4).cells
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    return [
        o.data["image/svg+xml"] for o in outputs if "image/svg+xml" in o.get("data", {})
    ]


@cache
def usual_pictures(name: str) -> list[str]:
    """The pictures of a chapter on the reader's own machine, where nothing is set."""
    with tempfile.TemporaryDirectory() as folder:
        start = starter(PLACES[0], Path(folder), COURSE)
        return pictures_of(start, COURSE / "notebooks" / name, Path(folder))


def pictures(
    start: Callable, course: Path, numbers: Sequence[int], folder: Path
) -> str:
    """Which chapters show other pictures there than where nothing is set."""
    wrong = []
    for path in chapters(course, [n for n in numbers if n in (1, 2, 4)]):
        there = pictures_of(start, path, folder / "there")
        here = usual_pictures(path.name)
        if there != here:
            same = sum(a == b for a, b in zip(there, here, strict=False))
            wrong.append(f"{path.name[:2]}: {same} of {len(here)} pictures as they are")
    return "; ".join(wrong) or "passes"


def starter(place: Place, folder: Path, course: Path) -> Callable:
    """A function that runs Python in a place, in the course's folder."""
    settings = folder / "settings"
    for name, text in place.files.items():
        (settings / name).parent.mkdir(parents=True, exist_ok=True)
        (settings / name).write_text(text, encoding="utf-8")
    python = place.python(folder)
    # Of the settings of who runs this, none counts.
    plain = {"MPLBACKEND": None, "IPYTHONDIR": str(folder), "MATPLOTLIBRC": None}
    plain |= {"PYTHONPATH": str(course)}
    environment = dict(os.environ)
    for name, value in (plain | dict(place.environment)).items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value.replace("{}", str(settings))

    def start(arguments: Sequence) -> str:
        command = [*place.around, python, *arguments]
        return run(command, cwd=course, env=environment)

    return start


def visit(place: Place, numbers: Sequence[int]) -> str:
    """What came out: "passes", what is otherwise, or why it was not run."""
    if place.around:
        able = subprocess.run(
            [*place.around, "true"], cwd=tempfile.gettempdir(), capture_output=True
        )
        if able.returncode:
            return "not run: this system does not allow it"
    with tempfile.TemporaryDirectory() as name:
        folder, course = Path(name), COURSE
        if place.folder is not None:
            course = folder / place.folder
            useless = shutil.ignore_patterns(".git", ".venv*", "__pycache__", "site")
            shutil.copytree(COURSE, course, ignore=useless)
        question = {"printed": printed, "pictures": pictures}[place.question]
        try:
            return question(starter(place, folder, course), course, numbers, folder)
        except RuntimeError as error:
            print(error, file=sys.stderr)
            return f"fails: {str(error).strip().splitlines()[-1]}"


def write(table: str) -> None:
    """Put table between the two markers in CONTRIBUTING.md."""
    text = TABLE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"{TABLE.name} has no {BEGIN.strip()} … {END.strip()}")
    TABLE.write_text(f"{before}{BEGIN}{table}{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("places", nargs="*", metavar="PLACE")
    parser.add_argument("--chapters", default="1-7")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    first, _, last = asked.chapters.partition("-")
    numbers = range(int(first), int(last or first) + 1)
    versions = [
        f"{name} {importlib.metadata.version(name)}"
        for name in ("torch", "matplotlib", "ipython")
    ]
    table = (
        f"Run on {date.today()}, chapters {asked.chapters}: {platform.system()}, "
        f"{os.cpu_count()} processors, Python {platform.python_version()}, "
        f"{', '.join(versions)}.\n\n"
        "| place | how it is made | compared | outcome |\n|---|---|---|---|\n"
    )
    for place in PLACES:
        if not asked.places or place.name in asked.places:
            row = f"| {place.name} | {place.made_by} | {place.question} | "
            print(row, end="", flush=True)
            outcome = f"{visit(place, numbers)} |\n"
            print(outcome, end="", flush=True)
            table += row + outcome
    if asked.write:
        write(table)


if __name__ == "__main__":
    main()
