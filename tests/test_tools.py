"""tools/: running the notebooks, recording, the README's pictures, readable diffs.

pages.py has a file of its own, test_pages.py.
"""

import json
import runpy
import subprocess
import sys

import execute
import matplotlib as mpl
import nbformat
import pictures
import pytest
import records
import torch
from helpers import NOTEBOOKS, ROOT, TOOLS, code_cells, read
from nbclient.exceptions import CellExecutionError

import d2lmini
from d2lmini.counting import read_runs


def write(path, *sources):
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


def test_execute_keeps_the_outputs(tmp_path):
    """In the notebook's folder; what is printed in pieces is one output."""
    path = tmp_path / "small.ipynb"
    write(path, "import os\nprint(os.listdir(), flush=True)\nprint(2 + 3)", "6 * 7")
    execute.execute(path)
    first, second = code_cells(path)
    assert [output.text for output in first.outputs] == ["['small.ipynb']\n5\n"]
    assert [o.data["text/plain"] for o in second.outputs] == ["42"]
    assert [first.execution_count, second.execution_count] == [1, 2]
    assert read(path).metadata == execute.METADATA
    assert [file.name for file in tmp_path.iterdir()] == ["small.ipynb"]


def test_execute_leaves_a_notebook_with_an_error_as_it_was(tmp_path):
    path = tmp_path / "small.ipynb"
    write(path, "print(2 + 3)", "1 / 0")
    before = path.read_bytes()
    with pytest.raises(CellExecutionError, match="ZeroDivisionError"):
        execute.execute(path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", records.RECORDS)
def test_a_record_holds_the_runs_of_its_plan(name):
    chapter, settings, plan = records.RECORDS[name]
    with mpl.rc_context():  # a chapter sets the style of its figures
        defined = records.definitions(chapter, settings)
    kept = json.loads((NOTEBOOKS / "records" / f"{name}.json").read_text())
    runs = [
        [run["about"][k] for k in ("name", "epochs", "seed")] for run in kept["runs"]
    ]
    assert runs == [[name, epochs, seed] for name, epochs, seed, _ in plan(defined)]
    assert settings.items() <= kept["about"].items()
    assert settings.items() <= defined.items()


def test_recording_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    path, trained = tmp_path / "small.json", []

    def train(num_epochs, seed):
        trained.append(seed)
        if trained == [5, 6]:
            raise KeyboardInterrupt
        return d2lmini.History.load(NOTEBOOKS / "records/full_run.json")

    def plan(defined):
        return [("small", 10, seed, train) for seed in (5, 6, 7)]

    nothing = tmp_path / "chapter.ipynb"
    write(nothing)
    monkeypatch.setitem(records.RECORDS, "small", (nothing, {"sample": False}, plan))
    with pytest.raises(KeyboardInterrupt):
        records.record("small", path)
    records.record("small", path)
    assert trained == [5, 6, 6, 7]
    kept = json.loads(path.read_text())
    assert [run["about"]["seed"] for run in kept["runs"]] == [5, 6, 7]
    assert kept["about"]["sample"] is False


def share_above(t, freedom):
    """Of Student's distribution, from torch's density."""
    x = torch.linspace(t, 300, 1_000_001, dtype=torch.float64)
    density = torch.distributions.StudentT(torch.tensor(freedom).double())
    return torch.trapezoid(density.log_prob(x).exp(), x).item()


def test_targets_are_summed_up_from_the_runs():
    """Their t-tests are right, and the kept networks are the timed ones."""
    assert share_above(2.821, 9) == pytest.approx(0.01, abs=2e-5)  # printed tables
    folder = NOTEBOOKS / "records"
    targets = json.loads((folder / "targets.json").read_text())
    runs = {
        (name, len(h), h.about["seed"]): h.test_acc[-1]
        for file in ("recipe.json", "thirty.json")
        for name, histories in read_runs(folder / file)[1].items()
        for h in histories
    }
    for record, recipe in zip(targets, records.TARGETS, strict=True):
        target, epochs = float(recipe.name.removesuffix("_thirty")), recipe.num_epochs
        assert [record["target"], record["epochs"]] == [target, epochs]
        seeds = range(10, 40) if recipe.name.endswith("_thirty") else range(10)
        accs = [runs.pop((recipe.name, epochs, seed)) for seed in seeds]
        n, mean = len(accs), sum(accs) / len(accs)
        variance = sum((acc - mean) ** 2 for acc in accs) / (n - 1)
        assert record["seeds"] == n
        assert [record["mean"], record["stdev"]] == pytest.approx([mean, variance**0.5])
        p = share_above((mean - target) / (variance / n) ** 0.5, n - 1)
        assert record["p"] == pytest.approx(p, rel=1e-4)
        if "weights" in record:
            timed_by = "seconds" if n == 10 else "cores"
            about, timed = read_runs(folder / f"{timed_by}.json")
            (run,), time = timed[recipe.name], record["timed"][timed_by]
            assert record["right"] == round(10_000 * run.test_acc[-1])
            operations = time["share"] * time["seconds"] * about["matrix_gflops"] / 1e3
            assert operations == pytest.approx(record["tflop"])
    assert not runs  # none was left out


@pytest.mark.parametrize("name", pictures.PICTURES)
def test_pictures_of_the_readme_are_the_chapters(name):
    """After a change of a chapter: make notebooks."""
    shown = pictures.picture(*pictures.PICTURES[name])
    assert (ROOT / "images" / name).read_text(encoding="utf-8") == shown
    assert f"(images/{name})" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_pictures_miss_a_title():
    with pytest.raises(LookupError, match="no picture with the title 'Cats'"):
        pictures.picture("05_training.ipynb", "Cats")


AS_TEXT = """
---- markdown {}
# Größe

---- code {"tags": ["recipe"]}
print("×")
plot()
---- output
×
---- output
[picture A line d09409f4]
---- output
| a |
---- output
ValueError: no
"""


def test_a_notebook_as_text(tmp_path):
    """As git calls it. A picture is told by its title and its CRC-32."""
    svg = "<svg><title>A line</title></svg>"
    new = nbformat.v4
    code = new.new_code_cell('print("×")\nplot()', metadata={"tags": ["recipe"]})
    markdown = {"text/plain": "<object>", "text/markdown": "| a |"}
    code.outputs = [
        new.new_output("stream", text="×\n"),
        new.new_output("display_data", {"image/svg+xml": svg, "text/plain": "Figure"}),
        new.new_output("execute_result", markdown, execution_count=1),
        new.new_output("error", ename="ValueError", evalue="no"),
    ]
    notebook = new.new_notebook(cells=[new.new_markdown_cell("# Größe"), code])
    path = tmp_path / "small.ipynb"
    nbformat.write(notebook, path)
    command = [sys.executable, TOOLS / "notebook_text.py", path]
    text = subprocess.run(command, check=True, capture_output=True).stdout.decode()
    assert "".join(f"{line}\n" for line in text.splitlines()) == AS_TEXT


def test_the_benchmark_lays_the_full_set_out_for_d2l(full_folder, tmp_path):
    """Unpacked, where torchvision looks for it: ../data, with the set's own sizes."""
    runpy.run_path(str(ROOT / "benchmarks/bench.py"))["copy_data"](tmp_path)
    raw = tmp_path / "data/FashionMNIST/raw"
    assert {file.name: file.stat().st_size for file in raw.iterdir()} == {
        "train-images-idx3-ubyte": 16 + 60_000 * 28 * 28,
        "train-labels-idx1-ubyte": 8 + 60_000,
        "t10k-images-idx3-ubyte": 16 + 10_000 * 28 * 28,
        "t10k-labels-idx1-ubyte": 8 + 10_000,
    }
