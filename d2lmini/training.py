"""Training a classifier: try_gpu, evaluate_accuracy_gpu, train_ch6."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from d2lmini.engine.batches import evaluation_mode, sum_of_losses, to_device
from d2lmini.engine.before_training import check_training
from d2lmini.engine.checkpoints import Checkpoint
from d2lmini.engine.checks import check_not_empty, check_whole
from d2lmini.engine.memory import fast_training, keep_freed_memory, let_go_on_error
from d2lmini.engine.parallel import sum_over_processes
from d2lmini.engine.progress import Progress, explain_guessing
from d2lmini.engine.schedules import Schedule
from d2lmini.history import FIGSIZE, LEGEND, History
from d2lmini.metrics import Accumulator, Timer, accuracy
from d2lmini.plotting import Animator


def try_gpu(i: int = 0) -> torch.device:
    """The i-th accelerator that torch knows (NVIDIA, Apple, Intel, ...), else the CPU.

    Source: d2l 1.0.3, section 6.7, for NVIDIA's (CUDA) alone.
    """
    i = check_whole("try_gpu's i", i, smallest=0)
    if torch.accelerator.is_available() and i < torch.accelerator.device_count():
        return torch.device(torch.accelerator.current_accelerator().type, i)
    return torch.device("cpu")


@let_go_on_error
def evaluate_accuracy_gpu(
    net: Callable, data_iter: Iterable, device: torch.device | None = None
) -> float:
    """Share of correct predictions, in [0, 1], over all batches of data_iter.

    device: where net is and the batches go; None finds it out. A net in training mode
    is put into evaluation mode (no dropout) and back.
    Source: d2l 1.0.3, section 23.7.
    """
    if device is None and isinstance(net, nn.Module):
        device = next((p.device for p in net.parameters()), None)
    metric = Accumulator(2)  # correct predictions, predictions
    with evaluation_mode(net), keep_freed_memory(), torch.no_grad():
        for X, y in data_iter:
            X, y = to_device(X, device), to_device(y, device)
            metric.add(accuracy(net(X), y), y.numel())
    metric = sum_over_processes(metric, data_iter)
    check_not_empty(metric[1])
    return metric[0] / metric[1]


def init_weights(module: nn.Module) -> None:
    """Draw the weights of a layer by Xavier's rule."""
    if type(module) in (nn.Linear, nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)


@let_go_on_error
def train_ch6(
    net: nn.Module, train_iter: Iterable, test_iter: Iterable, num_epochs: int,
    lr: float, device: torch.device | str, *, optimizer: Optimizer | None = None,
    scheduler: LRScheduler | None = None,
    loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    checkpoint: str | os.PathLike | None = None,
) -> History:  # fmt: skip
    """Initialise net, train it and draw the curves. Source: d2l 1.0.3, section 23.7.

    optimizer: of net.parameters(); without one, SGD with learning rate lr.
    scheduler: of that optimizer; it makes a step after every batch (ReduceLROnPlateau:
    after every epoch, with the training loss).
    loss: without one, nn.CrossEntropyLoss(). It returns a batch's mean, or with
    reduction="none" a loss for each example, whose mean the step then takes.
    checkpoint: a file that is written after every epoch. The same call with the same
    file goes on where it was interrupted, and ends with the same weights.

    Interrupting returns the history so far. `history.plot()` is the picture to save:
    pyplot's own savefig does not know it. Raises ValueError for what cannot be trained,
    before anything is changed, and FloatingPointError when the loss is no longer a
    number.
    """
    run = net, train_iter, test_iter, num_epochs, lr, device
    check_training(*run, optimizer, scheduler, loss, checkpoint)
    optimizer = optimizer or torch.optim.SGD(net.parameters(), lr=lr)
    schedule, loss = Schedule(scheduler), loss or nn.CrossEntropyLoss()
    saved = Checkpoint(checkpoint, *run, optimizer, scheduler, loss)
    net.apply(init_weights)
    print("training on", device)
    net.to(device)
    history = saved.begin(History())
    animator = Animator("epoch", xlim=[0, num_epochs], legend=LEGEND, figsize=FIGSIZE)
    progress = Progress(animator, history, num_epochs, train_iter, optimizer)
    with fast_training(net, optimizer, loss) as model, progress:
        for _ in range(len(history), num_epochs):
            # Sum of training loss, sum of correct predictions, number of examples
            metric, timer = Accumulator(3), Timer()
            net.train()
            for X, y in train_iter:
                timer.start()
                optimizer.zero_grad()
                X, y = to_device(X, device), to_device(y, device)
                y_hat = model(X)
                l = loss(y_hat, y)
                l.mean().backward()
                optimizer.step()
                schedule.after_batch()
                l = sum_of_losses(l, loss, y.numel())
                metric.add(l, accuracy(y_hat, y), y.numel())
                timer.stop()
                progress.add_batch(metric, timer)
            test_acc = evaluate_accuracy_gpu(net, test_iter)
            progress.add_epoch(metric, test_acc, timer)
            schedule.after_epoch(history)
            saved.save(history)
        history.report(device)
        explain_guessing(history, net)
    return history
