"""The exercises, with nbgrader itself: what it makes of the solutions, and its grades.

Three made-up students hand in: one the solutions, one nothing, and one the wrong
answers of the table below, each in an exercise of its own.
"""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
import pytest
import torch
from helpers import NOTEBOOKS, NUM_CHECKS, SOLUTIONS, read
from nbgrader.api import Gradebook

from d2lmini.exercises import NotYet, check

CHAPTERS = {path.stem[:2]: path.stem for path in SOLUTIONS}

# Chapter, exercise, and what a student wrote instead of what is right.
WRONG = [
    ("01", "sizes", "conv_side = 26", "conv_side = 24"),  # padding forgotten
    ("01", "wide-block", "padding=2", "padding=1"),
    ("01", "family", "(3, 256), (3, 512), (3", "(2, 256), (3, 512), (3"),
    ("01", "why", 'reason = "b"', 'reason = "c"'),
    ("02", "features", "image_size // 2 ** len(conv_arch)", "5"),
    ("02", "head", "features * units + units", "features * units"),
    ("02", "slim-head", "nn.AdaptiveAvgPool2d(1), ", "nn.Conv2d(512, 512, 5), "),
    ("02", "receptive-field", "2 * d * num_convs + d", "2 * d * num_convs"),
    ("03", "ratio-8", "64 * 5 * 5", "64 * 7 * 7"),
    ("03", "arithmetic", "return 2 * 9", "return 9"),
    ("03", "smaller-images", "(160 / 96) ** 2", "160 / 96"),
    ("03", "percent", "= 1 ", "= 86 "),  # its share of the parameters
    ("04", "accuracy", ".sum()", ".float().mean()"),  # the share
    ("04", "accumulator", ", strict=True", ""),  # surplus values are lost
    ("04", "last-batch", "(mean * size, size)", "(mean, 1)"),  # mean of means
    ("04", "animator", "yscale", "xscale"),
    ("05", "guessing", "math.log(", "math.log10("),
    ("05", "step", "    net.zero_grad()\n", ""),  # gradients add up
    ("05", "lr", "lr = 0.1", "lr = 0.001"),
    ("05", "snippets", '"C", "D"', '"C", "F"'),
    ("06", "epochs", "(160 / 64) ** 2", "160 / 64"),
    ("06", "batch-norm", "(0, 2, 3)", "0"),  # a mean per pixel
    ("06", "smooth", "epsilon / num_classes", "epsilon / (num_classes - 1)"),
    ("06", "flip", "X.flip(3)", "X.flip(2)"),  # upside down
    ("06", "channels-last", "row, 1, row, channels", "row, height * width, width, 1"),
    ("07", "conv-params", " + out_channels", ""),  # biases forgotten
    ("07", "stacks", "(k - 1) // 2", "k // 3"),
    ("07", "wide", "(73_728 / 25) ** 0.5", "64 * 18 / 25"),
    ("07", "speed", "len(X) / min(timer.times)", "min(timer.times) / len(X)"),
]
# Sums that are right, from a class that loses values, keep their points.
LOST = {"accumulator": "accumulator-refuses-check"}


def cells_of(path):
    """The cells that nbgrader knows, by name."""
    cells = read(path).cells
    marked = [cell for cell in cells if "nbgrader" in cell.metadata]
    return {cell.metadata.nbgrader.grade_id: cell for cell in marked}


def answers(path):
    cells = cells_of(path).items()
    return {n: cell.source for n, cell in cells if cell.metadata.nbgrader.solution}


def nbgrader(course, *arguments):
    """Run nbgrader in the folder course; it looks for its helper alembic in PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    run = subprocess.run(
        [sys.executable, "-m", "nbgrader", *arguments],
        cwd=course,
        env=os.environ | {"PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """A course folder with the exercises as nbgrader makes them now."""
    folder = tmp_path_factory.mktemp("course")
    shutil.copytree(NOTEBOOKS / "solutions", folder / "solutions")
    shutil.copy(NOTEBOOKS / "nbgrader_config.py", folder)
    nbgrader(folder, "generate_assignment", "*")
    return folder


def hand_in(course, student, chapter, texts):
    """Submit the exercises of a chapter with these answers."""
    notebook = read(course / "exercises" / chapter / f"{chapter}.ipynb")
    for cell in notebook.cells:
        name = cell.metadata.get("nbgrader", {}).get("grade_id")
        cell.source = texts.get(name, cell.source)
    folder = course / "submitted" / student / chapter
    folder.mkdir(parents=True)
    nbformat.write(notebook, folder / f"{chapter}.ipynb")


def wrong_answers(chapter, texts):
    for number, name, right, wrong in WRONG:
        if chapter.startswith(number):
            assert right in texts[name]
            texts = texts | {name: texts[name].replace(right, wrong)}
    return texts


@pytest.fixture(scope="module")
def graded(course):
    """The course folder after the grading, and two gradebooks, as two processes grade
    half of the chapters each."""
    for path in SOLUTIONS:
        texts = answers(path)
        hand_in(course, "right", path.stem, texts)
        hand_in(course, "missing", path.stem, {})
        hand_in(course, "wrong", path.stem, wrong_answers(path.stem, texts))

    def grade(chapters):
        gradebook = shutil.copy(course / "gradebook.db", course / f"{chapters}.db")
        nbgrader(course, "autograde", chapters, f"--db=sqlite:///{gradebook}")
        return gradebook

    with ThreadPoolExecutor() as pool:
        return course, list(pool.map(grade, ["0[13579]_*", "0[2468]_*"]))


def points(graded, student):
    """(points, points at most) of each check cell of a student, by chapter and name."""
    found = {}
    for path in graded[1]:
        with Gradebook(f"sqlite:///{path}") as gradebook:
            for handed_in in gradebook.student_submissions(student):
                for grade in handed_in.notebooks[0].grades:
                    key = handed_in.name, grade.name
                    found[key] = grade.score, grade.max_score
    return found


def message(graded, student, chapter, name):
    """What the student reads below a check cell that failed."""
    path = graded[0] / "autograded" / student / chapter / f"{chapter}.ipynb"
    (error,) = [o for o in cells_of(path)[name].outputs if o.output_type == "error"]
    assert error.ename == "NotYet"
    return "\n".join(error.traceback)


def max_points():
    """Points of every check cell, as the solutions give them."""
    return {
        (path.stem, name): cell.metadata.nbgrader.points
        for path in SOLUTIONS
        for name, cell in cells_of(path).items()
        if cell.metadata.nbgrader.grade
    }


@pytest.mark.slow
def test_right_answers_get_every_point(graded):
    assert len(max_points()) == NUM_CHECKS
    assert points(graded, "right") == {k: (p, p) for k, p in max_points().items()}


@pytest.mark.slow
def test_missing_answers_get_no_point_and_a_short_message(graded):
    assert points(graded, "missing") == {k: (0, p) for k, p in max_points().items()}
    for key in max_points():
        assert re.fullmatch(r".+: still to do", message(graded, "missing", *key))


@pytest.mark.slow
def test_wrong_answers_lose_their_points_and_no_others(graded):
    lost = {(CHAPTERS[n], LOST.get(name, f"{name}-check")) for n, name, *_ in WRONG}
    assert len(lost) == len(WRONG)
    expected = {k: (0 if k in lost else p, p) for k, p in max_points().items()}
    assert points(graded, "wrong") == expected
    for key in lost:
        text = message(graded, "wrong", *key)
        assert re.fullmatch(r".+ is .+, expected .+\.\nHint: .+", text)


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
class TestAssignment:
    def test_exercises_are_what_nbgrader_makes_of_the_solutions(self, path, course):
        """After a change of a solution: make exercises."""
        name = Path("exercises", path.stem, path.name)
        assert read(NOTEBOOKS / name) == read(course / name)

    def test_texts_name_the_points(self, path):
        texts = [c.source for c in read(path).cells if c.cell_type == "markdown"]
        text = "\n".join(texts)
        promised = [int(n) for n in re.findall(r"^## .*\((\d) points?\)$", text, re.M)]
        given = sum(p for key, p in max_points().items() if key[0] == path.stem)
        assert f"**{given} points** in {len(promised)} exercises" in text
        assert sum(promised) == given

    def test_belongs_to_its_chapter(self, path):
        assert f"(../../{path.name})" in read(path).cells[0].source


@pytest.mark.parametrize(
    ("answer", "expected", "tolerance"),
    [
        (3, 3, 0),
        (3.0, 3, 0),
        (torch.tensor(3.0), 3, 0),
        ([1, 2], torch.Size([1, 2]), 0),
        (2.78, 25 / 9, 0.01),
        ("b", "b", 0),
    ],
)
def test_check_takes_right_answers_of_any_kind(answer, expected, tolerance, capsys):
    check("it", answer, expected, "a hint", tolerance)
    assert capsys.readouterr().out == "it: right\n"


@pytest.mark.parametrize(
    ("answer", "expected", "tolerance"),
    [
        (133_047_849, 133_047_848, 0),
        (2.76, 25 / 9, 0.01),
        ("3", 3, 0),
        ("three", 3, 0.01),
        ([3], 3, 0),
        ([3, 3], 3, 0.01),
        (torch.tensor([True, False]), 1, 0),
        ([[1, 2], [3]], [1, 2, 3], 0),
    ],
)
def test_check_says_what_was_expected(answer, expected, tolerance):
    with pytest.raises(NotYet) as error:
        check("it", answer, expected, "a hint", tolerance)
    assert str(error.value) == f"it is {answer}, expected {expected}.\nHint: a hint"
