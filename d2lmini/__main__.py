"""Commands: python -m d2lmini check | data."""

import argparse
import importlib.metadata
import os
import sys
from collections.abc import Iterator

from packaging.requirements import Requirement

from d2lmini.data import find_fashion_mnist, load_data_fashion_mnist
from d2lmini.training import try_gpu


def findings() -> Iterator[tuple[bool, str]]:
    """(works, text) for each thing that a chapter needs."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield sys.version_info >= (3, 10), f"Python {version} (3.10 or newer)"
    for line in importlib.metadata.requires("d2lmini"):
        requirement = Requirement(line)
        if not requirement.marker or requirement.marker.evaluate({"extra": "lab"}):
            yield _package(requirement)
    yield _kernel()
    yield True, f"device: {try_gpu()}"
    try:
        train_iter, test_iter = load_data_fashion_mnist(128, sample=True)
        sizes = len(train_iter.dataset), len(test_iter.dataset)
        yield True, f"sample: {sizes[0]:,} + {sizes[1]:,} images"
    except (OSError, ValueError) as error:
        yield False, f"sample: {error}"
    where = find_fashion_mnist() or "not here, and no chapter needs it"
    yield True, f"full data: {where}"


def _package(requirement: Requirement) -> tuple[bool, str]:
    needed = f"{requirement.name}{requirement.specifier}"
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return False, f"{needed} is missing: pip install '{needed}'"
    if version not in requirement.specifier:
        return False, f"{requirement.name} {version}: pip install -U '{needed}'"
    return True, f"{requirement.name} {version}"


def _kernel() -> tuple[bool, str]:
    """Whether notebooks run in the environment that runs this command."""
    try:
        from jupyter_client.kernelspec import KernelSpecManager

        interpreter = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except (ImportError, KeyError) as error:
        return False, f"kernel python3: not found ({error})"
    # by folder: the interpreters of two environments may be links to one file
    folders = {
        os.path.realpath(os.path.dirname(p)) for p in (interpreter, sys.executable)
    }
    if os.path.isabs(interpreter) and len(folders) == 2:
        return False, f"kernel python3 runs {interpreter}, not {sys.executable}"
    return True, f"kernel python3 runs {sys.executable}"


def check() -> int:
    """Print an OK or FAIL line per finding; 1 when something that is needed fails."""
    results = list(findings())
    for works, text in results:
        print("OK  " if works else "FAIL", text)
    return 0 if all(works for works, _ in results) else 1


def data(root: str | None) -> int:
    """Find the full data set, or download it, and check every byte."""
    try:
        train_iter, test_iter = load_data_fashion_mnist(128, root=root)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    print(
        f"{len(train_iter.dataset):,} + {len(test_iter.dataset):,} images in "
        f"{find_fashion_mnist(root)}"
    )
    return 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m d2lmini", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="is everything there that the chapters need?")
    full = commands.add_parser("data", help="find or download the full data set")
    full.add_argument("--root", help="a folder to look at first")
    options = parser.parse_args(arguments)
    return check() if options.command == "check" else data(options.root)


if __name__ == "__main__":
    sys.exit(main())
