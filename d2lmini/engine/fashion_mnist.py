"""Finding, checking and downloading Fashion-MNIST's files, and the sample.

The full set is looked for on the disk and downloaded only where it is not there.
"""

import gzip
import hashlib
import http.client
import io
import lzma
import os
import tempfile
import urllib.request
import zlib
from pathlib import Path

import numpy as np
import platformdirs
import torch
from torch import Tensor
from torchvision.datasets import FashionMNIST

# The four files, unpacked: their sizes in bytes and SHA-256.
FILES = {
    "train-images-idx3-ubyte": (
        47_040_016,
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    ),
    "train-labels-idx1-ubyte": (
        60_008,
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    "t10k-images-idx3-ubyte": (
        7_840_016,
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    ),
    "t10k-labels-idx1-ubyte": (
        10_008,
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}
SAMPLE = Path(__file__).parents[1] / "sample" / "fashion-mnist-sample.npy.xz"
SAMPLE_SHA256 = "48306d0d44441a7415d3f90df3b9857bef39d0b3d57f92e49c6b1ee87861b5b0"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
TIMEOUT = 20  # seconds without an answer before a download is given up


def read_sample() -> tuple[Tensor, ...]:
    content = _read(SAMPLE, "install d2lmini again")
    if hashlib.sha256(content).hexdigest() != SAMPLE_SHA256:
        raise ValueError(f"{SAMPLE} is damaged: install d2lmini again")
    rows = torch.from_numpy(np.load(io.BytesIO(lzma.decompress(content))))
    images, labels = rows[:, :-1].reshape(-1, 28, 28), rows[:, -1]
    return images[:6000], labels[:6000], images[6000:], labels[6000:]


def read_full(root: str | os.PathLike | None) -> tuple[Tensor, ...]:
    folder = find_fashion_mnist(root) or _download(root)
    return tuple(read_idx(folder, name) for name in FILES)


def _read(path: Path, advice: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OSError(f"cannot read {path} ({error.strerror}): {advice}") from None


def cache_folder() -> Path:
    """Where the full set is downloaded to."""
    return platformdirs.user_cache_path("d2lmini")


def _folders(root: str | os.PathLike | None) -> list[Path]:
    """Every folder that is looked at, in this order."""
    asked = [root, os.environ.get("D2LMINI_DATA")]
    usual = ["../data", DEBIAN_FOLDER, cache_folder()]
    parents = [Path(os.path.expanduser(p)) for p in [p for p in asked if p] + usual]
    # torchvision, and so d2l, puts the files two levels down
    return [f for p in parents for f in (p / "FashionMNIST" / "raw", p)]


def find_fashion_mnist(root: str | os.PathLike | None = None) -> Path | None:
    """The first folder that holds all four files, packed (.gz) or not, or None.

    Looked at: root, the folder in the environment variable D2LMINI_DATA, ../data as in
    d2l, Debian's package dataset-fashion-mnist, and the user's cache folder.
    """
    for folder in _folders(root):
        if all(_path(folder, name) for name in FILES):
            return folder
    return None


def _path(folder: Path, name: str) -> Path | None:
    for path in (folder / name, folder / f"{name}.gz"):
        if os.path.isfile(path):  # False too for what must not be looked at
            return path
    return None


def read_idx(folder: Path, name: str) -> Tensor:
    """The images (n, 28, 28) or labels (n,) of one of the four files, as uint8.

    Raises ValueError when the file is not, byte for byte, the official one, and OSError
    when it cannot be read.
    """
    path = _path(folder, name)
    content = _read(path, "make it readable, or move it away")
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error):
            content = b""
    size, digest = FILES[name]
    if hashlib.sha256(content).hexdigest() != digest:
        what = "empty, cut short or damaged"
        if len(content) == size:
            what = (
                "damaged, or of another data set (MNIST's files have these names too)"
            )
        raise ValueError(
            f"{path} is not Fashion-MNIST's {name}: it is {what}. Move it away, then "
            f"put the right file in its place or let d2lmini download it"
        )
    values = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    return values[16:].reshape(-1, 28, 28) if "images" in name else values[8:]


def _download(root: str | os.PathLike | None) -> Path:
    """Download the four files into the cache folder; from torchvision's address."""
    folder, address = cache_folder(), FashionMNIST.mirrors[0]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            for name, md5 in FashionMNIST.resources:
                # torchvision's own downloader waits for ever
                with urllib.request.urlopen(address + name, timeout=TIMEOUT) as answer:
                    content = answer.read()
                Path(aside, name).write_bytes(content)
                if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
                    raise ValueError(f"{address + name} is not the file it should be")
            for name, _ in FashionMNIST.resources:
                os.replace(Path(aside, name), folder / name)
    except (OSError, http.client.HTTPException, ValueError) as error:
        looked_at = "\n".join(f"  {f}" for f in _folders(root))
        raise FileNotFoundError(
            f"Fashion-MNIST is not on this machine and could not be downloaded from "
            f"{address} into {folder} (time-out {TIMEOUT} s): {error}.\nPut these four "
            f"files into one of the folders below, or set D2LMINI_DATA to the folder "
            f"that holds them: {', '.join(name for name, _ in FashionMNIST.resources)}."
            f"\nWithout the full set, sample=True works. Looked at:\n{looked_at}"
        ) from None
    return folder
