"""Freed memory is kept while a training runs, and given back after it."""

import platform
import subprocess
import sys

import pytest
import torch
from torch import nn

import d2lmini
from d2lmini.engine import memory

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc can be told"
)

# In the body, a block of 64 MiB is taken, written and freed twenty times. Prints the
# page faults of the last ten times, and what the process then holds, in pages; then
# what it holds after the body, and the faults of blocks too large for the heap's gaps.
SCRIPT = """
import contextlib, resource
import torch
from d2lmini.engine.memory import keep_freed_memory

def faults(mebibytes, times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(mebibytes * 2**20, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def held():
    return int(open("/proc/self/statm").read().split()[1])

before = held()
with keep_freed_memory(), keep_freed_memory() if nested else contextlib.nullcontext():
    faults(64, 10)  # the heap grows until an aligned block fits into what was freed
    print(faults(64, 10), held() - before)
print(held() - before, faults(256, 3))
"""
BLOCK = 64 * 2**20 // 4096  # pages


def run(nested=False, **environment):
    done = subprocess.run(
        [sys.executable, "-c", f"nested = {nested}\n{SCRIPT}"],
        env={"OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [int(number) for number in done.stdout.split()]


@pytest.mark.parametrize("nested", [False, True])
def test_freed_memory_is_kept_in_the_body_alone(nested):
    inside, kept, left, outside = run(nested)
    assert inside < BLOCK / 2 < kept
    assert left < BLOCK / 2
    assert outside >= 3 * 4 * BLOCK  # new pages each time, as without us


def test_it_can_be_turned_off():
    inside, kept, _, _ = run(D2LMINI_KEEP_MEMORY="0")
    assert inside >= 10 * BLOCK and kept < BLOCK / 2


def test_training_and_evaluating_keep_it():
    """One depth inside train_ch6, none after it, and none after an error."""
    depths = []
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
    net.register_forward_hook(lambda *_: depths.append(memory._depth))
    loaders = d2lmini.load_data_fashion_mnist(6000, sample=True)
    d2lmini.train_ch6(net, *loaders, 1, 0.1, torch.device("cpu"))
    d2lmini.evaluate_accuracy_gpu(net, loaders[1])
    assert set(depths) == {1, 2} and memory._depth == 0
    with pytest.raises(ValueError):
        d2lmini.train_ch6(net, *loaders, 1, -0.1, torch.device("cpu"))
    assert memory._depth == 0
