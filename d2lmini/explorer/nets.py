"""A net from a file: a checkpoint, a whole net, or weights of the course's nets."""

import ast
import contextlib
import io
import os
import pickle
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from d2lmini.engine.checkpoints import unpack
from d2lmini.explorer.layers import LAYERS
from d2lmini.models import vgg
from d2lmini.recipe import norm_vgg, recipe_net

KINDS = {kind.__name__: kind for kind in (nn.Sequential, *LAYERS)}


def read_net(path: str | os.PathLike, image_size: int | None = None) -> nn.Module:
    """The net that a file holds, without running any code of the file:

    - a checkpoint of train_ch6, which says how its net was printed;
    - what torch.save(net, path) wrote;
    - what torch.save(net.state_dict(), path) wrote, of chapter 5's and 6's networks
      alone: weights do not tell which layers without weights stand between them.

    image_size: side of its images; None is 28.

    Raises ValueError for another file, OSError for one that cannot be read.
    """
    content = Path(path).read_bytes()
    checkpoint = unpack(content)
    if checkpoint is not None:
        net = net_from_text(checkpoint["settings"]["net"])
        net.load_state_dict(checkpoint["parts"]["net"])
        return net
    try:
        with torch.serialization.safe_globals(list(KINDS.values())):
            held = torch.load(io.BytesIO(content), "cpu", weights_only=True)
    except (
        EOFError,
        KeyError,
        RuntimeError,
        ValueError,
        pickle.UnpicklingError,
    ) as error:
        raise ValueError(f"{path} {_why(content, error)}") from None
    if isinstance(held, nn.Module):
        return held
    if _is_state_dict(held):
        return net_with(held, image_size or 28)
    raise ValueError(f"{path} holds no net, but a {type(held).__name__}")


def _why(content: bytes, error: Exception) -> str:
    """Why a file cannot be read, for a message."""
    try:
        foreign = torch.serialization.get_unsafe_globals_in_checkpoint(
            io.BytesIO(content)
        )
    except Exception:  # whatever torch finds in it
        return "is damaged, or not a file of torch.save or train_ch6"
    known = [f"{kind.__module__}.{kind.__name__}" for kind in KINDS.values()]
    foreign = [name for name in foreign if name not in known]
    return f"holds what the page cannot compute: {', '.join(foreign) or error}"


def _is_state_dict(held: object) -> bool:
    return isinstance(held, dict) and all(isinstance(v, Tensor) for v in held.values())


def net_with(state: dict[str, Tensor], image_size: int) -> nn.Sequential:
    """The network of chapter 5 or 6 that has these weights."""
    kernels = {}  # of each block
    for name, weight in state.items():
        if weight.dim() == 4:
            kernels.setdefault(name.split(".")[0], []).append(weight)
    conv_arch = [(len(block), len(block[0])) for block in kernels.values()]
    widths = [len(weight) for weight in state.values() if weight.dim() == 2]
    if not kernels or not widths:
        nets = []
    elif any(name.endswith("running_mean") for name in state):
        nets = [recipe_net(conv_arch), norm_vgg(conv_arch)]
    else:
        nets = [vgg(conv_arch, 1, widths[-1], image_size, widths[:-1])]
    for net in nets:
        with contextlib.suppress(RuntimeError):
            net.load_state_dict(state)
            return net
    raise ValueError(
        f"these weights are of none of the course's networks for images of "
        f"{image_size}x{image_size}: give the resize that they were trained with, or "
        f"save the whole net, torch.save(net, path)"
    )


def net_from_text(text: str) -> nn.Sequential:
    """The net that was printed as the beginning of text, with new weights.

    Nothing of text is run: it is read as calls of known layers with plain arguments.
    """
    try:
        source = text[: text.index("\n)\n") + 2]
        source = re.sub(r"^ *\(\d+\): ", "", source, flags=re.M)
        source = re.sub(r"\)$", "),", source, flags=re.M)
        return _build(ast.parse(source.rstrip(","), mode="eval").body)
    except (AttributeError, KeyError, SyntaxError, TypeError, ValueError):
        raise ValueError(
            f"the checkpoint is of a net that cannot be built again from its print, "
            f"{text.splitlines()[0]}...: save the whole net, torch.save(net, path)"
        ) from None


def _build(call: ast.Call) -> nn.Module:
    kind = KINDS[call.func.id]
    if kind is nn.Sequential:
        return kind(*map(_build, call.args))
    options = {option.arg: ast.literal_eval(option.value) for option in call.keywords}
    return kind(*map(ast.literal_eval, call.args), **options)
