"""Estimator: scikit-learn's contract for every net, kept here and nowhere else."""
from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ..backend import Spec
from ..backend.base import Backend
from ..backend.distribute import Strategy
from ..backend.errors import BackendError, DataError
from ..layers import (Layer, Normalization, Sequential, network_from_manifest,
                      network_to_manifest)
from ..layers.registry import classes
from ..training import EarlyStopping, Optimizer, Schedule, Trainer
from ..training.callbacks import Callback, callbacks_of
from ..training.split import split
from .saving import Saveable

FULL_BATCH_ROWS = 256      # up to here every step sees all rows, in float64
AUTO_STEPS = 3000          # epochs="auto" makes about so many steps
AUTO_EPOCHS = 10           # and at least so many epochs

SHARED_PARAMETERS = """epochs : int or "auto"
        Passes over the samples; auto: enough for about 3,000 steps, at least 10.
    batch_size : int or "auto"
        Samples per step of the mini-batch solver.
    learning_rate : float or "auto"
        Step size before the schedule.
    optimizer : {"adam", "adamw", "sgd", "rmsprop"} or Optimizer
        How steps are made from gradients.
    schedule : {"auto", "constant", "exponential", "cosine", "one_cycle"} or Schedule
        How the learning rate changes over the fit.
    solver : {"auto", "full_batch", "mini_batch"}
        auto: every step sees all rows, in float64, up to 256 rows; mini-batches above.
    loss : str, Loss or "auto"
        What is made small.
    alpha : float
        L2 penalty: ``alpha / 2`` times the sum of squared kernels is added to the mean loss.
    standardize : bool
        Whether inputs (and regression targets) are brought to a common scale inside the graph,
        by statistics of the first fit.
    early_stopping : bool
        Whether training stops when the validation loss stops falling; the best weights are kept.
    validation_fraction : float
        Share of samples held out for early stopping when no ``X_val`` is passed to `fit`.
    patience : int
        Epochs without improvement that early stopping allows.
    warm_start : bool
        Whether another `fit` goes on from the weights of the last one.
    callbacks : Callback, list of Callback or None
        What happens at the ends of epochs.
    verbose : int
        1 shows a progress bar.
    backend : str or Backend
        Where it runs; ``"auto"`` takes the fastest there is.
    strategy : str or Strategy
        Over which devices.
    precision : {"auto", "float32", "float64"}
        auto: float64 for full batches, float32 otherwise.
    random_state : int, RandomState or None
        Decides first weights, order of samples and dropout."""


@dataclass(kw_only=True, eq=False, repr=False)
class Estimator(Saveable, BaseEstimator):
    """What all nets share. Constructor parameters are dataclass fields, stored as they are given."""

    epochs: Any = "auto"
    batch_size: Any = "auto"
    learning_rate: Any = "auto"
    optimizer: Any = "adam"
    schedule: Any = "auto"
    solver: str = "auto"
    loss: Any = "auto"
    alpha: float = 0.0
    standardize: bool = True
    early_stopping: bool = False
    validation_fraction: float = 0.1
    patience: int = 10
    warm_start: bool = False
    callbacks: Any = None
    verbose: int = 0
    backend: Any = "auto"
    strategy: Any = "auto"
    precision: str = "auto"
    random_state: Any = None

    _parameter_constraints = {
        "epochs": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"auto"}), Interval(Real, 0, None, closed="neither")],
        "optimizer": [StrOptions({"adam", "adamw", "sgd", "rmsprop"}), Optimizer],
        "schedule": [StrOptions({"auto", "constant", "exponential", "cosine", "one_cycle"}),
                     Schedule],
        "solver": [StrOptions({"auto", "full_batch", "mini_batch"})],
        "loss": [str, callable],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "standardize": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "patience": [Interval(Integral, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "callbacks": [None, list, tuple, Callback],
        "verbose": ["verbose"],
        "backend": [str, Backend],
        "strategy": [str, Strategy],
        "precision": [StrOptions({"auto", "float32", "float64", "tf32", "bfloat16", "float16"})],
        "random_state": ["random_state"],
    }

    _own_parameters = ""      # the part of the docstring that one kind of net shares

    # Defaults of "auto", which differ from net to net.
    _auto_batch_size = 128
    _auto_learning_rate = 1e-3
    _auto_full_batch_rate = 1e-2
    _auto_schedule = "one_cycle"

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if cls.__doc__:
            cls.__doc__ = cls.__doc__.replace("{shared}", SHARED_PARAMETERS).replace(
                "{own}", cls._own_parameters)

    # ---- what a kind of net decides ------------------------------------------------------------

    def _network(self, spec: Spec, n_outputs: int) -> Layer:
        """The net for samples of ``spec`` (without batch axis); returns logits or predictions."""
        raise NotImplementedError

    def _validated(self, X, reset: bool, **with_y):
        """Samples as arrays of numbers, by scikit-learn's own checks; with y if ``y=`` is given."""
        return validate_data(self, X, reset=reset, dtype="numeric", **with_y)

    def _shaped(self, X):
        """Samples in the form the net takes."""
        return X

    def _statistics(self, X, weights) -> tuple[np.ndarray, np.ndarray]:
        """Weighted mean and variance per feature, to standardise with."""
        rows = X.reshape(-1, X.shape[-1]).astype(np.float64)
        if weights is not None:
            weights = np.repeat(weights, len(rows) // len(X))
        return weighted_statistics(rows, weights)

    # ---- fitting -------------------------------------------------------------------------------

    def fit(self, X, y, sample_weight=None, X_val=None, y_val=None, sample_weight_val=None):
        """Fit the net; what was fitted before is kept if anything goes wrong.

        Parameters
        ----------
        X : array-like (n, ...)
            Samples.
        y : array-like (n,) or (n, n_targets)
            Targets.
        sample_weight : array-like (n,), optional
            Weights: 2 is as good as repeating a sample, 0 as leaving it out.
        X_val, y_val, sample_weight_val : optional
            Validation data for early stopping and the ``val_`` numbers of ``history_``.

        Returns
        -------
        self
        """
        again = self.warm_start and hasattr(self, "_fitted")
        return self._guarded(X, y, sample_weight, (X_val, y_val, sample_weight_val), again)

    def _guarded(self, X, y, sample_weight, validation, again: bool, **options):
        """Fit, or leave everything as it was."""
        saved = dict(vars(self))
        try:
            self._validate_params()
            if not again:
                vars(self).pop("_fitted", None)
            return self._fit(X, y, sample_weight, validation, again, **options)
        except BaseException:
            vars(self).clear()
            vars(self).update(saved)
            raise

    def _fit(self, X, y, sample_weight, validation, again: bool, one_pass: bool = False,
             classes=None):
        X, y = self._validated(X, reset=not again, y=y, **self._y_options())
        X = self._shaped(X)
        targets = self._encoded(y, again, classes)
        weights = self._weights(sample_weight, X, y)
        X_val, y_val, weights_val = validation
        if X_val is not None:
            if y_val is None:
                raise DataError("X_val needs y_val beside it")
            X_val = self._shaped(self._validated(X_val, reset=False))
            y_val = self._encoded_again(y_val)
        seed = self._seed(again)
        if self.early_stopping and X_val is None and not one_pass:
            labels = targets if hasattr(self, "classes_") else None
            (X, targets, weights), (X_val, y_val, weights_val) = split(
                X, targets, weights, self.validation_fraction, seed, labels)
        full = self._full_batch(len(X))
        dtype = self._dtype(full)
        if not again:
            self._fitted = Fitted(self._new_network(X, weights), self._output_layer(targets, weights))
            self._fitted.seed, self._fitted.sample_shape = seed, self._sample_shape(X)
            self._fitted.trainer = self._new_trainer(self._fitted.network, seed, full, dtype)
        trainer = self._fitted.live(self)
        trainer.schedule = self._schedule(one_pass)
        targets, y_val = (None if t is None else self._scaled(t) for t in (targets, y_val))
        steps = 1 if full else -(-len(X) // self._rows_per_step(len(X)))
        epochs = 1 if one_pass else self._epochs(steps)
        callbacks = callbacks_of(self.callbacks)
        if self.early_stopping and not one_pass:
            callbacks = [*callbacks, EarlyStopping(patience=self.patience)]
        run = trainer.fit(X, targets, weights, epochs=epochs, X_val=X_val, y_val=y_val,
                          sample_weight_val=weights_val, callbacks=callbacks,
                          batch_size=None if full else self._rows_per_step(len(X)),
                          verbose=int(self.verbose), first_epoch=getattr(self, "n_epochs_", 0))
        before = self.history_ if again else []
        self.history_ = [*before, *run.history]
        self.n_epochs_ = len(self.history_)
        self.best_epoch_ = len(before) + (len(run.history) - 1 if run.best_epoch is None
                                          else run.best_epoch)
        return self

    def _new_network(self, X, weights) -> Sequential:
        """Standardisation and the net, not yet built."""
        sample = X[0]
        spec = Spec.of(sample.shape, "float32")
        net = self._network(spec, self._n_outputs)
        if not isinstance(net, Layer):
            raise DataError(f"the architecture returned {type(net).__name__}, not a Layer",
                            fix="return a layers.Sequential or a Model")
        if not self.standardize or net.takes_integers:
            return Sequential([net])
        mean, variance = self._statistics(X, weights)
        return Sequential([standardization("standardize", mean, variance), net])

    def _output_layer(self, targets, weights) -> Layer | None:
        """The layer that brings the net's outputs to the targets' scale, if any."""
        return None

    def _sample_shape(self, X) -> tuple[int, ...] | None:
        """The shape all samples must have, where there is one beyond the number of features."""
        return None

    def _new_trainer(self, network: Layer, seed: int, full: bool, dtype: str) -> Trainer:
        rate = self.learning_rate
        if rate == "auto":
            rate = self._auto_full_batch_rate if full else self._auto_learning_rate
            rate = self.optimizer.learning_rate if isinstance(self.optimizer, Optimizer) else rate
        return Trainer(network, self._loss(), self.optimizer, learning_rate=rate,
                       schedule=self._schedule(), metrics=self._metrics(), alpha=self.alpha,
                       dtype=dtype, seed=seed, backend=self.backend, strategy=self.strategy)

    def _seed(self, again: bool) -> int:
        if again:
            return self._fitted.seed
        return int(check_random_state(self.random_state).randint(2**31 - 1))

    def _full_batch(self, n: int) -> bool:
        return self.solver == "full_batch" or self.solver == "auto" and n <= FULL_BATCH_ROWS

    def _dtype(self, full: bool) -> str:
        if self.precision == "auto":
            return "float64" if full else "float32"
        if self.precision not in ("float32", "float64"):
            raise BackendError(f'precision "{self.precision}" needs a backend that has it',
                               fix='use precision="float32"')
        return self.precision

    def _rows_per_step(self, n: int) -> int:
        size = self._auto_batch_size if self.batch_size == "auto" else self.batch_size
        return min(size, n)

    def _epochs(self, steps: int) -> int:
        if self.epochs != "auto":
            return self.epochs
        return max(AUTO_EPOCHS, -(-AUTO_STEPS // steps))

    def _schedule(self, one_pass: bool = False):
        from ..training.schedules import schedule
        return schedule("constant" if one_pass else
                        self._auto_schedule if self.schedule == "auto" else self.schedule)

    def _weights(self, sample_weight, X, y) -> np.ndarray | None:
        """Weights of samples, checked."""
        if sample_weight is None:
            return None
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64,
                                       ensure_non_negative=True)
        if not np.any(weights):
            raise DataError("Sample weights must contain at least one non-zero number: "
                            "all are zero")
        return weights

    # ---- what classifiers and regressors decide ------------------------------------------------

    def _y_options(self) -> dict:
        raise NotImplementedError

    def _encoded(self, y, again: bool, classes) -> np.ndarray:
        """Targets as numbers, at a fit."""
        raise NotImplementedError

    def _encoded_again(self, y) -> np.ndarray:
        """Validation targets as numbers, by what the fit knows."""
        raise NotImplementedError

    def _scaled(self, targets: np.ndarray) -> np.ndarray:
        """Targets as the net is to produce them."""
        return targets

    @property
    def _n_outputs(self) -> int:
        raise NotImplementedError

    def _loss(self):
        raise NotImplementedError

    def _metrics(self) -> list:
        return []

    # ---- after fitting -------------------------------------------------------------------------

    def _apply(self, X, head):
        """The net's output with ``head`` on top, for samples that are checked first."""
        check_is_fitted(self)
        X = self._shaped(self._validated(X, reset=False))
        return self._fitted.live(self).predict(X, head)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_fitted")

    @property
    def network_(self) -> Layer:
        """The fitted net, standardisation included."""
        check_is_fitted(self)
        return self._fitted.network

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.non_deterministic = False
        return tags


class Fitted:
    """The fitted net and, while the process lives, its trainer; pickled as arrays and names only."""

    def __init__(self, network: Layer, output: Layer | None):
        self.network, self.output, self.trainer = network, output, None
        self.seed = 0
        self.sample_shape: tuple[int, ...] | None = None    # of images, which have one size

    def live(self, estimator: Estimator) -> Trainer:
        """The trainer; made again after unpickling or loading."""
        if self.trainer is None:
            self.trainer = estimator._new_trainer(self.network, self.seed, False,
                                                  self.network.dtype)
        return self.trainer

    def __getstate__(self):
        own = {type(layer).__name__: type(layer) for layer in _tree(self.network)
               if type(layer) not in classes().values()}
        parts = {name: network_to_manifest(layer) for name, layer in
                 (("network", self.network), ("output", self.output)) if layer is not None}
        return {"parts": parts, "custom": own, "seed": self.seed,
                "sample_shape": self.sample_shape}

    def __setstate__(self, state):
        made = {name: network_from_manifest(manifest, arrays, state["custom"])
                for name, (manifest, arrays) in state["parts"].items()}
        self.network, self.output, self.trainer = made["network"], made.get("output"), None
        self.seed, self.sample_shape = state["seed"], state["sample_shape"]


def _tree(layer: Layer):
    """A layer and everything in it."""
    yield layer
    for child in layer.children.values():
        yield from _tree(child)


def standardization(name: str, mean, variance, invert: bool = False) -> Normalization:
    """A layer that standardises by given statistics, or brings back to their scale."""
    return Normalization(axis=-1 if np.ndim(mean) else None, mean=mean, variance=variance,
                         invert=invert, name=name)


def weighted_statistics(rows: np.ndarray, weights: np.ndarray | None):
    """Weighted mean and population variance of columns; a constant column has variance 1."""
    weights = np.ones(len(rows)) if weights is None else np.asarray(weights, np.float64)
    total = weights.sum()
    mean = weights @ rows / total
    variance = weights @ (rows - mean) ** 2 / total
    return mean, np.where(variance > 1e-24 * np.maximum(mean ** 2, 1e-300), variance, 1.0)
