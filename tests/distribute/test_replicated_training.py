"""Training on replicas equals training on one device: every batch, number, weight and statistic."""
import signal
from types import SimpleNamespace

import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend.distribute import DataParallel
from gradatim.training import SGD, Adam, Lamb
from gradatim.training.ranks import agree, cancellable
from gradatim.training.stepping import Pace

RNG = np.random.default_rng(11)
X = RNG.standard_normal((45, 6))                  # 45 = 18 + 18 + 9: an uneven last batch
Y = X @ RNG.standard_normal((6, 2)) + 0.1
CLASSES = RNG.integers(0, 3, 45)
WEIGHTS = RNG.random(45) * (RNG.random(45) > 0.3)


def dense():
    return [layers.Dense(8, activation="tanh"), layers.Dense(2)]


def normalized():
    return [layers.Dense(8), layers.BatchNormalization(), layers.Activation("relu"),
            layers.Dropout(0.4), layers.Dense(2, kernel_regularizer=layers.L2(0.01))]


def classifier():
    return [layers.Dense(8, activation="relu"), layers.Dropout(0.2), layers.BatchNormalization(),
            layers.Dense(3, activation="softmax")]


def attentive():
    return [layers.Reshape((3, 2)), layers.MultiHeadAttention(2, 3, dropout=0.2),
            layers.RMSNormalization(), layers.Flatten(), layers.Dense(2)]


CASES = {
    "dense": (dense, Y, None, dict(metrics=["r2", "mae"])),
    "weights": (dense, Y, WEIGHTS, dict(metrics=["r2", "rmse"], alpha=0.1)),
    "normalized": (normalized, Y, WEIGHTS, dict(optimizer=Adam(0.01, global_clipnorm=0.5))),
    "classes": (classifier, CLASSES, WEIGHTS, dict(
        loss="sparse_categorical_crossentropy", optimizer=SGD(0.1, momentum=0.9, nesterov=True),
        schedule="one_cycle", metrics=["accuracy", "f1", "precision", "recall"])),
    "attention": (attentive, Y, WEIGHTS, dict(optimizer=Lamb(0.01, clipnorm=0.5))),
}


def trained(case, strategy, batch_size):
    network, y, weights, settings = CASES[case]
    trainer = gt.Trainer(gt.Sequential(network()), dtype="float64", seed=5, strategy=strategy,
                         **settings)
    trainer.fit(X, y, weights, epochs=3, batch_size=batch_size, X_val=X[:11], y_val=y[:11])
    state = {name: v.numpy() for name, v in trainer.variables().items()}
    return trainer.history, state, trainer.evaluate(X, y, weights), trainer.predict(X[:7])


@pytest.mark.parametrize("batch_size", [18, None])
@pytest.mark.parametrize("replicas", [2, 3])
@pytest.mark.parametrize("case", CASES)
def test_replicas_equal_one_device(case, replicas, batch_size):
    history, state, numbers, outputs = trained(case, "single", batch_size)
    other_history, other, other_numbers, other_outputs = trained(case, DataParallel(replicas),
                                                                 batch_size)
    assert len(history) == 3 and history[0] != history[2]
    for one, two in zip(history, other_history, strict=True):
        assert two == pytest.approx(one, rel=0, abs=1e-10)
    assert other.keys() == state.keys()
    for name, value in state.items():
        np.testing.assert_allclose(other[name], value, rtol=0, atol=1e-10, err_msg=name)
    assert other_numbers == pytest.approx(numbers, rel=0, abs=1e-10)
    np.testing.assert_allclose(other_outputs, outputs, rtol=0, atol=1e-10)


def test_sequences_of_unequal_length_on_replicas():
    lengths = RNG.integers(1, 9, 21)
    samples = [RNG.standard_normal((n, 3)) for n in lengths]
    y = np.array([s.sum() for s in samples])
    found = []
    for strategy in ("single", DataParallel(3)):
        model = gt.Sequential([layers.LSTM(4), layers.Dense(1)])
        trainer = gt.Trainer(model, dtype="float64", metrics=["r2"], strategy=strategy)
        trainer.fit(samples, y, epochs=2, batch_size=6)
        found.append((trainer.history, [v.numpy() for v in trainer.variables().values()]))
    (history, state), (other_history, other) = found
    for one, two in zip(history, other_history, strict=True):
        assert two == pytest.approx(one, rel=0, abs=1e-10)
    for a, b in zip(state, other, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10)


def test_ctrl_c_while_ranks_agree_counts_the_next_time():
    class Team:
        rank, step, reduced = 0, 0, 0

        def all_reduce(self, x, operation):
            self.reduced += 1
            if self.reduced == 1:              # between what this rank says and what all say
                signal.raise_signal(signal.SIGINT)
            return x

    run = SimpleNamespace(team=Team(), halt=False, timed_out=False, stop=False, cancelled=False,
                          pace=Pace(), steps_done=7)
    with cancellable(run):
        agree(run)
        assert run.team.step == 7
        with pytest.raises(KeyboardInterrupt):
            agree(run)
