"""Chapters run where people are; `make places` asks the same of all chapters.

Chapters 5 to 7 and Colab, whose environment must be downloaded, are left to it.
"""

import shutil
import sys

import nbformat
import places
import pytest
from helpers import CHAPTERS, ROOT
from places import PLACES, Place, visit

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a Unix shell")
HERE = [place for place in PLACES if place.name != "Colab"]


@pytest.mark.slow
@pytest.mark.parametrize("place", HERE, ids=lambda place: place.name)
def test_chapter_1_is_the_same_in(place):
    outcome = visit(place, [1])
    if outcome.startswith("not run"):
        pytest.skip(outcome)
    assert outcome == "passes"


def test_the_table_is_written_between_its_markers(tmp_path, monkeypatch):
    page = tmp_path / "CONTRIBUTING.md"
    page.write_text(f"above\n{places.BEGIN}old\n{places.END}below\n", "utf-8")
    monkeypatch.setattr(places, "TABLE", page)
    for table in ("new 课程\n", "newer\n"):
        places.write(table)
        written = f"above\n{places.BEGIN}{table}{places.END}below\n"
        assert page.read_text("utf-8") == written


def test_a_page_without_markers_is_left_alone(tmp_path, monkeypatch):
    page = tmp_path / "CONTRIBUTING.md"
    page.write_text("above\n", "utf-8")
    monkeypatch.setattr(places, "TABLE", page)
    with pytest.raises(SystemExit, match=r"CONTRIBUTING\.md has no"):
        places.write("new\n")
    assert page.read_text("utf-8") == "above\n"


# ---------------------------------------------------------------- a place that differs


def cell(source, count, output):
    cell = nbformat.v4.new_code_cell(source, outputs=[output])
    cell.execution_count = count
    return cell


@pytest.fixture
def small_course(tmp_path, monkeypatch):
    """One chapter; it prints and draws a setting, which is not set."""
    text = nbformat.v4.new_output("stream", name="stdout", text="None\n")
    picture = {"image/svg+xml": "<svg/>", "text/plain": "an SVG"}
    shown = nbformat.v4.new_output("display_data", picture)
    chapter = nbformat.read(CHAPTERS[0], as_version=4)
    chapter.cells = [
        cell("import os\nsetting = os.environ.get('SETTING')\nprint(setting)", 1, text),
        cell(
            "from IPython.display import display\n"
            "svg = f'<svg><title>{setting}</title></svg>'\n"
            "display({'image/svg+xml': svg, 'text/plain': 'an SVG'}, raw=True)",
            2,
            shown,
        ),
    ]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(chapter, tmp_path / "notebooks/01_small.ipynb")
    for name in ("conftest.py", "tests/sanitize.cfg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.setattr(places, "COURSE", tmp_path)
    places.usual_pictures.cache_clear()
    yield
    places.usual_pictures.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize(
    "question, setting, outcome",
    [
        ("printed", None, "passes"),
        ("printed", "other", "another output in chapter 1"),
        ("pictures", None, "passes"),
        ("pictures", "other", "01: 0 of 1 pictures as they are"),
    ],
)
def test_what_differs_in_a_place_is_found(small_course, question, setting, outcome):
    place = Place("here", "a variable", question, environment={"SETTING": setting})
    assert visit(place, [1]) == outcome


def test_a_place_that_this_system_does_not_allow_is_not_run():
    assert visit(Place("no", "", around=["false"]), [1]).startswith("not run")
