"""Compares how long training takes to reach an accuracy on Fashion-MNIST's test images.

``python -m benchmarks.time_to_accuracy --peers-python VENV/bin/python``. Everyone trains the LeNet
of ``workloads.py`` with Adam 1e-3 at batch 128 on shuffled images, and scores the test images after
each epoch; the time counts both, and what is compiled on the way, but not the imports.
"""
from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from .rounds import Library, say
from .table import OURS, keep, machine, summary, text

GOAL, MOST, BATCH = 0.90, 20, 128         # accuracy, epochs at most, images per step
TARGET = 2.0                              # times as fast as the fastest peer
VARIANTS = {OURS: ("",), "PyTorch": ("", "channels_last"), "Keras-TensorFlow": ("", "no_jit")}


def main(arguments: list[str] | None = None) -> dict:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers-python", default=sys.executable,
                        help="interpreter that has the peers installed; this one by default")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1, help="trainings of each, side by side")
    parser.add_argument("--quick", action="store_true", help="scikit-learn's digits, one epoch")
    parser.add_argument("--json", metavar="FILE", help="where to keep the figures")
    options = parser.parse_args(arguments)
    times: dict[tuple[str, str], list[float]] = {}
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder, "images.npz"))
        np.savez(path, **images(options.quick))
        for seed in range(options.rounds):
            for name, variants in VARIANTS.items():
                python = sys.executable if name == OURS else options.peers_python
                for variant in variants:
                    told = training(name, variant, python, path, seed, options)
                    if "error" in told:
                        say(f"{name} {variant}: {told['error']}")
                        continue
                    runs.append({"library": name, "variant": variant, **told})
                    say(f"{name} {variant}: {told['seconds']:.1f} s, {told['epochs']} epochs, "
                        f"accuracy {told['accuracy']:.4f}")
                    times.setdefault((name, variant), []).append(told["seconds"] * 1e3)
    row = summary(times, {"fastest": TARGET})
    print(f"milliseconds until {GOAL:.0%} of the test images are told\n")
    print(text({"fashion-mnist": row}))
    keep({"machine": machine(), "goal": GOAL, "runs": runs, **row}, options.json)
    return row


def images(quick: bool) -> dict[str, np.ndarray]:
    """Images from 0 to 1 and labels, to train with and to score."""
    if quick:
        from sklearn.datasets import load_digits
        X, y = load_digits(return_X_y=True)
        X = (X / 16).astype("float32").reshape(-1, 8, 8, 1)
        return {"X": X[300:], "y": y[300:], "X_test": X[:300], "y_test": y[:300]}
    from gradatim.datasets import load_fashion_mnist
    data = load_fashion_mnist()
    X, X_test = ((a / 255).astype("float32")[..., None] for a in (data.X_train, data.X_test))
    return {"X": X, "y": data.y_train, "X_test": X_test, "y_test": data.y_test}


def training(name: str, variant: str, python: str, path: str, seed: int, options) -> dict:
    """What one training took, in a process of its own; an error where there was none."""
    library = Library(name, python, options.threads)
    told = {"error": library.missing} if library.missing else library.ask(
        do="reach", path=path, variant=variant, seed=seed, batch=BATCH,
        goal=0.0 if options.quick else GOAL, most=MOST)
    library.close()
    return told


if __name__ == "__main__":
    main()
