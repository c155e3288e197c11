"""Ways to pick from, and to ask for, the data with which others went wrong."""

import http.server
import socket
import threading

import numpy as np
import pytest
import torch
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Subset,
    SubsetRandomSampler,
    random_split,
)
from torchvision.datasets import FashionMNIST

import d2lmini


@pytest.fixture(scope="module")
def dataset():
    return d2lmini.load_data_fashion_mnist(100, sample=True)[0].dataset


@pytest.fixture(scope="module")
def rows(dataset):
    """X and y of all images, in order, read without picking."""
    X, y = zip(*DataLoader(dataset, 1000), strict=True)
    X, y = torch.cat(X), torch.cat(y)
    assert X.shape == (6000, 1, 28, 28) and y.bincount().tolist() == [600] * 10
    return X, y


def read(loader):
    X, y = zip(*loader, strict=True)
    return torch.cat(X), torch.cat(y)


NUMBERS = {
    "tensor": lambda numbers: torch.tensor(numbers),
    "array": lambda numbers: np.array(numbers),
    "list": list,
    "numpy numbers": lambda numbers: [np.int64(i) for i in numbers],
    "tensors": lambda numbers: list(torch.tensor(numbers).int()),
}
# 40 of 6,000: at 16 a batch 16, 16 and 8 images, at 64 more than 32
PICKED = np.random.default_rng(0).permutation(6000)[:40].tolist()


@pytest.mark.parametrize("batch_size", [1, 16, 64])
@pytest.mark.parametrize("kind", NUMBERS.values(), ids=NUMBERS)
def test_subsets_hold_the_images_that_were_picked(dataset, rows, kind, batch_size):
    X, y = read(DataLoader(Subset(dataset, kind(PICKED)), batch_size))
    assert torch.equal(X, rows[0][PICKED]) and torch.equal(y, rows[1][PICKED])


@pytest.mark.parametrize("kind", NUMBERS.values(), ids=NUMBERS)
def test_samplers_may_give_numbers_of_every_kind(dataset, rows, kind):
    torch.manual_seed(0)
    sampler = SubsetRandomSampler(kind(PICKED))
    X, y = read(DataLoader(dataset, 16, sampler=sampler))
    torch.manual_seed(0)
    torch.empty((), dtype=torch.int64).random_()  # the loader draws before its sampler
    order = [PICKED[i] for i in torch.randperm(40)]
    assert torch.equal(X, rows[0][order]) and torch.equal(y, rows[1][order])


def test_ranges_parts_and_joined_sets(dataset, rows):
    X, y = rows
    every_tenth = Subset(dataset, range(0, 6000, 10))
    assert torch.equal(read(DataLoader(every_tenth, 7))[0], X[::10])
    part = Subset(every_tenth, torch.tensor([3, 599, 0]))
    assert torch.equal(read(DataLoader(part, 2))[0], X[[30, 5990, 0]])
    joined = ConcatDataset([part, every_tenth])
    assert torch.equal(read(DataLoader(joined, 50))[1][:5], y[[30, 5990, 0, 0, 10]])
    parts = random_split(dataset, [5990, 10])
    last = parts[1].indices
    assert torch.equal(read(DataLoader(parts[1], 4))[0], X[last])


@pytest.mark.parametrize("index", [3, -1, -6000, 5999])
@pytest.mark.parametrize(
    "kind", [int, np.int64, np.int32, torch.tensor, lambda i: np.array(i)]
)
def test_single_images_by_numbers_of_every_kind(dataset, rows, index, kind):
    X, y = dataset[kind(index)]
    assert X.shape == (1, 28, 28) and torch.equal(X, rows[0][index])
    assert y == rows[1][index]


@pytest.mark.parametrize("index", [6000, -6001, torch.tensor(6000), np.int64(6000)])
def test_an_image_that_is_not_there(dataset, index):
    with pytest.raises(IndexError):
        dataset[index]
    with pytest.raises(IndexError):
        list(DataLoader(Subset(dataset, [index]), 4))


@pytest.mark.parametrize("index", [slice(0, 5), 1.0, "1", None, [1, 2]])
def test_what_is_no_number_picks_no_image(dataset, index):
    """A slice gave one image of a wrong shape, and a label; torchvision refuses it."""
    with pytest.raises(TypeError):
        dataset[index]


@pytest.mark.parametrize("labels", [[-1], [10], [0.5], [torch.tensor(-1)]])
def test_what_is_no_class_has_no_name(labels):
    """-1, which marks what has no label, is no ankle boot."""
    with pytest.raises((ValueError, IndexError), match="0 to 9"):
        d2lmini.get_fashion_mnist_labels(labels)


# ---------------------------------------------------------------- asking for data


@pytest.mark.parametrize(
    ("resize", "shape"),
    [
        (np.int64(32), (32, 32)),
        (torch.tensor(32), (32, 32)),
        ((np.int64(24), 32), (24, 32)),
        (np.array([24, 32]), (24, 32)),
        (torch.tensor([24, 32]), (24, 32)),
    ],
)
@pytest.mark.parametrize("batch_size", [np.int64(4), torch.tensor(4), 4])
def test_whole_numbers_of_every_kind_are_sizes(resize, shape, batch_size):
    for loader in d2lmini.load_data_fashion_mnist(batch_size, resize, sample=True):
        X, _ = next(iter(loader))
        assert X.shape == (4, 1, *shape)


@pytest.mark.parametrize("number", [True, np.uint8(1)])
def test_one_is_one(number):
    train_iter, _ = d2lmini.load_data_fashion_mnist(number, sample=True)
    assert len(next(iter(train_iter))[0]) == 1


@pytest.mark.parametrize(
    "arguments",
    [
        {"batch_size": np.int64(0)},
        {"batch_size": False},
        {"batch_size": 8.0},
        {"resize": np.float64(32)},
        {"resize": "64"},
        {"resize": np.int64(0)},
        {"num_workers": 0.5},
        {"num_workers": "1"},
    ],
    ids=str,
)
def test_what_is_no_whole_number_is_no_size(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=f"^{name}"):
        d2lmini.load_data_fashion_mnist(**({"batch_size": 8} | arguments), sample=True)


def test_workers_are_as_many_as_were_asked_for():
    """Not silently as many as there are processors: a reader may want to compare."""
    for loader in d2lmini.load_data_fashion_mnist(8, sample=True, num_workers=1000):
        assert loader.num_workers == 1000  # none is started before the first batch


def test_a_download_changes_no_other_connection(places, monkeypatch):
    """The time-out is the download's own: a notebook's other threads have theirs."""
    timeouts = []

    class Refusing(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            timeouts.append(socket.getdefaulttimeout())
            self.send_error(404)

        def log_message(self, *args): ...

    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setattr(FashionMNIST, "mirrors", [address])
        with pytest.raises(FileNotFoundError, match="404"):
            d2lmini.load_data_fashion_mnist(8)
        server.shutdown()
    assert timeouts and set(timeouts) == {None}
