"""Chapter 6's recipe: Muon, the recorded networks, python -m d2lmini verify."""

import hashlib
import json

import matplotlib as mpl
import pytest
import records
import torch
from torch import nn

import d2lmini
from d2lmini.__main__ import main
from d2lmini.recipe import both_sides, recipe_net, verify


@pytest.fixture(scope="module")
def chapter():
    """What the recipe's cells define."""
    with mpl.rc_context():  # a chapter sets the style of its figures
        return records.definitions(records.CHAPTER_6, {"sample": True})


def polynomial(s, num_steps):
    """What the Newton-Schulz steps make of a singular value."""
    for _ in range(num_steps):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return s


# ---------------------------------------------------------------- Muon


def test_newton_schulz_steps_bring_singular_values_near_1(chapter):
    """Each singular value goes through the polynomial; the directions stay."""
    torch.manual_seed(0)
    U, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64))
    V, _ = torch.linalg.qr(torch.randn(9, 4, dtype=torch.float64))
    S = torch.tensor([8.0, 4.0, 2.0, 1.0], dtype=torch.float64)
    made = chapter["orthogonal"](U * S @ V.T)
    expected = polynomial(S / S.norm(), 3)
    torch.testing.assert_close(made, U * expected @ V.T, rtol=1e-6, atol=1e-6)
    assert expected.min() > 0.6 and expected.max() < 1.3


def test_an_orthogonal_matrix_keeps_its_directions(chapter):
    Q = torch.tensor([[0.6, 0.8], [-0.8, 0.6]])
    for factor in (1, 100, 1e-3):
        made = chapter["orthogonal"](factor * Q)
        torch.testing.assert_close(made, polynomial(0.5**0.5, 3) * Q, rtol=1e-3, atol=0)


def test_muons_steps_by_hand(chapter):
    """Gradients that are multiples of one orthogonal matrix: all can be reckoned."""
    net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 2, 1, bias=False))
    optimizer, scheduler = chapter["with_muon"](net, 10)
    first, second = (conv.weight for conv in net)
    before = [weight.detach().clone() for weight in (first, second)]
    Q = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
    for gradient in (3.0, -1.7, -0.1):  # momentum: 3, 0.1, -0.04
        first.grad, second.grad = torch.ones(2, 1, 1, 1), gradient * Q[:, :, None, None]
        optimizer.step()
    lrs = [group["lr"] for group in optimizer.param_groups]
    assert lrs[1] == pytest.approx(lrs[0] / 3)
    moved = before[0] - first  # plain SGD with momentum 0.9: 1, 1.9, 2.71
    torch.testing.assert_close(moved, torch.full((2, 1, 1, 1), 5.61 * lrs[0]))
    step = lrs[1] * polynomial(0.5**0.5, 3)
    moved = (before[1] - second)[:, :, 0, 0]
    torch.testing.assert_close(moved, (1 + 1 - 1) * step * Q, rtol=1e-3, atol=1e-6)


def test_muon_moves_all_convolutions_but_the_first(chapter):
    net = recipe_net(((1, 2), (2, 3)))
    optimizer, _ = chapter["with_muon"](net, 10)
    rest, convs = (
        [tuple(p.shape) for p in g["params"]] for g in optimizer.param_groups
    )
    assert convs == [(3, 2, 3, 3), (3, 3, 3, 3)]
    scales = [(2,), (2,), (3,), (3,), (3,), (3,)]
    assert sorted(rest) == sorted([(2, 1, 3, 3), *scales, (10, 3), (10,)])


# ---------------------------------------------------------------- the network


def test_the_recipes_network_by_hand():
    """28x28 pixels become 14, 7, 3; all 9 of them reach the mean."""
    net = recipe_net(((1, 2), (1, 3), (2, 4), (2, 5)))
    shapes, X = [], torch.rand(2, 1, 28, 28)
    for layer in net:
        X = layer(X)
        shapes.append(tuple(X.shape[1:]))
    assert shapes[:4] == [(2, 14, 14), (3, 7, 7), (4, 3, 3), (5, 3, 3)]
    assert shapes[4:] == [(5, 1, 1), (5,), (10,)]
    kinds = [type(layer) for layer in net[2]]
    conv = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert kinds == [*conv, nn.Conv2d, nn.MaxPool2d, nn.BatchNorm2d, nn.ReLU]


def test_both_sides_is_the_mean_of_image_and_mirror_image():
    def net(X):  # its score: the first pixel of the row
        return X[:, 0, 0, :1]

    X = torch.tensor([[[[1.0, 2.0, 7.0]]], [[[0.0, 5.0, -2.0]]]])
    assert both_sides(net)(X).tolist() == [[4.0], [-1.0]]


# ---------------------------------------------------------------- verify


@pytest.fixture
def folder(tmp_path, one_thread):
    """A record of one small network, which gets some of the sample right."""
    torch.manual_seed(0)
    arch = ((1, 2), (1, 2), (1, 2), (1, 2))
    net = recipe_net(arch)
    torch.save(net.state_dict(), tmp_path / "recipe_0.5.pt")
    X, y = next(iter(d2lmini.load_data_fashion_mnist(1000, sample=True)[1]))
    with torch.no_grad():
        y_hat = net.eval()(X) + net(X.flip(-1))
    right = int((y_hat.argmax(dim=1) == y).sum())
    content = (tmp_path / "recipe_0.5.pt").read_bytes()
    record = {"target": 0.5, "epochs": 3, "arch": arch, "weights": "recipe_0.5.pt"}
    record |= {"sha256": hashlib.sha256(content).hexdigest(), "right_in_sample": right}
    (tmp_path / "targets.json").write_text(json.dumps([record]))
    return tmp_path


def test_verify_counts_again(folder):
    (record,) = json.loads((folder / "targets.json").read_text())
    right = record["right_in_sample"]
    text = f"0.5, 3 epochs: {right} of 1,000 test images right, recorded {right}"
    assert list(verify(folder, sample=True)) == [(True, text)]


def test_verify_sees_an_image_more(folder):
    (record,) = json.loads((folder / "targets.json").read_text())
    record["right_in_sample"] += 1
    (folder / "targets.json").write_text(json.dumps([record]))
    ((works, _),) = verify(folder, sample=True)
    assert not works


def test_verify_refuses_altered_weights(folder, capsys):
    path = folder / "recipe_0.5.pt"
    state = torch.load(path, weights_only=True)
    state["6.bias"][0] += 1e-6
    torch.save(state, path)
    assert main(["verify", f"--records={folder}"]) == 1
    assert "does not hold the recorded weights" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["targets.json", "recipe_0.5.pt"])
def test_verify_tells_which_file_is_missing(folder, capsys, name):
    (folder / name).unlink()
    assert main(["verify", f"--records={folder}"]) == 1
    printed = capsys.readouterr().err
    assert f"cannot read {folder / name}" in printed and "--records" in printed


def test_verify_tells_that_the_record_is_damaged(folder, capsys):
    path = folder / "targets.json"
    path.write_bytes(path.read_bytes()[:-1])
    assert main(["verify", f"--records={folder}"]) == 1
    assert f"{path} is damaged" in capsys.readouterr().err
