"""Train and predict for long, and see that resident memory does not grow.

Run as ``python tests/backend/soak.py --steps 10000``; the test suite runs a short form. The first
tenth of the steps warms up; growth is what the rest adds.
"""
import argparse
import os
import sys

import numpy as np

import gradatim as gt
from gradatim import layers

ALLOWED = 2 ** 20      # bytes; a leak of a small object per step is more from 20,000 steps on
ROUND = 100            # steps between two predictions


def resident() -> int:
    """Bytes of this process that lie in memory."""
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def task(backend: str):
    """A round of steps and a prediction of a tiny net with many kinds of step."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((4 * ROUND, 6, 3)).astype("f")
    y = rng.integers(0, 3, 4 * ROUND)
    net = gt.Sequential([layers.LSTM(4, return_sequences=True), layers.Conv1D(4, 2),
                         layers.Flatten(), layers.Dropout(0.2), layers.Dense(3)])
    model = gt.Trainer(net, layers.SparseCategoricalCrossentropy(from_logits=True), "adam",
                       metrics=["accuracy"], backend=backend)

    def once():
        model.fit(X, y, epochs=1, batch_size=4)
        model.predict(X[:5])
    return once


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--backend", default="auto")
    options = parser.parse_args()
    once = task(options.backend)
    rounds = options.steps // ROUND
    for _ in range(rounds // 10):
        once()
    before = resident()
    for _ in range(rounds - rounds // 10):
        once()
    growth = resident() - before
    print(f"{options.steps} steps, resident {before:,} bytes, growth {growth:,} bytes")
    return int(growth > ALLOWED)


if __name__ == "__main__":
    sys.exit(main())
