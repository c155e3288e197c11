"""What takes too long for a chapter, recorded: python tools/records.py NAME

starts    chapter 6's first epochs, one thing changed at a time: a few minutes
recipe    chapter 6's recipes on all images, ten seeds each
thirty    the shorter one for 0.93 again, with thirty other seeds: half an hour
seconds   one seed each, alone on the machine, to be timed; keeps what it has trained
cores     the small recipes, timed on a machine without a GPU: some minutes
targets   what is told of each recipe, from the four above and what was kept: a minute
changes   chapter 6's recipe without each of its parts, on images held out
tried     chapter 6's recipe with other tricks (tools/tried.py), likewise
book      chapter 5's network with d2l's images, head and settings
claims    chapter 7's stacks of kernels
rivals    chapter 7's AlexNet and VGG with three learning rates
steps     how long chapter 7's AlexNet and VGG take for a training step

All but starts, thirty, cores and targets take minutes on a GPU, and many hours on two
cores.

Runs the chapter's own cells, those with the tag "recipe". After each run it writes
notebooks/records/NAME.json; runs that are in it already are not made again, so it goes
on where it was interrupted.
"""

import hashlib
import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import NamedTuple

import nbformat
import torch
from tried import TRIED, Trick, six_views

from d2lmini import (
    VGG11,
    History,
    evaluate_accuracy_gpu,
    load_data_fashion_mnist,
    shrink,
    train_ch6,
    try_gpu,
    vgg,
)
from d2lmini.counting import read_runs
from d2lmini.engine.files import write_whole
from d2lmini.engine.machine import facts, matrix_rate
from d2lmini.models import ConvArch
from d2lmini.recipe import count_right, recipe_net

CHAPTERS = Path(__file__).parents[1] / "notebooks"
FOLDER = CHAPTERS / "records"
# chapter 6's networks
SMALL = ((1, 16), (1, 32), (2, 60), (2, 120))
LARGE = ((1, 32), (1, 64), (2, 128), (2, 256))


class Recipe(NamedTuple):
    name: str  # of its runs; begins with the target
    num_epochs: int
    arch: ConvArch

    def weights(self) -> Path:
        """Where those of a timed run are kept."""
        return FOLDER / f"recipe_{self.name}.pt"


RECIPES = [
    Recipe("0.92", 2, SMALL),
    Recipe("0.93", 4, SMALL),
    Recipe("0.93", 5, SMALL),
    Recipe("0.94", 12, LARGE),
]
THIRTY = Recipe("0.93_thirty", 4, SMALL)
TARGETS = [*RECIPES[:2], THIRTY, *RECIPES[2:]]
# name, number of epochs, seed, and the function of these two that trains
Run = tuple[str, int, int, Callable]


def recipe(defined: dict) -> Iterator[Run]:
    """Chapter 6's recipes, from what its cells define."""

    def train(arch: ConvArch, num_epochs: int, seed: int) -> History:
        return defined["train_recipe"](num_epochs, seed, arch)[1]

    for recipe in RECIPES:
        for seed in range(10):
            yield recipe.name, recipe.num_epochs, seed, partial(train, recipe.arch)


def thirty(defined: dict) -> Iterator[Run]:
    """Also tells what each network reaches when it is tested in six views."""
    _, test_iter = load_data_fashion_mnist(256)

    def train(num_epochs: int, seed: int) -> History:
        net, history = defined["train_recipe"](num_epochs, seed, THIRTY.arch)
        acc = evaluate_accuracy_gpu(six_views(net), test_iter, try_gpu())
        history.about["in six views"] = acc
        return history

    for seed in range(10, 40):
        yield THIRTY.name, THIRTY.num_epochs, seed, train


def train_timed(
    defined: dict, recipe: Recipe, keep: bool, num_epochs: int, seed: int
) -> History:
    """Also tells how long all of it took, with reading the data and with all tests."""
    began = time.perf_counter()
    net, history = defined["train_recipe"](num_epochs, seed, recipe.arch)
    history.about["whole_seconds"] = time.perf_counter() - began
    if keep:
        torch.save(net.cpu().state_dict(), recipe.weights())
    return history


def seconds(defined: dict) -> Iterator[Run]:
    """The last recipe for each target once more; what it has trained is kept."""
    last = {recipe.name: recipe for recipe in RECIPES}
    for name, recipe in last.items():
        yield name, recipe.num_epochs, 0, partial(train_timed, defined, recipe, True)


def cores(defined: dict) -> Iterator[Run]:
    """The small network's records, timed without a GPU."""
    for recipe in (RECIPES[0], THIRTY, RECIPES[2]):
        train = partial(train_timed, defined, recipe, recipe is THIRTY)
        yield recipe.name, recipe.num_epochs, 0, train


def starts(defined: dict) -> Iterator[Run]:
    """Chapter 6's first epochs."""
    for seed in range(3):
        for name in defined["starts"]:
            yield name, 1, seed, partial(defined["train_start"], name)


def changes(defined: dict) -> Iterator[Run]:
    """Chapter 6's recipe without each of its parts, on images held out."""
    for seed in range(5):
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


def tried(defined: dict) -> Iterator[Run]:
    """Chapter 6's recipe with each of the tricks in tried.py, on images held out."""
    for seed in range(3):
        for name, (num_epochs, *tricks) in TRIED.items():
            yield name, num_epochs, seed, partial(train_tried, tricks)


def train_tried(tricks: list[Trick], num_epochs: int, seed: int) -> History:
    defined = definitions(CHAPTER_6, ALL)  # anew: a trick replaces something
    options = {
        "loaders": defined["hold_out"](6000),
        "make_net": defined["recipe_net"],
        "steps": defined["with_muon"],
    }
    for trick in tricks:
        trick(defined, options)
    return defined["train_recipe"](num_epochs, seed, **options)[1]


CHAPTER_6 = "06_the_same_accuracy_in_minutes.ipynb"
ALL = {"sample": False, "batch_size": 256, "peak_lr": 0.3}
# name of the record: its chapter, the settings for all images, and its runs
RECORDS = {
    "starts": (CHAPTER_6, {"sample": True}, starts),
    "seconds": (CHAPTER_6, ALL, seconds),
    "cores": (CHAPTER_6, ALL, cores),
    "recipe": (CHAPTER_6, ALL, recipe),
    "thirty": (CHAPTER_6, ALL, thirty),
    "changes": (CHAPTER_6, ALL, changes),
    "tried": (CHAPTER_6, ALL, tried),
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
    rate = {"matrix_gflops": round(matrix_rate(try_gpu()) / 1e9)}
    kept = {"about": {**facts(try_gpu()), **rate, **settings}, "runs": []}
    if path.exists():
        kept = json.loads(path.read_text())
    keys = "name", "epochs", "seed"
    done = [{key: run["about"][key] for key in keys} for run in kept["runs"]]
    for network, num_epochs, seed, train in runs(definitions(chapter, settings)):
        about = {"name": network, "epochs": num_epochs, "seed": seed}
        if about not in done:
            history = train(num_epochs, seed)
            history.about = about | history.about
            kept["runs"].append(asdict(history))
            write_whole(path, as_json(kept))


def record_targets(path: Path) -> None:
    """Sum each recipe up, and count what its kept weights get right, on a CPU."""
    from scipy.stats import ttest_1samp  # which no other record needs

    count_tflop = definitions(CHAPTER_6, ALL)["count_tflop"]
    runs = read_runs(FOLDER / "recipe.json")[1] | read_runs(FOLDER / "thirty.json")[1]
    targets = []
    for recipe in TARGETS:
        name, num_epochs, arch = recipe
        histories = [h for h in runs[name] if len(h) == num_epochs]
        accs, target = [history.test_acc[-1] for history in histories], float(name[:4])
        record = {
            "target": target,
            "arch": arch,
            "epochs": num_epochs,
            "seeds": len(accs),
            "mean": mean(accs),
            "stdev": stdev(accs),
            "p": ttest_1samp(accs, target, alternative="greater").pvalue,
            "tflop": count_tflop(arch, num_epochs),
        }
        times = {kind: time_taken(kind, name, record) for kind in ("seconds", "cores")}
        record["timed"] = {kind: time for kind, time in times.items() if time}
        if record["timed"]:
            record |= kept_weights(recipe)
        targets.append(record)
    write_whole(path, as_json(targets))


def time_taken(kind: str, name: str, record: dict) -> dict | None:
    """Of one run of a recipe, and how that compares with a matrix product."""
    about, runs = read_runs(FOLDER / f"{kind}.json")
    for history in runs.get(name, []):
        if len(history) == record["epochs"]:
            whole, rate = history.about["whole_seconds"], about["matrix_gflops"]
            share = 1000 * record["tflop"] / whole / rate
            machine = {key: about[key] for key in ("machine", "threads")}
            return {**machine, "seconds": whole, "matrix_gflops": rate, "share": share}
    return None


def kept_weights(recipe: Recipe) -> dict:
    """Their file, and how many test images they get right."""
    path, net = recipe.weights(), recipe_net(recipe.arch)
    net.load_state_dict(torch.load(path, weights_only=True))
    full, sample = (load_data_fashion_mnist(500, sample=s)[1] for s in (False, True))
    return {
        "weights": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "right": count_right(net, full),
        "right_in_sample": count_right(net, sample),
    }


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
    others = {"steps": record_steps, "targets": record_targets}
    if len(sys.argv) != 2 or sys.argv[1] not in [*RECORDS, *others]:
        sys.exit(__doc__)
    name = sys.argv[1]
    others.get(name, partial(record, name))(FOLDER / f"{name}.json")
