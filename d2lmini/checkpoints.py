"""What lets an interrupted training go on: all its states, in one file."""

import contextlib
import hashlib
import io
import os
import pickle
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from d2lmini.parallel import gather, num_processes, rank

DIGEST_SIZE = hashlib.sha256().digest_size  # bytes at the end of a checkpoint


def random_states(device: torch.device, loaders: list) -> dict[str, Any]:
    """The states of every random generator that a training draws from."""
    name, keys, *rest = np.random.get_state()
    states = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), *rest),  # loading takes no numpy array
        "loaders": [generator.get_state() for generator in _generators(loaders)],
    }
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return states


def set_random_states(
    states: dict[str, Any], device: torch.device, loaders: list
) -> None:
    """Put back what `random_states` returned."""
    torch.set_rng_state(states["torch"])
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    for generator, state in zip(_generators(loaders), states["loaders"], strict=True):
        generator.set_state(state)
    if device.type in states:
        torch.get_device_module(device).set_rng_state(states[device.type])


@contextlib.contextmanager
def same_random_numbers_after(device: torch.device, loaders: list) -> Iterator[None]:
    """What is drawn in the body is drawn again after it."""
    states = random_states(device, loaders)
    try:
        yield
    finally:
        set_random_states(states, device, loaders)


def _generators(loaders: list) -> list[torch.Generator]:
    """The loaders' and samplers' own; without one they draw from torch's."""
    owners = [*loaders, *(getattr(loader, "sampler", None) for loader in loaders)]
    found = [getattr(owner, "generator", None) for owner in owners]
    # a loader shares its own with its sampler
    return [g for g in dict.fromkeys(found) if g is not None]


def replace_file(path: Path, content: bytes) -> None:
    """Write aside, then rename: at every moment the file at path is a whole one."""
    path = Path(os.path.realpath(path))  # a link stays one
    aside = path.with_name(path.name + ".part")
    try:
        with open(aside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        raise OSError(
            f"cannot write {path} ({error.strerror or error}): make room, or give "
            f"another path. What was there before is unchanged"
        ) from None
    finally:
        with contextlib.suppress(OSError):  # there may be a folder of that name
            aside.unlink(missing_ok=True)


def describe_run(
    net: nn.Module,
    loaders: list,
    num_epochs: int,
    lr: float,
    optimizer: Optimizer,
    scheduler: LRScheduler | None,
    loss: Any,
) -> dict[str, str]:
    """The settings that must be equal for a training to go on from a checkpoint."""
    train_iter, test_iter = loaders
    planned = scheduler is not None  # a schedule ends at a certain epoch
    settings = {
        "net": repr(net),
        "training data": _describe_data(train_iter, loaders),
        "test data": _describe_data(test_iter, loaders),
        "batch size": str(getattr(train_iter, "batch_size", None)),
        "lr": str(lr),
        "optimizer": repr(optimizer),
        "scheduler": type(scheduler).__name__,
        "num_epochs": str(num_epochs) if planned else "any",
        "number of generators in the loaders": str(len(_generators(loaders))),
        "loss": _describe_loss(loss),
        "processes": str(num_processes()),
    }
    # a function's repr ends with its address, which differs in every process
    return {name: re.sub(" at 0x[0-9a-fA-F]+", "", s) for name, s in settings.items()}


def _describe_loss(loss: Any) -> str:
    """Its repr, and the options that a loss of torch's does not print."""
    options = getattr(loss, "__dict__", {}).items()
    return f"{loss!r} " + ", ".join(
        f"{name}={value}" for name, value in options if isinstance(value, float | str)
    )


def _describe_data(loader, loaders: list) -> str:
    """Number of examples and a digest of 32 of them, spread evenly."""
    dataset = getattr(loader, "dataset", loader)
    digest = hashlib.sha256()
    with same_random_numbers_after(torch.device("cpu"), loaders):
        # from fixed seeds: data may be augmented with random numbers
        torch.default_generator.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        for i in np.linspace(0, len(dataset) - 1, 32).astype(int).tolist():
            for part in dataset[i]:
                digest.update(torch.as_tensor(part).cpu().numpy().tobytes())
    return f"{len(dataset)} examples, digest {digest.hexdigest()[:12]}"


class Checkpoint:
    """A file with all that a training needs to go on. With path None, no file.

    settings: from `describe_run`. parts: what has a state, by name (net, optimizer).
    Raises ValueError for a damaged file and for one of another training, OSError for
    one that cannot be read or written; all stay as they are.
    """

    def __init__(
        self,
        path: str | os.PathLike | None,
        settings: dict[str, str],
        parts: dict[str, Any],
        device: torch.device,
        loaders: list,
    ):
        self.path = None if path is None else Path(path)
        self.settings, self.device, self.loaders = settings, device, loaders
        self.parts = {name: part for name, part in parts.items() if part is not None}
        exists = path is not None and rank() == 0 and os.path.exists(path)
        self.state = gather(self._read() if exists else None)[0]  # what the file holds
        if self.state is not None:
            self._compare_settings()

    def save(self, history: dict) -> None:
        """Write every part's state, the random states and history."""
        if self.path is None:
            return
        state = {
            "settings": self.settings,
            "history": history,
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
            "random": gather(random_states(self.device, self.loaders)),
        }
        if rank() > 0:
            return
        content = io.BytesIO()
        torch.save(state, content)
        # torch.load checks no checksums, and reads over what follows
        digest = hashlib.sha256(content.getbuffer()).digest()
        replace_file(self.path, content.getvalue() + digest)

    def begin(self, history: dict) -> dict:
        """Put every part into its saved state and return the saved history.

        Without a file yet, write one, so that a path that does not work is known before
        any work is done, and return history.
        """
        if self.state is None:
            self.save(history)
            return history
        for name, part in self.parts.items():
            part.load_state_dict(self.state["parts"][name])
        set_random_states(self.state["random"][rank()], self.device, self.loaders)
        return self.state["history"]

    def _compare_settings(self) -> None:
        for name, value in self.settings.items():
            saved = self.state["settings"].get(name)
            if saved != value:
                raise ValueError(
                    f"the checkpoint {self.path} is of another training: {name} was "
                    f"{_difference(saved, value)}. Give another path or the same {name}"
                )

    def _read(self) -> dict:
        advice = "move it away to start the training anew"
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise OSError(
                f"cannot read the checkpoint {self.path} ({error.strerror}): {advice}"
            ) from None
        content, digest = content[:-DIGEST_SIZE], content[-DIGEST_SIZE:]
        if hashlib.sha256(content).digest() == digest:
            # weights_only: a file from elsewhere must not run code
            with contextlib.suppress(pickle.UnpicklingError):
                return torch.load(
                    io.BytesIO(content), map_location="cpu", weights_only=True
                )
        raise ValueError(f"{self.path} is no whole checkpoint of train_ch6: {advice}")


def _difference(saved: str | None, value: str) -> str:
    """The first lines in which two descriptions differ, for a message."""
    old, new = str(saved).splitlines(), value.splitlines()
    for a, b in zip(old, new, strict=False):
        if a != b:
            return f"{a.strip()!r}, and is now {b.strip()!r}"
    return f"of {len(old)} lines, and is now of {len(new)}"
