"""careful_with_memory: keep what a training step frees for the next step.

A step frees gigabytes, which Linux's C library (glibc) gives back to the system at once
and asks for again in the next step: a third of the time of a step on a CPU was that.
"""

import contextlib
import ctypes
import functools
import os
import platform
import traceback
from collections.abc import Callable, Iterator

# glibc's numbers of the options of mallopt
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
_depth = 0  # how many bodies of `keep_freed_memory` are running


@contextlib.contextmanager
def keep_freed_memory() -> Iterator[None]:
    """In the body, freed memory stays with the process; after it, all goes back.

    Does nothing without glibc, and where the environment variable D2LMINI_KEEP_MEMORY
    is 0. Source: man 3 mallopt.
    """
    global _depth
    wanted = os.environ.get("D2LMINI_KEEP_MEMORY") != "0"
    if not wanted or platform.libc_ver()[0] != "glibc":
        yield
        return
    libc = ctypes.CDLL(None)
    _depth += 1
    libc.mallopt(MMAP_MAX, 0)
    libc.mallopt(TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        _depth -= 1
        if _depth == 0:
            # what glibc itself arrives at once a program has freed large blocks
            libc.mallopt(MMAP_MAX, 65536)
            libc.mallopt(MMAP_THRESHOLD, 32 * 2**20)
            libc.mallopt(TRIM_THRESHOLD, 64 * 2**20)
            libc.malloc_trim(0)


def careful_with_memory(function: Callable) -> Callable:
    """Call function with `keep_freed_memory`; when it fails, let its variables go.

    Otherwise the traceback, which Jupyter keeps, holds the tensors of the failed step,
    and the cell cannot be run again.
    """

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        try:
            with keep_freed_memory():
                return function(*args, **kwargs)
        except BaseException as error:
            del args, kwargs
            link = error
            while link is not None:
                traceback.clear_frames(link.__traceback__)
                link = link.__cause__ or link.__context__
            raise

    return wrapper
