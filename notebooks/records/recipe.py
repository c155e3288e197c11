"""Chapter 6's recipe on all images, recorded: python notebooks/records/recipe.py

Runs the chapter's own cells, those with the tag "recipe", on the full data set: about
half an hour on 2 cores. Writes recipe.json beside this script after each run; runs that
are in it already are not made again.
"""

import json
import platform
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import date
from functools import partial
from pathlib import Path

import nbformat
import torch

from d2lmini.checkpoints import replace_file
from d2lmini.data import usable_processors

HERE = Path(__file__).parent
SETTINGS = {"sample": False, "batch_size": 256, "peak_lr": 0.3}
# name, number of seeds, epochs, further arguments of the chapter's train_recipe
PLAN = [
    ("recipe", 5, 8, {}),
    ("six epochs", 5, 6, {}),
    ("in a minute", 3, 4, {}),
    ("six epochs without flips", 1, 6, {"flips": False}),
    ("six epochs without label smoothing", 1, 6, {"smoothing": 0.0}),
    ("twice the channels", 1, 8, {"ratio": 2}),
]


def definitions(chapter: str, settings: dict) -> dict:
    """What the chapter's tagged cells define, with these settings."""
    names = {}
    for cell in nbformat.read(HERE.parent / f"{chapter}.ipynb", as_version=4).cells:
        if "recipe" in cell.metadata.get("tags", []):
            exec(cell.source, names)
            names.update(settings)
    return names


def record(
    path: Path, settings: dict, runs: Iterable[tuple[str, int, int, Callable]]
) -> None:
    """Make the runs that are not in path yet, and write each as soon as it is made.

    runs: name, number of epochs, seed, and the function of these two that trains.
    """
    processors = f"{torch.get_num_threads()} of {usable_processors()} processors"
    about = {
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {processors}",
        "torch": torch.__version__,
        **settings,
    }
    kept = {"about": about, "runs": []}
    if path.exists():
        kept = json.loads(path.read_text())
    done = [run["about"] for run in kept["runs"]]
    for name, epochs, seed, train in runs:
        this = {"name": name, "epochs": epochs, "seed": seed}
        if this not in done:
            history = train(epochs, seed)
            history.about = this
            kept["runs"].append(asdict(history))
            replace_file(path, (json.dumps(kept, indent=1) + "\n").encode())


if __name__ == "__main__":
    train = definitions("06_the_same_accuracy_in_minutes", SETTINGS)["train_recipe"]
    runs = [
        (name, epochs, seed, partial(train, **arguments))
        for name, num_seeds, epochs, arguments in PLAN
        for seed in range(num_seeds)
    ]
    record(HERE / "recipe.json", SETTINGS, runs)
