"""Look through what students handed in, before nbgrader grades it.

nbgrader knows a cell by a name in its metadata, which editors copy, lose or change.
Here each cell of the exercise is found again by this name, by the cell's id or by its
text, and goes back to where it was. What students wrote stays, word for word: a cell
that is not the exercise's follows the one that it followed.
"""

from __future__ import annotations

import copy
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from itertools import count, pairwise
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.validator import normalize

from d2lmini.engine.files import write_whole

Fault = tuple[bool, str]  # mended? and what was wrong


def look_through(course: Path) -> Iterator[Fault]:
    """Each fault in course/submitted/STUDENT/ASSIGNMENT/.

    course: nbgrader's folder, with the exercises as they were handed out. A notebook
    that has faults is replaced, if it can be mended, and what it was stays beside it.
    ValueError: there are no exercises, or nothing was handed in.
    """
    exercises = {path.parent.name: path for path in course.glob("exercises/*/*.ipynb")}
    folders = [
        path for path in sorted(course.glob("submitted/[!.]*/[!.]*")) if path.is_dir()
    ]
    if not exercises or not folders:
        raise ValueError(
            f"{course} has no exercises/ASSIGNMENT/*.ipynb or no folder "
            f"submitted/STUDENT/ASSIGNMENT: give nbgrader's course folder"
        )
    for folder in folders:
        who = f"{folder.parent.name}, {folder.name}"
        try:
            if re.search(r"[*?[]", folder.parent.name):
                raise ValueError(
                    "rename the student's folder: nbgrader reads its * ? ["
                )
            if folder.name not in exercises:
                raise ValueError(f"rename the folder: {', '.join(sorted(exercises))}")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of ids, which nbformat mends
                faults = _mend_file(folder, exercises[folder.name])
            yield from ((mended, f"{who}: {text}") for mended, text in faults)
        except ValueError as error:
            yield False, f"{who}: {error}"


def _mend_file(folder: Path, exercise: Path) -> list[Fault]:
    """Mend the notebook in folder; what was wrong. ValueError: it can't be mended."""
    path = target = folder / exercise.name
    if not target.exists():
        found = sorted(folder.glob("[!.]*.ipynb"))
        if len(found) != 1:
            names = ", ".join(path.name for path in found) or "no notebook"
            raise ValueError(f"there must be {target.name}; there is {names}")
        (path,) = found
    notebook = _read(path)
    faults = mend(notebook, _read(exercise))
    if path != target:
        faults.append((True, f"{path.name} has the name {target.name} now"))
    if any(mended for mended, _ in faults):
        kept = (path.with_name(f"{path.name}.original{n}") for n in count(1))
        shutil.copy2(path, next(path for path in kept if not path.exists()))
        _, notebook = normalize(notebook)  # an id of its own for every cell
        write_whole(target, nbformat.writes(notebook).encode())
        if path != target:
            path.unlink()
    return faults


def _read(path: Path) -> NotebookNode:
    try:
        return nbformat.read(path, as_version=4)
    except Exception:  # whatever is in the file
        text = f"{path.name} is damaged, or no notebook: ask for it again"
        raise ValueError(text) from None


def mend(notebook: NotebookNode, exercise: NotebookNode) -> list[Fault]:
    """Put the cells of exercise back into notebook, in place; what was wrong.

    ValueError: notebook is of another exercise.
    """
    faults = []
    # Cells of exercise, by their number, each with the student's own behind it.
    groups: dict[int, list[NotebookNode]] = {}
    found, place = _find(notebook, exercise), -1
    for j, cell in enumerate(notebook.cells):
        if j in found:
            place = found[j]
        elif mark := cell.metadata.pop("nbgrader", None):
            text = (
                f"cell {j + 1} is called {mark.get('grade_id')} too: it stays, unnamed"
            )
            faults.append((True, text))
        groups.setdefault(place, []).append(cell)

    marked = {i: cell for i, cell in enumerate(exercise.cells) if _mark(cell)}
    order = [i for i in groups if i in marked]
    if len(order) < 2:  # setup is in every exercise
        raise ValueError("this exercise is not in it: is it another one's?")
    for i, j in pairwise(order):
        if i > j:
            names = _mark(marked[i]).grade_id, _mark(marked[j]).grade_id
            faults.append((True, "{} stood before {}: in order again".format(*names)))
    for i, cell in marked.items():
        faults += _put_back(cell, groups.setdefault(i, []))
    notebook.cells = [cell for i in sorted(groups) for cell in groups[i]]
    notebook.nbformat_minor = exercise.nbformat_minor
    return faults


def _put_back(cell: NotebookNode, group: list[NotebookNode]) -> Iterator[Fault]:
    """Make group's first cell what cell is, with a student's answer; what was wrong."""
    name, locked = _mark(cell).grade_id, _mark(cell).locked
    if not group and not locked:
        yield False, f"{name} is not there: an answer in another cell counts"
    elif not group:
        yield True, f"{name} was missing: it is back"
        group.append(copy.deepcopy(cell))
    else:
        own, group[0] = group[0], copy.deepcopy(cell)
        if _mark(own).get("grade_id") != name:
            yield True, f"{name} had lost its name: it has it again"
        if not locked:
            group[0].source = own.source
        elif _text(own) != _text(cell):
            yield True, f"{name} was changed: it is back, below what it was made"
            own.metadata.pop("nbgrader", None)
            own.pop("id", None)
            group.insert(0, own)


def _find(notebook: NotebookNode, exercise: NotebookNode) -> dict[int, int]:
    """Which cell of notebook is which cell of exercise, by their numbers."""
    found: dict[int, int] = {}
    for key in KEYS:
        known = {key(cell): i for i, cell in enumerate(exercise.cells) if key(cell)}
        for j, cell in enumerate(notebook.cells):
            i = known.get(key(cell))
            if i is not None and j not in found and i not in found.values():
                found[j] = i
    return found


def _mark(cell: NotebookNode) -> NotebookNode:
    return cell.metadata.get("nbgrader", NotebookNode())


def _text(cell: NotebookNode) -> str:
    return "".join(cell.source.split())


KEYS: list[Callable[[NotebookNode], str | None]] = [  # the surest first
    lambda cell: _mark(cell).get("grade_id"),
    lambda cell: cell.get("id"),
    lambda cell: cell.metadata.get("id"),  # where Colab keeps it
    _text,
]
