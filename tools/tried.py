"""Tricks that were tried on chapter 6's recipe: python tools/records.py tried

A trick gets what the chapter's cells define, and the arguments that train_recipe is
going to be called with. It replaces something in one of them.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Subset

from d2lmini.recipe import both_sides

Trick = Callable[[dict, dict], None]


def called_with(**arguments) -> Trick:
    return lambda defined, options: options.update(arguments)


# ---------------------------------------------------------------- the network


def with_net(change: Callable[[nn.Sequential], None]) -> Trick:
    """The recipe's network, after change."""

    def trick(defined: dict, options: dict) -> None:
        make_net = options["make_net"]

        def make_changed(conv_arch):
            net = make_net(conv_arch)
            change(net)
            return net

        options["make_net"] = make_changed

    return trick


def pool_after_relu(net: nn.Sequential) -> None:
    for block in net[:3]:
        block.append(block.pop(-3))


def gelu(net: nn.Sequential) -> None:
    for block in net[:4]:
        for i, layer in enumerate(block):
            if isinstance(layer, nn.ReLU):
                block[i] = nn.GELU()


def four_by_four(net: nn.Sequential) -> None:
    """The last pooling takes 7x7 pixels to 4x4, not to 3x3."""
    net[2][-3].ceil_mode = True


def largest(net: nn.Sequential) -> None:
    net[4] = nn.AdaptiveMaxPool2d(1)


def drop_out(net: nn.Sequential) -> None:
    net.insert(len(net) - 1, nn.Dropout(0.2))


def fixed_scale(net: nn.Sequential) -> None:
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.weight.requires_grad_(False)


# ---------------------------------------------------------------- the steps


def nesterov(defined: dict, options: dict) -> None:
    def muon(optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        for weight in optimizer.param_groups[1]["params"]:
            state = optimizer.state[weight]
            momentum = 0.6 * state.get("momentum_buffer", 0) + weight.grad
            state["momentum_buffer"] = momentum
            ahead = weight.grad + 0.6 * momentum
            weight.grad = defined["orthogonal"](ahead.flatten(1)).view_as(weight)

    defined["muon"] = muon


def five_steps(defined: dict, options: dict) -> None:
    defined["orthogonal"] = partial(defined["orthogonal"], num_steps=5)


def half_batches(defined: dict, options: dict) -> None:
    defined.update(batch_size=128, peak_lr=0.15)


def with_optimizer(change: Callable[[Optimizer, int], None]) -> Trick:
    """The recipe's optimizer, after change, which also gets the number of steps."""

    def trick(defined: dict, options: dict) -> None:
        make_steps = options["steps"]

        def steps(net: nn.Module, num_steps: int) -> tuple:
            optimizer, scheduler = make_steps(net, num_steps)
            change(optimizer, num_steps)
            return optimizer, scheduler

        options["steps"] = steps

    return trick


def decay(optimizer: Optimizer, num_steps: int) -> None:
    for group in optimizer.param_groups:
        group["weight_decay"] = 5e-4


def one_size(optimizer: Optimizer, num_steps: int) -> None:
    """Muon's weights are kept at one size, so that steps stay as large beside them."""

    def resize(optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        for weight in optimizer.param_groups[1]["params"]:
            weight.data *= len(weight) ** 0.5 / weight.data.norm()

    optimizer.register_step_pre_hook(resize)


def averaged(optimizer: Optimizer, num_steps: int) -> None:
    """At the end, a mean of the weights of about the last fifty steps."""
    means: list[Tensor] = []
    steps_left = num_steps

    def follow(optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        nonlocal steps_left
        weights = [p.data for group in optimizer.param_groups for p in group["params"]]
        if not means:
            means.extend(weight.clone() for weight in weights)
        steps_left -= 1
        for mean, weight in zip(means, weights, strict=True):
            mean.lerp_(weight, 0.02)
            if steps_left == 0:
                weight.copy_(mean)

    optimizer.register_step_post_hook(follow)


# ---------------------------------------------------------------- the images


def cutout(side: int) -> Trick:
    """A square of each image is black."""

    def trick(defined: dict, options: dict) -> None:
        def augment(batch):
            X, y = defined["mirror"](batch)
            first = torch.randint(1 - side, 28, (2, len(X), 1))  # row and column
            inside = (torch.arange(28) >= first) & (torch.arange(28) < first + side)
            X[(inside[0][:, :, None] & inside[1][:, None, :])[:, None]] = 0
            return X, y

        options["augment"] = augment

    return trick


def shifts(defined: dict, options: dict) -> None:
    """Each batch is moved by up to a pixel; black comes in."""

    def augment(batch):
        X, y = defined["mirror"](batch)
        down, right = torch.randint(0, 3, (2,)).tolist()
        padded = nn.functional.pad(X, (1, 1, 1, 1))
        return padded[:, :, down : down + 28, right : right + 28].contiguous(), y

    options["augment"] = augment


def six_views(net: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """both_sides for an image, counted four times, and for it moved by a pixel to the
    right and to the left."""
    both = both_sides(net)

    def scores(X: Tensor) -> Tensor:
        padded = nn.functional.pad(X, (1, 1))  # a black column left and right
        return (4 * both(X) + both(padded[..., :-2]) + both(padded[..., 2:])) / 6

    return scores


def fewer_easy(defined: dict, options: dict) -> None:
    """Of trousers, sandals, sneakers, bags and boots every second image."""
    train_iter, held_out = options["loaders"]
    images = train_iter.dataset  # the first of all images
    labels = images.dataset.labels[: len(images)].tolist()
    kept = [i for i, y in enumerate(labels) if y not in (1, 5, 7, 8, 9) or i % 2]
    options["loaders"] = DataLoader(Subset(images.dataset, kept)), held_out


def sizes() -> dict[str, tuple]:
    """Other numbers of channels, of convolutions and of epochs, by name."""
    plain, found = (1, 1, 2, 2), {}
    for num_epochs, convs, *widths in (
        (2, plain, 16, 32, 60, 120),
        (4, (1, 1, 3, 3), 16, 32, 48, 96),
        (4, (1, 2, 2, 2), 16, 26, 52, 104),
        (4, plain, 31, 62, 124, 248),
        (6, plain, 40, 80, 160, 320),
        (6, plain, 48, 96, 192, 384),
        (7, (1, 1, 3, 3), 20, 40, 72, 144),
        (7, plain, 24, 48, 96, 192),
        (8, (1, 2, 2, 2), 20, 40, 80, 160),
        (8, plain, 32, 64, 128, 256),
        (8, plain, 40, 80, 160, 320),
        (10, plain, 20, 40, 80, 160),
        (12, plain, 24, 48, 96, 192),
        (12, plain, 32, 64, 128, 256),
        (16, plain, 24, 48, 96, 192),
    ):
        conv_arch = tuple(zip(convs, widths, strict=True))
        name = f"{num_epochs} epochs of {' '.join(f'{n}x{c}' for n, c in conv_arch)}"
        found[name] = num_epochs, called_with(conv_arch=conv_arch)
    return found


# name: number of epochs, tricks
TRIED: dict[str, tuple] = {
    "the recipe": (4,),
    "GELU, not ReLU": (4, with_net(gelu)),
    "the last block on 4×4 pixels": (4, with_net(four_by_four)),
    "no learned scales": (4, with_net(fixed_scale)),
    "5 Newton-Schulz steps": (4, five_steps),
    "every second image of easy classes, 5 epochs": (5, fewer_easy),
    "weight decay": (4, with_optimizer(decay)),
    "label smoothing 0.2": (4, called_with(smoothing=0.2)),
    "Nesterov's momentum in Muon": (4, nesterov),
    "averaged weights": (4, with_optimizer(averaged)),
    "weights kept at one size": (4, with_optimizer(one_size)),
    "batches of 128": (4, half_batches),
    "pooling after ReLU": (4, with_net(pool_after_relu)),
    "the largest pixel, not the mean": (4, with_net(largest)),
    "Dropout 0.2": (4, with_net(drop_out)),
    "squares of 8×8 cut out": (4, cutout(8)),
    "shifts of a pixel": (4, shifts),
    **sizes(),
    "12 epochs of 1x32 1x64 2x128 2x256, squares cut out": (
        12,
        called_with(conv_arch=((1, 32), (1, 64), (2, 128), (2, 256))),
        cutout(8),
    ),
}
