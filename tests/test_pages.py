"""`make html`: the chapters as pages that need no Jupyter and no network."""

import base64
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from helpers import CHAPTERS, EXERCISES, NOTEBOOKS, TOOLS, outputs, read, svg


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text = [], ""
        self.html = path.read_text("utf-8")
        self.feed(self.html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("html") / "site"
    command = [sys.executable, TOOLS / "pages.py", folder]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in sorted(site.rglob("*.*"))}


def test_every_notebook_is_a_page_and_nothing_else_is_there(site, pages):
    names = {path.relative_to(NOTEBOOKS) for path in CHAPTERS + EXERCISES}
    expected = {site / name.with_suffix(".html") for name in names}
    assert set(pages) == expected | {site / "index.html"}


def test_index_leads_to_every_chapter(site, pages):
    links = [a["href"] for a in pages[site / "index.html"].all("a")]
    assert [link for link in links if link[0] == "0"] == [
        f"{path.stem}.html" for path in CHAPTERS
    ]


def test_no_link_is_dead(pages):
    for path, page in pages.items():
        for link in (a["href"] for a in page.all("a")):
            if not link.startswith("https://"):
                target, _, name = link.partition("#")
                target = (path.parent / target).resolve() if target else path
                assert target in pages, f"{path.name}: {link}"
                ids = [attributes.get("id") for _, attributes in pages[target].tags]
                # a browser takes the name as it stands first, then decodes it
                assert not name or {name, unquote(name)} & set(ids), link


def test_no_page_fetches_anything(pages):
    for page in pages.values():
        assert not {"script", "link", "iframe", "object"} & {
            tag for tag, _ in page.tags
        }
        sources = [value for _, a in page.tags for k, value in a.items() if k == "src"]
        assert all(source.startswith("data:") for source in sources)
        assert "url(" not in page.html
        assert "@import" not in page.html


def test_titles_are_the_notebooks_own(site, pages):
    assert "<title>1. VGG blocks</title>" in pages[site / "01_vgg_blocks.html"].html
    titles = [re.search("<title>(.*)</title>", p.html)[1] for p in pages.values()]
    assert len(set(titles)) == len(pages)


def formulas(path):
    """The formulas in the text of a notebook; a $ may stand in code too."""
    cells = read(path).cells
    text = "\n".join(c.source for c in cells if c.cell_type == "markdown")
    return re.findall(r"(\$\$?)([^$]+)\1", re.sub("`[^`]*`", "", text))


@pytest.mark.parametrize(
    "path", CHAPTERS + EXERCISES, ids=lambda path: str(path.parent)
)
def test_every_formula_is_mathml(path, site, pages):
    page = pages[site / path.relative_to(NOTEBOOKS).with_suffix(".html")]
    displays = ["block" if mark == "$$" else "inline" for mark, _ in formulas(path)]
    assert [math["display"] for math in page.all("math")] == displays
    assert "$$" not in page.text


def test_size_formula_of_chapter_1(site, pages):
    html = pages[site / "01_vgg_blocks.html"].html
    (formula,) = re.findall('<math [^>]*display="block".*?</math>', html, flags=re.S)
    assert "".join(ElementTree.fromstring(formula).itertext()) == "⌊n−k+2ps⌋+1."


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_figure_is_there_and_is_told_in_words(path, site, pages):
    figures = list(filter(None, map(svg, outputs(path))))
    images = pages[site / f"{path.stem}.html"].all("img")
    shown = [base64.b64decode(image["src"].partition(",")[2]) for image in images]
    assert [figure.decode() for figure in shown] == figures
    for image, figure in zip(images, shown, strict=True):
        title = ElementTree.fromstring(figure).findtext(".//{*}title")
        assert image["alt"] == (title or "figure")


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_what_is_folded_in_jupyter_is_folded(path, site, pages):
    cells = [c for c in read(path).cells if c.cell_type == "code"]
    folded = [c for c in cells if c.metadata.get("jupyter", {}).get("source_hidden")]
    closed = pages[site / f"{path.stem}.html"].all("details")
    assert closed == [{}] * len(folded)


def test_a_folder_of_the_readers_own_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    command = [sys.executable, TOOLS / "pages.py", tmp_path]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 1 and "give a new folder" in run.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_failed_build_leaves_the_old_site(tmp_path):
    tools, notebooks, site = (tmp_path / n for n in ("tools", "notebooks", "site"))
    shutil.copytree(TOOLS, tools)
    notebooks.mkdir()
    site.mkdir()
    (site / "01_vgg_blocks.html").write_text("old")
    (notebooks / "01_damaged.ipynb").write_text("{")
    run = subprocess.run(
        [sys.executable, tools / "pages.py", site], capture_output=True, text=True
    )
    assert run.returncode == 1
    assert "NotJSONError" in run.stderr
    assert (site / "01_vgg_blocks.html").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "notebooks",
        "site",
        "tools",
    ]
