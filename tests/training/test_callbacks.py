"""Callbacks: early stopping, plateaus, NaN, CSV files, functions; none of them holds state."""
import csv
import math
import pickle
from threading import Thread
from types import SimpleNamespace

import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend.errors import FileAccessError, NonFiniteError, ParameterError
from gradatim.training import (Callback, CSVLogger, EarlyStopping, FunctionCallback,
                               ReduceLROnPlateau, TerminateOnNaN)
from gradatim.training.loop import Run

X = np.linspace(-1, 1, 12)[:, None]
Y = 2 * X + 1


def trainer(**settings):
    return gt.Trainer(gt.Sequential([layers.Dense(1)]), learning_rate=0.1, **settings)


class Scripted(Callback):
    """Puts given numbers in place of an epoch's and marks the weights with the epoch."""

    def __init__(self, key, values):
        self.key, self.values = key, values

    def on_epoch_end(self, run):
        run.logs[self.key] = self.values[run.epoch]
        bias = run.trainer.model.variables()["dense/bias"]
        bias.assign(np.full(1, run.epoch, np.float32))


def stopped(values, key="val_loss", **settings):
    made = trainer(metrics=["accuracy", "mse"])
    run = made.fit(X, Y, epochs=len(values), batch_size=None, X_val=X, y_val=Y,
                   callbacks=[Scripted(key, values), EarlyStopping(key, **settings)])
    return len(run.history), run.best_epoch, float(made.model.variables()["dense/bias"].numpy()[0])


NAN = math.nan
STOPS = [      # values, settings -> epochs made, best epoch
    ([5, 4, 3, 2, 1], dict(patience=1), 5, 4),
    ([5, 4, 4, 3, 1], dict(patience=1), 3, 1),
    ([5, 4, 4, 3, 1], dict(patience=0), 3, 1),
    ([5, 4, 4, 3, 1], dict(patience=2), 5, 4),
    ([5, 4, 6, 7, 1, 0], dict(patience=3), 6, 5),
    ([5, 4, 6, 7, 8, 0], dict(patience=3), 5, 1),
    ([5.0, 4.9, 4.8, 4.7], dict(patience=2, min_delta=0.5), 3, 0),
    ([1, 2, 3, 2, 2], dict(patience=2, mode="max"), 5, 2),
    ([5, NAN, NAN, 1, 1], dict(patience=2), 3, 0),
    ([NAN, 3, 4, 4, 4], dict(patience=2), 4, 1),
]


@pytest.mark.parametrize("values, settings, made, best", STOPS)
def test_early_stopping_counts_and_restores(values, settings, made, best):
    assert stopped(values, **settings) == (made, best, float(best))


def test_direction_follows_the_metric():
    assert stopped([0.1, 0.2, 0.3, 0.2, 0.1], "val_accuracy", patience=2) == (5, 2, 2.0)
    assert stopped([0.3, 0.2, 0.1, 0.2, 0.3], "mean_squared_error", patience=2) == (5, 2, 2.0)


def test_without_validation_data_the_training_number_is_monitored():
    run = trainer().fit(X, Y, epochs=3, callbacks=EarlyStopping("val_loss"))
    assert run.best_epoch == 2


def test_unknown_monitor():
    with pytest.raises(ParameterError) as caught:
        trainer(metrics=["r2"]).fit(X, Y, callbacks=EarlyStopping("val_acc"))
    assert str(caught.value) == ('there is nothing called "val_acc" to monitor\n'
                                 "  fix  use one of loss, r2, learning_rate")


def rates(values, rate=0.1, **settings):
    made = trainer()
    found = []
    made.fit(X, Y, epochs=len(values), callbacks=[
        Scripted("loss", values), ReduceLROnPlateau("loss", **settings),
        FunctionCallback(lambda run: found.append(run.learning_rate))])
    return found


def test_reduce_on_plateau():
    assert rates([3, 2, 2, 2, 2], factor=0.5, patience=2) == [.1, .1, .1, .05, .05]
    assert rates([3, 3, 3, 3], factor=0.5, patience=1) == [.1, .05, .025, .0125]
    assert rates([3, 3, 3], factor=0.5, patience=1, min_lr=0.04) == [.1, .05, .04]
    assert rates([3, 3, 3], factor=0.5, patience=1, min_lr=7.0) == [.1, .1, .1]
    assert rates([3, 2.9, 2.8], factor=0.5, patience=1, min_delta=0.5) == [.1, .05, .025]


def test_the_lowered_rate_is_used():
    made = trainer()
    run = made.fit(X, Y, epochs=3, callbacks=[
        Scripted("loss", [1, 1, 1]), ReduceLROnPlateau("loss", factor=0.5, patience=1)])
    assert [logs["learning_rate"] for logs in run.history] == [0.1, 0.1, 0.05]


def test_terminate_on_nan():
    made = trainer()
    with pytest.raises(NonFiniteError) as caught:
        made.fit(X, Y * np.inf, epochs=4, callbacks=TerminateOnNaN())
    assert str(caught.value).splitlines()[1] == \
        "  fix  lower learning_rate, or set global_clipnorm"
    assert str(caught.value).splitlines()[0].endswith("after epoch 1")
    assert len(made.history) == 1


def test_csv_logger(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("old")
    run = trainer(metrics=["mae"]).fit(X, Y, epochs=2, callbacks=CSVLogger(path))
    rows = list(csv.reader(path.open()))
    assert rows[0] == ["epoch", "loss", "mean_absolute_error", "learning_rate"]
    assert [[int(a), *map(float, rest)] for a, *rest in rows[1:]] == [
        [i, *logs.values()] for i, logs in enumerate(run.history)]
    assert rows[1][3] == "0.1"
    trainer(metrics=["mae"]).fit(X, Y, epochs=1, callbacks=CSVLogger(path, append=True))
    assert list(csv.reader(path.open()))[:3] == rows
    assert len(path.read_text().splitlines()) == 4
    empty = tmp_path / "empty.csv"
    empty.touch()
    trainer().fit(X, Y, epochs=1, callbacks=CSVLogger(empty, append=True))
    assert empty.read_text().startswith("epoch,loss")


def test_csv_logger_is_flushed_each_epoch(tmp_path):
    path, lines = tmp_path / "log.csv", []
    trainer().fit(X, Y, epochs=3, callbacks=[
        CSVLogger(path), FunctionCallback(lambda run: lines.append(path.read_text().count("\n")))])
    assert lines == [2, 3, 4]


def test_csv_logger_without_a_folder(tmp_path):
    with pytest.raises(FileAccessError, match='cannot write "log.csv": No such file'):
        trainer().fit(X, Y, callbacks=CSVLogger(tmp_path / "no" / "log.csv"))


def test_function_callback():
    seen = []
    callback = FunctionCallback(on_fit_begin=lambda run: seen.append("begin"),
                                on_epoch_end=lambda run: seen.append(run.epoch),
                                on_fit_end=lambda run: seen.append("end"),
                                on_batch_end=lambda run: seen.append("steps"))
    trainer().fit(X, Y, epochs=2, batch_size=None, callbacks=callback)
    assert seen == ["begin", "steps", 0, "steps", 1, "end"]
    assert set(callback.config()) == {"on_fit_begin", "on_epoch_end", "on_fit_end", "on_batch_end"}
    assert FunctionCallback().config() == {}
    with pytest.raises(ParameterError, match="on_fit_end must be callable, not 3"):
        FunctionCallback(on_fit_end=3)


def test_callbacks_hold_no_state(tmp_path):
    objects = [EarlyStopping("loss", patience=2), ReduceLROnPlateau("loss", patience=1),
               TerminateOnNaN(), CSVLogger(str(tmp_path / "log.csv"))]
    before = pickle.dumps(objects)
    first = trainer().fit(X, Y, epochs=6, callbacks=objects).history
    assert pickle.dumps(objects) == before
    assert trainer().fit(X, Y, epochs=6, callbacks=objects).history == first


def test_one_object_serves_threads():
    shared = EarlyStopping("loss", patience=2)
    scripts = [[5, 4, 4, 4, 4, 4], [5, 4, 3, 2, 1, 0], [1, 2, 3, 4, 5, 6], [3, 2, 3, 1, 3, 3]]
    found = [None] * len(scripts)

    def work(i):
        run = trainer().fit(X, Y, epochs=6, callbacks=[Scripted("loss", scripts[i]), shared])
        found[i] = len(run.history), run.best_epoch

    threads = [Thread(target=work, args=(i,)) for i in range(len(scripts))]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert found == [(4, 1), (6, 5), (3, 0), (6, 3)]


def test_memories_of_objects_that_are_gone_are_not_taken_over():
    run = Run(SimpleNamespace(), 1)
    for i in range(50):
        memory = run.memory(TerminateOnNaN())        # freed at once: its id would be used again
        assert not vars(memory)
        memory.value = i


ERRORS = [
    (lambda: EarlyStopping(patience=-1), "patience must be a whole number from 0 on, not -1"),
    (lambda: EarlyStopping(patience=1.5), "patience must be a whole number from 0 on, not 1.5"),
    (lambda: EarlyStopping(mode="down"),
     "mode must be one of 'auto', 'min', 'max', not 'down'"),
    (lambda: ReduceLROnPlateau(factor=1.0), "factor must be in (0, 1), not 1.0"),
    (lambda: trainer().fit(X, Y, callbacks=[print]),
     "<built-in function print> is not a callback\n"
     "  fix  pass instances of gradatim.training.Callback"),
]


@pytest.mark.parametrize("make, text", ERRORS, ids=[text[:24] for _, text in ERRORS])
def test_error_texts(make, text):
    with pytest.raises(ParameterError) as caught:
        make()
    assert str(caught.value) == text
