"""Times what small data and short scripts notice: fits with defaults, and importing.

``python -m benchmarks.small``. Every estimator fits 200 rows of 10 numbers with its defaults, and
every fit is the first of a process of its own. ``gradatim.estimators`` is imported after
``sklearn.base``, and from bytecode, as after the first time.
"""
from __future__ import annotations

import argparse
import sys
import tempfile
from statistics import median
from time import perf_counter

from .rounds import environment, printed
from .table import keep, machine

FIT, IMPORT = 0.5, 0.2          # seconds at most
ROWS, COLUMNS = 200, 10
NUMBERS = ("LinearRegressor", "DNNRegressor", "CNNRegressor", "RNNRegressor", "NetworkRegressor",
           "WideAndDeepRegressor", "BaselineRegressor")
CLASSES = ("LinearClassifier", "DNNClassifier", "CNNClassifier", "RNNClassifier",
           "NetworkClassifier", "WideAndDeepClassifier", "BaselineClassifier")
ALONE = "Autoencoder", "FeatureEncoder", "RNNForecaster", "BaselineForecaster"    # without y
STEPS = "RNNTagger",                                            # a row is a sequence
BEYOND = ("from time import perf_counter as now; import sklearn.base; begin = now(); "
          "import gradatim.estimators; print(now() - begin)")


def fit(name: str) -> float:
    """Seconds of the first fit in this process."""
    import numpy as np

    import gradatim as gt
    X = np.random.default_rng(0).normal(size=(ROWS, COLUMNS))
    totals = X @ np.arange(1.0, COLUMNS + 1.0)
    targets = {**dict.fromkeys(NUMBERS, (totals,)), **dict.fromkeys(CLASSES, (totals > 0,)),
               **dict.fromkeys(ALONE, ()), **dict.fromkeys(STEPS, (X.cumsum(axis=1) > 0,))}[name]
    model = getattr(gt, name)()
    begin = perf_counter()
    model.fit(X[:, :, None] if name in STEPS else X, *targets)
    return perf_counter() - begin


def main(arguments: list[str] | None = None) -> dict:
    """Run and print."""
    every = sorted((*NUMBERS, *CLASSES, *ALONE, *STEPS))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("estimators", nargs="*", choices=[[], *every])
    parser.add_argument("--rounds", type=int, default=3, help="fits of each")
    parser.add_argument("--imports", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", metavar="FILE", help="where to keep the figures")
    parser.add_argument("--only", choices=every, help="fit in this process and print seconds")
    options = parser.parse_args(arguments)
    if options.only:
        print(fit(options.only))
        return {}
    found = {"machine": machine(), "threads": options.threads, "fits": {}, "limit": FIT}
    with tempfile.TemporaryDirectory() as bytecode:
        around = {**environment(options.threads), "PYTHONPYCACHEPREFIX": bytecode,
                  "PYTHONDONTWRITEBYTECODE": ""}

        def seconds(*command: str) -> float:
            return printed(sys.executable, *command, **around)

        beyond = [seconds("-c", BEYOND) for _ in range(1 + options.imports)][1:]
        for name in options.estimators or every:
            times = [seconds("-m", "benchmarks.small", "--only", name)
                     for _ in range(options.rounds)]
            found["fits"][name] = times
            tell(f"{name} on {ROWS} x {COLUMNS}", times, FIT)
    found |= {"import": beyond, "import_limit": IMPORT}
    tell("gradatim.estimators beyond sklearn.base", beyond, IMPORT)
    keep(found, options.json)
    return found


def tell(what: str, times: list[float], most: float) -> None:
    """A line with the median, and the longest."""
    middle = median(times)
    print(f"{what:<42}{middle:>7.3f} s, at most {max(times):.3f} s; target {most:g} s: "
          f"{'met' if middle <= most else 'SHORT'}", flush=True)


if __name__ == "__main__":
    main()
