"""``gradatim quickstart``: a line, images and text, each beside a naive baseline, in a minute."""
from __future__ import annotations

import os
import tempfile
import time

import numpy as np

from .datasets import load_diabetes, load_digits, load_python_docs_text
from .estimators import CNNClassifier, LinearRegressor, TextGenerator, load


def quickstart(verbose: bool = True) -> dict[str, float]:
    """Fit three models and print what they reach.

    Returns
    -------
    dict of str to float
        The scores, by model, and the seconds it took.
    """
    start = time.perf_counter()
    scores = {"linear": linear(), "digits": digits(verbose), "text": text(verbose)}
    scores["seconds"] = time.perf_counter() - start
    print(f"\nAll of it took {scores['seconds']:.0f} s. Next: the tutorials, and "
          "help(gradatim.CNNClassifier).")
    return scores


def linear() -> float:
    """Linear regression on the diabetes data."""
    print("1. Linear regression: disease progression of 442 patients")
    data = load_diabetes()
    model = LinearRegressor().fit(data.data, data.target)
    score = model.score(data.data, data.target)
    report("R²", score, "always predicting the mean", 0.0)
    return score


def digits(verbose: bool) -> float:
    """A convolutional net on handwritten digits, saved and loaded again."""
    print("\n2. Convolutional net: 1,797 handwritten digits of 8 by 8 pixels")
    data = load_digits()
    train, test = slice(0, 1347), slice(1347, None)
    model = CNNClassifier(epochs=10, random_state=0, verbose=int(verbose))
    whole(model.fit(data.images[train], data.target[train]))
    score = model.score(data.images[test], data.target[test])
    most = np.bincount(data.target[train]).argmax()
    report("test accuracy", score, "always guessing the most frequent digit",
           np.mean(data.target[test] == most))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "digits.h5")
        model.save(path)
        same = np.array_equal(load(path).predict_proba(data.images[test]),
                              model.predict_proba(data.images[test]))
        size = os.path.getsize(path)
    print(f"   saved to one file of {size / 1024:,.0f} KB and loaded: "
          f"{'the same predictions, bit for bit' if same else 'DIFFERENT predictions'}")
    return score


def text(verbose: bool) -> float:
    """A character model of the standard library's documentation."""
    source = load_python_docs_text()[:200_000]
    cut = int(0.9 * len(source))
    print(f"\n3. Character model: {cut:,} characters of Python's own documentation")
    model = TextGenerator(units=96, epochs=3, random_state=0, verbose=int(verbose))
    whole(model.fit(source[:cut]))
    score = -model.score(source[cut:])
    counts = np.array([source[:cut].count(c) + 1 for c in model.vocabulary_[1:]], float)
    frequency = dict(zip(model.vocabulary_[1:], np.log(counts / counts.sum())))
    floor = min(frequency.values())
    naive = -np.mean([frequency.get(c, floor) for c in source[cut:]])
    report("nats per character", score, "letter frequencies alone", naive)
    sample = model.generate("The ", 120, temperature=0.7, random_state=0)
    print("   it writes: " + " ".join(sample.split()))
    return score


def whole(model) -> None:
    """Ctrl-C ends the whole tour; a fit alone ends early and keeps what it has learned."""
    if len(model.history_) < model.epochs:
        raise KeyboardInterrupt


def report(what: str, score: float, baseline: str, naive: float) -> None:
    """A score beside what costs nothing."""
    print(f"   {what} {score:.3f}   ({baseline}: {naive:.3f})")
