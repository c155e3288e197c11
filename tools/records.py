"""What takes too long for a chapter, recorded: python tools/records.py NAME

recipe    chapter 6's recipe on all images: about half an hour on two cores
starts    chapter 6's first epochs, one thing changed at a time: a few minutes
changes   chapter 6's recipe without each of its parts: a few minutes
book      chapter 5's network with d2l's images, head and settings
claims    chapter 7's stacks of kernels
rivals    chapter 7's AlexNet and VGG with three learning rates
steps     how long chapter 7's AlexNet and VGG take for a training step

The last four take minutes on a GPU, and many hours on two cores.

Runs the chapter's own cells, those with the tag "recipe". After each run it writes
notebooks/records/NAME.json; runs that are in it already are not made again, so it goes
on where it was interrupted.
"""

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import nbformat
import torch

from d2lmini import (
    VGG11,
    History,
    load_data_fashion_mnist,
    shrink,
    train_ch6,
    try_gpu,
    vgg,
)
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


def book(defined: dict) -> Iterator[Run]:
    """d2l's training, as chapter 5 compares with it."""

    def train(num_epochs: int, seed: int) -> History:
        torch.manual_seed(seed)
        loaders = load_data_fashion_mnist(128, 224)
        net = vgg(shrink(VGG11, 4), image_size=224, hidden=(4096, 4096))
        return train_ch6(net, *loaders, num_epochs, 0.05, try_gpu())

    yield "d2l's settings", 10, 0, train


def claims(defined: dict) -> Iterator[Run]:
    """Chapter 7's stacks."""
    for seed in range(5):
        for name in defined["STACKS"]:
            yield name, 2, seed, partial(defined["train_stack"], name)


def rivals(defined: dict) -> Iterator[Run]:
    """Chapter 7's AlexNet and VGG; how many seeds, the time on a GPU decided."""
    for seed in range(5):
        for lr in (0.02, 0.01, 0.04):
            seeds = {"AlexNet": 5, "VGG-11": 2 if lr == 0.02 else 4, "VGG-11/4": 4}
            for name in [name for name in seeds if seed < seeds[name]]:
                train = partial(defined["train_rival"], name, lr=lr)
                yield f"{name}, lr {lr}", 2, seed, train


# name of the record: its chapter, the settings for all images, and its runs
RECORDS = {
    "recipe": (
        "06_the_same_accuracy_in_minutes.ipynb",
        {"sample": False, "batch_size": 256, "peak_lr": 0.3},
        recipe,
    ),
    "starts": ("06_the_same_accuracy_in_minutes.ipynb", {"sample": True}, starts),
    "changes": ("06_the_same_accuracy_in_minutes.ipynb", {"sample": True}, changes),
    "book": ("05_training.ipynb", {"sample": False}, book),
    "claims": ("07_were_the_claims_true.ipynb", {"sample": False}, claims),
    "rivals": ("07_were_the_claims_true.ipynb", {"sample": False}, rivals),
}


def definitions(chapter: str, settings: dict) -> dict:
    """What the chapter's tagged cells define, with these settings."""
    names = dict(settings)
    for cell in nbformat.read(CHAPTERS / chapter, as_version=4).cells:
        if "recipe" in cell.metadata.get("tags", []):
            exec(cell.source, names)
            names.update(settings)
    return names


def as_json(kept: dict) -> bytes:
    return (json.dumps(kept, indent=1) + "\n").encode()


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
            write_whole(path, as_json(kept))


def record_steps(path: Path) -> None:
    """Milliseconds of a training step per image, for chapter 7's AlexNet and VGG."""
    defined = definitions("07_were_the_claims_true.ipynb", {})
    device, runs = try_gpu(), []
    for side, batch in itertools.product((96, 224), (8, 128)):
        X = torch.rand(batch, 1, side, side, device=device)
        for name, net in defined["rivals"](side).items():
            net = net.to(device, memory_format=torch.channels_last)
            ms = defined["per_image"](net, X)
            runs.append({"name": name, "side": side, "batch": batch, "ms": ms})
    write_whole(path, as_json({"about": facts(device), "runs": runs}))


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in [*RECORDS, "steps"]:
        sys.exit(__doc__)
    path = CHAPTERS / "records" / f"{sys.argv[1]}.json"
    record_steps(path) if sys.argv[1] == "steps" else record(sys.argv[1], path)
