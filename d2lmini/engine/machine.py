"""Facts about the machine: what may be used, and what a record says of it."""

import os
import platform
from datetime import date

import torch
import torchvision


def usable_processors() -> int:
    """Number of processors that this process may use (a container may have fewer)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def facts(device: torch.device | str = "cpu") -> dict[str, str]:
    """Where and with what a run was made, for its record."""
    return {
        "date": date.today().isoformat(),
        "machine": f"{platform.machine()}, {usable_processors()} processors, {device}",
        "threads": str(torch.get_num_threads()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }
