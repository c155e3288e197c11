"""Chapter 6's network, and its recorded weights judged again: d2lmini verify."""

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from d2lmini.data import load_data_fashion_mnist
from d2lmini.models import ConvArch
from d2lmini.training import evaluate_accuracy_gpu

RECORDS = Path(__file__).parents[1] / "notebooks" / "records"


def norm_block(num_convs: int, in_channels: int, out_channels: int) -> nn.Sequential:
    """A VGG block with batch normalisation; the pooling comes before the last one.

    Turns (batch, in_channels, h, w) into (batch, out_channels, h // 2, w // 2).
    """
    layers = []
    for _ in range(num_convs):
        # no bias: the normalisation would subtract it again
        conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
        in_channels = out_channels
    layers.insert(-2, nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def norm_vgg(conv_arch: ConvArch, block: Callable = norm_block) -> nn.Sequential:
    """VGG with batch normalisation and a head of one layer.

    Turns (batch, 1, h, w) into scores of shape (batch, 10).
    """
    blocks, channels = [], 1
    for num_convs, out_channels in conv_arch:
        blocks.append(block(num_convs, channels, out_channels))
        channels = out_channels
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)
    return nn.Sequential(*blocks, *head)


def recipe_net(conv_arch: ConvArch) -> nn.Sequential:
    """norm_vgg without the last pooling: the mean over all pixels takes its place."""
    net = norm_vgg(conv_arch)
    del net[len(conv_arch) - 1][-3]
    return net


def both_sides(net: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """net's scores for an image and for its mirror image, averaged."""
    return lambda X: (net(X) + net(X.flip(-1))) / 2


def count_right(net: nn.Module, test_iter: Iterable) -> int:
    """Test images that net gets right, seen from both sides, on net's device."""
    device = next(net.parameters()).device
    accuracy = evaluate_accuracy_gpu(both_sides(net.eval()), test_iter, device)
    return round(accuracy * len(test_iter.dataset))


def verify(
    folder: str | os.PathLike = RECORDS,
    sample: bool = False,
    root: str | os.PathLike | None = None,
) -> Iterator[tuple[bool, str]]:
    """(as recorded?, text) for each recorded network in folder, judged again.

    sample, root: which test images, as load_data_fashion_mnist has it. Raises OSError
    where a file is missing and ValueError where one is not the recorded one.
    """
    folder = Path(folder)
    test_iter = load_data_fashion_mnist(500, sample=sample, root=root)[1]
    for record in _kept_records(folder / "targets.json"):
        net = recipe_net(record["arch"])
        net.load_state_dict(_weights(folder / record["weights"], record["sha256"]))
        right = count_right(net, test_iter)
        recorded = record["right_in_sample" if sample else "right"]
        number = f"{right:,} of {len(test_iter.dataset):,} test images right"
        name = f"{record['target']}, {record['epochs']} epochs"
        yield right == recorded, f"{name}: {number}, recorded {recorded:,}"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OSError(
            f"cannot read {path} ({error.strerror}): the records lie in the course's "
            f"folder notebooks/records; name it with --records, or get the file again"
        ) from None


def _kept_records(path: Path) -> list[dict]:
    """Those whose weights were kept."""
    try:
        records = json.loads(_read(path))
    except ValueError:
        raise ValueError(f"{path} is damaged: get the file again") from None
    return [record for record in records if "weights" in record]


def _weights(path: Path, sha256: str) -> dict[str, Tensor]:
    content = _read(path)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(
            f"{path} does not hold the recorded weights (its SHA-256 is another than "
            f"in targets.json): get both files again"
        )
    return torch.load(io.BytesIO(content), weights_only=True)
