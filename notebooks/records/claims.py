"""Chapter 7's comparisons, recorded: python notebooks/records/claims.py

Runs the chapter's own cells, those with the tag "recipe": 73 minutes on two cores
with other work to do. Writes claims.json beside this script after each run; runs that
are in it already are not made again.
"""

from collections.abc import Callable, Iterable
from functools import partial

from recipe import HERE, definitions, record

CHAPTER = "07_were_the_claims_true"
SETTINGS = {"sample": False}


def planned(
    train: Callable, names: Iterable[str], epochs: int, num_seeds: int
) -> list[tuple]:
    """Runs of the networks in turns, so that a busy machine slows all of them."""
    return [
        (
            {"name": name, "epochs": epochs, "seed": seed},
            partial(train, name, epochs, seed),
        )
        for seed in range(num_seeds)
        for name in names
    ]


if __name__ == "__main__":
    full = definitions(CHAPTER, SETTINGS)
    runs = planned(full["train_stack"], full["STACKS"], 2, 3)
    runs += planned(full["train_rival"], ["VGG-11/4", "AlexNet"], 2, 1)
    record(HERE / "claims.json", SETTINGS, runs)
