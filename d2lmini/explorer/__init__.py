"""A page in which your own network is alive: one HTML file, to be opened anywhere.

    from d2lmini import explorer
    explorer.write_page(net, "my_network.html")

Or `python -m d2lmini explore run.pt --out my_network.html`. The page needs no network
and nothing installed. Its parts lie here: page.html, explorer.css, explorer.js, which
computes the net in the browser, and texts.json, all that is said, by language.
"""

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from d2lmini.data import LABELS, ImagesInMemory, load_data_fashion_mnist
from d2lmini.engine.checks import check_size
from d2lmini.engine.files import write_whole
from d2lmini.engine.language import language
from d2lmini.explorer.layers import as_base64, describe_net
from d2lmini.explorer.nets import read_net

__all__ = ["read_net", "write_page"]

HERE = Path(__file__).parent
PER_CLASS = 3  # images of the sample
BEGINNING = "<!DOCTYPE html>\n<!-- A page of d2lmini's explorer -->"  # of every page


def write_page(
    net: nn.Module,
    path: str | os.PathLike,
    *,
    resize: int | tuple[int, int] | None = None,
    images: Tensor | None = None,
    labels: Tensor | None = None,
    classes: Sequence[str] = LABELS,
    lang: str | None = None,
) -> Path:
    """Write the page of a trained net to path, and return path. net stays as it is.

    resize: what the images were loaded with (see `load_data_fashion_mnist`).
    images: uint8 (n, 28, 28), and their labels (n,): what the page offers; without
    them, three test images of each class, from the sample. lang: "en" or "zh", the
    language that the page begins with; without it, the course's where this is called.
    Raises ValueError, before anything is written, for a net that the page cannot
    compute, and where path holds something else than such a page; OSError where it
    cannot be written.
    """
    path, size = Path(path), check_size(resize) or [28, 28]
    texts, lang = json.loads(_read("texts.json")), lang or language()
    if lang not in texts:
        raise ValueError(f"lang must be one of {', '.join(texts)}, got {lang!r}")
    _check_path(path)
    if images is None:
        images, labels = _sample_images()
    _check_images(images, labels, classes)

    X = torch.stack([X for X, _ in ImagesInMemory(images, labels, size)])
    described, scores = describe_net(net, X, classes)
    data = {
        "lang": lang,
        "size": size,
        "classes": list(classes),
        "images": as_base64(images, "u1"),
        "labels": labels.tolist(),
        "scores": [[round(score, 5) for score in row] for row in scores.tolist()],
        **described,
    }
    parts = {
        "style": _read("explorer.css"),
        "texts": _as_script(texts),
        "data": _as_script(data),
        "program": _read("explorer.js"),
    }
    page = re.sub(r"{{ (\w+) }}", lambda found: parts[found[1]], _read("page.html"))
    write_whole(path, page.encode())
    return path


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")


def _as_script(value: dict) -> str:
    """JSON in which no name can end the script element that holds it."""
    return json.dumps(value, separators=(",", ":")).replace("<", r"\u003c")


def _sample_images() -> tuple[Tensor, Tensor]:
    """The sample's first test images of each class, class by class."""
    test = load_data_fashion_mnist(1, sample=True)[1].dataset
    chosen = [(test.labels == label).nonzero()[:PER_CLASS, 0] for label in range(10)]
    return test.images[torch.cat(chosen)], test.labels[torch.cat(chosen)]


def _check_path(path: Path) -> None:
    if path.is_file():
        with open(path, "rb") as file:
            begins = file.read(len(BEGINNING))
        if begins != BEGINNING.encode():
            raise ValueError(
                f"{path} is there and is no such page: give another name, or move it "
                f"away"
            )


def _check_images(
    images: Tensor, labels: Tensor | None, classes: Sequence[str]
) -> None:
    if images.dtype != torch.uint8 or images.shape[1:] != (28, 28) or not len(images):
        raise ValueError(
            f"images must be torch.uint8 of shape (n, 28, 28), got {images.dtype} of "
            f"shape {tuple(images.shape)}"
        )
    if labels is None or labels.shape != images.shape[:1]:
        raise ValueError(f"labels must be {len(images)}, one for each image")
    if labels.min() < 0 or labels.max() >= len(classes):
        raise ValueError(f"labels must lie from 0 to {len(classes) - 1}")
