"""The explorer's files: what is written, what is refused, and nets read from files.

What the page itself does, test_explorer_page.py asks a browser.
"""

import os
import re
from collections import OrderedDict

import pytest
import torch
from torch import nn

import d2lmini
from d2lmini.__main__ import main
from d2lmini.explorer import read_net, write_page
from d2lmini.recipe import norm_vgg, recipe_net


def small_net(*more, channels=4):
    """For images of 28x28, with three blocks."""
    blocks = [d2lmini.vgg_block(1, 1, channels)]
    blocks += [d2lmini.vgg_block(1, channels, channels) for _ in range(2)]
    return nn.Sequential(*blocks, nn.Flatten(), nn.Linear(9 * channels, 10), *more)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---------------------------------------------------------------- what is written


def test_a_page_is_one_file_that_names_no_other(folder):
    path = write_page(small_net(), "page.html", lang="zh")
    html = path.read_text("utf-8")
    assert os.listdir() == ["page.html"]
    assert html.startswith("<!DOCTYPE html>") and '"lang":"zh"' in html
    assert not re.findall(r"https?:|\bsrc=|<link|@import|url\(", html)


def test_a_page_may_take_the_place_of_a_page_and_of_nothing_else(folder):
    net = small_net()
    write_page(net, "page.html")
    first = (folder / "page.html").read_bytes()
    nn.init.zeros_(net[-1].bias)
    write_page(net, "page.html")
    assert (folder / "page.html").read_bytes() != first
    (folder / "thesis.html").write_text("<!DOCTYPE html>\nyears of work")
    with pytest.raises(ValueError, match="thesis.html is there and is no such page"):
        write_page(net, "thesis.html")
    assert (folder / "thesis.html").read_text() == "<!DOCTYPE html>\nyears of work"


def test_net_stays_as_it_is(folder):
    """Its mode, its numbers, and its hooks are not called."""
    net = small_net(nn.Dropout()).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    calls = []
    for layer in (net, net[0][0]):
        layer.register_forward_hook(lambda *arguments: calls.append(arguments))
    write_page(net, "page.html")
    assert net.training and net[0].training and not calls
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])


def test_class_names_cannot_end_the_script(folder):
    classes = ["</script><script>alert()</script>", *"abcdefghi"]
    html = write_page(small_net(), "page.html", classes=classes).read_text("utf-8")
    assert "alert()" in html and "</script><script>alert" not in html


# ---------------------------------------------------------------- what is refused


class Residual(nn.Sequential):
    def forward(self, X):
        return X + super().forward(X)


def with_nan():
    net = small_net()
    net[1][0].weight.data[0, 0, 0, 0] = torch.nan
    return net


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: small_net(nn.Sigmoid()), "cannot compute net 5, a Sigmoid: it"),
        (lambda: nn.Sequential(Residual()), "cannot compute net 0, a Residual"),
        (lambda: nn.Linear(784, 10), "cannot compute net, a Linear"),
        (lambda: nn.Sequential(nn.Conv2d(1, 2, 3, dilation=2)), "0.*dilation must be"),
        (lambda: nn.Sequential(nn.Conv2d(1, 2, 3, padding="same")), "padding a number"),
        (lambda: nn.Sequential(nn.AdaptiveAvgPool2d(2)), "output_size must be 1"),
        (lambda: nn.Sequential(nn.MaxPool2d(3, ceil_mode=True)), "ceil_mode must be F"),
        (lambda: nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False)), "track"),
        (lambda: nn.Sequential(nn.Linear(28, 10)), "Flatten.* is needed before net's"),
        (with_nan, "1.0.weight holds nan or infinity"),
        (lambda: small_net()[:3], r"net gives \(4, 3, 3\) numbers for an image"),
        (
            lambda: small_net(nn.Linear(10, 5)),
            r"\(5,\) numbers.*each of the 10 classes",
        ),
        (
            lambda: d2lmini.vgg(((1, 2),), image_size=48),
            "cannot read grey images of 28x28 .* give the resize=",
        ),
        (lambda: d2lmini.vgg(((1, 2),), 3, image_size=28), "0.0: .*grey images|grey"),
    ],
)
def test_a_net_is_refused_by_name(make, message, folder):
    with pytest.raises(ValueError, match=message):
        write_page(make(), "page.html")
    assert os.listdir() == []


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"lang": "fr"}, "lang must be one of en, zh, got 'fr'"),
        ({"resize": 0}, "resize must be a whole number from 1"),
        (
            {"images": torch.rand(2, 28, 28)},
            r"uint8 of shape \(n, 28, 28\), got torch.f",
        ),
        ({"images": torch.zeros(2, 9, 9, dtype=torch.uint8)}, r"shape \(2, 9, 9\)"),
        (
            {"images": torch.zeros(2, 28, 28, dtype=torch.uint8)},
            "labels must be 2, one",
        ),
    ],
)
def test_bad_arguments_are_refused(arguments, message, folder):
    with pytest.raises(ValueError, match=message):
        write_page(small_net(), "page.html", **arguments)
    assert os.listdir() == []


def test_labels_must_be_classes(folder):
    images, labels = torch.zeros(2, 28, 28, dtype=torch.uint8), torch.tensor([0, 10])
    with pytest.raises(ValueError, match="labels must lie from 0 to 9"):
        write_page(small_net(), "page.html", images=images, labels=labels)


# ---------------------------------------------------------------- nets from files


def assert_same(net, read):
    X = torch.rand(3, 1, 28, 28)
    assert torch.equal(net.eval()(X), read.eval()(X))


def test_a_net_is_read_from_a_checkpoint(folder):
    """Which says how the net was printed."""
    net, batch = small_net(), [(torch.rand(8, 1, 28, 28), torch.arange(8))]
    d2lmini.train_ch6(net, batch, batch, 1, 0.1, "cpu", checkpoint="run.pt")
    assert_same(net, read_net("run.pt"))


def test_a_net_is_read_from_a_whole_net(folder):
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)),
    )
    torch.save(net, "net.pt")
    assert_same(net, read_net("net.pt"))


def test_weights_alone_are_read_as_the_courses_networks(folder):
    net = d2lmini.vgg(((1, 4), (2, 8)), image_size=28, hidden=(16, 12))
    torch.save(net.state_dict(), "vgg.pt")
    assert_same(net, read_net("vgg.pt"))
    with pytest.raises(ValueError, match="networks for images of 48x48: give the res"):
        read_net("vgg.pt", 48)
    for make in (recipe_net, norm_vgg):  # which differ in one pooling
        net = make(((1, 4), (1, 6), (2, 8), (1, 9)))
        torch.save(net.state_dict(), "net.pt")
        assert_same(net, read_net("net.pt"))
    for state in (nn.Sequential(nn.Linear(784, 10)).state_dict(), {}):
        torch.save(state, "vgg.pt")
        with pytest.raises(ValueError, match="save the whole net, torch.save"):
            read_net("vgg.pt")


class Harmful:
    def __reduce__(self):
        return os.mkdir, ("ran",)


@pytest.mark.parametrize(
    "held, message",
    [
        (
            small_net(nn.Sigmoid()),
            "cannot compute: torch.nn.modules.activation.Sigmoid",
        ),
        (Harmful(), "holds what the page cannot compute: .*mkdir"),
        ([1, 2], "holds no net, but a list"),
    ],
)
def test_what_is_no_such_net_is_told_and_not_run(held, message, folder):
    torch.save(held, "net.pt")
    with pytest.raises(ValueError, match=message):
        read_net("net.pt")
    assert os.listdir() == ["net.pt"]


@pytest.mark.parametrize("keep", [0, 10, 2000, -1])
def test_damaged_files_are_told(keep, folder):
    torch.save(small_net(), "net.pt")
    whole = (folder / "net.pt").read_bytes()
    (folder / "net.pt").write_bytes(whole[:keep])
    with pytest.raises(ValueError, match="net.pt is damaged, or not a file"):
        read_net("net.pt")


def test_a_checkpoint_of_another_kind_of_net_is_told(folder):
    net, batch = (
        nn.Sequential(OrderedDict(net=small_net())),
        [(torch.rand(8, 1, 28, 28), torch.arange(8))],
    )
    d2lmini.train_ch6(net, batch, batch, 1, 0.1, "cpu", checkpoint="run.pt")
    with pytest.raises(ValueError, match="cannot be built again from its print"):
        read_net("run.pt")


# ---------------------------------------------------------------- the command


def test_explore_writes_a_page_and_says_how_good_the_net_is(folder, capsys):
    """A net that calls everything a bag is right once in ten times."""
    net = small_net()
    nn.init.zeros_(net[-1].weight)
    net[-1].bias.data = torch.arange(10) % 9.0
    torch.save(net, "net.pt")
    assert main(["explore", "net.pt", "--out", "page.html"]) == 0
    page, accuracy = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"page.html, 0\.\d MB: open it in a browser", page)
    assert accuracy == "accuracy on the sample's test images at 28x28: 0.100"
    assert sorted(os.listdir()) == ["net.pt", "page.html"]


def test_explore_refuses_in_one_line_and_loses_nothing(folder, capsys):
    torch.save(small_net(), "net.pt")
    content = (folder / "net.pt").read_bytes()
    for arguments, message in (
        (["net.pt", "--out=net.pt"], "net.pt is there and is no such page"),
        (["net.pt", "--out=no/page.html"], "cannot write"),
        (["none.pt", "--out=page.html"], "none.pt"),
        (["net.pt", "--out=page.html", "--resize=48"], "net cannot read grey images"),
    ):
        assert main(["explore", *arguments]) == 1
        error = capsys.readouterr().err
        assert message in error and "Traceback" not in error
    assert os.listdir() == ["net.pt"]
    assert (folder / "net.pt").read_bytes() == content
