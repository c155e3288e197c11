import pytest
import torch
import torchvision
from helpers import SHAPES, SHRUNK_SHAPES
from torch import nn

import d2lmini

PAPER = {"in_channels": 3, "num_classes": 1000, "image_size": 224}
PAPER["hidden"] = (4096, 4096)


@pytest.mark.parametrize(("ratio", "lines"), [(1, SHAPES), (4, SHRUNK_SHAPES)])
def test_shape_lines(ratio, lines, capsys):
    """The two traces, character by character."""
    X = torch.randn(size=(1, 1, 160, 160))
    for blk in d2lmini.vgg(d2lmini.shrink(d2lmini.VGG11, ratio)):
        X = blk(X)
        print(blk.__class__.__name__, "output shape:\t", X.shape)
    assert capsys.readouterr().out == lines


@pytest.mark.parametrize(
    ("arch", "count"),
    [
        (d2lmini.VGG11, 132_863_336),
        (d2lmini.VGG13, 133_047_848),
        (d2lmini.VGG16, 138_357_544),
        (d2lmini.VGG19, 143_667_240),
    ],
    ids=["VGG11", "VGG13", "VGG16", "VGG19"],
)
def test_parameter_counts_are_torchvisions(arch, count):
    with torch.device("meta"):  # shapes without memory
        net = d2lmini.vgg(arch, **PAPER)
    assert sum(p.numel() for p in net.parameters()) == count


@pytest.mark.parametrize("layers", [11, 13, 16, 19])
def test_outputs_are_torchvisions(layers):
    """With torchvision's weights, the paper's nets give torchvision's scores."""
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, f"vgg{layers}")(weights=None).eval()
    with torch.device("meta"):
        ours = d2lmini.vgg(getattr(d2lmini, f"VGG{layers}"), **PAPER).eval()
    weights = zip(ours.state_dict(), theirs.state_dict().values(), strict=True)
    ours.load_state_dict(dict(weights), assign=True)
    X = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        expected, got = theirs(X), ours(X)
    assert expected.std() > 1e-3  # else anything would be close
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def vgg_written_out(conv_arch):
    """VGG in plain PyTorch, for 160x160 images."""
    blks, in_channels = [], 1
    for num_convs, out_channels in conv_arch:
        layers = []
        for _ in range(num_convs):
            layers += [nn.Conv2d(in_channels, out_channels, 3, padding=1), nn.ReLU()]
            in_channels = out_channels
        blks.append(nn.Sequential(*layers, nn.MaxPool2d(2, 2)))
    head = [nn.Linear(out_channels * 5 * 5, 1024), nn.ReLU(), nn.Dropout(0.5)]
    head += [nn.Linear(1024, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10)]
    return nn.Sequential(*blks, nn.Flatten(), *head)


def test_initial_weights_and_outputs_are_those_of_plain_pytorch():
    arch = [(1, 16), (1, 32), (2, 64), (2, 128), (2, 128)]
    torch.manual_seed(1)
    theirs = vgg_written_out(arch)
    torch.manual_seed(1)
    ours = d2lmini.vgg(arch)
    expected, got = theirs.state_dict(), ours.state_dict()
    assert list(got) == list(expected)
    assert all(torch.equal(got[name], expected[name]) for name in expected)
    X = torch.randn(2, 1, 160, 160)
    torch.manual_seed(2)  # for dropout: both are in training mode
    expected = theirs(X)
    torch.manual_seed(2)
    assert torch.equal(ours(X), expected)


def test_block_layers():
    block = d2lmini.vgg_block(2, 3, 8)
    layers = [nn.Conv2d, nn.ReLU, nn.Conv2d, nn.ReLU, nn.MaxPool2d]
    assert [type(layer) for layer in block] == layers
    assert block(torch.zeros(1, 3, 6, 9)).shape == (1, 8, 3, 4)


TWO_BLOCKS = ((1, 2), (1, 2))


@pytest.mark.parametrize(
    ("arch", "smallest"),
    [(d2lmini.shrink(d2lmini.VGG11, 16), 32), (TWO_BLOCKS, 4)],
    ids=["five poolings", "two poolings"],
)
def test_smallest_image_side(arch, smallest):
    net = d2lmini.vgg(arch, image_size=smallest)
    assert net(torch.zeros(1, 1, smallest, smallest)).shape == (1, 10)
    with pytest.raises(ValueError, match=rf"{smallest - 1}x.*\b{smallest}\b"):
        d2lmini.vgg(arch, image_size=smallest - 1)


def test_raw_images_are_refused_when_the_net_is_built():
    with pytest.raises(
        ValueError, match=r"28x28.*side that works is 32; .*resize=32\)"
    ):
        d2lmini.vgg(d2lmini.VGG11, image_size=28)


def test_sides_that_do_not_halve_evenly():
    """70 -> 35 -> 17: a pooling drops the last row and column."""
    net = d2lmini.vgg(TWO_BLOCKS, image_size=70, hidden=())
    assert net[-1].in_features == 2 * 17 * 17
    assert net(torch.zeros(3, 1, 70, 70)).shape == (3, 10)


def test_channels_of_the_images():
    arch = d2lmini.shrink(d2lmini.VGG11, 16)
    colour = torch.zeros(2, 3, 32, 32)
    net = d2lmini.vgg(arch, in_channels=3, num_classes=7, image_size=32)
    assert net(colour).shape == (2, 7)
    grey_net = d2lmini.vgg(arch, image_size=32)
    with pytest.raises(RuntimeError, match=r"\b1 channels.*\b3 channels"):
        grey_net(colour)


@pytest.mark.parametrize(
    ("ratio", "channels"),
    [
        (1, [64, 128, 256, 512, 512]),
        (4, [16, 32, 64, 128, 128]),
        (5, [12, 25, 51, 102, 102]),
        (64, [1, 2, 4, 8, 8]),
    ],
)
def test_shrink(ratio, channels):
    small = d2lmini.shrink(d2lmini.VGG11, ratio)
    assert [c for _, c in small] == channels
    assert [num_convs for num_convs, _ in small] == [1, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("ratio", "message"),
    [(65, r"ratio 65 .*\b64\b"), (1000, r"ratio 1000 .*\b64\b"), (0, "0"), (-4, "-4")],
)
def test_shrink_refuses(ratio, message):
    """What would leave a layer no channel is refused, naming the layer's width."""
    with pytest.raises(ValueError, match=message):
        d2lmini.shrink(d2lmini.VGG11, ratio)
