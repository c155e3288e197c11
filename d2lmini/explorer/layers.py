"""A net as the page reads it: its layers, their shapes and their numbers."""

import base64
import copy
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

# What explorer.js computes.
LAYERS = (
    nn.Conv2d,
    nn.BatchNorm2d,
    nn.ReLU,
    nn.MaxPool2d,
    nn.AvgPool2d,
    nn.AdaptiveAvgPool2d,
    nn.Flatten,
    nn.Linear,
    nn.Dropout,
)
# Of a layer's options, those that it computes with one value alone.
FIXED = {
    "groups": 1,
    "padding_mode": "zeros",
    "ceil_mode": False,
    "return_indices": False,
    "count_include_pad": True,
    "divisor_override": None,
    "track_running_stats": True,
    "start_dim": 1,
    "end_dim": -1,
}


def describe_net(
    net: nn.Module, X: Tensor, classes: Sequence[str]
) -> tuple[dict, Tensor]:
    """(what the page needs to know, scores of X): X holds images (n, 1, h, w).

    Raises ValueError for what the page cannot compute.
    """
    _check_finite(net)
    net = copy.deepcopy(net).cpu().float().eval()
    layers, size = [], f"{X.shape[2]}x{X.shape[3]}"
    with torch.no_grad():
        for name, layer in leaves(net):
            try:
                # forward: a reader's hooks are not called
                Y = layer.forward(X.clone())  # which a ReLU in place may change
            except RuntimeError as error:
                raise ValueError(
                    f"net cannot read grey images of {size} ({name}: {error}): give "
                    f"the resize= that its images were loaded with"
                ) from None
            layers.append(describe_layer(name, layer, X))
            layers[-1]["shape"] = list(Y.shape[1:])
            X = Y
    if X.shape[1:] != (len(classes),):
        raise ValueError(
            f"net gives {tuple(X.shape[1:])} numbers for an image: one score for each "
            f"of the {len(classes)} classes is needed"
        )
    children = [type(child).__name__ for child in net]
    params = sum(p.numel() for p in net.parameters())
    return {"children": children, "params": params, "layers": layers}, X


def leaves(net: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Name and layer, in the order in which nested Sequentials call them."""
    if type(net) is not nn.Sequential:
        raise ValueError(
            f"the page cannot compute net{prefix and ' ' + prefix.rstrip('.')}, a "
            f"{type(net).__name__}: it computes nn.Sequential of "
            f"{', '.join(kind.__name__ for kind in LAYERS)}"
        )
    for i, layer in enumerate(net):
        if type(layer) in LAYERS:
            yield f"{prefix}{i}", layer
        else:
            yield from leaves(layer, f"{prefix}{i}.")


def describe_layer(name: str, layer: nn.Module, X: Tensor) -> dict[str, Any]:
    """A layer's kind, window and numbers; X is what goes in."""
    for option, value in FIXED.items():
        if getattr(layer, option, value) != value:
            raise ValueError(
                f"the page cannot compute net's layer {name}, {layer}: {option} must "
                f"be {value}"
            )
    described = {"name": name, "kind": type(layer).__name__}
    if isinstance(layer, nn.Linear):
        if X.dim() != 2:
            raise ValueError(f"nn.Flatten() is needed before net's layer {name}")
        # for the page, a vector is an image of one pixel
        described |= {"kernel": [1, 1], "stride": [1, 1], "padding": [0, 0]}
    elif isinstance(layer, nn.AdaptiveAvgPool2d):
        if layer.output_size not in (1, (1, 1)):
            raise ValueError(
                f"the page cannot compute net's layer {name}, {layer}: output_size "
                f"must be 1"
            )
        size = list(X.shape[2:])
        described |= {"kernel": size, "stride": size, "padding": [0, 0]}
    elif hasattr(layer, "kernel_size"):
        if _pair(getattr(layer, "dilation", 1)) != [1, 1] or layer.padding == "same":
            raise ValueError(
                f"the page cannot compute net's layer {name}, {layer}: dilation must "
                f"be 1, and padding a number"
            )
        padding = 0 if layer.padding == "valid" else layer.padding
        described |= {
            "kernel": _pair(layer.kernel_size),
            "stride": _pair(layer.stride),
            "padding": _pair(padding),
        }
    return described | _numbers(layer)


def _pair(value: int | tuple[int, int]) -> list[int]:
    return list(value) if isinstance(value, tuple) else [value, value]


def _numbers(layer: nn.Module) -> dict[str, str]:
    """Weights are whole numbers of 16 bits, times a factor for each output channel.

    For as many bytes that is several times nearer than float16, which keeps 11 bits.
    """
    if isinstance(layer, nn.BatchNorm2d):
        ones = torch.ones(layer.num_features)
        std = (layer.running_var.double() + layer.eps).sqrt()
        return {
            "mean": as_base64(layer.running_mean, "<f4"),
            "std": as_base64(std, "<f4"),
            "scale": as_base64(layer.weight if layer.affine else ones, "<f4"),
            "shift": as_base64(layer.bias if layer.affine else 0 * ones, "<f4"),
        }
    if not isinstance(layer, nn.Conv2d | nn.Linear):
        return {}
    weight = layer.weight.flatten(1)
    factor = weight.abs().amax(dim=1, keepdim=True).clamp(min=1e-30) / 32767
    numbers = {
        "weight": as_base64((weight / factor).round(), "<i2"),
        "factor": as_base64(factor, "<f4"),
    }
    if layer.bias is not None:
        numbers["bias"] = as_base64(layer.bias, "<f4")
    return numbers


def as_base64(values: Tensor, dtype: str) -> str:
    """The bytes of values, as numpy's dtype."""
    return base64.b64encode(values.numpy().astype(dtype).tobytes()).decode()


def _check_finite(net: nn.Module) -> None:
    for name, value in net.state_dict().items():
        if not torch.isfinite(value).all():
            raise ValueError(
                f"net's {name} holds nan or infinity, probably from a training that "
                f"failed: build a new net, and train it with a smaller lr"
            )
