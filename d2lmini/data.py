"""Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017) as batches of tensors.

60,000 training and 10,000 test images of 28x28 grey pixels in 10 classes. A sample of
6,000 and 1,000 of them lies in the package.
"""

import operator
import os
import sys
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils import data

from d2lmini.engine.checks import check_label, check_size, check_whole
from d2lmini.engine.fashion_mnist import read_full, read_sample
from d2lmini.engine.machine import usable_processors

LABELS = ["t-shirt", "trouser", "pullover", "dress", "coat"]
LABELS += ["sandal", "shirt", "sneaker", "bag", "ankle boot"]


def get_fashion_mnist_labels(labels: Iterable[int]) -> list[str]:
    """Names of the classes 0 to 9. Source: d2l 1.0.3."""
    return [LABELS[check_label(i)] for i in labels]


def get_dataloader_workers() -> int:
    """Worker processes worth having for a data set that reads files: at most 4.

    0 on Windows and macOS, where starting one means importing everything again. Source:
    d2l 1.0.3, which always has 4.
    """
    if sys.platform in ("win32", "darwin"):
        return 0
    return min(4, usable_processors())


class Batch(Sequence):
    """The images X and labels y of a batch; one by one, pairs (image, label)."""

    def __init__(self, X: Tensor, y: Tensor):
        self.X, self.y = X, y

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.X[i], int(self.y[i])


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

    def __getitems__(self, indices: Iterable[int]) -> Batch:
        # DataLoader calls this, where it exists, once for each batch.
        indices = torch.tensor([operator.index(i) for i in indices])
        X = self.images[indices].unsqueeze(1)
        if self.size:
            X = F.interpolate(X, self.size, mode="bilinear", antialias=True)
        X = X.to(torch.get_default_dtype()).div_(255)
        return Batch(X, self.labels[indices].long())

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.__getitems__([range(len(self))[operator.index(index)]])[0]


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
    batch_size, size = check_whole("batch_size", batch_size), check_size(resize)
    workers = check_whole("num_workers", num_workers or 0, smallest=0)
    arrays = read_sample() if sample else read_full(root)
    train, test = ImagesInMemory(*arrays[:2], size), ImagesInMemory(*arrays[2:], size)
    options = {"num_workers": workers, "collate_fn": collate}
    return (
        data.DataLoader(train, batch_size, shuffle=True, **options),
        data.DataLoader(test, batch_size, shuffle=False, **options),
    )
