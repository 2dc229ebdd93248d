"""What each rank runs for the tests of training on ranks; rank 0 writes what was learned."""
import sys

import numpy as np

import gradatim as gt
from gradatim import layers
from gradatim.backend.distribute import launched, world

RNG = np.random.default_rng(11)
X = RNG.standard_normal((45, 6))                  # 45 = 18 + 18 + 9: an uneven last batch
Y = X @ RNG.standard_normal((6, 2)) + 0.1
CLASSES = RNG.integers(0, 3, 45)
WEIGHTS = RNG.random(45) * (RNG.random(45) > 0.3)
SEQUENCES = [RNG.standard_normal((n, 3)) for n in RNG.integers(1, 9, 21)]


def dense():
    return [layers.Dense(8, activation="tanh"), layers.Dense(2)]


def normalized():
    return [layers.Dense(8), layers.BatchNormalization(), layers.Activation("relu"),
            layers.Dropout(0.4), layers.Dense(3, activation="softmax")]


def recurrent():
    return [layers.LSTM(4), layers.Dense(1)]


CLASSIFY = dict(loss="sparse_categorical_crossentropy", metrics=["accuracy", "f1"])
CASES = {
    "dense": (dense, X, Y, WEIGHTS, dict(metrics=["r2"], alpha=0.1), dict(batch_size=18)),
    "whole": (dense, X, Y, None, {}, dict(batch_size=None)),
    "odd": (dense, X, Y, WEIGHTS, dict(ema=0.9), dict(batch_size=7)),
    "few": (dense, X[:3], Y[:3], None, {}, dict(batch_size=2)),
    "normalized": (normalized, X, CLASSES, WEIGHTS, CLASSIFY, dict(batch_size=18)),
    "accumulated": (dense, X, Y, WEIGHTS, dict(accumulate=2),
                    dict(batch_size=9)),
    "sequences": (recurrent, SEQUENCES, np.array([s.sum() for s in SEQUENCES]), None,
                  dict(metrics=["mae"]), dict(batch_size=6)),
}


def trained(case, strategy="auto"):
    network, samples, y, weights, settings, options = CASES[case]
    trainer = gt.Trainer(gt.Sequential(network()), dtype="float64", seed=5, strategy=strategy,
                         **settings)
    trainer.fit(samples, y, weights, epochs=3, X_val=samples[:11], y_val=y[:11], **options)
    numbers = [*(list(logs.values()) for logs in trainer.history),
               list(trainer.evaluate(samples, y, weights).values())]
    arrays = {name: v.numpy() for name, v in trainer.variables().items()}
    return arrays | {"numbers": np.concatenate(numbers)}


if __name__ == "__main__":
    for case in CASES:
        found = trained(case)
        if launched() > 1:
            bits = world().gather([a.tobytes() for a in found.values()])
            assert all(other == bits[0] for other in bits), f"{case}: the ranks differ"
        if not launched() or world().rank == 0:
            np.savez(f"{sys.argv[1]}/{case}.npz", **found)
