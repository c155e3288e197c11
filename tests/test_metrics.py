import subprocess
import sys
import time
import warnings
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import d2lmini

numbers = st.floats(-1e6, 1e6)


def test_accuracy_counts_the_right_rows():
    """By hand: rows 0, 2 and 4 have their largest score at the label."""
    y_hat = torch.tensor([[0.1, 0.9], [0.8, 0.2], [0.7, 0.3], [0.4, 0.6], [0.0, 1.0]])
    count = d2lmini.accuracy(y_hat, torch.tensor([1, 1, 0, 0, 1]))
    assert count == 3.0
    assert type(count) is float


@given(st.data(), st.integers(1, 20), st.integers(2, 10))
def test_accuracy_of_scores_is_d2ls(d2l, data, rows, classes):
    scores = data.draw(hnp.arrays(np.float32, (rows, classes)))  # nan and inf as well
    y = data.draw(hnp.arrays(np.int64, rows, elements=st.integers(0, classes - 1)))
    y_hat, y = torch.from_numpy(scores), torch.from_numpy(y)
    assert d2lmini.accuracy(y_hat, y) == d2l.accuracy(y_hat, y)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1))
def test_accuracy_of_predicted_classes_is_d2ls(d2l, pairs):
    predicted, y = torch.tensor(pairs).T
    for y_hat in (predicted, predicted.float()):
        assert d2lmini.accuracy(y_hat, y) == d2l.accuracy(y_hat, y)


@pytest.mark.parametrize(
    ("y_hat_shape", "y_shape"),
    [((4, 10), (3,)), ((4,), (3,)), ((4, 1), (4,)), ((4,), (4, 1)), ((1,), (4,))],
)
def test_accuracy_refuses_shapes_that_do_not_fit(y_hat_shape, y_shape):
    """Broadcasting would count rows against all labels, up to 16 right of 4."""
    with pytest.raises(ValueError, match="shape") as error:
        d2lmini.accuracy(torch.zeros(y_hat_shape), torch.zeros(y_shape, dtype=int))
    predictions = y_hat_shape if 1 in y_hat_shape else y_hat_shape[:1]
    assert str(predictions) in str(error.value)
    assert str(y_shape) in str(error.value)


@given(st.integers(1, 5).flatmap(lambda n: st.lists(st.tuples(*[numbers] * n))))
def test_accumulator_sums_as_d2ls(d2l, rows):
    n = len(rows[0]) if rows else 1
    ours, theirs = d2lmini.Accumulator(n), d2l.Accumulator(n)
    for row in rows:
        ours.add(*row)
        theirs.add(*row)
    assert [ours[i] for i in range(n)] == [theirs[i] for i in range(n)]


def test_accumulator_by_hand():
    metric = d2lmini.Accumulator(2)
    metric.add(1, torch.tensor(2.5))
    metric.add(3, 4)
    assert (metric[0], metric[1]) == (4.0, 6.5)
    metric.reset()
    assert (metric[0], metric[1]) == (0.0, 0.0)
    metric.add(5, 6)
    assert (metric[0], metric[1]) == (5.0, 6.0)


@pytest.mark.parametrize("values", [(), (1,), (1, 2, 3)])
def test_accumulator_refuses_a_wrong_number_of_values(values):
    """d2l drops the surplus ones, and shrinks when there are too few."""
    metric = d2lmini.Accumulator(2)
    metric.add(10, 20)
    with pytest.raises(ValueError, match=f"takes 2 values, got {len(values)}"):
        metric.add(*values)
    assert (metric[0], metric[1]) == (10.0, 20.0)


@pytest.mark.parametrize("n", [0, -1])
def test_accumulator_needs_a_variable(n):
    with pytest.raises(ValueError, match=f"n must be a whole number .*got {n}$"):
        d2lmini.Accumulator(n)


def test_accumulator_keeps_no_graph():
    """A loss that requires grad is added without a warning, and its graph dies."""
    metric, w = d2lmini.Accumulator(1), torch.ones(3, requires_grad=True)
    loss = (w * 2).sum()
    graph = weakref.ref(loss)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metric.add(loss)
    del loss
    assert graph() is None
    assert type(metric[0]) is float
    assert metric[0] == 6.0


def test_timer_in_a_fresh_process():
    """Nothing else is imported there that cumsum could lean on by chance."""
    code = """
from d2lmini import Timer
timer = Timer()
for _ in range(3):
    timer.start()
    timer.stop()
total = timer.cumsum()
assert type(total) is list and len(total) == 3, total
assert 0 <= total[0] <= total[1] <= total[2] == timer.sum(), total
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@given(st.lists(st.floats(0, 1e5), min_size=1, max_size=20))
def test_timer_counts_as_d2ls(d2l, seconds):
    """Both read the same clock."""
    timers = []
    for library in (d2lmini, d2l):
        with pytest.MonkeyPatch.context() as patch:
            clock = iter([0.0, *(t for s in seconds for t in (10.0, 10.0 + s))])
            for name in ("perf_counter", "time"):
                patch.setattr(time, name, lambda clock=clock: next(clock))
            timer = library.Timer()
            timers.append(timer)
            for _ in seconds:
                timer.start()
                timer.stop()
    ours, theirs = timers
    assert ours.times == theirs.times
    assert ours.cumsum() == theirs.cumsum()
    for name in ("sum", "avg"):  # newer Pythons round sums of floats better
        expected = pytest.approx(getattr(theirs, name)(), rel=1e-12)
        assert getattr(ours, name)() == expected


@pytest.fixture
def timer(monkeypatch):
    """A Timer that measured 1, 2 and 6 s while the wall clock ran backwards."""
    seconds, wall = iter([0, 10, 11, 20, 22, 30, 36]), iter(range(1000, 0, -100))
    with monkeypatch.context() as patch:
        for monotonic in ("perf_counter", "monotonic"):
            patch.setattr(time, monotonic, lambda: next(seconds))
        patch.setattr(time, "time", lambda: next(wall))
        timer = d2lmini.Timer()
        for length in (1, 2, 6):
            timer.start()
            assert timer.stop() == length
    return timer


def test_timer_by_hand(timer):
    assert timer.times == [1, 2, 6]
    assert timer.cumsum() == [1, 3, 9]
    assert (timer.sum(), timer.avg()) == (9, 3)


def test_timer_starts_when_it_is_made():
    timer = d2lmini.Timer()
    time.sleep(0.02)
    assert 0.02 <= timer.stop() < 10


def test_timer_without_an_interval():
    timer = d2lmini.Timer()
    assert (timer.sum(), timer.cumsum()) == (0, [])
    with pytest.raises(ValueError, match="no interval"):
        timer.avg()
