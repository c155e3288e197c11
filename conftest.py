"""How pytest compares the chapters (nbval); see tests/sanitize.cfg for the texts."""

import os
import tempfile
from pathlib import Path

import pytest

# Exercises fail until they are done; the other three hold a class's answers.
collect_ignore = [
    f"notebooks/{folder}"
    for folder in ("exercises", "submitted", "autograded", "feedback")
]


def pytest_configure(config):
    """The course is tested, not the settings of who runs the tests."""
    folder = tempfile.TemporaryDirectory()
    config.add_cleanup(folder.cleanup)
    os.environ["IPYTHONDIR"] = os.environ["JUPYTER_CONFIG_DIR"] = folder.name
    os.environ["MATPLOTLIBRC"] = str(Path(folder.name, "matplotlibrc"))
    Path(os.environ["MATPLOTLIBRC"]).touch()
    os.environ.pop("MPLBACKEND", None)
    os.environ.pop("D2LMINI_LANGUAGE", None)


def pytest_collectstart(collector):
    # Curves differ in their last digits from machine to machine, and each version of
    # Pygments makes other HTML and LaTeX of a source; its plain text is compared.
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("image/svg+xml", "text/html", "text/latex")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """With pytest -n, a chapter's cells stay on one worker, in their order."""
    from xdist.scheduler import LoadScopeScheduling

    return LoadScopeScheduling(config, log)
