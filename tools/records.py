"""What takes too long for a chapter, recorded: python tools/records.py NAME

recipe    chapter 6's recipe on all images: about half an hour on two cores
starts    chapter 6's first epochs, one thing changed at a time: minutes
changes   chapter 6's recipe without each of its parts: about ten minutes
claims    chapter 7's comparisons: 73 minutes on two cores with other work to do

Runs the chapter's own cells, those with the tag "recipe". After each run it writes
notebooks/records/NAME.json; runs that are in it already are not made again, so it goes
on where it was interrupted.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import nbformat

from d2lmini import try_gpu
from d2lmini.engine.files import write_whole
from d2lmini.engine.machine import facts

CHAPTERS = Path(__file__).parents[1] / "notebooks"
# name, number of seeds, epochs, further arguments of chapter 6's train_recipe
RECIPES = [
    ("recipe", 5, 8, {}),
    ("six epochs", 5, 6, {}),
    ("in a minute", 3, 4, {}),
    ("six epochs without flips", 1, 6, {"flips": False}),
    ("six epochs without label smoothing", 1, 6, {"smoothing": 0.0}),
    ("twice the channels", 1, 8, {"ratio": 2}),
]
# name, number of epochs, seed, and the function of these two that trains
Run = tuple[str, int, int, Callable]


def recipe(defined: dict) -> Iterator[Run]:
    """Chapter 6's runs, from what its cells define."""
    for name, num_seeds, num_epochs, arguments in RECIPES:
        for seed in range(num_seeds):
            yield name, num_epochs, seed, partial(defined["train_recipe"], **arguments)


def starts(defined: dict) -> Iterator[Run]:
    """Chapter 6's first epochs."""
    for seed in range(3):
        for name in defined["starts"]:
            yield name, 1, seed, partial(defined["train_start"], name)


def changes(defined: dict) -> Iterator[Run]:
    """Chapter 6's recipe without each of its parts, on images held out."""
    for seed in range(4):
        for name in defined["changes"]:
            yield name, 4, seed, partial(defined["train_changed"], name)


def claims(defined: dict) -> Iterator[Run]:
    """Chapter 7's runs; in turns, so that a busy machine slows all networks."""
    for seed in range(3):
        for name in defined["STACKS"]:
            yield name, 2, seed, partial(defined["train_stack"], name)
    for name in ("VGG-11/4", "AlexNet"):
        yield name, 2, 0, partial(defined["train_rival"], name)


# name of the record: its chapter, the settings for all images, and its runs
RECORDS = {
    "recipe": (
        "06_the_same_accuracy_in_minutes.ipynb",
        {"sample": False, "batch_size": 256, "peak_lr": 0.3},
        recipe,
    ),
    "starts": ("06_the_same_accuracy_in_minutes.ipynb", {"sample": True}, starts),
    "changes": ("06_the_same_accuracy_in_minutes.ipynb", {"sample": True}, changes),
    "claims": ("07_were_the_claims_true.ipynb", {"sample": False}, claims),
}


def definitions(chapter: str, settings: dict) -> dict:
    """What the chapter's tagged cells define, with these settings."""
    names = {}
    for cell in nbformat.read(CHAPTERS / chapter, as_version=4).cells:
        if "recipe" in cell.metadata.get("tags", []):
            exec(cell.source, names)
            names.update(settings)
    return names


def record(name: str, path: Path) -> None:
    """Make the runs of a record that path has not; write each once it is made."""
    chapter, settings, runs = RECORDS[name]
    kept = {"about": {**facts(try_gpu()), **settings}, "runs": []}
    if path.exists():
        kept = json.loads(path.read_text())
    done = [run["about"] for run in kept["runs"]]
    for network, num_epochs, seed, train in runs(definitions(chapter, settings)):
        about = {"name": network, "epochs": num_epochs, "seed": seed}
        if about not in done:
            history = train(num_epochs, seed)
            history.about = about
            kept["runs"].append(asdict(history))
            write_whole(path, (json.dumps(kept, indent=1) + "\n").encode())


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in RECORDS:
        sys.exit(__doc__)
    record(sys.argv[1], CHAPTERS / "records" / f"{sys.argv[1]}.json")
