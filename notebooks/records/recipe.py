"""Chapter 6's recipe on all images, recorded: python notebooks/records/recipe.py

Runs the chapter's own cells, those with the tag "recipe", on the full data set: about
half an hour on 2 cores. Writes recipe.json beside this script after each run; runs that
are in it already are not made again.
"""

import json
import platform
from dataclasses import asdict
from datetime import date
from pathlib import Path

import nbformat
import torch

from d2lmini.checkpoints import replace_file
from d2lmini.data import usable_processors

CHAPTER = Path(__file__).parents[1] / "06_the_same_accuracy_in_minutes.ipynb"
RECORD = Path(__file__).with_name("recipe.json")
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


def definitions() -> dict:
    """What the chapter's tagged cells define, with the settings for all images."""
    names = {}
    for cell in nbformat.read(CHAPTER, as_version=4).cells:
        if "recipe" in cell.metadata.get("tags", []):
            exec(cell.source, names)
            names.update(SETTINGS)
    return names


if __name__ == "__main__":
    train_recipe = definitions()["train_recipe"]
    about = {
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {usable_processors()} processors",
        "torch": torch.__version__,
        **SETTINGS,
    }
    record = {"about": about, "runs": []}
    if RECORD.exists():
        record = json.loads(RECORD.read_text())
    done = [run["about"] for run in record["runs"]]
    for name, num_seeds, num_epochs, arguments in PLAN:
        for seed in range(num_seeds):
            this = {"name": name, "epochs": num_epochs, "seed": seed}
            if this not in done:
                history = train_recipe(num_epochs, seed, **arguments)
                history.about = this
                record["runs"].append(asdict(history))
                replace_file(RECORD, (json.dumps(record, indent=1) + "\n").encode())
