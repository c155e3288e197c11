"""What several test files need, and the numbers that a new chapter changes."""

import gzip
import subprocess
import sys
from pathlib import Path

import make_exercises
import nbformat
import torch
from torch.utils.data import DataLoader

import d2lmini

# How much there is; a chapter or an exercise more changes these and no test.
NUM_CHAPTERS = 7
NUM_CHECKS = 42  # cells with points, in all exercises

# The notebooks

ROOT = Path(__file__).parents[1]
NOTEBOOKS = ROOT / "notebooks"
TOOLS = ROOT / "tools"
CHAPTERS = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
EXERCISES = sorted(NOTEBOOKS.glob("exercises/*/*.ipynb"))
SOLUTIONS = sorted(NOTEBOOKS.glob("solutions/*/*.ipynb"))


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def outputs(path):
    return [output for cell in code_cells(path) for output in cell.outputs]


def svg(output):
    """The picture that an output shows; None without one."""
    return output.get("data", {}).get("image/svg+xml")


# The exercises and nbgrader


def cells_of(notebook):
    """The cells that nbgrader knows, by name. notebook: a path will do."""
    notebook = read(notebook) if isinstance(notebook, Path) else notebook
    marked = [cell for cell in notebook.cells if "nbgrader" in cell.metadata]
    return {cell.metadata.nbgrader.grade_id: cell for cell in marked}


def answers(path):
    cells = cells_of(path).items()
    return {n: cell.source for n, cell in cells if cell.metadata.nbgrader.solution}


def nbgrader(course, *arguments):
    """Run nbgrader in the folder course."""
    run = subprocess.run(
        [sys.executable, "-m", "nbgrader", *arguments],
        cwd=course,
        env=make_exercises.environment() | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


# The networks: what the book's loop over the layers prints, here for 160x160 pixels

SHAPES = """\
Sequential output shape:\t torch.Size([1, 64, 80, 80])
Sequential output shape:\t torch.Size([1, 128, 40, 40])
Sequential output shape:\t torch.Size([1, 256, 20, 20])
Sequential output shape:\t torch.Size([1, 512, 10, 10])
Sequential output shape:\t torch.Size([1, 512, 5, 5])
Flatten output shape:\t torch.Size([1, 12800])
Linear output shape:\t torch.Size([1, 1024])
ReLU output shape:\t torch.Size([1, 1024])
Dropout output shape:\t torch.Size([1, 1024])
Linear output shape:\t torch.Size([1, 128])
ReLU output shape:\t torch.Size([1, 128])
Dropout output shape:\t torch.Size([1, 128])
Linear output shape:\t torch.Size([1, 10])
"""
SHRUNK_SHAPES = """\
Sequential output shape:\t torch.Size([1, 16, 80, 80])
Sequential output shape:\t torch.Size([1, 32, 40, 40])
Sequential output shape:\t torch.Size([1, 64, 20, 20])
Sequential output shape:\t torch.Size([1, 128, 10, 10])
Sequential output shape:\t torch.Size([1, 128, 5, 5])
Flatten output shape:\t torch.Size([1, 3200])
Linear output shape:\t torch.Size([1, 1024])
ReLU output shape:\t torch.Size([1, 1024])
Dropout output shape:\t torch.Size([1, 1024])
Linear output shape:\t torch.Size([1, 128])
ReLU output shape:\t torch.Size([1, 128])
Dropout output shape:\t torch.Size([1, 128])
Linear output shape:\t torch.Size([1, 10])
"""
PAPER = {"in_channels": 3, "num_classes": 1000, "image_size": 224}

# The data set: the four files, by name

NAMES = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
]


def in_order(dataset):
    """All images and labels of dataset, through torch's own loader and stacking."""
    X, y = next(iter(DataLoader(dataset, len(dataset))))
    return X, y


def put(files, folder, packed=False):
    """Write files, content by name, into folder; packed: with gzip."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)


def assert_loads(files, **arguments):
    """All images and labels that are loaded are those of files."""
    loaders = d2lmini.load_data_fashion_mnist(2, **arguments)
    for loader, (images, labels) in zip(loaders, (NAMES[:2], NAMES[2:]), strict=True):
        X, y = in_order(loader.dataset)
        pixels = torch.tensor(list(files[images][16:])).reshape(-1, 1, 28, 28)
        assert torch.equal(X, pixels / 255)
        assert y.tolist() == list(files[labels][8:])
