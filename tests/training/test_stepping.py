"""Several steps in one call: the same bits as one by one, errors, Ctrl-C, odd element types."""
import os
import signal
import threading
import time

import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend.errors import BackendError, DTypeError, ShapeError
from gradatim.backend.function import Function
from gradatim.training import stepping
from gradatim.training.callbacks import FunctionCallback
from gradatim.training.sources import Source

rng = np.random.default_rng(0)
X = rng.standard_normal((203, 6)).astype("f")
Y = rng.integers(0, 3, 203)
WEIGHTS = rng.uniform(0.5, 2.0, 203)


def backends():
    try:
        return [gt.get_backend("native").name, "reference"]
    except BackendError:
        return ["reference"]


def fitted(x=X, backend="auto", **settings):
    """A net with dropout and moving statistics after three epochs, and what its fit told."""
    model = gt.Sequential([layers.Dense(9, "relu"), layers.BatchNormalization(),
                           layers.Dropout(0.2), layers.Dense(3)])
    trainer = gt.Trainer(model, loss=layers.SparseCategoricalCrossentropy(from_logits=True),
                         metrics=["accuracy"], schedule="cosine", backend=backend)
    settings = {"epochs": 3, "batch_size": 8, "X_val": X[:50], "y_val": Y[:50]} | settings
    trainer.fit(x, Y, WEIGHTS, **settings)
    return trainer


def bits(trainer) -> dict:
    return {name: v.numpy().tobytes() for name, v in trainer.variables().items()}


@pytest.mark.parametrize("backend", backends())
@pytest.mark.parametrize("shuffle", [True, False])
def test_steps_in_one_call_change_no_bit(backend, shuffle, monkeypatch):
    calls, whole = [], Function.steps

    def steps(self, tables, rows):
        calls.append(len(rows))
        return whole(self, tables, rows)

    monkeypatch.setattr(Function, "steps", steps)
    monkeypatch.setattr(stepping, "CALL_SECONDS", 0.0)
    single = fitted(backend=backend, shuffle=shuffle)
    assert set(calls) == {1}
    monkeypatch.setattr(stepping, "CALL_SECONDS", 60.0)
    several = fitted(backend=backend, shuffle=shuffle)
    assert max(calls) == 203 // 8
    monkeypatch.setattr(Source, "tables", None)       # batch by batch
    batches = fitted(backend=backend, shuffle=shuffle)
    assert bits(single) == bits(several) == bits(batches)
    assert single.history == several.history == batches.history


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "float64", "float16", "bool"])
def test_rows_are_converted_as_arrays_are(dtype, monkeypatch):
    x = (X * 3).astype(dtype)
    converted = bits(fitted(x.astype("f")))
    assert bits(fitted(x)) == converted
    assert bits(fitted(np.asfortranarray(x))) == converted
    monkeypatch.setattr(stepping, "CALL_SECONDS", 60.0)
    assert bits(fitted(x)) == converted


@pytest.mark.parametrize("backend", backends())
def test_an_error_keeps_the_steps_before_it(backend):
    table, x = gt.constant(np.arange(5, dtype="f")), gt.placeholder((2,), "int64")
    count, total = gt.variable(np.int64(0)), gt.variable(0.0)
    taken = gt.gather(table, x)
    f = gt.function([x], [taken], {count: count + 1, total: total + taken.sum()}, backend=backend)
    numbers = np.array([1, 2, 3, 4, 9, 0])
    with pytest.raises(IndexError, match="9"):
        f.steps([numbers], np.array([[0, 1], [3, 2], [5, 4], [0, 1]]))
    assert (int(count.numpy()), float(total.numpy())) == (2, 10.0)
    f.steps([numbers], np.array([[0, 1]]))
    assert (int(count.numpy()), float(total.numpy())) == (3, 13.0)


@pytest.mark.parametrize("backend", backends())
def test_earlier_results_and_held_weights_stay(backend):
    w, x = gt.variable(np.float32([1, 2])), gt.placeholder((2,))
    f = gt.function([x], [w * 1.0, x * 2.0], {w: w + x}, backend=backend)
    held, rows = w.numpy(), np.array([[0, 1], [2, 1], [1, 2]])
    values, doubled = f.steps([np.float32([1, 10, 100])], rows)
    assert values.tolist() == [[1, 2], [2, 12], [102, 22]]
    assert doubled.tolist() == [[2, 20], [200, 20], [20, 200]]
    assert held.tolist() == [1, 2] and w.numpy().tolist() == [112, 122]


@pytest.mark.parametrize("table, rows, error, text", [
    (np.ones((4, 3), "f"), [[0, 1]], ShapeError,
     'ShapeError: "x" is fed another shape\n  got  float32[2, 3], not float32[2, 2]'),
    (np.ones((4, 2), "f"), [[0, 4]], ShapeError,
     "ShapeError: a step is to take a row that its table has not\n  got  rows 0 to 4 of 4"),
    (np.ones((4, 2), "c8"), [[0, 1]], DTypeError,
     'DTypeError: "x" is fed another element type\n  got  complex64, not float32')])
def test_error_texts(table, rows, error, text):
    x = gt.placeholder((2, 2), name="x")
    with pytest.raises(error) as caught:
        gt.function([x], [x * 1.0]).steps([table], np.array(rows))
    assert f"{type(caught.value).__name__}: {caught.value}".split("\n  at")[0] == text


def test_ctrl_c_is_answered_within_a_second():
    """By the clock of this process alone: others on the machine do not count."""
    sent, ended = [], []

    def interrupt():
        sent.append(time.process_time())
        os.kill(os.getpid(), signal.SIGINT)

    later = threading.Timer(0.3, interrupt)              # from the first steps on
    told = FunctionCallback(on_batch_end=lambda run: later.ident or later.start(),
                            on_fit_end=lambda run: ended.append(time.process_time()))
    model = gt.Sequential([layers.Dense(3)])
    trainer = gt.Trainer(model, loss=layers.SparseCategoricalCrossentropy(from_logits=True))
    x = np.tile(X, (3000, 1))
    run = trainer.fit(x, np.tile(Y, 3000), epochs=10 ** 6, batch_size=2, callbacks=told)
    later.join()
    assert run.interrupted and ended[0] - sent[0] < 1.0
    assert trainer.keys.step.numpy() > 0 and np.isfinite(trainer.predict(X)).all()


def test_a_batch_is_gathered_apart_only_if_it_is_not_full(monkeypatch):
    asked, whole = [], Source.epoch

    def epoch(self, number, start=0):
        asked.append(start)
        return whole(self, number, start)

    monkeypatch.setattr(Source, "epoch", epoch)
    for samples, starts in ((200, []), (203, [25])):
        asked.clear()
        trainer = gt.Trainer(layers.Dense(3), loss="mse")
        trainer.fit(X[:samples], np.zeros((samples, 3), "f"), epochs=1, batch_size=8)
        assert asked == starts


def test_runs_at_the_same_time_have_memory_of_their_own():
    """Products from one to many rows, whose arguments are kept from run to run."""
    w = gt.constant(rng.standard_normal((40, 12)).astype("f"))
    functions = [(many, gt.function([x], gt.relu(x @ w))) for many in (1, 30, 900)
                 for x in [gt.placeholder((many, 40))]]
    data = rng.standard_normal((6, 900, 40)).astype("f")
    expected = [[f(part[:many]) for many, f in functions] for part in data]
    wrong = []

    def work(i):
        for _ in range(30):
            found = [f(data[i][:many]) for many, f in functions]
            if any(a.tobytes() != b.tobytes() for a, b in zip(found, expected[i])):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_the_pace_follows_the_time_a_step_takes():
    pace = stepping.Pace()
    for steps, seconds, size, expected in ((1, 1e-4, 8, 500), (500, 0.1, 8, 250), (250, 10, 8, 1),
                                           (2, 1e-4, 2 ** 22, 8), (1, 1e-4, 2 ** 30, 1)):
        pace.measured(steps, seconds, size)
        assert pace.steps == expected
    pace.measured(1, 0.0, 0)
    assert pace.steps > 10 ** 6


def test_sums_are_added_in_the_order_of_steps():
    parts = np.float32([1e8, 1, -1e8, 3e-3, 7])
    one_by_one: list = []
    for part in parts:
        one_by_one = stepping.added(one_by_one, [part])
    grouped = stepping.added_up(stepping.added_up([], [parts[:2]]), [parts[2:]])
    assert one_by_one[0].tobytes() == grouped[0].tobytes()
