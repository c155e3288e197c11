"""Chapter 7's comparisons, recorded: python notebooks/records/claims.py

Runs the chapter's own cells, those with the tag "recipe": 73 minutes on two cores
with other work to do. Writes claims.json beside this script after each run; runs that
are in it already are not made again.
"""

from functools import partial

from recipe import HERE, definitions, record

SETTINGS = {"sample": False}

if __name__ == "__main__":
    full = definitions("07_were_the_claims_true", SETTINGS)
    runs = [  # in turns, so that a busy machine slows all networks
        (name, 2, seed, partial(full["train_stack"], name))
        for seed in range(3)
        for name in full["STACKS"]
    ]
    for name in ("VGG-11/4", "AlexNet"):
        runs.append((name, 2, 0, partial(full["train_rival"], name)))
    record(HERE / "claims.json", SETTINGS, runs)
