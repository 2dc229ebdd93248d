"""Checkpoints: a fit that goes on from its file ends with the same bits; max_time ends a fit."""
import os
import pickle
import runpy
import time
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone

import gradatim as gt
from gradatim import layers
from gradatim.backend.errors import CorruptFileError, FileAccessError, ParameterError
from gradatim.backend.model_file import read_model, write_model
from gradatim.training import Callback, Checkpoint, CSVLogger, EarlyStopping, FunctionCallback
from gradatim.training.checkpoint import seconds

KILL_LOOP = runpy.run_path(str(Path(__file__).with_name("kill_loop.py")))
RNG = np.random.default_rng(5)
X = RNG.standard_normal((90, 6))
Y = X[:, 0] * X[:, 1]


class Stop(Callback):
    """Ends the process's fit by an exception after some steps: as a kill, but faster."""
    every_steps = 1

    def __init__(self, after):
        self.after = after

    def on_batch_end(self, run):
        if run.steps_done == self.after:
            raise SystemExit


def fit(path=None, stop=0, callbacks=(), seed=1, rows=90, checkpoint=None, rate=0.01, **settings):
    net = gt.Sequential([layers.Dense(8, "relu"), layers.Dropout(0.2), layers.Dense(1)])
    trainer = gt.Trainer(net, learning_rate=rate, schedule="one_cycle", metrics=["mae"], seed=seed,
                         **settings)
    extra = [Stop(stop)] if path and stop else [Stop(10 ** 9)]
    if path:
        extra.append(Checkpoint(path, **(checkpoint or {"every_steps": 1})))
    run = trainer.fit(X[:rows], Y[:rows], epochs=5, batch_size=16, validation_fraction=0.2,
                      callbacks=[*callbacks, *extra])
    return trainer, run


def state(trainer, run):
    weights = {name: v.numpy().tobytes() for name, v in trainer.variables().items()}
    return weights, run.history, run.best_epoch


@pytest.mark.parametrize("stop", [1, 4, 5, 6, 13, 24, 25])
@pytest.mark.parametrize("kind", [{"every_steps": 1}, {"every_steps": 3, "every_epochs": None},
                                  {"every_epochs": 2}, {"every_seconds": 0.0}], ids=str)
def test_resumed_equals_uninterrupted(tmp_path, stop, kind):
    path, stopping = tmp_path / "run.h5", [EarlyStopping(patience=1)]
    whole = state(*fit(callbacks=stopping))
    try:
        fit(path, stop, stopping, checkpoint=kind)
    except SystemExit:
        pass
    assert state(*fit(path, 0, stopping, checkpoint=kind)) == whole
    assert os.listdir(tmp_path) == []


def test_killed_and_resumed():
    found, whole, happened, left = KILL_LOOP["killed_and_whole"](
        "dense", seed=2, kills=1, extra="every_steps=3")
    assert happened and found == whole and left == []


@pytest.mark.parametrize("batch_size", [None, 16])
def test_sequences_and_full_batches_go_on(tmp_path, batch_size):
    samples = [x[:2 + i % 5, None] for i, x in enumerate(X)]

    def weights(path=None, stop=10 ** 9):
        net = gt.Sequential([layers.LSTM(3), layers.Dropout(0.2), layers.Dense(1)])
        trainer = gt.Trainer(net, seed=3)
        trainer.fit(samples, Y, epochs=4, batch_size=batch_size, callbacks=[
            Stop(stop), *([Checkpoint(path, every_steps=1)] if path else [])])
        return [v.numpy().tobytes() for v in trainer.variables().values()]

    with pytest.raises(SystemExit):
        weights(tmp_path / "run.h5", 3)
    assert weights(tmp_path / "run.h5") == weights()


def test_a_log_has_each_epoch_once(tmp_path):
    log, path = tmp_path / "log.csv", tmp_path / "run.h5"
    fit(callbacks=[CSVLogger(log)])
    whole = log.read_text()
    with pytest.raises(SystemExit):
        fit(path, 19, [CSVLogger(log)], checkpoint={"every_epochs": 3})
    fit(path, 0, [CSVLogger(log)], checkpoint={"every_epochs": 3})
    assert log.read_text() == whole


def test_a_kept_checkpoint_ends_the_same_fit_at_once(tmp_path):
    path, kept = tmp_path / "run.h5", {"keep": True}
    first = fit(path, checkpoint=kept)
    trainer, run = fit(path, checkpoint=kept)
    assert run.resumed and state(trainer, run) == state(*first)


def half_written(path):
    data = path.read_bytes()
    path.write_bytes(data[:len(data) // 2])


def foreign(path):
    gt.LinearRegressor().fit(X, Y).save(path)


def changed(**changes):
    def change(path):
        manifest, arrays = read_model(path)
        manifest["state"]["dict"] = [[k, changes.get(k, v)] for k, v in manifest["state"]["dict"]]
        write_model(path, manifest, arrays)
    return change


def without_weight(path):
    manifest, arrays = read_model(path)
    del arrays["variables/dense/bias"]
    write_model(path, manifest, arrays)


MISFIT = '"run.h5" is a checkpoint that does not fit together'
DAMAGES = [(half_written, '"run.h5" is cut off'), (foreign, '"run.h5" is no checkpoint'),
           (lambda path: path.write_bytes(b""), '"run.h5" is not a gradatim model file'),
           (without_weight, MISFIT), (changed(epoch=7), MISFIT), (changed(batch=-1), MISFIT),
           (changed(totals={"list": []}), MISFIT), (changed(memories={"list": []}), MISFIT),
           (changed(history="x"), MISFIT), (changed(names={"array": "none"}), MISFIT)]


@pytest.mark.parametrize("damage, text", DAMAGES, ids=[str(i) for i in range(len(DAMAGES))])
def test_damaged_and_foreign_files(tmp_path, damage, text):
    path = tmp_path / "run.h5"
    with pytest.raises(SystemExit):
        fit(path, 7)
    damage(path)
    before = path.read_bytes()
    with pytest.raises(CorruptFileError) as caught:
        fit(path)
    assert str(caught.value).startswith(text) and path.read_bytes() == before


@pytest.mark.parametrize("other, name", [
    ({"seed": 2}, "seed is"), ({"rows": 89}, "samples are"), ({"rate": 0.02}, "learning_rate is"),
    ({"alpha": 0.1}, "alpha is"), ({"callbacks": [EarlyStopping()]}, "callbacks are")], ids=str)
def test_a_checkpoint_of_another_fit(tmp_path, other, name):
    path = tmp_path / "run.h5"
    with pytest.raises(SystemExit):
        fit(path, 7)
    with pytest.raises(ParameterError) as caught:
        fit(path, **other)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"the checkpoint is of another fit: its {name} not the same"
    assert lines[-1] == "  fix  pass the data and settings of that fit, or remove the file"


def test_what_a_killed_writer_left_is_removed(tmp_path):
    left = tmp_path / f".run.h5.{'0a' * 8}.tmp"
    left.write_bytes(b"half")
    fit(tmp_path / "run.h5")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there_is_told_before_the_first_step(tmp_path):
    steps = []
    watch = FunctionCallback(on_batch_end=lambda run: steps.append(run.batch))
    with pytest.raises(FileAccessError) as caught:
        fit(tmp_path / "no" / "run.h5", callbacks=[watch], checkpoint={"every_seconds": 3600.0})
    assert not steps and str(caught.value) == (
        f'cannot write "run.h5": No such file or directory\n  at   {tmp_path}/no/run.h5\n'
        "  fix  make the folder first, or save elsewhere")


def test_a_callback_must_remember_what_a_file_can_hold(tmp_path):
    class Odd(Callback):
        def on_epoch_end(self, run):
            run.memory(self).thing = object
    with pytest.raises(ParameterError, match="^the state of a fit holds something that cannot"):
        fit(tmp_path / "run.h5", callbacks=[Odd()])


@pytest.mark.parametrize("settings, text", [
    ({"every_epochs": None}, "a checkpoint that is never written is of no use"),
    ({"every_steps": 0}, "every_steps must be a whole number from 1 on, not 0"),
    ({"every_epochs": True}, "every_epochs must be a whole number from 1 on, not True")], ids=str)
def test_parameters(settings, text):
    with pytest.raises(ParameterError) as caught:
        Checkpoint("run.h5", **settings)
    assert str(caught.value).splitlines()[0] == text


# ---- estimators --------------------------------------------------------------------------------

def model(path, stop=None, **settings):
    ends = None if stop is None else FunctionCallback(
        lambda run: exec("raise SystemExit") if run.epoch == stop else None)
    callbacks = FunctionCallback() if ends is None else ends
    return gt.DNNRegressor(hidden_layer_sizes=(8,), epochs=8, solver="mini_batch", batch_size=20,
                           checkpoint=path, callbacks=callbacks, early_stopping=True, **settings)


def test_an_estimator_goes_on_also_without_a_seed(tmp_path):
    path = tmp_path / "run.h5"
    with pytest.raises(SystemExit):
        model(path, stop=4).fit(X, Y)
    seed = Checkpoint(path).seed(0)
    resumed = model(path).fit(X, Y)
    assert resumed._fitted.seed == seed and not path.exists()
    assert Checkpoint(path).seed(3) == 3


IMAGES = RNG.random((90, 6, 6, 1))
SEQUENCES = [np.resize(x, (1 + i % 5, 2)) for i, x in enumerate(X)]
EPOCHS = {"epochs": 3, "batch_size": 16, "solver": "mini_batch", "random_state": 0}
RESUMED = [
    (gt.CNNClassifier(augmentation=["flip", "crop", "mixup"], early_stopping=True, ema=0.9,
                      **EPOCHS), IMAGES, Y > 0),
    (gt.DNNClassifier(dropout=0.2, sampling="balanced", calibration="temperature",
                      label_smoothing=0.1, **EPOCHS), X, Y > 0),
    (gt.DNNRegressor(loss="gaussian", calibration="conformal", swa=0.3, **EPOCHS), X, Y),
    (gt.RNNRegressor(units=3, dropout=0.2, early_stopping=True, **EPOCHS), SEQUENCES, Y),
    (gt.RNNTagger(units=3, **EPOCHS), SEQUENCES, [(x[:, 0] > 0) for x in SEQUENCES]),
    (gt.RNNForecaster(horizon=2, lookback=4, units=3, **EPOCHS), X, None),
    (gt.Autoencoder(hidden_layer_sizes=(), **EPOCHS), X, None),
]


@pytest.mark.parametrize("estimator, samples, y", RESUMED, ids=lambda value: type(
    value).__name__ if hasattr(value, "fit") else "")
def test_every_kind_of_estimator_goes_on(tmp_path, estimator, samples, y):
    def weights(path, stop):
        net = clone(estimator).set_params(
            callbacks=Stop(stop), checkpoint=None if path is None else Checkpoint(path, 1, 1))
        net.fit(samples, y) if y is not None else net.fit(samples)
        return {name: v.numpy().tobytes() for name, v in net.network_.variables().items()}

    with pytest.raises(SystemExit):
        weights(tmp_path / "run.h5", 4)
    assert weights(tmp_path / "run.h5", 10 ** 9) == weights(None, 10 ** 9)


def test_an_estimator_with_a_checkpoint_is_copied_and_saved(tmp_path):
    net = model(str(tmp_path / "run.h5"), random_state=0, max_time="5m")
    assert clone(net).checkpoint == net.checkpoint
    net.fit(X, Y)
    plain = clone(net).set_params(checkpoint=None).fit(X, Y)
    np.testing.assert_array_equal(net.predict(X), plain.predict(X))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(net)).predict(X), net.predict(X))
    net.set_params(callbacks=None).save(tmp_path / "net.h5")
    loaded = gt.load(tmp_path / "net.h5")
    assert loaded.checkpoint is loaded.max_time is None


# ---- max_time ----------------------------------------------------------------------------------

def test_max_time_ends_a_fit_and_a_checkpoint_goes_on(tmp_path):
    path, whole = tmp_path / "run.h5", gt.DNNRegressor(
        hidden_layer_sizes=(8,), epochs=40, solver="mini_batch", batch_size=20, random_state=0)
    slow = FunctionCallback(lambda run: time.sleep(0.02))
    net = clone(whole).set_params(checkpoint=path, max_time=0.3, callbacks=slow)
    begin = time.perf_counter()
    net.fit(X, Y)
    assert time.perf_counter() - begin < 5 and 1 <= net.n_epochs_ < 40 and path.exists()
    again = clone(net).set_params(max_time="1h").fit(X, Y)
    np.testing.assert_array_equal(again.predict(X), whole.fit(X, Y).predict(X))
    assert again.history_ == whole.history_ and not path.exists()


def test_max_time_before_the_first_epoch_is_over():
    run = gt.Trainer(gt.Sequential([layers.Dense(1)])).fit(X, Y, epochs=9, batch_size=1,
                                                           max_time=1e-9)
    assert run.timed_out and len(run.history) == 1 and np.isfinite(run.history[0]["loss"])


@pytest.mark.parametrize("value, expected", [
    (3, 3), (0.5, 0.5), ("90", 90), ("90s", 90), ("10m", 600), (" 1.5 h", 5400), ("2d", 172800)])
def test_times(value, expected):
    assert seconds("max_time", value) == expected


@pytest.mark.parametrize("value", [0, -1, "", "m", "10 minutes", True, np.inf, np.nan, None])
def test_no_times(value):
    with pytest.raises(ParameterError) as caught:
        seconds("max_time", value)
    assert str(caught.value) == (f"max_time must be a time, not {value!r}\n"
                                 '  fix  pass seconds, or text such as max_time="10m"')
