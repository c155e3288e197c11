"""Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017) as batches of tensors.

60,000 training and 10,000 test images of 28x28 grey pixels in 10 classes. A sample of
6,000 and 1,000 of them lies in the package; the full set is looked for on the disk and
downloaded only where it is not there.
"""

import gzip
import hashlib
import http.client
import io
import lzma
import os
import socket
import sys
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import platformdirs
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils import data
from torchvision.datasets import FashionMNIST
from torchvision.datasets.utils import download_url

LABELS = ["t-shirt", "trouser", "pullover", "dress", "coat"]
LABELS += ["sandal", "shirt", "sneaker", "bag", "ankle boot"]
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
SAMPLE = Path(__file__).parent / "sample" / "fashion-mnist-sample.npy.xz"
SAMPLE_SHA256 = "48306d0d44441a7415d3f90df3b9857bef39d0b3d57f92e49c6b1ee87861b5b0"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
TIMEOUT = 20  # seconds without an answer before a download is given up


def get_fashion_mnist_labels(labels: Iterable[int]) -> list[str]:
    """Names of the classes 0 to 9. Source: d2l 1.0.3."""
    return [LABELS[int(i)] for i in labels]


def usable_processors() -> int:
    """Number of processors that this process may use (a container may have fewer)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def get_dataloader_workers() -> int:
    """Worker processes worth having for a data set that reads files: at most 4.

    0 on Windows and macOS, where starting one means importing everything anew. Source:
    d2l 1.0.3, which always has 4.
    """
    if sys.platform in ("win32", "darwin"):
        return 0
    return min(4, usable_processors())


class Batch(list):
    """Pairs (image, label), and the two tensors X and y of which they are the rows."""

    def __init__(self, X: Tensor, y: Tensor):
        super().__init__(zip(X, y.tolist(), strict=True))
        self.X, self.y = X, y


def collate(batch: Batch) -> list[Tensor]:
    """The batch as it is: it was fetched in one piece and needs no stacking."""
    return [batch.X, batch.y]


class ImagesInMemory(data.Dataset):
    """Grey images held as bytes, turned into float tensors a whole batch at a time.

    images: uint8 (n, 28, 28); labels: uint8 (n,); size: [height, width] or None.
    Pixels equal those of torchvision's Resize + ToTensor on PIL images: bit for bit
    without resizing and at the usual sizes, else to 2/255.
    """

    def __init__(self, images: Tensor, labels: Tensor, size: list[int] | None = None):
        self.images, self.labels, self.size = images, labels, size

    def __len__(self) -> int:
        return len(self.images)

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        # DataLoader calls this, where it exists, once for each batch.
        X = self.images[indices].unsqueeze(1)
        if self.size:
            X = F.interpolate(X, self.size, mode="bilinear", antialias=True)
        return Batch(X.to(torch.float32).div_(255), self.labels[indices].long())

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.__getitems__([range(len(self))[index]])[0]


def load_data_fashion_mnist(
    batch_size: int,
    resize: int | tuple[int, int] | None = None,
    *,
    sample: bool = False,
    root: str | os.PathLike | None = None,
    num_workers: int | None = None,
) -> tuple[data.DataLoader, data.DataLoader]:
    """(train_iter, test_iter), which yield images X and labels y.

    X: float32 (batch, 1, h, w) in [0, 1]; y: int64 (batch,), classes 0 to 9.

    resize: side of the square images, or (height, width); None keeps 28x28.
    sample: the 6,000 + 1,000 images in the package instead of all 70,000.
    root: a folder with the four files, looked at first (see `find_fashion_mnist`).
    num_workers: worker processes; none are needed, since the images lie in memory.
    Raises ValueError for bad arguments and for a damaged file, OSError for one that
    cannot be read, and FileNotFoundError where there are no files and they cannot be
    downloaded. Source: d2l 1.0.3; the pixels, and under the same seed the order, are
    those of d2l.
    """
    _check_whole("batch_size", batch_size)
    size = [resize, resize] if isinstance(resize, (int, float)) else resize
    if size is not None:
        if len(size) != 2:
            raise ValueError(f"resize is a side or (height, width), got {resize!r}")
        size = [_check_whole("resize", side) for side in size]
    workers = min(num_workers or 0, usable_processors())
    if workers < 0:
        raise ValueError(f"num_workers must be 0 or more, got {num_workers}")
    arrays = _read_sample() if sample else _read_full(root)
    train, test = (ImagesInMemory(*pair, size) for pair in (arrays[:2], arrays[2:]))
    return tuple(
        data.DataLoader(
            dataset, batch_size, shuffle, num_workers=workers, collate_fn=collate
        )
        for dataset, shuffle in ((train, True), (test, False))
    )


def _check_whole(name: str, value: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{name} must be a whole number from 1, got {value!r}")
    return value


def _read_sample() -> tuple[Tensor, ...]:
    content = _read(SAMPLE, "install d2lmini again")
    if hashlib.sha256(content).hexdigest() != SAMPLE_SHA256:
        raise ValueError(f"{SAMPLE} is damaged: install d2lmini again")
    rows = torch.from_numpy(np.load(io.BytesIO(lzma.decompress(content))))
    images, labels = rows[:, :-1].reshape(-1, 28, 28), rows[:, -1]
    return images[:6000], labels[:6000], images[6000:], labels[6000:]


def _read_full(root: str | os.PathLike | None) -> tuple[Tensor, ...]:
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
    """Download the four files into the cache folder with torchvision's downloader."""
    folder, address = cache_folder(), FashionMNIST.mirrors[0]
    timeout = socket.getdefaulttimeout()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        socket.setdefaulttimeout(TIMEOUT)  # urlopen alone would wait for ever
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            for name, md5 in FashionMNIST.resources:
                download_url(address + name, aside, name, md5)
            for name, _ in FashionMNIST.resources:
                os.replace(Path(aside, name), folder / name)
    except (OSError, http.client.HTTPException, RuntimeError, ValueError) as error:
        looked_at = "\n".join(f"  {f}" for f in _folders(root))
        raise FileNotFoundError(
            f"Fashion-MNIST is not on this machine and could not be downloaded from "
            f"{address} into {folder} (time-out {TIMEOUT} s): {error}.\nPut these four "
            f"files into one of the folders below, or set D2LMINI_DATA to the folder "
            f"that holds them: {', '.join(name for name, _ in FashionMNIST.resources)}."
            f"\nWithout the full set, sample=True works. Looked at:\n{looked_at}"
        ) from None
    finally:
        socket.setdefaulttimeout(timeout)
    return folder
