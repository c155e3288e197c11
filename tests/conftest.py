"""Fixtures that several test files use."""

import importlib
import warnings

import pytest
import torch
from hypothesis import settings

from d2lmini import data

# A busy machine is no failure, and nothing is kept between runs.
settings.register_profile("d2lmini", deadline=None, database=None)
settings.load_profile("d2lmini")


@pytest.fixture(scope="session")
def d2l():
    """d2l's own helpers, the yardstick. Importing them warns; that is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("d2l.torch")


@pytest.fixture(scope="session")
def full_folder():
    """The folder of the full Fashion-MNIST set, where this machine has it."""
    folder = data.find_fashion_mnist()
    if folder is None:
        pytest.skip("the full set is not here: python -m d2lmini data")
    return folder


@pytest.fixture(scope="module")
def one_thread():
    """Nets this small lose more than they gain from a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
