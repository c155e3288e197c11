"""What train_ch6 refuses changes nothing: not the net, not a file, not a random number.

A reader corrects the call and goes on, as if the wrong one had not been made.
"""

import math

import pytest
import torch
from small_runs import batches, conv_net, everything, images, seed_all, softmax_net
from torch import nn
from torch.optim import lr_scheduler

import d2lmini

pytestmark = pytest.mark.usefixtures("one_thread")


def with_images(X=None, y=None):
    some_X, some_y = images(16)
    return batches(some_X if X is None else X, some_y if y is None else y)


def with_nan(run, name):
    with torch.no_grad():
        run["net"].state_dict()[name][0] = math.nan


def with_momentum_of_nan(run):
    run["optimizer"].state[run["net"][7].bias]["momentum_buffer"][0] = math.nan


def with_one_column(run):
    run["net"][7] = nn.Linear(256, 1)
    run["loss"], run["optimizer"], run["scheduler"] = nn.BCEWithLogitsLoss(), None, None
    loader = with_images(y=torch.zeros(16, 1))
    run.update(train_iter=loader, test_iter=loader)


def with_used_up_schedule(run):
    for _ in range(run["scheduler"].total_steps - run["scheduler"].last_epoch - 1):
        run["scheduler"].step()


def with_checkpoint(run, **first):
    """A checkpoint of another training."""
    first = {"net": softmax_net(), "num_epochs": 1, "lr": 0.1} | first
    loaders = {name: run[name] for name in ("train_iter", "test_iter")}
    d2lmini.train_ch6(**first, **loaders, device="cpu", checkpoint=run["checkpoint"])


def set_to(**values):
    return lambda run: run.update(values)


def sgd(net):
    return torch.optim.SGD(net.parameters(), lr=0.1)


TRAIN, TEST = "train_iter", "test_iter"
REFUSED = {
    "no epochs": (set_to(num_epochs=0), "num_epochs"),
    "half an epoch": (set_to(num_epochs=0.5), "num_epochs"),
    "negative lr": (set_to(lr=-0.1), "lr"),
    "lr nan": (set_to(lr=math.nan), "lr"),
    "lr a text": (set_to(lr="0.1"), "lr"),
    "no lr": (set_to(lr=None), "lr"),
    "channels": (set_to(train_iter=with_images(torch.rand(16, 3, 8, 8))), TRAIN),
    "large images": (set_to(test_iter=with_images(torch.rand(16, 1, 9, 9))), TEST),
    "bytes": (set_to(train_iter=with_images(torch.ones(16, 1, 8, 8).byte())), TRAIN),
    "negative labels": (
        set_to(train_iter=with_images(y=-torch.ones(16).long())),
        TRAIN,
    ),
    "large labels": (set_to(test_iter=with_images(y=3 * torch.ones(16).long())), TEST),
    "float labels": (set_to(train_iter=with_images(y=torch.ones(16))), TRAIN),
    "no images": (set_to(test_iter=batches(*(part[:0] for part in images()))), TEST),
    "read once": (set_to(train_iter=iter(list(batches()))), TRAIN),
    "bias nan": (lambda run: with_nan(run, "2.bias"), r"2\.bias"),
    "mean nan": (lambda run: with_nan(run, "3.running_mean"), r"3\.running_mean"),
    "momentum nan": (with_momentum_of_nan, "momentum"),
    "another optimizer": (
        lambda run: run.update(optimizer=sgd(conv_net()), scheduler=None),
        "optimizer",
    ),
    "another scheduler": (
        lambda run: run.update(scheduler=lr_scheduler.StepLR(sgd(run["net"]), 3)),
        "scheduler",
    ),
    "scheduler alone": (set_to(optimizer=None), "scheduler.*optimizer="),
    "used-up schedule": (with_used_up_schedule, "scheduler"),
    "a class for an optimizer": (
        set_to(optimizer=torch.optim.SGD, scheduler=None),
        "optimizer",
    ),
    "a class for a loss": (set_to(loss=nn.CrossEntropyLoss), "loss"),
    "one column": (with_one_column, "> 0"),
    "another checkpoint": (with_checkpoint, "of another training"),
    "damaged checkpoint": (
        lambda run: run["checkpoint"].write_bytes(b"damaged"),
        r"run\.pt is .*checkpoint of train_ch6",
    ),
    "folder for a checkpoint": (lambda run: run["checkpoint"].mkdir(), "run.pt"),
    "no folder for it": (
        lambda run: run.update(checkpoint=run["checkpoint"] / "none" / "run.pt"),
        "run.pt",
    ),
}


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
@pytest.mark.parametrize(("spoil", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_changes_nothing(tmp_path, capsys, spoil, message):
    seed_all(0)
    net = conv_net()
    net[3].eval()  # a reader's choice: frozen running means
    net[0].bias.requires_grad_(False)
    net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(images()[0]).sum().backward()  # gradients and momentum are there
    optimizer.step()
    generator = torch.Generator().manual_seed(0)
    run = {
        "net": net, "train_iter": batches(shuffle=True, generator=generator),
        "test_iter": batches(), "num_epochs": 2, "lr": 0.1, "device": "cpu",
        "optimizer": optimizer, "loss": None, "checkpoint": tmp_path / "run.pt",
        "scheduler": lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=12),
    }  # fmt: skip
    spoil(run)
    capsys.readouterr()
    kept = [optimizer, run["scheduler"], [generator], tmp_path]
    before = everything(net, *kept)
    with pytest.raises((ValueError, OSError), match=message):
        d2lmini.train_ch6(**run)
    after = everything(net, *kept)
    assert [name for name in before if after[name] != before[name]] == []
    assert capsys.readouterr().out == ""
    if run["train_iter"] is iter(run["train_iter"]):
        assert len(list(run["train_iter"])) == 6


def test_a_lazy_net_that_is_refused_stays_lazy():
    """Its sizes would be those of the images that were refused."""
    net = nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(3))
    large = with_images(torch.rand(16, 1, 9, 9))
    with pytest.raises(ValueError, match="test_iter"):
        d2lmini.train_ch6(net, batches(), large, 1, 0.1, "cpu")
    assert [type(net[i]) for i in (0, 2)] == [nn.LazyConv2d, nn.LazyLinear]
    assert len(d2lmini.train_ch6(net, large, large, 1, 0.1, "cpu")) == 1
