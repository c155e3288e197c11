"""Make the chapters and the exercises a site that is read without Jupyter.

python tools/pages.py FOLDER    the pages replace what FOLDER held (make html)

A page is one file: style and figures are in it, and formulas are MathML. So it needs no
network, and opens from a disk as well as from a server. Its script copies code and
shows where one is; the text needs none. tools/theme/ holds the templates, the style,
and the words of the pages in each language.
"""

import json
import re
import shutil
import sys
import tempfile
from base64 import b64encode
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

import nbformat
from jinja2 import Environment, FileSystemLoader, pass_context
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments.formatters import HtmlFormatter

from d2lmini.explorer import read_net, write_page

ROOT = Path(__file__).parents[1]
THEME = Path(__file__).parent / "theme"
TEXTS = json.loads((THEME / "texts.json").read_text(encoding="utf-8"))
NOTEBOOKS = {"en": ROOT / "notebooks", "zh": ROOT / "notebooks-zh"}
PICTURES = [ROOT / "images" / f"{name}.svg" for name in ("shapes", "training")]
EXPLORER = "explorer.html"


class Renderer(IPythonRenderer):
    """Markdown whose formulas are MathML and whose links lead to pages."""

    def block_math(self, body):
        return convert(body, display="block")

    def inline_math(self, body):
        return convert(body)

    def link(self, text, url, title=None):
        return super().link(text, re.sub(r"\.ipynb(?=#|$)", ".html", url), title)

    def table(self, text):
        return (
            f'<div class="wide" role="group" tabindex="0"><table>{text}</table></div>'
        )


def markdown(source: str, **options) -> str:
    return MarkdownWithMath(Renderer(escape=False, **options)).render(source)


@pass_context
def markdown_of_cell(context, source: str) -> str:
    """With the pictures that were pasted into the cell, or lie beside the notebook."""
    attachments = context.get("cell", {}).get("attachments", {})
    folder = context["resources"]["folder"]
    return markdown(source, attachments=attachments, embed_images=True, path=folder)


def in_words(svg: str) -> str:
    """What a figure shows: its title and its description."""
    figure = ElementTree.fromstring(svg)
    words = (figure.findtext(f"{{*}}{name}") for name in ("title", "desc"))
    return ". ".join(filter(None, words)) or "figure"


def style() -> str:
    """style.css, and the colours of code on a light and on a dark page."""
    css = (THEME / "style.css").read_text(encoding="utf-8")
    light, dark = (f"screen and (prefers-color-scheme: {s})" for s in ("light", "dark"))
    for medium, name in {f"print, {light}": "default", dark: "monokai"}.items():
        code = HtmlFormatter(style=name, nobackground=True).get_style_defs(".highlight")
        css += f"@media {medium} {{\n{code}\n}}\n"
    return css


def read(path: Path) -> nbformat.NotebookNode:
    """A notebook without its line to the neighbours: pages have their own."""
    notebook = nbformat.read(path, as_version=4)
    last = notebook.cells[-1]
    last.source = re.sub(r"\n\n.*\]\(\w+\.ipynb\)$", "", last.source)
    return notebook


def heading(notebook: nbformat.NotebookNode) -> str:
    return notebook.cells[0].source.splitlines()[0].lstrip("# ")


def build(site: Path, notebooks: dict[str, Path], language: str) -> None:
    """Write the pages of one language into site, each at its notebook's own place.

    notebooks: the folder of each language; English lies at the top of the site.
    """
    source, text = notebooks[language], TEXTS[language]
    exporter = HTMLExporter(
        template_name="basic",
        template_file=str(THEME / "notebook.html.j2"),
        filters={"markdown2html": markdown_of_cell, "in_words": in_words},
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    templates = Environment(loader=FileSystemLoader(THEME))
    templates.filters |= {
        "markdown": markdown,
        "in_words": in_words,
        "base64": lambda text: b64encode(text.encode()).decode(),
    }
    layout = templates.get_template("layout.html.j2")
    common = {
        "text": text,
        "style": style(),
        "script": (THEME / "script.js").read_text(encoding="utf-8"),
        "chapters": [chapter(path) for path in sorted(source.glob("[0-9]*.ipynb"))],
    }

    def write(page, body, **more):
        path = site / text["folder"] / page
        path.parent.mkdir(parents=True, exist_ok=True)
        # a chapter shows the page of a reader's own network: here is the recorded one
        link = f'<p><a href="{EXPLORER}">{text["explorer"]}</a></p>'
        body = re.sub("<iframe.*?</iframe>", link, body, flags=re.S)
        more["translations"] = translations(page, notebooks, language)
        more["headings"] = re.findall(r'<h2 id="(.*?)">(.*?)<a class="anchor', body)
        up = "../" * (len(page.parts) - 1)
        html = layout.render(common, page=page, body=body, up=up, **more)
        path.write_text(html, encoding="utf-8")

    chapters = [None, *common["chapters"], None]
    for i, current in enumerate(chapters[1:-1], start=1):
        for page in (current["page"], current["exercises"]):
            notebook = read(source / page.with_suffix(".ipynb"))
            resources = {"text": text, "folder": str(source / page.parent)}
            body, _ = exporter.from_notebook_node(notebook, resources)
            write(
                page,
                # an empty corner of a table names nothing
                re.sub("<th([^>]*)></th>", r"<td\1></td>", body),
                title=heading(notebook),
                current=current,
                previous=chapters[i - 1] if page == current["page"] else current,
                next=chapters[i + 1],
            )

    front = {"explorer": EXPLORER}
    front["pictures"] = {path.stem: path.read_text("utf-8") for path in PICTURES}
    body = templates.get_template("front.html.j2").render(common, **front)
    write(PurePosixPath("index.html"), body, title=text["title"])


def explore(folder: Path, language: str) -> None:
    """Write the page in which the network of chapter 6's record for 0.93 is alive."""
    net = read_net(ROOT / "notebooks" / "records" / "recipe_0.93.pt")
    write_page(net, folder / EXPLORER, lang=language)


def chapter(path: Path) -> dict:
    """What the contents and the front page say of a chapter."""
    notebook = read(path)
    # after the bold words You will learn
    learn = re.search(r"^\*\*.+?\*\*：?\s*(.)(.+)", notebook.cells[0].source, re.M)
    return {
        "page": PurePosixPath(path.name).with_suffix(".html"),
        "exercises": PurePosixPath("exercises", path.stem, path.stem + ".html"),
        "heading": heading(notebook),
        "learn": learn[1].upper() + learn[2],
    }


def translations(page: PurePosixPath, notebooks: dict, language: str) -> list:
    """The other languages that have this page: their texts, and where it is."""
    top = "../" * len(PurePosixPath(TEXTS[language]["folder"], page).parent.parts)
    return [
        (TEXTS[other], top + str(PurePosixPath(TEXTS[other]["folder"], page)))
        for other, folder in notebooks.items()
        if other != language
        and (
            page.name == "index.html" or (folder / page.with_suffix(".ipynb")).exists()
        )
    ]


if __name__ == "__main__":
    site = Path(sys.argv[1]).resolve()
    if site.exists() and not (site / "01_vgg_blocks.html").exists():
        sys.exit(f"{site} holds something else than these pages: give a new folder")
    editions = {name: path for name, path in NOTEBOOKS.items() if path.exists()}
    with tempfile.TemporaryDirectory(dir=site.parent) as aside:
        for language in editions:  # when this fails, the old site stays
            build(Path(aside, "site"), editions, language)
            explore(Path(aside, "site", TEXTS[language]["folder"]), language)
        shutil.rmtree(site, ignore_errors=True)
        Path(aside, "site").rename(site)
    print(f"read it: {site / 'index.html'}")
