import gzip
import hashlib
import http.server
import os
import pickle
import runpy
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import NAMES, assert_loads, in_order, put
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import FashionMNIST

import d2lmini
from d2lmini.engine import fashion_mnist

SAMPLE_FOLDER = Path(d2lmini.__file__).parent / "sample"


def per_class(loader):
    return sum(torch.bincount(y, minlength=10) for _, y in loader).tolist()


# The sample in the package


@pytest.fixture(scope="module")
def sample():
    return d2lmini.load_data_fashion_mnist(100, sample=True)


def test_sample_counts(sample):
    assert [len(loader.dataset) for loader in sample] == [6_000, 1_000]
    assert [per_class(loader) for loader in sample] == [[600] * 10, [100] * 10]


def test_batches_are_float_images_and_whole_labels(sample):
    for loader in sample:
        X, y = next(iter(loader))
        assert (X.shape, X.dtype) == ((100, 1, 28, 28), torch.float32)
        assert (y.shape, y.dtype) == ((100,), torch.int64)
        assert (X.min(), X.max()) == (0, 1)


@pytest.fixture(scope="session")
def d2l_work(full_folder, tmp_path_factory):
    """A working folder whose ../data holds the full set as d2l expects it."""
    folder = tmp_path_factory.mktemp("d2l")
    raw = folder / "data/FashionMNIST/raw"
    raw.mkdir(parents=True)
    for name in NAMES:
        packed, unpacked = full_folder / f"{name}.gz", full_folder / name
        content = unpacked.read_bytes() if unpacked.exists() else None
        (raw / name).write_bytes(content or gzip.decompress(packed.read_bytes()))
    (folder / "work").mkdir()
    return folder / "work"


@pytest.fixture(scope="session")
def official(d2l_work):
    """torchvision's own reading of the full set: training and test."""
    root = d2l_work.parent / "data"
    return [FashionMNIST(root, train) for train in (True, False)]


def test_sample_is_the_first_of_each_class_in_official_order(sample, official):
    for loader, full, n in zip(sample, official, (600, 100), strict=True):
        first = [torch.nonzero(full.targets == c)[:n, 0] for c in range(10)]
        chosen = torch.cat(first).sort().values
        X, y = in_order(loader.dataset)
        assert torch.equal(y, full.targets[chosen])
        assert torch.equal(X, full.data[chosen].unsqueeze(1) / 255)


def test_rebuilding_the_sample_gives_the_same_bytes(full_folder):
    rebuild = runpy.run_path(str(SAMPLE_FOLDER / "make_sample.py"))["sample_bytes"]
    (shipped,) = SAMPLE_FOLDER.glob("*.xz")
    assert rebuild() == shipped.read_bytes()


def test_sample_is_small_and_its_licence_lies_beside_it():
    assert sum(f.stat().st_size for f in SAMPLE_FOLDER.glob("*.xz")) <= 4 * 1024**2
    licence = (SAMPLE_FOLDER / "LICENSE").read_text()
    assert "Zalando" in licence
    assert "MIT License" in licence


def test_damaged_sample_is_refused(tmp_path, monkeypatch):
    content = bytearray(fashion_mnist.SAMPLE.read_bytes())
    content[1000] ^= 1
    copy = tmp_path / fashion_mnist.SAMPLE.name
    copy.write_bytes(content)
    monkeypatch.setattr(fashion_mnist, "SAMPLE", copy)
    with pytest.raises(ValueError, match=f"{copy.name} is damaged"):
        d2lmini.load_data_fashion_mnist(8, sample=True)


# The full set


@pytest.fixture(scope="session")
def full(full_folder):
    return d2lmini.load_data_fashion_mnist(5_000, root=full_folder)


def test_full_counts(full):
    assert [len(loader.dataset) for loader in full] == [60_000, 10_000]
    assert [per_class(loader) for loader in full] == [[6_000] * 10, [1_000] * 10]


def test_first_training_labels(full):
    labels = [full[0].dataset[i][1] for i in range(10)]
    assert labels == [9, 0, 0, 3, 0, 2, 7, 2, 5, 5]


def first_batches(load, resize):
    """Three batches of each of two epochs, and two of the test set."""
    torch.manual_seed(3)
    train_iter, test_iter = load(64, resize)
    batches = []
    for loader, n in ((train_iter, 3), (train_iter, 3), (test_iter, 2)):
        batches += [batch for batch, _ in zip(loader, range(n), strict=False)]
    return batches


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker")
@pytest.mark.parametrize(
    ("resize", "workers", "levels"),
    [
        (None, 0, 0),
        (None, None, 0),
        (64, 0, 0),
        ((64, 96), 0, 0),
        (15, 0, 1),
        (26, 0, 2),
    ],
)
def test_batches_and_their_order_are_d2ls(
    resize, workers, levels, d2l, d2l_work, monkeypatch
):
    """Whether d2l reads in this process or in its four. levels: of 255, may differ."""
    monkeypatch.chdir(d2l_work)
    if workers is not None:
        monkeypatch.setattr(d2l, "get_dataloader_workers", lambda: workers)
    expected = first_batches(d2l.load_data_fashion_mnist, resize)
    got = first_batches(d2lmini.load_data_fashion_mnist, resize)
    assert len(got) == len(expected) == 8
    for (X, y), (their_X, their_y) in zip(got, expected, strict=True):
        assert y.dtype == their_y.dtype
        assert torch.equal(y, their_y)
        atol = levels / 255 + 1e-6 if levels else 0  # 0: bit for bit
        torch.testing.assert_close(X, their_X, atol=atol, rtol=0)


side = st.integers(1, 60)


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**32),
    batch_size=st.integers(1, 50),
    resize=st.none() | side | st.tuples(side, side),
)
def test_any_batches_are_d2ls(d2l, d2l_work, seed, batch_size, resize):
    """All but the rounding of resized pixels, to two levels of 255."""
    batches = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(d2l_work)
        patch.setattr(d2l, "get_dataloader_workers", lambda: 0)
        for library in (d2lmini, d2l):
            torch.manual_seed(seed)
            loaders = library.load_data_fashion_mnist(batch_size, resize)
            assert [len(loader.dataset) for loader in loaders] == [60_000, 10_000]
            batches.append([next(iter(loader)) for loader in loaders])
    for (X, y), (their_X, their_y) in zip(*batches, strict=True):
        assert torch.equal(y, their_y)
        atol = 0 if resize is None else 2 / 255 + 1e-6
        torch.testing.assert_close(X, their_X, atol=atol, rtol=0)


@given(st.lists(st.integers(0, 9)))
def test_any_label_names_are_d2ls(d2l, labels):
    for values in (labels, torch.tensor(labels), np.array(labels, np.uint8)):
        names = d2lmini.get_fashion_mnist_labels(values)
        assert names == d2l.get_fashion_mnist_labels(values)


# Loaders and data sets


@pytest.mark.parametrize(
    ("resize", "shape"),
    [(None, (28, 28)), (64, (64, 64)), ((64, 96), (64, 96)), ([20, 10], (20, 10))],
)
def test_resize_is_a_side_or_rows_by_columns(resize, shape):
    for loader in d2lmini.load_data_fashion_mnist(3, resize, sample=True):
        assert next(iter(loader))[0].shape == (3, 1, *shape)
        assert loader.dataset[0][0].shape == (1, *shape)


def test_single_images_and_subsets_are_those_of_the_batches():
    train_iter, test_iter = d2lmini.load_data_fashion_mnist(50, 32, sample=True)
    X, y = next(iter(test_iter))  # not shuffled
    for i in (0, 7, 49):
        image, label = test_iter.dataset[i]
        assert torch.equal(image, X[i])
        assert label == y[i]
    subset = Subset(test_iter.dataset, [49, 7, 0])
    for part, rows in zip(DataLoader(subset, 2), ([49, 7], [0]), strict=True):
        assert torch.equal(part[0], X[rows])
        assert torch.equal(part[1], y[rows])
    last = len(train_iter.dataset) - 1
    assert torch.equal(train_iter.dataset[-1][0], train_iter.dataset[last][0])
    with pytest.raises(IndexError):
        train_iter.dataset[last + 1]


def test_data_set_can_be_pickled(sample):
    """Where workers are spawned, they get the data set in this way."""
    dataset = sample[1].dataset
    for ours, copy in zip(
        in_order(dataset), in_order(pickle.loads(pickle.dumps(dataset))), strict=True
    ):
        assert torch.equal(ours, copy)


def test_workers_may_be_spawned(sample):
    """A new process gets the data set, and puts the same batches together."""
    _, loader = sample
    spawned = DataLoader(
        Subset(loader.dataset, range(20)),
        10,
        num_workers=1,
        multiprocessing_context="spawn",
        collate_fn=loader.collate_fn,
    )
    for loaded in (spawned, DataLoader(loader.dataset, 10)):
        for (X, y), start in zip(loaded, (0, 10), strict=False):
            assert torch.equal(X, in_order(loader.dataset)[0][start : start + 10])
            assert torch.equal(y, in_order(loader.dataset)[1][start : start + 10])


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_no_workers_where_they_would_be_spawned(platform, monkeypatch):
    monkeypatch.setattr(sys, "platform", platform)
    assert d2lmini.get_dataloader_workers() == 0
    for workers, expected in ((None, 0), (1, 1)):
        loaders = d2lmini.load_data_fashion_mnist(8, sample=True, num_workers=workers)
        assert [loader.num_workers for loader in loaders] == [expected] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone can limit a process")
@pytest.mark.parametrize(("processors", "workers"), [(1, 1), (3, 3), (64, 4)])
def test_workers_on_linux(processors, workers, monkeypatch):
    """As many as d2l's four, but no more than processors that may be used."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)))
    assert d2lmini.get_dataloader_workers() == workers


def test_leaving_a_loop_early_is_silent():
    code = """
from d2lmini import load_data_fashion_mnist
train_iter, _ = load_data_fashion_mnist(32, sample=True, num_workers=2)
for X, y in train_iter:
    break
del train_iter
print(tuple(X.shape))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("(32, 1, 28, 28)\n", "")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("source", ["sample", "files"])
def test_a_batch_raises_no_warning(source, tmp_path, tiny):
    if source == "files":
        put(tiny, tmp_path)
    for loader in d2lmini.load_data_fashion_mnist(
        2, 32, sample=source == "sample", root=tmp_path
    ):
        assert len(next(iter(loader))[0]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size .*got 0"),
        ({"batch_size": -1}, "batch_size .*got -1"),
        ({"batch_size": 2.5}, "batch_size .*got 2.5"),
        ({"resize": 0}, "resize .*got 0"),
        ({"resize": (0, 5)}, "resize .*got 0"),
        ({"resize": -28}, "resize .*got -28"),
        ({"resize": (1, 2, 3)}, r"resize .*\(1, 2, 3\)"),
        ({"resize": 64.5}, "resize .*64.5"),
        ({"num_workers": -1}, "num_workers .*-1"),
    ],
    ids=str,
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        d2lmini.load_data_fashion_mnist(**({"batch_size": 8} | arguments), sample=True)


# Finding and reading the four files, with a data set of 5 + 3 random images


def test_search_order(places, tmp_path):
    """Each place wins over all that come after it; three of four files do not count."""
    for folder in places:
        put(dict.fromkeys(NAMES, b""), folder)
    for folder in places:
        found = fashion_mnist.find_fashion_mnist(tmp_path / "root")
        assert found.resolve() == folder.resolve()
        (folder / NAMES[2]).unlink()
    assert fashion_mnist.find_fashion_mnist(tmp_path / "root") is None


@pytest.mark.parametrize("place", range(0, 10, 3))
def test_files_are_loaded_from_any_place(place, places, tiny, tmp_path):
    put(tiny, places[place])
    assert_loads(tiny, root=tmp_path / "root")


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("layout", ["", "FashionMNIST/raw"])
def test_packed_and_unpacked_in_both_layouts(packed, layout, places, tiny, tmp_path):
    put(tiny, tmp_path / "root" / layout, packed)
    assert_loads(tiny, root=str(tmp_path / "root"))


def test_some_packed_and_some_not(places, tiny, tmp_path):
    put(dict(list(tiny.items())[:2]), tmp_path / "root", packed=True)
    put(dict(list(tiny.items())[2:]), tmp_path / "root")
    assert_loads(tiny, root=tmp_path / "root")


def test_read_only_folder(places, tiny, tmp_path):
    folder = tmp_path / "root"
    put(tiny, folder, packed=True)
    for file in folder.iterdir():
        file.chmod(0o444)
    before = sorted(folder.iterdir())
    folder.chmod(0o555)
    try:
        assert_loads(tiny, root=folder)
        assert sorted(folder.iterdir()) == before
    finally:
        folder.chmod(0o755)


def flip_last(content):
    return content[:-1] + bytes([content[-1] ^ 1])


DAMAGES = {
    "packed, cut short": (".gz", lambda content: gzip.compress(content)[:-20]),
    "packed, empty": (".gz", lambda content: b""),
    "packed, no gzip": (".gz", lambda content: b"<html>not found</html>"),
    "packed, changed": (".gz", lambda content: flip_last(gzip.compress(content))),
    "empty": ("", lambda content: b""),
    "cut short": ("", lambda content: content[:-1]),
    "too long": ("", lambda content: content + b"\0"),
    "other bytes of the right size": ("", lambda content: bytes(len(content))),
    "one pixel or label changed": ("", flip_last),
    "packed, the same": (".gz", lambda content: gzip.compress(flip_last(content))),
}


@pytest.mark.parametrize("name", [NAMES[0], NAMES[3]])
@pytest.mark.parametrize(("suffix", "damage"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_file_is_named_and_kept(name, suffix, damage, places, tiny, tmp_path):
    """Never read as pixels, never deleted, never quietly replaced from elsewhere."""
    folder = tmp_path / "root"
    put(tiny, folder, packed=suffix == ".gz")
    put(tiny, tmp_path / "debian")
    damaged = damage(tiny[name])
    (folder / f"{name}{suffix}").write_bytes(damaged)
    with pytest.raises(ValueError, match="is not Fashion-MNIST") as error:
        d2lmini.load_data_fashion_mnist(2, root=folder)
    assert str(folder / f"{name}{suffix}") in str(error.value)
    assert (folder / f"{name}{suffix}").read_bytes() == damaged
    assert len(list(folder.iterdir())) == 4


def test_another_data_set_of_the_same_names_is_recognised(places, tiny, tmp_path):
    put(tiny, tmp_path / "root")
    (tmp_path / "root" / NAMES[0]).write_bytes(flip_last(tiny[NAMES[0]]))
    with pytest.raises(ValueError, match=r"of another data set .*MNIST"):
        d2lmini.load_data_fashion_mnist(2, root=tmp_path / "root")


# Downloading, from a server in this process


def answer_refused(request, served):
    request.send_error(403)


def answer_nothing(request, served):
    request.server.stop.wait(20)


def answer_headers_alone(request, served):
    headers(request, 1000)
    request.server.stop.wait(20)


def answer_in_part(request, served):
    headers(request, 1000)
    request.wfile.write(b"x" * 10)


def answer_part_of_chunks(request, served):
    request.send_response(200)
    request.send_header("Transfer-Encoding", "chunked")
    request.end_headers()
    request.wfile.write(b"64\r\nonly this")


def answer_no_http(request, served):
    request.wfile.write(b"220 mail.example.org\r\n\r\n")


def answer_with_a_page(request, served):
    headers(request, 6)
    request.wfile.write(b"<html>")


def answer_half_of_the_files(request, served):
    """The first two files are there."""
    if "t10k" in request.path:
        answer_refused(request, served)
    else:
        answer_well(request, served)


def answer_well(request, served):
    content = served[request.path[1:]]
    headers(request, len(content))
    request.wfile.write(content)


def headers(request, length):
    request.send_response(200)
    request.send_header("Content-Length", str(length))
    request.end_headers()


@pytest.fixture
def serve(places, tiny, monkeypatch):
    """serve(answer): a server that answers so; returns its address and its requests.

    What it serves passes for the official four packed files.
    """
    served = {f"{name}.gz": gzip.compress(content) for name, content in tiny.items()}
    md5 = [(name, hashlib.md5(content).hexdigest()) for name, content in served.items()]
    monkeypatch.setattr(FashionMNIST, "resources", md5)
    stop, servers = threading.Event(), []

    def start(answer, certificate=None):
        requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                requests.append(self.path)
                answer(self, served)

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.stop, server.handle_error = stop, lambda *_: None
        scheme = "http"
        if certificate:
            scheme, context = "https", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        # asked often whether to stop, so that stopping takes no half second
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        servers.append((server, thread))
        address = f"{scheme}://127.0.0.1:{server.server_port}/"
        monkeypatch.setattr(FashionMNIST, "mirrors", [address])
        return address, requests

    yield start
    stop.set()
    for server, thread in servers:
        server.shutdown()
        server.server_close()
        thread.join()


def assert_one_error_with_all_to_know(root, address, places, tmp_path):
    """One error: what was tried, what to do by hand; and nothing is left behind."""
    patience, began = socket.getdefaulttimeout(), time.monotonic()
    with pytest.raises(FileNotFoundError) as error:
        d2lmini.load_data_fashion_mnist(2, root=root)
    assert time.monotonic() - began < 15  # a server that hangs here does so for 20 s
    message = str(error.value)
    looked_at = [Path(line.strip()) for line in message.splitlines()[-len(places) :]]
    assert [p.resolve() for p in looked_at] == places
    for part in (str(tmp_path / "cache"), address, "time-out 1 s", "sample=True"):
        assert part in message
    for name in NAMES:
        assert f"{name}.gz" in message
    assert error.value.__suppress_context__  # no chain of tracebacks
    assert list((tmp_path / "cache").iterdir()) == []
    assert socket.getdefaulttimeout() == patience


FAULTY = [
    answer_refused,
    answer_nothing,
    answer_headers_alone,
    answer_in_part,
    answer_part_of_chunks,
    answer_no_http,
    answer_with_a_page,
    answer_half_of_the_files,
]


@pytest.mark.parametrize("answer", FAULTY, ids=lambda answer: answer.__name__)
def test_download_that_fails(answer, serve, places, tmp_path):
    address, requests = serve(answer)
    assert_one_error_with_all_to_know(tmp_path / "root", address, places, tmp_path)
    assert requests


def test_full_cache_folder(serve, places, small_disk, tmp_path, monkeypatch):
    """A file that has no room is not kept in part."""

    def answer_too_much(request, served):
        headers(request, 100_000)
        request.wfile.write(bytes(100_000))

    address, _ = serve(answer_too_much)
    monkeypatch.setattr(fashion_mnist, "cache_folder", lambda: small_disk)
    with pytest.raises(FileNotFoundError, match="No space left on device") as error:
        d2lmini.load_data_fashion_mnist(2)
    for part in (str(small_disk), address, f"{NAMES[0]}.gz", "sample=True"):
        assert part in str(error.value)
    assert list(small_disk.iterdir()) == []


def test_no_network(places, tmp_path):
    address = "http://127.0.0.1:1/"
    assert_one_error_with_all_to_know(tmp_path / "root", address, places, tmp_path)


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
def test_unknown_certificate_is_refused(serve, places, tmp_path):
    """Even though the files behind it are the right ones."""
    certificate = tmp_path / "certificate.pem"
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=127.0.0.1"
    make += " -addext subjectAltName=IP:127.0.0.1"
    where = ["-out", certificate, "-keyout", certificate]
    subprocess.run([*make.split(), *where], check=True, capture_output=True)
    address, requests = serve(answer_well, certificate)
    assert_one_error_with_all_to_know(tmp_path / "root", address, places, tmp_path)
    assert requests == []


def test_files_in_a_folder_of_a_wrong_name(places, tiny, tmp_path):
    """The error lists where the files would have been found."""
    root = tmp_path / "root"
    put(tiny, root / "Fashion-MNIST/raw")
    with pytest.raises(FileNotFoundError) as error:
        d2lmini.load_data_fashion_mnist(2, root=root)
    looked_at = [line.strip() for line in str(error.value).splitlines()]
    assert str(root / "FashionMNIST/raw") in looked_at
    assert str(root) in looked_at


def test_root_one_level_too_deep(places, tiny, tmp_path):
    put(tiny, tmp_path / "root/FashionMNIST/raw")
    assert_loads(tiny, root=tmp_path / "root/FashionMNIST/raw")
    with pytest.raises(FileNotFoundError) as error:
        d2lmini.load_data_fashion_mnist(2, root=tmp_path / "root/FashionMNIST")
    deeper = tmp_path / "root/FashionMNIST/FashionMNIST/raw"
    assert str(deeper) in [line.strip() for line in str(error.value).splitlines()]


def test_download_that_works(serve, tiny, tmp_path):
    """The four files end in the cache folder, and are downloaded once."""
    _, requests = serve(answer_well)
    assert_loads(tiny)
    cached = sorted(p.name for p in (tmp_path / "cache").iterdir())
    assert cached == sorted(f"{name}.gz" for name in NAMES)
    assert fashion_mnist.find_fashion_mnist() == tmp_path / "cache"
    asked = len(requests)
    assert_loads(tiny)
    assert len(requests) == asked
