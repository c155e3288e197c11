"""Let an environment work where it is now; its folder was moved, renamed or copied.

ENVIRONMENT/bin/python tools/moved.py    (the Makefile runs it; nothing is installed)

Three things in an environment hold its full name: what activates it, the first line of
its programs, and the way to d2lmini.
"""

import re
import sys
import sysconfig
import venv
from pathlib import Path

COURSE = Path(__file__).resolve().parents[1]
# As pip writes it: in one line, or in three where the name is long or has spaces.
FIRST_LINES = re.compile(rb"\A#!(/bin/sh\n'''exec' .*\n' '''|.*python.*)\n")


def move(programs: Path) -> None:
    """Start programs with the Python beside them, whatever its name has in it."""
    exec_python = f"""#!/bin/sh\n'''exec' "{programs}/python" "$0" "$@"\n' '''\n"""
    for program in programs.iterdir():
        if program.is_file() and not program.is_symlink():
            old = program.read_bytes()
            new = FIRST_LINES.sub(lambda _: exec_python.encode(), old)
            if new != old:
                program.write_bytes(new)


if __name__ == "__main__":
    venv.create(sys.prefix, symlinks=True)  # what activates it
    move(Path(sys.prefix, "bin"))
    # comes before the way that `pip install -e .` has kept
    way = Path(sysconfig.get_path("purelib"), "d2lmini.pth")
    way.write_text(f"{COURSE}\n", encoding="utf-8")
