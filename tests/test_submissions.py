"""What students do to their notebooks, graded by nbgrader itself.

Each student has all answers of chapter 1 right, and one accident with the notebook.
"""

import copy
import json
import re
import shutil
from collections import Counter

import make_exercises
import nbformat
import pytest
from helpers import NOTEBOOKS, SOLUTIONS, answers, cells_of, read
from nbformat.v4 import new_code_cell
from nbgrader.api import Gradebook

from d2lmini.__main__ import main

CHAPTER, FILE = SOLUTIONS[0].stem, SOLUTIONS[0].name


def place(notebook, name):
    return notebook.cells.index(cells_of(notebook)[name])


def split(notebook, marked=True):
    """As JupyterLab does it, both halves marked; or without a mark on the second."""
    first = cells_of(notebook)["sizes"]
    second = new_code_cell()
    if marked:
        second.metadata = copy.deepcopy(first.metadata)
    first.source, second.source = first.source.split("\n\n\n")
    notebook.cells.insert(place(notebook, "sizes") + 1, second)


def duplicate(name, where):
    def accident(notebook):
        cell = copy.deepcopy(cells_of(notebook)[name])
        notebook.cells.insert(place(notebook, where), cell | {"id": "copied"})

    return accident


def delete(*names):
    def accident(notebook):
        for name in names:
            del notebook.cells[place(notebook, name)]

    return accident


def move(name, where):
    def accident(notebook):
        notebook.cells.insert(where, notebook.cells.pop(place(notebook, name)))

    return accident


def rename(notebook):
    for name in ("sizes", "as-one-check"):
        cells_of(notebook)[name].metadata.nbgrader.grade_id = f"my-{name}"


def change_type(kind):
    def accident(notebook):
        for name in ("sizes", "as-one-check"):
            cell = cells_of(notebook)[name]
            cell.cell_type = kind
            del cell["outputs"], cell["execution_count"]

    return accident


def write_into_setup(notebook):
    cells = cells_of(notebook)
    cells["setup"].source += "\n\nhalf = 2"
    sizes = cells["sizes"]
    assert "(k - 1) // 2" in sizes.source
    sizes.source = sizes.source.replace("(k - 1) // 2", "(k - 1) // half")


def merge(notebook):
    """An answer and its check become one cell, which is marked as the check."""
    cells = cells_of(notebook)
    cells[
        "sizes-check"
    ].source = f"{cells['sizes'].source}\n\n\n{cells['sizes-check'].source}"
    delete("sizes")(notebook)


def lose_marks(notebook):
    for cell in notebook.cells:
        cell.metadata = nbformat.NotebookNode()


def lose_marks_and_ids(notebook):
    lose_marks(notebook)
    for i, cell in enumerate(notebook.cells):
        cell.id = f"new{i}"


def save_in_colab(notebook):
    """Format 4.0; ids are in the metadata; the kernel has another name."""
    notebook.nbformat_minor = 0
    notebook.metadata = {"colab": {"provenance": []}, "accelerator": "GPU"}
    for cell in notebook.cells:
        cell.metadata.id = cell.pop("id")


def save_in_vs_code(notebook):
    kernel = {"display_name": ".venv (3.12.1)", "language": "python", "name": "mine"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata.vscode = {"languageId": "python"}


def add(source):
    def accident(notebook):
        notebook.cells.insert(place(notebook, "as-one"), new_code_cell(source))

    return accident


def call(source):
    """In an answer: the check of this one answer calls it."""

    def accident(notebook):
        cell = cells_of(notebook)["sizes"]
        head = "def same_padding(k):\n"
        assert head in cell.source
        cell.source = cell.source.replace(head, f"{head}    {source}\n")

    return accident


STUBBORN = """import time

while True:
    try:
        time.sleep(1)
    except BaseException:
        pass"""

# Student: the accident, what is told, and the checks whose points are lost.
TABLE = {
    "ana maría ñuñez": (lambda notebook: None, [], []),
    "split": (split, ["cell 5 is called sizes too"], []),
    "split, no mark": (lambda notebook: split(notebook, marked=False), [], []),
    "answer copied": (
        duplicate("sizes", "sizes-check"),
        ["cell 5 is called sizes"],
        [],
    ),
    "check copied": (duplicate("sizes-check", "swapped"), ["cell 16 is called"], []),
    "check copied to the top": (
        duplicate("sizes-check", "setup"),
        ["cell 6 is called", "sizes-check stood before setup"],
        [],
    ),
    "deleted": (
        delete("sizes", "sizes-check"),
        ["sizes is not there", "sizes-check was missing"],
        ["sizes-check"],
    ),
    "no setup": (delete("setup"), ["setup was missing"], []),
    "wrote into setup": (write_into_setup, ["setup was changed"], []),
    "merged": (merge, ["sizes is not there", "sizes-check was changed"], []),
    "answer moved": (move("sizes", 18), ["average stood before sizes"], []),
    "check moved": (move("as-one-check", 0), ["as-one-check stood before setup"], []),
    "renamed": (rename, ["as-one-check had lost", "sizes had lost"], []),
    "markdown": (change_type("markdown"), [], []),  # nbgrader changes it back
    "raw": (change_type("raw"), [], []),
    "marks lost": (lose_marks, ["had lost its name"] * 13, []),
    "marks and ids lost": (
        lose_marks_and_ids,
        ["is not there"] * 6 + ["had lost its name"] * 7,
        [],
    ),
    "colab": (save_in_colab, [], []),
    "vs code": (save_in_vs_code, [], []),
    "loop": (call("while True: pass"), [], ["sizes-check"]),
    "loop, stubborn": (add(STUBBORN), [], []),
    "kernel ends": (call("import os; os._exit(1)"), [], ["sizes-check"]),
    "one long line": (add('print("x" * 30_000_000)'), [], []),
    "o'brien (1)+;": (lambda notebook: None, [], []),
    "李 雷": (lambda notebook: None, [], []),
    "asks": (add('name = input("name")'), [], []),
    "leaves": (add("exit()"), [], []),
    "format 3": (lambda notebook: nbformat.convert(notebook, 3), [], []),
    "prints": (add("for i in range(300_000):\n    print(i)"), [], []),
}
# What a file holds instead of a notebook, and what is told.
DAMAGED = {
    "cut off": (lambda text: text[:5000], "ask for it again"),
    "empty": (lambda text: "", "ask for it again"),
    "a web page": (lambda text: "<!DOCTYPE html>", "ask for it again"),
    "a list": (lambda text: "[1]", "ask for it again"),
    "another notebook": (
        lambda text: nbformat.writes(read(SOLUTIONS[1])),
        "another one's",
    ),
}
# The names of the files in a student's folder, and what is told.
NAMES = {
    "file renamed": (["ada (1).ipynb"], "ada (1).ipynb has the name 01_vgg_blocks"),
    "two files": (["Übung.ipynb", "Übung-Copy1.ipynb"], "Übung-Copy1.ipynb, Übung."),
    "no file": ([], "there is no notebook"),
}


def right_answers(accident=lambda notebook: None):
    """The exercise as it was handed out, with right answers and an accident; a text."""
    notebook = read(NOTEBOOKS / "exercises" / CHAPTER / FILE)
    for name, text in answers(SOLUTIONS[0]).items():
        cells_of(notebook)[name].source = text
    return json.dumps(accident(notebook) or notebook)


@pytest.fixture
def course(tmp_path):
    """nbgrader's folder; nothing is handed in."""
    for folder in "solutions", "exercises":
        shutil.copytree(NOTEBOOKS / folder / CHAPTER, tmp_path / folder / CHAPTER)
    shutil.copy(NOTEBOOKS / "nbgrader_config.py", tmp_path)
    return tmp_path


def hand_in(course, student, text, name=FILE):
    folder = course / "submitted" / student / CHAPTER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def look(course, capsys):
    """What the command prints: (first word, student, fault)."""
    main(["submissions", str(course)])
    *lines, _ = capsys.readouterr().out.splitlines()
    pattern = rf"(MENDED|LOOK  ) (.+), {CHAPTER}: (.+)"
    return [re.fullmatch(pattern, line).groups() for line in lines]


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("student", TABLE)
def test_each_fault_is_told_once_and_the_original_is_kept(course, student, capsys):
    accident, expected, _ = TABLE[student]
    text = right_answers(accident)
    folder = hand_in(course, student, text)
    told = look(course, capsys)
    assert {name for _, name, _ in told} <= {student}
    for (_, _, fault), part in zip(sorted(told), expected, strict=True):
        assert part in fault
    if any(word == "MENDED" for word, *_ in told):
        assert (folder / f"{FILE}.original1").read_text(encoding="utf-8") == text
        nbformat.validate(read(folder / FILE))
    else:
        assert (folder / FILE).read_text(encoding="utf-8") == text
    cells = read(folder / FILE).cells
    names = [c.metadata.nbgrader.grade_id for c in cells if "nbgrader" in c.metadata]
    exercise = cells_of(NOTEBOOKS / "exercises" / CHAPTER / FILE)
    assert names == [name for name in exercise if name in names]
    before = files(course)
    assert [line for line in look(course, capsys) if line[0] == "MENDED"] == []
    assert files(course) == before


def test_a_second_original_takes_the_place_of_none(course, capsys):
    for n, name in (1, "sizes"), (2, "as-one"):
        text = right_answers(duplicate(name, "setup"))
        folder = hand_in(course, "ada", text)
        look(course, capsys)
        assert (folder / f"{FILE}.original{n}").read_text(encoding="utf-8") == text
    assert len(list(folder.iterdir())) == 3


def lines(notebook):
    return [line for cell in notebook.cells for line in cell.source.splitlines()]


@pytest.mark.parametrize("student", TABLE)
def test_no_line_that_a_student_wrote_is_lost(course, student, capsys):
    folder = hand_in(course, student, right_answers(TABLE[student][0]))
    before = Counter(lines(read(folder / FILE)))
    look(course, capsys)
    assert not before - Counter(lines(read(folder / FILE)))


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_is_no_notebook_is_told_and_left(course, kind, capsys):
    damage, expected = DAMAGED[kind]
    hand_in(course, "ada", damage(right_answers()))
    hand_in(course, "bob", right_answers(split))
    before = files(course / "submitted/ada")
    (word, student, fault), (_, other, _) = look(course, capsys)
    assert (word, student, other) == ("LOOK  ", "ada", "bob")
    assert expected in fault
    assert files(course / "submitted/ada") == before


@pytest.mark.parametrize("kind", NAMES)
def test_a_wrong_name_of_a_file_is_mended_where_there_is_no_choice(
    course, kind, capsys
):
    names, expected = NAMES[kind]
    (course / "submitted/ada" / CHAPTER).mkdir(parents=True)
    for name in names:
        folder = hand_in(course, "ada", right_answers(), name)
    ((word, _, fault),) = look(course, capsys)
    assert expected in fault
    if len(names) == 1:
        assert word == "MENDED"
        assert read(folder / FILE) == nbformat.reads(right_answers(), as_version=4)
        assert (folder / f"{names[0]}.original1").exists()


def test_a_folder_of_another_name_is_told(course, capsys):
    hand_in(course, "ada", right_answers())
    (course / "submitted/ada" / CHAPTER).rename(course / "submitted/ada/chapter1")
    assert main(["submissions", str(course)]) == 1
    expected = f"LOOK   ada, chapter1: rename the folder: {CHAPTER}\n"
    assert capsys.readouterr().out.startswith(expected)


def test_a_name_that_nbgrader_takes_for_a_pattern_is_told(course, capsys):
    hand_in(course, "ada [a]", right_answers())
    ((word, _, fault),) = look(course, capsys)
    assert word == "LOOK  " and "rename the student's folder" in fault


def test_a_folder_without_a_course_is_refused(tmp_path, capsys):
    assert main(["submissions", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"{tmp_path} has no exercises/")


@pytest.mark.slow
def test_an_accident_costs_only_what_it_destroyed(course, capsys):
    """nbgrader grades all students but those whose file is damaged, two at a time."""
    with open(course / "nbgrader_config.py", "a", encoding="utf-8") as config:
        config.write("c.Execute.timeout = 60\n")
    make_exercises.make(course)
    for student, (accident, _, _) in TABLE.items():
        hand_in(course, student, right_answers(accident))
    hand_in(course, "a damaged one", "{")
    look(course, capsys)
    assert main(["grade", "--processes=2", CHAPTER, str(course)]) == 1
    *_, last = capsys.readouterr().out.splitlines()
    assert last == "a damaged one has no grade: nbgrader says why above"

    with Gradebook(f"sqlite:///{course}/gradebook.db", "d2lmini") as gradebook:
        points = {
            notebook.student.id: {grade.name: grade.score for grade in notebook.grades}
            for notebook in gradebook.notebook_submissions(CHAPTER, CHAPTER)
        }
    del points["a damaged one"]
    most = {
        name: cell.metadata.nbgrader.points
        for name, cell in cells_of(SOLUTIONS[0]).items()
        if cell.metadata.nbgrader.grade
    }
    assert sum(most.values()) == 12
    assert points == {
        student: most | dict.fromkeys(lost, 0)
        for student, (_, _, lost) in TABLE.items()
    }
    printed = course / "autograded/prints" / CHAPTER / FILE
    assert printed.stat().st_size < 100_000
