"""Make the chapters and the exercises a site that is read without Jupyter.

python tools/pages.py FOLDER    the pages replace what FOLDER held (make html)

A page is one file: style and figures are in it, formulas are MathML, and there is no
script. So it needs no network, and opens from a disk as well as from a server.
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

HERE = Path(__file__).parent
CHAPTERS = HERE.parent / "notebooks"
INTRODUCTION = """# d2lmini: a course companion for the VGG chapter

Notebooks that take a beginner through one chapter of
[*Dive into Deep Learning*](https://d2l.ai): VGG. These pages are for reading. To run
and change the cells, open the course in Jupyter: `make lab`.
"""


class Renderer(IPythonRenderer):
    """Markdown whose formulas are MathML and whose links lead to pages."""

    def block_math(self, body):
        return convert(body, display="block")

    def inline_math(self, body):
        return convert(body)

    def link(self, text, url, title=None):
        return super().link(text, re.sub(r"\.ipynb(?=#|$)", ".html", url), title)


def markdown(source: str) -> str:
    return MarkdownWithMath(Renderer(escape=False)).render(source)


def svg_title(svg: str) -> str:
    """What a figure shows, in words: its title."""
    found = re.search(r"<title>(.+?)</title>", svg, flags=re.S)
    return found[1] if found else "figure"


def style() -> str:
    """page.css, and the colours of code on a light and on a dark page."""
    css = (HERE / "page.css").read_text(encoding="utf-8")
    for scheme, name in {"light": "default", "dark": "monokai"}.items():
        code = HtmlFormatter(style=name, nobackground=True).get_style_defs(".highlight")
        css += f"@media (prefers-color-scheme: {scheme}) {{\n{code}\n}}\n"
    return css


def heading(notebook) -> str:
    return notebook.cells[0].source.splitlines()[0].lstrip("# ")


def index(chapters: dict):
    """A notebook with a link to each chapter and what it teaches."""
    lines = [INTRODUCTION]
    for path, notebook in chapters.items():
        lines += [f"## [{heading(notebook)}]({path})"]
        lines += re.findall(r"\*\*You will learn\*\*.*", notebook.cells[0].source)
    cells = [nbformat.v4.new_markdown_cell("\n\n".join(lines))]
    return nbformat.v4.new_notebook(cells=cells)


def build(folder: Path) -> None:
    """Write the page of every notebook into folder, at the notebook's own place."""
    exporter = HTMLExporter(
        template_name="basic",
        template_file=str(HERE / "page.html.j2"),
        filters={"markdown2html": markdown, "svg_title": svg_title},
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    chapters, exercises = (
        {path.relative_to(CHAPTERS): nbformat.read(path, 4) for path in sorted(paths)}
        for paths in map(CHAPTERS.glob, ("[0-9]*.ipynb", "exercises/*/*.ipynb"))
    )
    pages = {Path("index.html"): index(chapters)} | chapters | exercises
    for path, notebook in pages.items():
        resources = {
            "title": heading(notebook),
            "style": style(),
            "home": "../" * (len(path.parts) - 1) + "index.html",
        }
        html, _ = exporter.from_notebook_node(notebook, resources)
        page = folder / path.with_suffix(".html")
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(html, encoding="utf-8")


if __name__ == "__main__":
    site = Path(sys.argv[1]).resolve()
    if site.exists() and not (site / "01_vgg_blocks.html").exists():
        sys.exit(f"{site} holds something else than these pages: give a new folder")
    with tempfile.TemporaryDirectory(dir=site.parent) as aside:
        build(Path(aside, "site"))  # when this fails, the old site stays
        shutil.rmtree(site, ignore_errors=True)
        Path(aside, "site").rename(site)
    print(f"read it: {site / 'index.html'}")
