"""The course in other languages: from today's English, whole, and set as it should be.

What a translator did is read from translations/, what a reader gets from notebooks-*/.
"""

import ast
import json
import re
from collections import Counter
from pathlib import Path

import nbformat
import pytest
import translate
from helpers import (
    CHAPTERS,
    EXERCISES,
    NOTEBOOKS,
    ROOT,
    SOLUTIONS,
    code_cells,
    outputs,
    read,
)
from nbconvert.filters import markdown2html_mistune

from d2lmini import exercises
from d2lmini.__main__ import VERDICTS, main
from d2lmini.engine.language import FIELD, MESSAGES, catalogue, translated

# Editions in which nothing is missing, and nothing may be: add a language when it is
# complete. The others are drafts.
LANGUAGES = ["zh"]

FOLDERS = sorted(path for path in (ROOT / "translations").iterdir() if path.is_dir())
EDITIONS = [folder.name for folder in FOLDERS]
SOURCES = [path.relative_to(NOTEBOOKS) for path in CHAPTERS + EXERCISES]
FILES = [path.with_suffix(".md") for path in SOURCES] + [Path("README.md")]


def label(path):
    return "-".join(path.with_suffix("").parts[-2:])


def each(name, values, languages=EDITIONS):
    """Run a test for every value in every edition."""
    cases = [(language, value) for language in languages for value in values]
    ids = [f"{language}-{label(value)}" for language, value in cases]
    return pytest.mark.parametrize(("language", name), cases, ids=ids)


def done(language, file):
    """(name, English, translation) of what is translated, and not to be done again."""
    for name, text in translate.parse(ROOT / "translations" / language / file).items():
        if text.translation and not translate.is_to_do(text):
            yield name, text.english, text.translation


# ---------------------------------------------------------------- from today's English


@pytest.mark.parametrize("language", EDITIONS)
def test_every_file_is_what_the_english_of_today_makes(language):
    """After a change of the English, of a translation, of an output: make editions."""
    for path, content in translate.edition(language):
        assert path.read_text(encoding="utf-8") == content, path.relative_to(ROOT)


@each("file", FILES, LANGUAGES)
def test_nothing_is_left_to_translate(language, file):
    texts = translate.parse(ROOT / "translations" / language / file)
    assert [name for name, text in texts.items() if translate.is_to_do(text)] == []


@pytest.mark.parametrize("language", EDITIONS)
def test_no_notebook_is_missing_and_nothing_else_is_there(language):
    folder = ROOT / f"notebooks-{language}"
    made = [path for path, _ in translate.edition(language) if folder in path.parents]
    assert sorted(made) == sorted(folder / name for name in SOURCES)
    there = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    notebooks = [path for path in there if ".ipynb_checkpoints" not in path.parts]
    assert sorted(notebooks) == sorted(SOURCES)


@each("name", SOURCES)
def test_all_but_the_texts_is_english(language, name):
    """Code, outputs, ids, order, metadata; in the files, whatever translate.py says."""
    english, made = (
        json.loads((ROOT / folder / name).read_text(encoding="utf-8"))
        for folder in ("notebooks", f"notebooks-{language}")
    )
    for cell in english["cells"] + made["cells"]:
        if cell["cell_type"] == "markdown":
            del cell["source"]
    assert made == english


@pytest.mark.parametrize("path", CHAPTERS + EXERCISES, ids=label)
def test_code_finds_its_files_from_every_edition(path):
    """A path that leads somewhere from notebooks/ leads there from notebooks-*/ too."""
    here = path.parent.relative_to(NOTEBOOKS)
    for cell in code_cells(path):
        for node in ast.walk(ast.parse(re.sub("^%.*", "", cell.source, flags=re.M))):
            text = node.value if isinstance(node, ast.Constant) else None
            if isinstance(text, str) and "/" in text and (path.parent / text).exists():
                for language in EDITIONS:
                    assert (ROOT / f"notebooks-{language}" / here / text).exists(), text


# ---------------------------------------------------------------- as it should be set

FENCE = r"^```.*?^```$"
FORMULA = r"\$\$.*?\$\$|\$.*?\$"
MARKS = re.compile(
    rf"{FENCE}|^    .*?$"  # blocks of code
    rf"|{FORMULA}|`[^`]+`"
    r"|\]\([^#].*?\)"  # targets of links
    r"|^#+ |^ *- |^\d+\. |\|",  # headings, items of lists, cells of tables
    re.DOTALL | re.MULTILINE,
)


def marks(text, language):
    """What a translation keeps, and how often. The README shows other commands."""
    text = re.sub(rf"[-.]{language}\b|\b{language}\.", "", text)
    return Counter(re.sub("(?s)^```.*", "```", mark) for mark in MARKS.findall(text))


@each("file", FILES)
def test_formulas_code_links_and_structure_are_the_english(language, file):
    """A translation may name a thing again where the English says "it"."""
    for name, english, translation in done(language, file):
        expected, found = marks(english, language), marks(translation, language)
        assert not expected - found, name
        assert set(found) <= set(expected), name


@each("file", FILES)
def test_no_asterisk_is_shown(language, file):
    """`**…。**` before a letter is not bold in CommonMark: put the 。 behind it."""
    for name, _, translation in done(language, file):
        html = markdown2html_mistune(translation)
        html = re.sub(rf"(?s)<(code|pre).*?</\1>|{FORMULA}", "", html)
        assert "*" not in html, name


# What d2l-zh says otherwise, and what can be misread.
NOT_CHINESE_TERMS = (
    "池化|归一化|过滤器|准确率|丢弃法|批次|特征映射|稠密层|您|减少.?[0-9]+倍"
)
HAN = "[\u3400-\u9fff]"
NOT_CHINESE_TYPOGRAPHY = [
    rf"{HAN} +[\w`$]|[\w`$] +{HAN}",  # no space beside Chinese
    r"[，。：；？！、（）“”] +[^| ]",
    rf"{HAN}[,.:;?!()\"]|[,:;?!()\"]{HAN}",  # but ，。：；？！（）“”
    rf"[{HAN[1:-1]}，。：；、（）]\n[{HAN[1:-1]}（“`$A-Za-z0-9]",  # shown as a space
]  # fmt: skip


def words(text):
    """A text without its marks; what stands for them keeps its neighbours apart."""
    text = re.sub(rf"(?ms){FENCE}|^    .*?$", "", text)
    text = re.sub(r"\]\(.*?\)|[*\[\]]", "", text)
    text = re.sub(rf"(?s){FORMULA}|\([^()]*, [^()]*\)", "$", text)  # the last: shapes
    text = re.sub(r"`[^`]+`", "`", text)
    return re.sub(r"(?m)^(#+ [\d.]* ?|\d+\. | *- )", "|", text)


def assert_chinese(text):
    for fault in [NOT_CHINESE_TERMS, *NOT_CHINESE_TYPOGRAPHY]:
        found = re.search(f".{{,9}}({fault}).{{,9}}", words(text))
        assert not found, found[0]


@pytest.mark.parametrize("file", FILES, ids=label)
def test_chinese_is_set_as_in_the_chinese_book(file):
    for *_, translation in done("zh", file):
        assert_chinese(translation)


@pytest.mark.parametrize("path", EXERCISES, ids=label)
def test_chinese_exercises_name_their_points(path):
    file = path.relative_to(NOTEBOOKS).with_suffix(".md")
    texts = translate.parse(ROOT / "translations/zh" / file).values()
    if any(map(translate.is_to_do, texts)):
        pytest.skip("a draft")
    text = "\n".join(text.translation for text in texts)
    promised = [int(n) for n in re.findall("^## .*（([0-9])分）$", text, re.M)]
    given = [cell.metadata.nbgrader.get("points", 0) for cell in code_cells(path)]
    assert sum(promised) == sum(given)
    assert f"{len(promised)}道练习共**{sum(given)}分**" in text


@pytest.mark.parametrize("language", EDITIONS)
def test_links_of_the_readme_lead_somewhere(language):
    """Also those to its own headings, which GitHub names after them."""
    text = (ROOT / f"README.{language}.md").read_text(encoding="utf-8")
    headings = re.findall("^#+ (.*)", text, re.M)
    names = [re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings]
    for path, name in re.findall(r"\]\((?!http)(.*?)(?:#(.*?))?\)", text):
        assert (ROOT / path).exists()
        assert path or name in names


# ---------------------------------------------------------------- what the checks say

CATALOGUES = sorted({path.stem for path in MESSAGES.glob("*.json")} | set(LANGUAGES))
VALUES = {"training", "evaluation"}  # what stands in {mode}


def messages(source):
    """The texts of more than one word in code, an f-string's values as {fields}.

    Not those that are documentation, or printed as they are.
    """
    found = set()

    def look(node, before=""):
        match node:
            case ast.Expr(ast.Constant()):
                return
            case ast.Call(ast.Name("print"), [ast.Constant() | ast.JoinedStr()]):
                return
            case ast.AugAssign(ast.Name(name), _, ast.Constant() | ast.IfExp() as more):
                return look(more, f"{{{name}}}")
            case ast.JoinedStr(parts):
                fields = [getattr(part, "value", None) for part in parts]
                texts = [
                    f if isinstance(f, str) else f"{{{ast.unparse(f)}}}" for f in fields
                ]
                found.add(before + "".join(texts))
                return
            case ast.Constant(str(text)):
                found.add(before + text)
        for child in ast.iter_child_nodes(node):
            look(child, before)

    look(ast.parse(source))
    return {
        text for text in found if re.search(" [a-z]|[a-z] {", FIELD.sub("{}", text))
    }


@pytest.fixture(scope="module")
def every_message():
    sources = [Path(exercises.__file__).read_text(encoding="utf-8")]
    for path in SOLUTIONS:
        cells = [c for c in code_cells(path) if c.metadata.nbgrader.grade]
        sources += [cell.source for cell in cells]
    return VALUES.union(VERDICTS.values(), *map(messages, sources))


@pytest.mark.parametrize("language", CATALOGUES)
def test_no_message_is_missing_and_none_is_left_over(language, every_message):
    assert sorted(every_message - catalogue(language).keys()) == []
    assert sorted(catalogue(language).keys() - every_message) == []


@pytest.mark.parametrize("language", CATALOGUES)
def test_a_message_keeps_its_fields(language):
    for text, translation in catalogue(language).items():
        assert sorted(FIELD.findall(text)) == sorted(FIELD.findall(translation))


CALL = re.compile(r"\w+\(([^()]|\([^()]*\))*\)")


def test_chinese_messages_are_set_as_in_the_chinese_book():
    for line in "\n".join(catalogue("zh").values()).splitlines():
        assert_chinese(CALL.sub("X", FIELD.sub("X", line)))


@pytest.mark.parametrize("language", CATALOGUES)
@pytest.mark.parametrize("path", SOLUTIONS, ids=label)
def test_what_the_checks_print_has_no_english_left(path, language):
    """With the values that they have in the solutions."""
    lines = "".join(output.text for output in outputs(path)).splitlines()
    for line in lines:
        what, right, why = line.partition(": right.")
        for text in (what, why.strip()) if right else ():
            assert not re.search("[a-z]{2} [a-z]{2}", translated(text, language))


@pytest.fixture
def chinese(monkeypatch):
    monkeypatch.setenv("D2LMINI_LANGUAGE", "zh")


def test_checks_speak_chinese(chinese, capsys):
    def fails():
        return 1 / 0

    with pytest.raises(exercises.NotYet) as error:
        exercises.check("shape of block(X)", (1, 2), (1, 3), "find the rule")
    assert str(error.value) == (
        "block(X)的形状：你的结果是(1, 2)，其中第2个太小了。\n提示：找出规律"
    )
    with pytest.raises(exercises.NotYet, match="^最后一层出错了：ZeroDivisionError: "):
        exercises.check("last layer", fails, 3, "find the rule")
    with pytest.raises(exercises.NotYet, match="^last：还没做$"):
        exercises.check("last", None, 3, "find the rule")
    what = "epoch_loss for 40 images, a and b exchanged"
    exercises.check(what, 3, 3, "", "So it is {}.")
    said = "40张图像的epoch_loss（a和b交换之后）：正确。So it is {}.\n"
    assert capsys.readouterr().out == said


@pytest.mark.parametrize(
    ("folder", "variable", "word"),
    [
        ("notebooks", "", "it: right."),
        ("notebooks-zh", "", "it：正确。"),
        ("notebooks-zh/exercises/01_vgg_blocks", "", "it：正确。"),
        ("notebooks-zh", "en", "it: right."),
        ("notebooks", "zh", "it：正确。"),
        ("notebooks-xx", "", "it: right."),
    ],
)
def test_the_folder_or_a_variable_says_which_language(
    tmp_path, monkeypatch, capsys, folder, variable, word
):
    (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / folder)
    monkeypatch.setenv("D2LMINI_LANGUAGE", variable)
    exercises.check("it", 3, 3, "")
    assert capsys.readouterr().out == f"{word}\n"


@pytest.mark.parametrize(
    ("place", "variable", "verdict"),
    [
        ("zh_CN", "", "各章需要的东西都齐了。"),
        ("Chinese (Simplified)_China", "", "各章需要的东西都齐了。"),
        ("fr_FR", "zh", "各章需要的东西都齐了。"),
        ("zh_CN", "en", "All that the chapters need is here."),
        (None, "", "All that the chapters need is here."),
    ],
)
def test_the_verdict_of_check_is_in_the_readers_language(
    monkeypatch, capsys, place, variable, verdict
):
    monkeypatch.setattr("locale.getlocale", lambda: (place, "UTF-8"))
    monkeypatch.setattr("d2lmini.__main__.findings", lambda: iter([(True, "it")]))
    monkeypatch.setenv("D2LMINI_LANGUAGE", variable)
    assert main(["check"]) == 0
    assert capsys.readouterr().out == f"OK   it\n{verdict}\n"


# ---------------------------------------------------------------- translate.py itself


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A course of one notebook and a README, of which a French edition is begun."""
    cells = [
        nbformat.v4.new_markdown_cell("One $x$.", id="a"),
        nbformat.v4.new_code_cell("1 + 1", id="b"),
        nbformat.v4.new_markdown_cell("Two.", id="c"),
    ]
    (tmp_path / "notebooks").mkdir()
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbformat.write(notebook, tmp_path / "notebooks/01_one.ipynb")
    (tmp_path / "README.md").write_text("# Title\n\n## Part\n\nText.\n")
    (tmp_path / "translations/fr").mkdir(parents=True)
    monkeypatch.setattr(translate, "ROOT", tmp_path)
    monkeypatch.setattr(translate, "NOTEBOOKS", tmp_path / "notebooks")
    return tmp_path


def make(course):
    """Write the edition; the translator's file, and the texts of the notebook."""
    for path, content in dict(translate.edition("fr")).items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(content, encoding="utf-8")
    file = course / "translations/fr/01_one.md"
    made = nbformat.read(course / "notebooks-fr/01_one.ipynb", as_version=4)
    return file, [cell.source for cell in made.cells]


DONE = """\
<!-- a
One $x$.
-->
Un $x$.

<!-- c
Two.
-->
Deux.
"""


def test_an_edition_begins_in_english(course):
    file, sources = make(course)
    assert sources == ["One $x$.", "1 + 1", "Two."]
    assert file.read_text().count("<!-- TODO -->\n\n") == 2
    assert (course / "README.fr.md").read_text() == "# Title\n\n## Part\n\nText.\n"


def test_a_translation_takes_the_place_of_the_english(course):
    (course / "translations/fr/01_one.md").write_text(DONE)
    file, sources = make(course)
    assert sources == ["Un $x$.", "1 + 1", "Deux."]
    assert file.read_text() == DONE


def test_a_changed_english_text_is_noticed_until_it_is_answered(course):
    (course / "translations/fr/01_one.md").write_text(DONE)
    path = course / "notebooks/01_one.ipynb"
    for english in ("Three.", "Four."):
        notebook = nbformat.read(path, as_version=4)
        notebook.cells[2].source = english
        nbformat.write(notebook, path)
        file, sources = make(course)
        assert sources[2] == "Deux."
        todo = f"{english}\n-->\n<!-- TODO, it was:\nTwo.\n-->\nDeux.\n"
        assert todo in file.read_text()
    answered = file.read_text().replace("<!-- TODO, it was:\nTwo.\n-->\nDeux", "Quatre")
    file.write_text(answered)
    assert make(course)[1][2] == "Quatre."
    assert file.read_text() == answered


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("$x$.\n-->", "$x$.", "'a'"),  # else the next English would be swallowed
        ("<!-- c\n", "c\n", "'a'"),
        ("<!-- c", "<!-- a", "'a'"),
        ("<!-- a\n", "Un.\n<!-- a\n", "'Un.'"),
        ("-->\nDeux", "<!-- TODO -->\nDeux", "'c'"),
        ("<!-- c", "<!-- d", "d, which the English no longer has"),
    ],
)
def test_a_damaged_file_is_refused_and_kept(course, old, new, name):
    file = course / "translations/fr/01_one.md"
    damaged = DONE.replace(old, new)
    file.write_text(damaged)
    with pytest.raises(SystemExit, match=f"(?s)01_one.*{name}.*Nothing was changed"):
        dict(translate.edition("fr"))
    assert file.read_text() == damaged


def test_no_english_text_has_what_ends_a_comment():
    texts = [(ROOT / "README.md").read_text(encoding="utf-8")]
    for path in CHAPTERS + EXERCISES:
        texts += [c.source for c in read(path).cells if c.cell_type == "markdown"]
    assert not [text for text in texts if re.search("<!--|-->", text)]
