"""`make html`: the chapters as pages that need no Jupyter and no network."""

import base64
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote
from xml.etree import ElementTree

import nbformat.v4 as new
import pages as tool
import pandas as pd
import pytest
from helpers import CHAPTERS, EXERCISES, NOTEBOOKS, TOOLS, outputs, read, svg
from nbformat import write

CHROMIUM = shutil.which("chromium")


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


def folders():
    """Of each language there is: its notebooks, and its folder in the site."""
    for language, notebooks in tool.NOTEBOOKS.items():
        if notebooks.exists():
            yield notebooks, tool.TEXTS[language]["folder"]


def test_every_notebook_is_a_page_and_nothing_else_is_there(site, pages):
    expected = set()
    for notebooks, folder in folders():
        expected |= {site / folder / name for name in ("index.html", "explorer.html")}
        for path in CHAPTERS + EXERCISES:
            name = path.relative_to(NOTEBOOKS)
            assert (notebooks / name).exists()
            expected.add(site / folder / name.with_suffix(".html"))
    assert set(pages) == expected


def test_front_page_leads_to_every_chapter_and_shows_two_pictures(site, pages):
    page = pages[site / "index.html"]
    begin, *links = [a["href"] for a in page.all("a") if a["href"][0] == "0"]
    assert [begin, *links] == ["01_vgg_blocks.html"] + [
        f"{path.stem}.html" for path in CHAPTERS
    ]
    assert [image["alt"][:6] for image in page.all("img")] == ["VGG-11", "Test a"]


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
        assert not {"link", "iframe", "object"} & {tag for tag, _ in page.tags}
        sources = [value for _, a in page.tags for k, value in a.items() if k == "src"]
        assert all(source.startswith("data:") for source in sources)
        assert "url(" not in page.html
        assert "@import" not in page.html


def test_titles_are_the_notebooks_own(site, pages):
    assert "<title>1. VGG blocks</title>" in pages[site / "01_vgg_blocks.html"].html
    notebooks = [p for path, p in pages.items() if path.name != "explorer.html"]
    titles = {re.search("<title>(.*)</title>", page.html)[1] for page in notebooks}
    assert len(titles) == len(notebooks)


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
        root = ElementTree.fromstring(figure)
        assert image["alt"].startswith(root.findtext("{*}title"))
        assert image["alt"].endswith(root.findtext("{*}desc") or "")


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_what_is_folded_in_jupyter_is_folded(path, site, pages):
    cells = [c for c in read(path).cells if c.cell_type == "code"]
    folded = [c for c in cells if c.metadata.get("jupyter", {}).get("source_hidden")]
    closed = pages[site / f"{path.stem}.html"].all("details")
    assert closed == [{}] * len(folded)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_contents_lead_to_the_sections_and_show_the_page(path, site, pages):
    page = pages[site / f"{path.stem}.html"]
    (here,) = [a for a in page.all("a") if a.get("aria-current") == "page"]
    assert here["href"] == f"{path.stem}.html"
    sections = [h2["id"] for h2 in page.all("h2")]
    links = [a["href"] for a in page.all("a") if a.get("class") != "anchor-link"]
    assert [link[1:] for link in links if link[0] == "#"] == ["text", *sections]


def test_neighbours(site, pages):
    names = [f"{path.stem}.html" for path in CHAPTERS]
    for i, name in enumerate(names):
        page = pages[site / name]
        rel = {a["rel"]: a["href"] for a in page.all("a") if "rel" in a}
        assert rel.get("prev") == (names[i - 1] if i else None)
        assert rel.get("next") == (names[i + 1] if name != names[-1] else None)
        assert "Next:" not in page.text  # that line is for Jupyter


def test_exercises_say_how_to_open_them(site, pages):
    for path in EXERCISES:
        name = path.relative_to(NOTEBOOKS)
        text = " ".join(pages[site / name.with_suffix(".html")].text.split())
        assert f"run make lab and open {name.as_posix()}" in text


# ---------------------------------------------------------------- other courses

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAA"
PNG += "AABJRU5ErkJggg=="


def html_output(html):
    return new.new_output("display_data", {"text/html": html, "text/plain": "x"})


def write_course(folder, title, learn, cells=()):
    """A course of one chapter, which has these cells more."""
    first = new.new_markdown_cell(f"# {title}\n\n{learn}")
    for name in ("01_a.ipynb", "exercises/01_a/01_a.ipynb"):
        notebook = new.new_notebook(cells=[first, *(cells if name[0] == "0" else ())])
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write(notebook, folder / name)


@pytest.fixture
def build(tmp_path):
    """build(cells) makes a course in two languages, and returns its first page."""

    def build(*cells):
        courses = {"en": tmp_path / "a", "zh": tmp_path / "b"}
        write_course(courses["en"], "1. A", "**You will learn** much.", cells)
        write_course(courses["zh"], "1. 甲", "**本章将学到**：很多。")
        for language in courses:
            tool.build(tmp_path / "site", courses, language)
        return Page(tmp_path / "site/01_a.html")

    return build


def test_a_pasted_picture_is_shown(build, tmp_path):
    cell = new.new_markdown_cell("![shoe](attachment:image.png) ![too](b/c.png)")
    cell.attachments = {"image.png": {"image/png": PNG}}
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c.png").write_bytes(base64.b64decode(PNG))
    images = {image["alt"]: image["src"] for image in build(cell).all("img")}
    picture = f"data:image/png;base64,{PNG}"
    assert images == {"shoe": picture, "too": picture}


def test_tables_with_a_style_come_out_whole(build):
    frame = pd.DataFrame({"accuracy": [0.25, 0.75]}, index=["a", "b"])
    styled = '<style>#T { color: red }</style><table id="T"><tr><td>1</td></tr></table>'
    outputs = [html_output(frame._repr_html_()), html_output(styled)]
    page = build(new.new_code_cell(outputs=outputs))
    assert "accuracy a 0.25 b 0.75" in " ".join(page.text.split())
    assert "border" in page.all("table")[0] and styled in page.html
    assert ".dataframe tbody tr th {" in page.html


def test_the_same_page_in_the_other_language(build, tmp_path):
    build()
    for name in ("index.html", "01_a.html", "exercises/01_a/01_a.html"):
        for here, lang, there in (("", "en", "zh"), ("zh", "zh-CN", "")):
            path = tmp_path / "site" / here / name
            page = Page(path)
            assert page.all("html") == [{"lang": lang}]
            (link,) = [a["href"] for a in page.all("a") if "hreflang" in a]
            target = (path.parent / link).resolve()
            assert target == tmp_path / "site" / there / name
    assert "很多。" in Page(tmp_path / "site/zh/index.html").text


def test_languages_have_the_same_texts():
    english, *others = tool.TEXTS.values()
    for other in others:
        assert other.keys() == english.keys()


def test_a_page_that_is_missing_in_the_other_language_has_no_link(build, tmp_path):
    build()
    (tmp_path / "b/01_a.ipynb").unlink()
    courses = {"en": tmp_path / "a", "zh": tmp_path / "b"}
    tool.build(tmp_path / "site", courses, "en")
    page = Page(tmp_path / "site/01_a.html")
    assert not [a for a in page.all("a") if "hreflang" in a]


def test_the_explorer_is_linked_from_the_front_page_and_its_chapter(site, pages):
    for _, folder in folders():
        assert "<canvas" in pages[site / folder / "explorer.html"].html
        for name in ("index", "06_the_same_accuracy_in_minutes"):
            links = [a["href"] for a in pages[site / folder / f"{name}.html"].all("a")]
            assert "explorer.html" in links


# ---------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt install chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(browser):
    """opened(path, width, ...): a page of the site, as a reader sees it."""
    contexts = []

    def opened(path, width=1280, **options):
        size = {"width": width, "height": 800}
        contexts.append(browser.new_context(viewport=size, offline=True, **options))
        page = contexts[-1].new_page()
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()


TOO_WIDE = """[...document.querySelectorAll("body, pre, img, math")]
    .filter(e => e.scrollWidth > Math.max(e.clientWidth, 1) && e.clientWidth
        || e.getBoundingClientRect().right > innerWidth).map(e => e.outerHTML)"""


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (375, "dark")])
def test_axe_finds_no_fault(width, scheme, pages, opened):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    for path in pages:
        results = axe.run(opened(path, width, color_scheme=scheme))
        assert results.violations_count == 0, results.generate_report()


@pytest.mark.browser
@pytest.mark.parametrize("width", [375, 768, 1280])
def test_nothing_is_wider_than_the_page(width, pages, opened):
    for path in pages:
        assert opened(path, width).evaluate(TOO_WIDE) == [], path.name


@pytest.mark.browser
def test_no_line_is_cut_on_paper(pages, opened):
    for path in pages:
        page = opened(path, 686)  # A4 without its margins, in pixels
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate(TOO_WIDE) == [], path.name
        shown = "getComputedStyle(document.body).backgroundColor"
        assert page.evaluate(shown) == "rgb(255, 255, 255)"


@pytest.mark.browser
@pytest.mark.parametrize("script", [True, False])
def test_contents_on_a_phone_and_on_a_desk(script, site, opened):
    path = site / "02_shape_inspection.html"
    desk = opened(path, java_script_enabled=script)
    assert desk.get_by_role("link", name="2.1 The trace").is_visible()
    phone = opened(path, 375, java_script_enabled=script)
    link = phone.get_by_role("link", name="2.6 How much one unit sees")
    assert not link.is_visible()
    phone.get_by_role("button", name="Contents").click()
    link.click()
    assert phone.url.endswith("#2.6-How-much-one-unit-sees")
    assert link.is_visible() != script  # the script closes the contents


@pytest.mark.browser
def test_contents_show_the_section(site, opened):
    page = opened(site / "02_shape_inspection.html")
    page.get_by_role("heading", name="2.4").scroll_into_view_if_needed()
    page.mouse.wheel(0, 500)
    page.wait_for_selector("#contents a[aria-current='']:text('2.4')")
    assert page.locator("#contents a[aria-current='']").count() == 1


@pytest.mark.browser
def test_code_can_be_copied(site, opened):
    page = opened(
        site / "01_vgg_blocks.html",
        permissions=["clipboard-read", "clipboard-write"],
    )
    page.locator(".input_area", has_text="def vgg_block").first.hover()
    page.locator(".input_area", has_text="def vgg_block").first.get_by_role(
        "button", name="copy"
    ).click()
    page.get_by_role("button", name="copied").wait_for()
    source = next(
        cell.source
        for cell in read(CHAPTERS[0]).cells
        if "def vgg_block" in cell.source
    )
    assert page.evaluate("navigator.clipboard.readText()").rstrip() == source


# ---------------------------------------------------------------- making it


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
