"""Prints what the estimators reach on real data, each beside its target.

Run ``python -m benchmarks.accuracy`` for all rows, or with names of rows; ``--json FILE`` keeps
the figures. Data sets are found through the environment variable GRADATIM_DATA.
"""
from __future__ import annotations

import argparse
import os
import platform
import time
from fractions import Fraction

import numpy as np

import gradatim as gt
from gradatim import datasets

from .table import keep


def diabetes():
    """LinearRegressor in sample: R², and the largest relative difference to scipy's lstsq."""
    from scipy.linalg import lstsq
    data = datasets.load_diabetes()
    model = gt.LinearRegressor().fit(data.data, data.target)
    design = np.column_stack([np.ones(len(data.data)), data.data])
    exact = lstsq(design, data.target)[0]
    ours = np.concatenate([[model.intercept_], model.coef_])
    return model.score(data.data, data.target), float(np.max(np.abs(ours / exact - 1)))


def polynomials():
    """Wampler- and Filippelli-type polynomials: right digits, in one fit and streamed."""
    steps, points = np.arange(21.0), np.linspace(-8.9, -3.1, 82)
    noise = np.random.default_rng(0).normal(size=82)
    problems = [(steps, sum(steps ** k for k in range(6)), 5),
                (steps, sum((0.1 * steps) ** k for k in range(6)), 5),
                (points, (1.0 - points) ** 10 / 1e6 + 0.003 * noise, 10)]
    return min(right_digits(x, y, degree) for x, y, degree in problems), None


def right_digits(x, y, degree: int) -> float:
    """The fewest right decimal digits of any coefficient, of one fit and of a streamed one."""
    X = np.stack([x ** k for k in range(1, degree + 1)], axis=1)
    exact = exact_solution(X, y)
    whole = gt.LinearRegressor().fit(X, y)
    streamed = gt.LinearRegressor()
    for rows in np.array_split(np.arange(len(x)), 4):
        streamed.partial_fit(X[rows], y[rows])
    errors = [np.max(np.abs(np.concatenate([[m.intercept_], m.coef_]) / exact - 1))
              for m in (whole, streamed)]
    return float(-np.log10(max(max(errors), 1e-16)))


def exact_solution(X, y) -> np.ndarray:
    """Least squares of the given numbers in rational arithmetic, rounded once at the end."""
    rows = [[Fraction(1), *(Fraction(float(v)) for v in row)] for row in X]
    targets, size = [Fraction(float(t)) for t in y], len(rows[0])
    system = [[sum(r[i] * r[j] for r in rows) for j in range(size)]
              + [sum(r[i] * t for r, t in zip(rows, targets))] for i in range(size)]
    for i in range(size):
        pivot = system[i][i]
        for j in range(size):
            if j != i:
                factor = system[j][i] / pivot
                system[j] = [a - factor * b for a, b in zip(system[j], system[i])]
    return np.array([float(system[i][size] / system[i][i]) for i in range(size)])


def fashion(model):
    """Test accuracy on Fashion-MNIST."""
    data = datasets.load_fashion_mnist()
    X_train, X_test = data.X_train, data.X_test
    if not isinstance(model, gt.CNNClassifier):
        X_train, X_test = (X.reshape(len(X), -1) for X in (X_train, X_test))
    model.fit(X_train, data.y_train)
    return model.score(X_test, data.y_test), None


def fashion_linear():
    """LinearClassifier, defaults."""
    return fashion(gt.LinearClassifier(random_state=0, verbose=VERBOSE))


def fashion_dnn():
    """DNNClassifier, defaults."""
    return fashion(gt.DNNClassifier(random_state=0, verbose=VERBOSE))


def fashion_cnn():
    """CNNClassifier, defaults."""
    return fashion(gt.CNNClassifier(random_state=0, verbose=VERBOSE))


def digits():
    """CNNClassifier, defaults: mean of 5-fold cross-validation."""
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    data = datasets.load_digits()
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    scores = cross_val_score(gt.CNNClassifier(random_state=0, verbose=VERBOSE), data.images,
                             data.target, cv=folds)
    return float(scores.mean()), float(scores.std())


def vowels():
    """RNNClassifier, defaults, on lists of unequal length: mean test accuracy of 11 seeds."""
    data = datasets.load_japanese_vowels()
    models = (gt.RNNClassifier(random_state=seed, verbose=VERBOSE) for seed in range(11))
    scores = [m.fit(data.X_train, data.y_train).score(data.X_test, data.y_test) for m in models]
    return float(np.mean(scores)), None


def shakespeare():
    """TextGenerator, LSTM 128, 5 epochs: nats per character on the last tenth."""
    text = datasets.load_tiny_shakespeare()
    cut = int(0.9 * len(text))
    model = gt.TextGenerator(units=128, epochs=5, random_state=0, verbose=VERBOSE)
    return -model.fit(text[:cut]).score(text[cut:]), None


def etth1():
    """RNNForecaster, 24 hours ahead: error over that of the last value repeated, which is less
    than that of yesterday's same hour (the last fifth of the time, oil temperature)."""
    power = datasets.load_etth1()
    oil, hours = power.data[:, -1], power.dates.astype("datetime64[h]").astype(int) % 24
    clock = np.stack([np.sin(hours * np.pi / 12), np.cos(hours * np.pi / 12)], axis=1)
    cut, lookback = int(0.8 * len(oil)), 48
    model = gt.RNNForecaster(horizon=24, lookback=lookback, season=24, early_stopping=True,
                             patience=3, random_state=0, verbose=VERBOSE)
    model.fit(oil[:cut], known=clock[:cut])
    after = slice(cut - lookback, None)
    truth, forecasts = model.backtest(oil[after], known=clock[after])
    naive = [gt.BaselineForecaster(strategy=strategy, lookback=lookback).fit(oil[:cut])
             .backtest(oil[after])[1] for strategy in ("last", "seasonal")]
    error, *others = (float(np.abs(truth - f).mean()) for f in (forecasts, *naive))
    return error / min(others), error


# name: (what runs, target, whether more is better, what the second figure is)
ROWS = {
    "diabetes": (diabetes, 0.517748, True, "largest relative difference to scipy.linalg.lstsq"),
    "polynomials": (polynomials, 7.0, True, ""),
    "fashion_linear": (fashion_linear, 0.84, True, ""),
    "fashion_dnn": (fashion_dnn, 0.885, True, ""),
    "fashion_cnn": (fashion_cnn, 0.915, True, ""),
    "digits": (digits, 0.985, True, "standard deviation over folds"),
    "vowels": (vowels, 0.97, True, ""),
    "etth1": (etth1, 0.95, False, "mean absolute error in degrees"),
    "shakespeare": (shakespeare, 1.70, False, ""),
}
VERBOSE = 0


def main() -> None:
    """Run rows and print the table."""
    global VERBOSE
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", help=f"any of {', '.join(ROWS)}; all by default")
    parser.add_argument("--json", help="file to write the figures to")
    parser.add_argument("--verbose", action="store_true", help="show progress bars")
    options = parser.parse_args()
    VERBOSE = int(options.verbose)
    unknown = set(options.rows) - set(ROWS)
    if unknown:
        parser.error(f"there is no row {', '.join(sorted(unknown))}")
    machine = f"{platform.machine()}, {os.cpu_count()} processors, gradatim {gt.__version__}, " \
              f"backend {gt.get_backend().name}"
    print(machine)
    print(f"{'row':<16}{'reached':>11}{'target':>11}  {'':<6}{'seconds':>8}")
    figures = {"machine": machine, "rows": {}}
    for name in options.rows or ROWS:
        run, target, more, second_is = ROWS[name]
        start = time.perf_counter()
        reached, second = run()
        seconds = time.perf_counter() - start
        fine = reached >= target - 5e-7 if more else reached <= target
        extra = f"  {second_is} {second:.2g}" if second is not None else ""
        print(f"{name:<16}{reached:>11.6g}{target:>11.6g}  {'ok' if fine else 'SHORT':<6}"
              f"{seconds:>8.0f}{extra}", flush=True)
        figures["rows"][name] = {"reached": reached, "target": target, "met": bool(fine),
                                 "seconds": round(seconds, 1)}
    keep(figures, options.json)


if __name__ == "__main__":
    main()
