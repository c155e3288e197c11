"""Code written for d2l runs unchanged: its chapters' patterns, only the import changed.

Each program is run once with d2l 1.0.3 as `d2l` and once with d2lmini; both read the
same few images, start from the same seed, and must end with the same numbers.
"""

import re

import pytest
import torch
from torch.utils.data import DataLoader, Subset

import d2lmini
from d2lmini import data

LENET = """
net = nn.Sequential(
    nn.Conv2d(1, 6, kernel_size=5, padding=2), nn.Sigmoid(),
    nn.AvgPool2d(kernel_size=2, stride=2),
    nn.Conv2d(6, 16, kernel_size=5), nn.Sigmoid(),
    nn.AvgPool2d(kernel_size=2, stride=2),
    nn.Flatten(),
    nn.Linear(16 * 5 * 5, 120), nn.Sigmoid(),
    nn.Linear(120, 84), nn.Sigmoid(),
    nn.Linear(84, 10))
batch_size = 256
train_iter, test_iter = d2l.load_data_fashion_mnist(batch_size=batch_size)
lr, num_epochs = 0.9, 1
d2l.train_ch6(net, train_iter, test_iter, num_epochs, lr, d2l.try_gpu())
"""

ALEXNET = """
net = nn.Sequential(
    nn.Conv2d(1, 96, kernel_size=11, stride=4, padding=1), nn.ReLU(),
    nn.MaxPool2d(kernel_size=3, stride=2),
    nn.Conv2d(96, 256, kernel_size=5, padding=2), nn.ReLU(),
    nn.MaxPool2d(kernel_size=3, stride=2),
    nn.Conv2d(256, 384, kernel_size=3, padding=1), nn.ReLU(),
    nn.Conv2d(384, 384, kernel_size=3, padding=1), nn.ReLU(),
    nn.Conv2d(384, 256, kernel_size=3, padding=1), nn.ReLU(),
    nn.MaxPool2d(kernel_size=3, stride=2), nn.Flatten(),
    nn.Linear(6400, 4096), nn.ReLU(), nn.Dropout(p=0.5),
    nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(p=0.5),
    nn.Linear(4096, 10))
batch_size = 8
train_iter, test_iter = d2l.load_data_fashion_mnist(batch_size, resize=224)
lr, num_epochs = 0.01, 1
d2l.train_ch6(net, train_iter, test_iter, num_epochs, lr, d2l.try_gpu())
"""

SOFTMAX = """
def evaluate_accuracy(net, data_iter):
    if isinstance(net, torch.nn.Module):
        net.eval()
    metric = d2l.Accumulator(2)
    with torch.no_grad():
        for X, y in data_iter:
            metric.add(d2l.accuracy(net(X), y), y.numel())
    return metric[0] / metric[1]

train_iter, test_iter = d2l.load_data_fashion_mnist(64)
net = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
loss = nn.CrossEntropyLoss(reduction='none')
trainer = torch.optim.SGD(net.parameters(), lr=0.1)
timer, num_epochs = d2l.Timer(), 2
animator = d2l.Animator(xlabel='epoch', xlim=[1, num_epochs], ylim=[0.3, 0.9],
                        legend=['train loss', 'train acc', 'test acc'])
for epoch in range(num_epochs):
    metric = d2l.Accumulator(3)
    for X, y in train_iter:
        y_hat = net(X)
        l = loss(y_hat, y)
        trainer.zero_grad()
        l.mean().backward()
        trainer.step()
        metric.add(float(l.sum().detach()), d2l.accuracy(y_hat, y), y.numel())
    train_metrics = metric[0] / metric[2], metric[1] / metric[2]
    test_acc = evaluate_accuracy(net, test_iter)
    animator.add(epoch + 1, train_metrics + (test_acc,))
timer.stop()
print(f'loss {train_metrics[0]:.3f}, train acc {train_metrics[1]:.3f}, '
      f'test acc {test_acc:.3f}')
X, y = next(iter(test_iter))
trues = d2l.get_fashion_mnist_labels(y)
preds = d2l.get_fashion_mnist_labels(net(X).argmax(axis=1))
titles = [true + '\\n' + pred for true, pred in zip(trues, preds)]
d2l.show_images(X[0:6].reshape((6, 28, 28)), 1, 6, titles=titles[0:6])
print(titles)
"""


def few_images(num_examples):
    """A stand-in for both loaders: the first images of the sample."""

    def load_data_fashion_mnist(batch_size, resize=None):
        train, test = data.load_data_fashion_mnist(batch_size, resize, sample=True)
        train = Subset(train.dataset, range(num_examples))
        test = Subset(test.dataset, range(min(num_examples, 1000)))
        return DataLoader(train, batch_size, shuffle=True), DataLoader(test, batch_size)

    return load_data_fashion_mnist


@pytest.mark.filterwarnings("ignore:Attempting to set identical")  # d2l's xlim
@pytest.mark.parametrize(
    ("program", "num_examples"),
    [(LENET, 1280), (ALEXNET, 40), (SOFTMAX, 500)],
    ids=["LeNet", "AlexNet", "softmax regression"],
)
def test_chapters_of_d2l_give_the_same_numbers(
    d2l, program, num_examples, monkeypatch, capsys
):
    monkeypatch.setattr(d2l.display, "display", lambda figure: None)
    monkeypatch.setattr(d2l.display, "clear_output", lambda wait: None)
    printed = []
    for library in (d2l, d2lmini):
        loader = few_images(num_examples)
        monkeypatch.setattr(library, "load_data_fashion_mnist", loader)
        torch.manual_seed(0)
        exec(program, {"d2l": library, "torch": torch, "nn": torch.nn})
        text = capsys.readouterr().out  # up to the speed, which varies
        printed.append(re.sub(r"[\d.]+ examples/sec.*", "", text, flags=re.DOTALL))
    theirs, ours = printed
    number = r"\d+\.\d+"
    assert re.sub(number, "", ours) == re.sub(number, "", theirs)
    loss, train_acc, test_acc = map(float, re.findall(number, theirs))
    # channels-last rounds otherwise: an untrained AlexNet may waver on an image or two
    expected = [loss, train_acc, pytest.approx(test_acc, abs=2 / num_examples)]
    assert list(map(float, re.findall(number, ours))) == expected
