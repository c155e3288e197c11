"""Commands: check | data | train | verify | explore | submissions | grade."""

import argparse
import importlib.metadata
import locale
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from packaging.requirements import Requirement

from d2lmini.data import load_data_fashion_mnist
from d2lmini.engine.fashion_mnist import find_fashion_mnist
from d2lmini.engine.language import language, translated
from d2lmini.engine.machine import facts
from d2lmini.engine.parallel import num_processes, process_group, rank, split
from d2lmini.explorer import read_net, write_page
from d2lmini.models import VGG11, VGG13, VGG16, VGG19, shrink, vgg
from d2lmini.recipe import RECORDS, verify
from d2lmini.training import evaluate_accuracy_gpu, train_ch6, try_gpu

DEPTHS = {11: VGG11, 13: VGG13, 16: VGG16, 19: VGG19}
# What check says at its end, by whether all works.
VERDICTS = {
    True: "All that the chapters need is here.",
    False: "Something is missing: mend what the lines with FAIL name.",
}


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


def report(results: Iterable[tuple[bool, str]]) -> bool:
    """Print an OK or FAIL line for each result, as it comes; whether all are OK."""
    all_work = True
    for works, text in results:
        print("OK  " if works else "FAIL", text)
        all_work = all_work and works
    return all_work


def check(options: Namespace) -> int:
    """Say whether all that the chapters need is here; 1 when something is missing."""
    all_work = report(findings())
    place = locale.getlocale()[0] or ""  # on Windows "Chinese (Simplified)_China"
    default = "zh" if place.lower().startswith(("zh", "chinese")) else "en"
    print(translated(VERDICTS[all_work], language(default)))
    return 0 if all_work else 1


def data(options: Namespace) -> int:
    """Find the full data set, or download it, and check every byte."""
    train_iter, test_iter = load_data_fashion_mnist(128, root=options.root)
    print(
        f"{len(train_iter.dataset):,} + {len(test_iter.dataset):,} images in "
        f"{find_fashion_mnist(options.root)}"
    )
    return 0


def train(options: Namespace) -> int:
    """Train VGG as chapter 5 does; 130 (as a shell says it) when interrupted."""
    check_history_path(options.history, options.checkpoint)
    sys.stdout.reconfigure(line_buffering=True)  # a log is read while it is written
    with process_group(try_gpu()) as device:
        if rank() == 0 and not sys.stderr.isatty():  # no progress line: one per epoch
            logging.basicConfig(stream=sys.stdout, level="INFO", format="%(message)s")
        # every process drops out other units; it is process 0's weights that all get
        torch.manual_seed(options.seed + rank())
        loaders = load_data_fashion_mnist(
            options.batch_size, options.resize, sample=options.sample, root=options.root
        )
        net = vgg(shrink(DEPTHS[options.depth], options.ratio), 1, 10, options.resize)
        history = train_ch6(
            net,
            *split(*loaders, seed=options.seed),
            num_epochs=options.num_epochs,
            lr=options.lr,
            device=device,
            checkpoint=options.checkpoint,
        )
        if options.history and rank() == 0 and len(history):
            # a checkpoint may hold more epochs than were asked for
            options.num_epochs = max(options.num_epochs, len(history))
            history.about = about(options, device)
            history.save(options.history)
        if len(history) < options.num_epochs:
            if options.checkpoint:
                print(f"the same command goes on after epoch {len(history)}")
            return 130
    return 0


def submissions(options: Namespace) -> int:
    """Print what is wrong with what students handed in; 1 when some can't be mended."""
    from d2lmini.submissions import look_through  # needs nbformat, which others do not

    faults = list(look_through(options.course))
    for mended, text in faults:
        print("MENDED" if mended else "LOOK  ", text)
    left = sum(not mended for mended, _ in faults)
    print(f"{len(faults) - left} faults mended, {left} to look at")
    return 1 if left else 0


def grade(options: Namespace) -> int:
    """Grade an assignment, several students at a time; 1 when some have no grade."""
    from d2lmini.grading import grade  # needs nbgrader, which others do not

    failed = sorted(grade(options.course, options.assignment, options.processes))
    for student, log in failed:
        print(f"{log}\n{student} has no grade: nbgrader says why above")
    return 1 if failed else 0


def check_history_path(history: Path | None, checkpoint: str | None) -> None:
    """Now, not after hours, when the results have nowhere to go."""
    if history is None:
        return
    if not history.parent.is_dir():
        raise ValueError(f"--history: there is no folder {history.parent}")
    if history.exists() and not history.is_file():
        raise ValueError(f"--history: {history} is not a file; give another name")
    if checkpoint and history.resolve() == Path(checkpoint).resolve():
        raise ValueError("--history and --checkpoint must be two files")


def about(options: Namespace, device: torch.device) -> dict:
    """Where, with what and how a training was run, for its record."""
    places = ("command", "root", "checkpoint", "history")
    settings = {k: v for k, v in vars(options).items() if k not in places}
    return {**facts(device), "processes": num_processes(), "settings": settings}


def explore(options: Namespace) -> int:
    """Write a page in which a trained net is alive, and say how good the net is."""
    net = read_net(options.net, options.resize)
    page = write_page(net, options.out, resize=options.resize, lang=options.lang)
    print(f"{page}, {page.stat().st_size / 1e6:.1f} MB: open it in a browser")
    test_iter = load_data_fashion_mnist(128, options.resize, sample=True)[1]
    accuracy = evaluate_accuracy_gpu(net, test_iter)
    side = options.resize or 28
    print(f"accuracy on the sample's test images at {side}x{side}: {accuracy:.3f}")
    return 0


def judge_again(options: Namespace) -> int:
    """Judge the recorded networks by the sample, and by the full set where it is."""
    as_recorded = report(verify(options.records, sample=True))
    if find_fashion_mnist(options.root):
        as_recorded &= report(verify(options.records, root=options.root))
    else:
        print("the full set is not here: python -m d2lmini data")
    return 0 if as_recorded else 1


def parse(arguments: list[str] | None) -> Namespace:
    parser = argparse.ArgumentParser("python -m d2lmini", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="is everything there that the chapters need?")
    full = commands.add_parser("data", help="find or download the full data set")
    full.add_argument("--root", help="a folder to look at first")

    again = commands.add_parser("verify", help="judge the recorded networks again")
    again.add_argument("--root", help="a folder to look at first for the full data set")
    again.add_argument("--records", default=RECORDS, help="the folder of the records")
    text = "mend what students handed in, as far as possible, before it is graded"
    handed_in = commands.add_parser("submissions", help=text)
    grades = commands.add_parser("grade", help="nbgrader autograde, several at a time")
    grades.add_argument("assignment", help="its folder's name, as 01_vgg_blocks")
    text = "how many students at a time (default: as many as processors)"
    grades.add_argument("--processes", type=int, default=os.cpu_count(), help=text)
    text = "nbgrader's folder, with exercises/ and submitted/ (default: this one)"
    for command in handed_in, grades:
        command.add_argument("course", nargs="?", type=Path, default=".", help=text)

    run = commands.add_parser(
        "train",
        help="train VGG on Fashion-MNIST; without options, the book's full run",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = run.add_argument
    add("--sample", action="store_true", help="the 6,000 images in the package")
    add("--root", help="a folder to look at first for the full data set")
    add("--depth", type=int, default=11, choices=DEPTHS, help="VGG-11, 13, 16, 19")
    add("--ratio", type=int, default=4, help="divide all channels by this")
    add("--resize", type=int, default=160, help="side of the images in pixels")
    add("--batch-size", type=int, default=128, help="over all processes together")
    add("--lr", type=float, default=0.05, help="learning rate")
    add("--num-epochs", type=int, default=10, help="times through all images")
    add("--seed", type=int, default=0, help="of all random numbers")
    add("--checkpoint", help="a file to go on from after an interruption")
    add("--history", type=Path, help="a JSON file for the results")

    page = commands.add_parser("explore", help="write a page in which a net is alive")
    add = page.add_argument
    add("net", help="a checkpoint, or what torch.save(net, FILE) wrote")
    add("--out", required=True, help="the HTML file to be written")
    add("--resize", type=int, help="side of the net's images, if it is not 28")
    add("--lang", help="the language that the page begins with: en or zh")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    try:
        commands = {
            "check": check,
            "data": data,
            "train": train,
            "verify": judge_again,
            "explore": explore,
            "submissions": submissions,
            "grade": grade,
        }
        return commands[options.command](options)
    except (OSError, ValueError, FloatingPointError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
