"""Facts about the machine: what may be used, and what a record says of it."""

import contextlib
import os
import platform
import time
from datetime import date

import torch
import torchvision


def usable_processors() -> int:
    """Number of processors that this process may use (a container may have fewer)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """The processor's name, where the system tells it, else its kind: "x86_64"."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def name(device: torch.device | str) -> str:
    """The name of an NVIDIA GPU ("NVIDIA H100 80GB HBM3"); else the kind of device."""
    kind = torch.device(device).type
    return torch.cuda.get_device_name(device) if kind == "cuda" else kind


def facts(device: torch.device | str = "cpu") -> dict[str, str]:
    """Where and with what a run was made, for its record."""
    return {
        "date": date.today().isoformat(),
        "machine": f"{processor()}, {usable_processors()} processors, {name(device)}",
        "instructions": torch.backends.cpu.get_cpu_capability(),  # "AVX512"
        "threads": str(torch.get_num_threads()),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
    }


def matrix_rate(device: torch.device | str = "cpu") -> float:
    """Operations per second of a product of two large float32 matrices: a yardstick.

    The fastest of three, since other programs can only make it slower.
    """
    A, seconds = torch.rand(4096, 4096, device=device), []
    for _ in range(3):
        start = time.perf_counter()
        float((A @ A)[0, 0])  # waits for the device
        seconds.append(time.perf_counter() - start)
    return 2 * len(A) ** 3 / min(seconds)
