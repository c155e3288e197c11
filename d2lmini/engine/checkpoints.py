"""What lets an interrupted training go on: all its states, in one file."""

import contextlib
import hashlib
import inspect
import io
import os
import pickle
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, IterableDataset

from d2lmini.engine.files import write_whole, written_aside
from d2lmini.engine.parallel import gather, num_processes, rank, start_epoch
from d2lmini.engine.random_states import (
    generators_of,
    random_states,
    same_random_numbers_after,
    set_all_to_a_fixed_state,
    set_random_states,
)

FORMAT = "2"  # of the file; 1 had no digest of what a schedule was built with
DIGEST_SIZE = hashlib.sha256().digest_size  # bytes at the end of a checkpoint


class Checkpoint:
    """A file with all that a training needs to go on. With path None, no file.

    Raises ValueError for a damaged file and for one of another training, OSError for
    one that cannot be read or written; all stay as they are.
    """

    def __init__(
        self,
        path: str | os.PathLike | None,
        net: nn.Module,
        train_iter: Any,
        test_iter: Any,
        num_epochs: int,
        lr: float,
        device: torch.device | str,
        optimizer: Optimizer,
        scheduler: LRScheduler | None,
        loss: Any,
    ):
        self.path = None if path is None else Path(path)
        self.loaders, self.num_epochs = [train_iter, test_iter], int(num_epochs)
        self.device = torch.device("cpu" if device is None else device)
        self.parts = {"net": net, "optimizer": optimizer}
        if scheduler is not None:
            self.parts["scheduler"] = scheduler
        if isinstance(loss, nn.Module) and loss.state_dict():
            self.parts["loss"] = loss
        self.state = None  # what the file holds
        if path is None:
            return
        self.settings = describe_run(
            net, *self.loaders, self.num_epochs, lr, optimizer, scheduler, loss
        )
        exists = rank() == 0 and os.path.exists(path)
        self.state = gather(self._read() if exists else None)[0]
        if self.state is not None:
            self._compare_settings()
            return
        content = self._content({})
        if rank() == 0:  # a path that does not work is known before anything changes
            with written_aside(Path(os.path.realpath(path)), content):
                pass

    def begin(self, history: Any) -> Any:
        """Put every part into its saved state, and history too; returns history."""
        if self.state is None:
            self.save(history)
            return history
        for name, part in self.parts.items():
            part.load_state_dict(self.state["parts"][name])
        set_random_states(self.state["random"][rank()], self.device, self.loaders)
        vars(history).update(self.state["history"])
        start_epoch(self.loaders[0], len(history))
        if len(history) >= self.num_epochs:
            print(f"already trained: {len(history)} epochs are in {self.path.name}")
        elif len(history):
            print(f"going on after epoch {len(history)}, from {self.path.name}")
        return history

    def save(self, history: Any) -> None:
        """Write every part's state, the random states and history; next is an epoch."""
        start_epoch(self.loaders[0], len(history))
        if self.path is not None:
            content = self._content(asdict(history))
            if rank() == 0:
                write_whole(self.path, content)

    def _content(self, history: dict) -> bytes:
        state = {
            "settings": self.settings,
            "history": history,
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
            "random": gather(random_states(self.device, self.loaders)),
        }
        content = io.BytesIO()
        torch.save(state, content)
        # torch.load checks no checksums, and reads over what follows
        digest = hashlib.sha256(content.getbuffer()).digest()
        return content.getvalue() + digest

    def _compare_settings(self) -> None:
        for name, value in self.settings.items():
            saved = self.state["settings"].get(name)
            if saved != value:
                raise ValueError(
                    f"the checkpoint {self.path} is of another training: {name} was "
                    f"{_difference(saved, value)}. Give another path or the same {name}"
                )

    def _read(self) -> dict:
        advice = "move it away to start from the beginning"
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise OSError(
                f"cannot read the checkpoint {self.path} ({error.strerror}): {advice}"
            ) from None
        state = unpack(content)
        if state is None:
            raise ValueError(
                f"{self.path} is damaged, or not a checkpoint of train_ch6: {advice}"
            )
        return state


def unpack(content: bytes) -> dict | None:
    """What a checkpoint holds; None where content is none, or a damaged one."""
    content, digest = content[:-DIGEST_SIZE], content[-DIGEST_SIZE:]
    if hashlib.sha256(content).digest() != digest:
        return None
    # weights_only: a file from elsewhere must not run code
    with contextlib.suppress(pickle.UnpicklingError):
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return None


def describe_run(
    net: nn.Module,
    train_iter: Any,
    test_iter: Any,
    num_epochs: int,
    lr: float,
    optimizer: Optimizer,
    scheduler: LRScheduler | None,
    loss: Any,
) -> dict[str, str]:
    """The settings that must be equal for a training to go on from a checkpoint."""
    loaders = [train_iter, test_iter]
    planned = scheduler is not None  # a schedule ends at a certain epoch
    settings = {
        "format": FORMAT,
        "net": _describe_net(net),
        "training data": _describe_data(train_iter),
        "test data": _describe_data(test_iter),
        "batch size": str(getattr(train_iter, "batch_size", None)),
        "order": type(getattr(train_iter, "sampler", None)).__name__,
        "drop_last": str(getattr(train_iter, "drop_last", None)),
        "seed": str(getattr(getattr(train_iter, "sampler", None), "seed", None)),
        "lr": str(float(lr)),
        "optimizer": _describe_optimizer(optimizer, planned),
        "num_epochs": str(num_epochs) if planned else "any",
        "scheduler": _describe_scheduler(scheduler),
        "number of generators in the loaders": str(len(generators_of(loaders))),
        "loss": _describe_loss(loss),
        "processes": str(num_processes()),
    }
    # a function's repr ends with its address, which differs in every process
    return {name: re.sub(" at 0x[0-9a-fA-F]+", "", s) for name, s in settings.items()}


def _describe_optimizer(optimizer: Optimizer, scheduled: bool) -> str:
    """What it was built with: a schedule moves lr and momentum, and keeps the first."""
    moved = {"lr", "momentum", "betas"} if scheduled else set()
    lines = [type(optimizer).__name__]
    for group in optimizer.param_groups:
        options = set(group) - {"params"} - moved
        lines += [f"{name}: {group[name]}" for name in sorted(options)]
        lines += [f"{len(group['params'])} tensors"]
    return "\n".join(lines)


def _describe_scheduler(scheduler: LRScheduler | None) -> str:
    """Its kind, and those of its constructor's numbers that it keeps."""
    names = inspect.signature(type(scheduler).__init__).parameters
    kept = {
        name: value
        for name, value in getattr(scheduler, "__dict__", {}).items()
        if name in names and name != "last_epoch" and isinstance(value, int | float)
    }
    return f"{type(scheduler).__name__} {kept}"


def _describe_loss(loss: Any) -> str:
    """Its repr, and the options and weights that a loss of torch's does not print."""
    options = dict(getattr(loss, "__dict__", {}))
    options |= options.pop("_buffers", {})
    return f"{loss!r} " + ", ".join(
        f"{name}={value}"
        for name, value in options.items()
        if isinstance(value, int | float | str | torch.Tensor)
    )


def _describe_net(net: nn.Module) -> str:
    """Its layers, and the shapes of what it holds, which not every repr tells."""
    lines = [repr(net)]
    for name, value in net.state_dict().items():
        shape = "lazy" if nn.parameter.is_lazy(value) else tuple(value.shape)
        lines.append(f"{name}: {shape}, {value.dtype}")
    frozen = [name for name, p in net.named_parameters() if not p.requires_grad]
    lines.append(f"frozen: {frozen}")
    return "\n".join(lines)


def _describe_data(loader: Any) -> str:
    """Number of examples and a digest of 32 of them, spread evenly.

    What chance decides, although all known generators begin alike, is left out.
    """
    dataset = getattr(loader, "dataset", loader)
    countable = isinstance(loader, DataLoader) and hasattr(dataset, "__len__")
    if not countable or isinstance(dataset, IterableDataset):
        return type(dataset).__name__
    with same_random_numbers_after(torch.device("cpu"), [loader]):
        first, second = _digests(dataset, loader), _digests(dataset, loader)
    same = [a for a, b in zip(first, second, strict=True) if a == b]
    return f"{len(dataset)} examples, digest {' '.join(same)}"


def _digests(dataset: Any, loader: DataLoader) -> list[str]:
    """One for the images of 32 examples, one for their labels, and so on."""
    set_all_to_a_fixed_state([loader])
    places = np.linspace(0, len(dataset) - 1, 32).astype(int).tolist()
    examples = [dataset[i] for i in places]
    if not isinstance(examples[0], tuple | list):
        examples = [[example] for example in examples]
    columns = zip(*examples, strict=False)
    contents = (b"".join(map(_content_of, column)) for column in columns)
    return [hashlib.sha256(content).hexdigest()[:12] for content in contents]


def _content_of(part: Any) -> bytes:
    try:
        return torch.as_tensor(part).cpu().numpy().tobytes()
    except (TypeError, ValueError, RuntimeError):  # what a collate_fn makes a tensor
        return type(part).__name__.encode()


def _difference(saved: str | None, value: str) -> str:
    """The first lines in which two descriptions differ, for a message."""
    old, new = str(saved).splitlines(), value.splitlines()
    for a, b in zip(old, new, strict=False):
        if a != b:
            return f"{a.strip()!r}, and is now {b.strip()!r}"
    return f"of {len(old)} lines, and is now of {len(new)}"
