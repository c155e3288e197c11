"""Training in several processes at once, started by torchrun.

Each process takes its share of every batch, and torch's DistributedDataParallel (DDP)
averages the gradients, so that all hold the same weights after every step. Without
torchrun everything here does nothing.
"""

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler


def _connected() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def rank() -> int:
    """Rank of this process, from 0; the one of rank 0 draws, prints and writes."""
    return distributed.get_rank() if _connected() else 0


def num_processes() -> int:
    return distributed.get_world_size() if _connected() else 1


@contextlib.contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """In the body, the processes that torchrun started are connected.

    Gives the device that this process computes on: a GPU of its own where there are
    NVIDIA's, else the CPU; without torchrun, device. All processes but 0 print nothing.
    Raises ValueError when torchrun starts more processes than there are GPUs.
    """
    if "LOCAL_RANK" not in os.environ:
        yield device
        return
    backend, device = "gloo", torch.device("cpu")
    if torch.cuda.is_available():
        i, n = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if i >= n:
            raise ValueError(f"this machine has {n} GPUs: use --nproc-per-node {n}")
        backend, device = "nccl", torch.device("cuda", i)
        torch.cuda.set_device(device)
    distributed.init_process_group(backend)
    try:
        with contextlib.ExitStack() as stack:
            if rank() > 0:
                silence = stack.enter_context(open(os.devnull, "w"))
                stack.enter_context(contextlib.redirect_stdout(silence))
            yield device
    finally:
        # To drop what they gathered, gloo's threads need Python's lock, and torch 2.6
        # holds it while it waits for their end: let them finish before.
        time.sleep(0.1)
        distributed.destroy_process_group()


def gather(value: Any) -> list:
    """The values that all processes gave, in the order of their numbers."""
    if not _connected():
        return [value]
    values = [None] * num_processes()
    distributed.all_gather_object(values, value)
    return values


def split(
    train_iter: DataLoader, test_iter: DataLoader, seed: int = 0
) -> tuple[DataLoader, DataLoader]:
    """Loaders of this process's share, with the same batches over all processes.

    The training images come in an order that seed and epoch alone decide, so it is the
    same for every number of processes. Raises ValueError when batches cannot be split.
    """
    loaders, n = [], num_processes()
    for loader in (train_iter, test_iter):
        if loader.batch_size % n:
            raise ValueError(
                f"a batch of {loader.batch_size} cannot be split among {n} processes: "
                f"use a multiple of {n}"
            )
        sampler = range(rank(), len(loader.dataset), n)  # no test image twice
        if loader is train_iter:
            sampler = DistributedSampler(loader.dataset, n, rank(), seed=seed)
        loaders.append(
            DataLoader(
                loader.dataset,
                loader.batch_size // n,
                sampler=sampler,
                num_workers=loader.num_workers,
                collate_fn=loader.collate_fn,
            )
        )
    return tuple(loaders)


def start_epoch(train_iter: Any, epoch: int) -> None:
    """Let a split loader shuffle again; other loaders do so by themselves."""
    sampler = getattr(train_iter, "sampler", None)
    if isinstance(sampler, DistributedSampler):
        sampler.set_epoch(epoch)


def replicate(net: nn.Module) -> nn.Module:
    """net, in several processes wrapped so that `backward` averages the gradients."""
    return DistributedDataParallel(net) if _connected() else net


def sum_over_processes(metric: Any, loader: Any) -> Any:
    """metric, an Accumulator, with the sums of all processes' shares of a loader."""
    if isinstance(getattr(loader, "sampler", None), DistributedSampler | range):
        metric.data = [sum(values) for values in zip(*gather(metric.data), strict=True)]
    return metric
