"""The chapters as they are kept: executed, clean, and in step with the library.

What the cells print is compared by nbval (`make test`); here stands what nbval does
not see, and that nbval does see what it should.
"""

import ast
import inspect
import os
import re
import subprocess
import sys
from xml.etree import ElementTree

import nbformat
import pytest
from helpers import (
    CHAPTERS,
    NUM_CHAPTERS,
    ROOT,
    SHAPES,
    SHRUNK_SHAPES,
    SOLUTIONS,
    code_cells,
    outputs,
    read,
    svg,
)

import d2lmini
from d2lmini import counting, recipe

SANITIZE = ROOT / "tests" / "sanitize.cfg"
TAGS = {"raises-exception", "recipe"}  # misspelt ones would do nothing


def printed(path):
    return [output.text for output in outputs(path) if output.output_type == "stream"]


def test_chapters_are_numbered_and_each_has_its_exercises():
    numbers = [f"{i:02}" for i in range(1, NUM_CHAPTERS + 1)]
    assert [path.name[:2] for path in CHAPTERS] == numbers
    assert [path.name for path in SOLUTIONS] == [path.name for path in CHAPTERS]


@pytest.mark.parametrize(
    "path", CHAPTERS + SOLUTIONS, ids=lambda path: f"{path.parent.name}/{path.stem}"
)
class TestNotebook:
    def test_is_executed_in_order_from_a_fresh_kernel(self, path):
        """nbval compares nothing in a cell without a number."""
        counts = [cell.execution_count for cell in code_cells(path)]
        assert counts == list(range(1, len(counts) + 1))

    def test_runs_on_the_kernel_that_every_environment_has(self, path):
        metadata = read(path).metadata
        assert metadata.kernelspec.name == "python3"
        assert set(metadata.language_info) == {"name"}

    def test_holds_no_error_and_no_stderr(self, path):
        for output in outputs(path):
            assert output.output_type != "error"
            assert output.get("name") != "stderr"

    def test_names_no_path_of_a_machine(self, path):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"/(home|root|Users|tmp|work|usr)/|[A-Z]:\\\\", text)

    def test_needs_no_widget_and_hushes_no_cell(self, path):
        for cell in code_cells(path):
            assert not cell.source.rstrip().endswith(";")
            for output in cell.outputs:
                assert not any("widget" in kind for kind in output.get("data", {}))

    def test_ignores_no_cell(self, path):
        for cell in read(path).cells:
            assert set(cell.metadata.get("tags", [])) <= TAGS
            assert not re.search(r"^\s*#\s*(NBVAL|PYTEST_VALIDATE)", cell.source, re.M)

    def test_is_small_enough_to_open_quickly(self, path):
        assert path.stat().st_size < 1_500_000


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
class TestChapter:
    def test_links_lead_somewhere(self, path):
        links = re.findall(r"\]\(([^)#]+\.ipynb)", path.read_text(encoding="utf-8"))
        assert links
        for link in links:
            assert (path.parent / link).exists()

    def test_shows_pictures(self, path):
        """Each figure is SVG with something drawn in it."""
        figures = list(filter(None, map(svg, outputs(path))))
        assert len(figures) >= 2
        for figure in figures:
            assert len(re.findall(r"<(?:path|image|use|text)\b", figure)) > 5
            assert "<dc:date>" not in figure

    def test_pictures_are_told_in_words(self, path):
        """Letters are text, and a description holds what is drawn."""
        for figure in filter(None, map(svg, outputs(path))):
            root = ElementTree.fromstring(figure)
            assert root.findtext("{*}title") and root.findtext("{*}desc")
            styles = " ".join(re.findall('style="(.*?)"', figure))
            assert set(re.findall("'.+?'", styles)) <= {"'DejaVu Sans'"}


def test_shape_traces_are_the_ones_of_the_book():
    assert SHAPES in printed(CHAPTERS[1])
    assert SHRUNK_SHAPES in printed(CHAPTERS[2])


def is_check(statement):
    """Whether it only calls a function named check_..."""
    return re.match(r"check_\w+\(.*\)$", ast.unparse(statement)) is not None


def bare(source):
    """The code of a function without its docstring, type hints and checks."""
    function = ast.parse(source).body[0]
    if ast.get_docstring(function) is not None:
        del function.body[0]
    function.body = [line for line in function.body if not is_check(line)]
    function.returns = None
    for argument in ast.walk(function.args):
        if isinstance(argument, ast.arg):
            argument.annotation = None
    return ast.unparse(function)


@pytest.mark.parametrize(
    ("chapter", "module", "name"),
    [
        (1, d2lmini, "vgg_block"),
        (1, d2lmini, "vgg"),
        (1, counting, "num_params"),
        (1, counting, "weight_layers"),
        (3, counting, "milliseconds"),
        (6, recipe, "norm_block"),
        (6, recipe, "norm_vgg"),
        (6, recipe, "recipe_net"),
        (6, recipe, "both_sides"),
        (6, counting, "standard_error"),
    ],
)
def test_chapters_define_what_the_library_has(chapter, module, name):
    cells = [cell.source for cell in code_cells(CHAPTERS[chapter - 1])]
    found = [
        re.search(rf"^def {name}\(.*?(?=\n\n\n|\Z)", c, re.M | re.S) for c in cells
    ]
    (shown,) = [match[0] for match in found if match]
    assert bare(shown) == bare(inspect.getsource(getattr(module, name)))


HELPERS = ["accuracy", "Accumulator", "Timer", "Animator", "try_gpu"]
HELPERS += ["load_data_fashion_mnist", "evaluate_accuracy_gpu", "train_ch6"]


@pytest.mark.parametrize("name", HELPERS)
def test_chapters_4_and_5_show_the_library_as_it_is(name):
    both = outputs(CHAPTERS[3]) + outputs(CHAPTERS[4])
    shown = [output.data["text/plain"] for output in both if "data" in output]
    assert inspect.getsource(getattr(d2lmini, name)).rstrip() in shown


def test_training_is_one_figure_between_its_printed_lines():
    (cell,) = [c for c in code_cells(CHAPTERS[4]) if "history = d2l" in c.source]
    assert [o.output_type for o in cell.outputs] == ["stream", "display_data", "stream"]
    assert cell.outputs[0].text == "training on cpu\n"


def sanitize_pairs():
    """As nbval reads them: a pair that does not fit is dropped without a word."""
    text = SANITIZE.read_text(encoding="utf-8")
    pairs = re.findall("^regex: (.*)$\n^replace: (.*)$", text, flags=re.M)
    assert len(pairs) == text.count("regex:") == text.count("replace:")
    return pairs


def test_only_digits_are_sanitised():
    """Every pattern is used, and leaves the words of a line as they are."""
    lines = "".join(text for path in CHAPTERS for text in printed(path))
    for regex, replace in sanitize_pairs():
        found = re.search(regex, lines)
        assert found, regex
        words = re.sub(r"\b[A-Z]\b", "", replace)
        assert re.sub(r"\d+\.\d+", "", found[0]) == words


def run_nbval(folder, cells, where, *options):
    """Exit code of `pytest --nbval` for a notebook of (source, printed text) pairs."""
    notebook = nbformat.v4.new_notebook(metadata=read(CHAPTERS[0]).metadata)
    for count, (source, text) in enumerate(cells, start=1):
        output = nbformat.v4.new_output("stream", name="stdout", text=text)
        cell = nbformat.v4.new_code_cell(source, outputs=[output])
        cell.execution_count = count
        notebook.cells.append(cell)
    nbformat.write(notebook, folder / "small.ipynb")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["--nbval", f"--nbval-sanitize-with={SANITIZE}", *options]
    run = subprocess.run(
        [*command, "-p", "conftest", folder / "small.ipynb"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=where,
        capture_output=True,
        text=True,
    )
    return run.returncode


SPEED = ("print('97.3 examples/sec on cpu')", "412.9 examples/sec on cpu\n")


@pytest.mark.parametrize(
    ("cells", "exit_code"),
    [
        ([("print(5 * 5)", "25\n"), SPEED], 0),
        ([("print(5 * 5)", "26\n"), SPEED], 1),
        ([("print(5 * 5)", "25\n"), (SPEED[0], "412.9 examples/sec on cuda:0\n")], 1),
    ],
    ids=["right", "wrong number", "wrong words beside a sanitised number"],
)
def test_nbval_sees_a_wrong_output(tmp_path, cells, exit_code):
    assert run_nbval(tmp_path, cells, where=tmp_path) == exit_code


def test_nbval_runs_a_notebook_in_its_own_folder(tmp_path):
    """Wherever it is started."""
    source = "import os\nprint(os.path.exists('small.ipynb'))"
    assert run_nbval(tmp_path, [(source, "True\n")], where=ROOT) == 0


@pytest.mark.slow
def test_the_cells_of_a_notebook_stay_on_one_worker(tmp_path):
    """Else a cell would miss what those before it made."""
    count = [("i = 0\nprint(i)", "0\n")]
    count += [("i += 1\nprint(i)", f"{i}\n") for i in range(1, 8)]
    assert run_nbval(tmp_path, count, tmp_path, "-n2") == 0
