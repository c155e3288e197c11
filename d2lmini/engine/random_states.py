"""The states of every random generator that a training draws from."""

import contextlib
import functools
import json
import random
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState)
GENERATORS += (random.Random,)
LEAVES = (str, bytes, int, float, type, types.ModuleType)
LEAVES += (Tensor, np.ndarray, nn.Module)


def random_states(device: torch.device, loaders: list) -> dict[str, Any]:
    """The states, as torch.load takes them with weights_only.

    Of Python's, numpy's and torch's own generators, of device's, and of all that the
    loaders, their samplers and their data sets hold.
    """
    name, keys, *rest = np.random.get_state()  # loading takes no numpy array
    states = {
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), *rest),
        "loaders": [_get(generator) for generator in generators_of(loaders)],
    }
    if device.type != "cpu":
        module = torch.get_device_module(device)
        states[device.type] = module.get_rng_state(device)
    return states


def set_random_states(
    states: dict[str, Any], device: torch.device, loaders: list
) -> None:
    """Put back what `random_states` returned."""
    torch.set_rng_state(states["torch"])
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    for generator, state in zip(generators_of(loaders), states["loaders"], strict=True):
        _set(generator, state)
    if device.type in states:
        module = torch.get_device_module(device)
        module.set_rng_state(states[device.type], device)


@contextlib.contextmanager
def same_random_numbers_after(device: torch.device, loaders: list) -> Iterator[None]:
    """What is drawn in the body is drawn again after it."""
    states = random_states(device, loaders)
    try:
        yield
    finally:
        set_random_states(states, device, loaders)


def set_all_to_a_fixed_state(loaders: list) -> None:
    """Every generator that makes the data: it begins where it began last time."""
    torch.default_generator.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    for generator in generators_of(loaders):
        if isinstance(generator, torch.Generator):
            generator.manual_seed(0)
        elif isinstance(generator, np.random.Generator):
            bits = generator.bit_generator
            bits.state = type(bits)(0).state
        else:
            generator.seed(0)


def generators_of(loaders: list) -> list:
    """All that the loaders and what they hold (samplers, data sets, ...) draw from."""
    found, seen = [], []

    def search(value: Any, depth: int) -> None:
        if depth == 0 or isinstance(value, LEAVES) or any(value is s for s in seen):
            return
        seen.append(value)
        if isinstance(value, GENERATORS):
            found.append(value)
            return
        for part in _parts(value):
            search(part, depth - 1)

    search(loaders, depth=8)
    return found


def _parts(value: Any) -> list:
    """What value holds: attributes; transforms, data sets (but not all the data); what
    a function, or a method of a reader's own class, takes from around it."""
    if isinstance(value, list | tuple):
        return list(value[:100])
    if isinstance(value, types.MethodType):
        return [value.__self__, value.__func__]
    if isinstance(value, types.FunctionType):
        names = set(value.__code__.co_names) & set(value.__globals__)
        empty = types.CellType()  # of a name that has no value yet
        cells = [c.cell_contents for c in value.__closure__ or () if c != empty]
        return cells + [value.__globals__[name] for name in names]
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    parts = list(getattr(value, "__dict__", {}).values())
    if type(value).__module__.split(".")[0] not in ("torch", "torchvision", "d2lmini"):
        parts += [
            f for f in vars(type(value)).values() if isinstance(f, types.FunctionType)
        ]
    return parts


def _get(generator: Any) -> Any:
    if isinstance(generator, torch.Generator):
        return generator.get_state()
    if isinstance(generator, random.Random):
        return generator.getstate()
    if isinstance(generator, np.random.Generator):
        state = generator.bit_generator.state
    else:
        state = generator.get_state(legacy=False)
    return _as_text(state)


def _as_text(state: dict) -> str:
    """torch.load takes neither numpy's arrays nor numbers of 128 bits."""
    return json.dumps(state, default=np.ndarray.tolist)


def _set(generator: Any, state: Any) -> None:
    if isinstance(generator, torch.Generator):
        generator.set_state(state)
    elif isinstance(generator, random.Random):
        generator.setstate(state)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = json.loads(state)
    else:
        generator.set_state(json.loads(state))
