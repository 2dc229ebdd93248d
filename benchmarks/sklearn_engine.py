"""scikit-learn's side of the benchmark: MLPClassifier, LinearRegression and Ridge."""
from __future__ import annotations

import time

import numpy as np
import sklearn
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.neural_network import MLPClassifier

from benchmarks.workloads import CLASSES, MLP, least_squares_data, training_data

# Without a penalty Ridge solves the same problem, so that the coefficients can be compared.
SOLVERS = {"LinearRegression": LinearRegression, "Ridge": lambda: Ridge(0.0, solver="cholesky")}


class Engine:
    """Prepares rounds; its two solvers are two columns of the table."""
    variants = ["", *SOLVERS]

    def __init__(self, setting: str, threads: int):
        self.version = sklearn.__version__

    def prepare(self, work, variant: str):
        """What runs one round, and what is known beforehand; None where it does not apply."""
        if work.kind == "solve" and variant:
            return self.solve(work, SOLVERS[variant])
        if work.kind == "train" and work.net is MLP and not variant:
            return self.train(work)
        return None, {"not_here": True}

    def train(self, work):
        """`MLPClassifier.partial_fit` over the samples; it counts the loss, but no accuracy."""
        data = training_data(work)
        model = MLPClassifier((128,), batch_size=work.batch, learning_rate_init=1e-3, alpha=0.0,
                              shuffle=False, random_state=0)

        def fit():
            model.partial_fit(data.X, data.y, classes=np.arange(CLASSES))
            return {"loss": float(model.loss_)}

        fit()
        return fit, {}

    def solve(self, work, solver):
        """One fit."""
        X, y = least_squares_data(work)
        solver().fit(X[:1000], y[:1000])

        def fit():
            begin = time.perf_counter()
            model = solver().fit(X, y)
            return {"seconds": time.perf_counter() - begin, "coefficients": model.coef_.tolist()}

        return fit, {}
