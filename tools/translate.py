"""Make the course's editions in other languages: python tools/translate.py

translations/LANGUAGE/ holds a file for each notebook and one for the README: every
English text in a comment, its translation below. Where the English is new or another,
this program puts it there, with a TODO that shows what it was. From these files and the
English notebooks it makes notebooks-LANGUAGE/ and README.LANGUAGE.md. Code and outputs
are the English ones; where a translation is missing, the English stands.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import nbformat

from d2lmini.engine.files import write_whole

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
TODO = re.compile(r"<!-- TODO(?:, it was:\n(.*?)\n| )-->", re.DOTALL)
NOT_WHOLE = """{}, at or above {!r}: a comment is not whole, or is there twice. Each
English text stands between a line `<!-- NAME` and a line `-->`. Nothing was changed."""
GONE = """{} translates {}, which the English no longer has: delete it, or give it its
new name. Nothing was changed."""


class Text(NamedTuple):
    english: str
    translation: str
    translated: str  # the English that was translated; with another one, it is to do


def parse(file: Path) -> dict[str, Text]:
    """The texts of a translator's file, by the names of their cells or sections."""
    content = file.read_text(encoding="utf-8-sig") + "\n" if file.exists() else ""
    head, *parts = re.split("^<!-- (?!TODO)", content, flags=re.MULTILINE)
    if head.strip():
        sys.exit(NOT_WHOLE.format(file, head.strip().splitlines()[0]))
    texts = {}
    for part in parts:
        name, _, rest = part.partition("\n")
        english, closed, below = rest.partition("\n-->\n")
        todo = TODO.match(below := below.strip())
        translation = below[todo.end() :].strip() if todo else below
        if not closed or name in texts or re.search("<!--|-->", translation):
            sys.exit(NOT_WHOLE.format(file, name))
        translated = todo[1] or "" if todo else english
        texts[name] = Text(english, translation, translated)
    return texts


def updated(file: Path, english: dict[str, str]) -> dict[str, Text]:
    """The texts of file, brought up to the English of today."""
    texts = parse(file)
    if gone := texts.keys() - english.keys():
        sys.exit(GONE.format(file, ", ".join(sorted(gone))))
    for name, source in english.items():
        _, translation, translated = texts.get(name, ("", "", ""))
        texts[name] = Text(source, translation, translated if translation else "")
    return {name: texts[name] for name in english}


def is_to_do(text: Text) -> bool:
    return text.translated != text.english


def written(texts: dict[str, Text]) -> str:
    """A translator's file, as parse reads it."""
    lines = []
    for name, text in texts.items():
        lines += [f"<!-- {name}", text.english, "-->"]
        if is_to_do(text):
            was = f", it was:\n{text.translated}\n" if text.translated else " "
            lines += [f"<!-- TODO{was}-->"]
        lines += [text.translation, ""]
    return "\n".join(lines)


def shown(texts: dict[str, Text]) -> list[str]:
    """What a reader gets: translations, or the English where one is missing."""
    return [text.translation or text.english for text in texts.values()]


def edition(language: str) -> Iterator[tuple[Path, str]]:
    """Every file of an edition, a translator's or made, and what it must hold."""
    folder = ROOT / "translations" / language
    chapters = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
    for path in chapters + sorted(NOTEBOOKS.glob("exercises/*/*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        cells = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
        name = path.relative_to(NOTEBOOKS)
        file = folder / name.with_suffix(".md")
        texts = updated(file, {cell.id: cell.source for cell in cells})
        yield file, written(texts)
        for cell, text in zip(cells, shown(texts), strict=True):
            cell.source = text
        made = ROOT / f"notebooks-{language}" / name
        yield made, nbformat.writes(notebook) + "\n"

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    top, *sections = re.split("^## ", readme, flags=re.MULTILINE)
    english = {"top": top.strip()}
    english |= {text.splitlines()[0]: f"## {text.strip()}" for text in sections}
    texts = updated(folder / "README.md", english)
    yield folder / "README.md", written(texts)
    yield ROOT / f"README.{language}.md", "\n\n".join(shown(texts)) + "\n"


if __name__ == "__main__":
    folders = (ROOT / "translations").iterdir()
    languages = sorted(folder.name for folder in folders if folder.is_dir())
    files = dict(pair for language in languages for pair in edition(language))
    for path, content in files.items():  # now that no file was refused
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content.encode())
    for path, content in files.items():
        if to_do := len(TODO.findall(content)):
            print(f"{path.relative_to(ROOT)}: {to_do} to translate")
