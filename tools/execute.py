"""Run notebooks from a fresh kernel and keep their outputs.

python tools/execute.py [NOTEBOOK ...]    without names: all chapters and solutions
"""

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from d2lmini.engine.files import write_whole

CHAPTERS = Path(__file__).parents[1] / "notebooks"
# The same on every machine: no versions and no names of environments.
METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}


def merge_streams(outputs: list) -> list:
    """Join texts printed one after the other; how they arrive is up to chance."""
    merged = []
    for output in outputs:
        before = merged[-1] if merged else {}
        if output.get("name") and output.name == before.get("name"):
            before.text += output.text
        else:
            merged.append(output)
    return merged


def execute(path: Path) -> None:
    """Run path in its own folder; the file is replaced only when every cell worked."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=None,
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = merge_streams(cell.outputs)
    notebook.metadata = nbformat.from_dict(METADATA)
    write_whole(path, (nbformat.writes(notebook) + "\n").encode())


if __name__ == "__main__":
    solutions = CHAPTERS.glob("solutions/*/*.ipynb")
    every = sorted(CHAPTERS.glob("[0-9]*.ipynb")) + sorted(solutions)
    for path in map(Path, sys.argv[1:] or every):
        print(path, flush=True)
        execute(path)
