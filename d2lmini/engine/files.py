"""Atomic writing of files: each is, at every moment, a whole one."""

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write aside, then rename. Raises OSError, with path as it was, when that fails.

    Several processes may write to one path at once: one's content stays, whole.
    """
    path = Path(os.path.realpath(path))  # a link stays one
    with written_aside(path, content) as aside:
        os.replace(aside, path)


@contextlib.contextmanager
def written_aside(path: Path, content: bytes) -> Iterator[Path]:
    """In the body, content lies beside path in a file that no other process has."""
    mine = f"d2lmini-{platform.node()}-"
    aside = path.with_name(f"{mine}{os.getpid()}-{time.monotonic_ns()}.part")
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is not a file, but a folder or a device")
        for left in path.parent.glob(f"{mine}*.part"):
            with contextlib.suppress(OSError, ValueError):
                if not _is_running(int(left.name.removeprefix(mine).split("-")[0])):
                    left.unlink()  # its process was killed
        with open(aside, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield aside
    except OSError as error:
        raise OSError(
            f"cannot write {path} ({error.strerror or error}): make room, or give "
            f"another path. What was there before is unchanged"
        ) from None
    finally:
        with contextlib.suppress(OSError):  # it has been renamed, or was never made
            aside.unlink()


def _is_running(pid: int) -> bool:
    if os.name == "nt":  # where signal 0 is Ctrl-C
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True
