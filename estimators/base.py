"""Estimator: scikit-learn's contract for every net, kept here and nowhere else."""
from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import (
    _check_n_features, _check_sample_weight, check_is_fitted, validate_data)

from ..backend import Spec
from ..backend.distribute import ShardedRows, strategy
from ..backend.errors import ParameterError, ShapeError
from ..datasets import in_memory, is_on_disk
from ..datasets.sparse_rows import SparseRows
from ..layers import Layer, Loss, Sequential
from ..layers.documentation import complete
from ..training import EarlyStopping, Health, Trainer
from ..training.callbacks import callbacks_of
from ..training.checkpoint import checkpoint
from ..training.ranks import require_the_same
from .automatic import USUAL_STEPS, Automatic
from .checking import explained, refuse_unusable, require_numbers, unchanged_on_error
from .elsewhere import fit_elsewhere
from .fitted import Fitted, average, member_seeds
from .held_out import hold_out, validation_data
from .importances import Importances
from .iterators import gathered
from .on_disk import loaded, require_rows, validated_on_disk
from .parameters import Parameters
from .planning import Planning
from .report import Reported
from .routed_callbacks import CallbackSupportMixin, fit_tasks, with_callbacks
from .saving import Saveable, fit_sets
from .standardize import standardization, weighted_statistics
from .transfer import RateFinder, freeze, start_from
from .weightless import without_weightless


@dataclass(kw_only=True, eq=False, repr=False)
class Estimator(Parameters, Automatic, Reported, Saveable, Importances, RateFinder, Planning,
                CallbackSupportMixin, BaseEstimator, ABC):
    """What all nets share."""

    _fit_sets = ("history_", "n_epochs_", "best_epoch_", "baseline_")    # what files keep

    # Defaults of "auto", which differ from net to net.
    _auto_batch_size = 128
    _auto_learning_rate = 1e-3
    _auto_alpha = 1.0                    # over the total weight of the samples
    _auto_steps = USUAL_STEPS
    _auto_full_batch_rows = 256          # up to here every step sees all rows, in float64
    _auto_full_batch_rate = 1e-2
    _auto_full_batch_steps = 400
    _auto_schedule = "one_cycle"
    _takes_sparse = True

    # Parameters of some nets only, and what the others do.
    n_ensemble, calibration, sampling = 1, None, None

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        parts = [vars(base) for base in cls.__mro__]
        # What makes a constructor of the fields comes after this.
        complete(cls, [name for part in parts for name in part.get("__annotations__", ())])
        cls._parameter_constraints = {
            name: allowed for part in reversed(parts)
            for name, allowed in part.get("_parameter_constraints", {}).items()}

    # ---- what a kind of net decides ------------------------------------------------------------

    @abstractmethod
    def _network(self, spec: Spec, n_outputs: int) -> Layer:
        """The net for samples of ``spec`` (without batch axis); returns logits or predictions."""

    def _validated(self, X, reset: bool, **with_y):
        """Samples as arrays of numbers, by scikit-learn's own checks; with y if ``y=`` is given."""
        return validate_data(self, X, reset=reset, dtype="numeric", accept_sparse="csr", **with_y)

    def _read(self, X, reset: bool, **with_y):
        """The same for samples in memory and in files, which stay there."""
        if is_on_disk(X):
            return validated_on_disk(self, X, reset, **with_y)
        return self._validated(in_memory(X), reset, **with_y)

    def _count_features(self, X, reset: bool) -> None:
        """Note or compare the number of features of samples in a file."""
        require_rows(X)
        _check_n_features(self, X, reset=reset)

    def _shaped(self, X, reset: bool):
        """Samples in the form the net takes; ``reset`` at a fit that decides the form."""
        return SparseRows(X) if issparse(X) else X

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self._takes_sparse
        return tags

    def _statistics(self, X, weights) -> tuple[np.ndarray, np.ndarray]:
        """Weighted mean and variance per feature, to standardise with."""
        return weighted_statistics(X, weights)

    # ---- fitting -------------------------------------------------------------------------------

    def fit(self, X, y, sample_weight=None, X_val=None, y_val=None, sample_weight_val=None):
        """Fit the net; what was fitted before is kept if anything goes wrong.

        Ctrl-C ends training early and keeps what was learned until then.

        Parameters
        ----------
        X : array-like (n, ...)
            Samples, in the form the class describes.
        y : array-like (n,) or (n, n_targets)
            Labels of classes, or numbers.
        sample_weight : array-like (n,), optional
            Weights from 0 on: 2 is as good as repeating a sample, 0 as leaving it out.
        X_val, y_val, sample_weight_val : optional
            Validation data, in the same forms, for early stopping and the ``val_`` numbers of
            ``history_``.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter, the samples, targets or weights cannot be used; the text says what to
            do. `InvalidParameterError`, `DataError`, `ShapeError` and `ParameterError` are such.
        TypeError
            If values are of a type that holds no numbers.
        NonFiniteError
            If training diverged.
        """
        return self._guarded(X, y, sample_weight, (X_val, y_val, sample_weight_val), self._goes_on)

    @property
    def _goes_on(self) -> bool:
        """Whether `fit` starts from the weights there are."""
        return self.warm_start is not False and hasattr(self, "_fitted")

    def _one_pass(self, X, y, sample_weight=None, **options):
        """One pass over some samples, from the weights there are or from first ones."""
        return self._guarded(X, y, sample_weight, (None,) * 3, hasattr(self, "_fitted"),
                             one_pass=True, **options)

    def _guarded(self, *given, **options):
        """Fit, or leave everything as it was."""
        given = tuple(map(gathered, given))
        with unchanged_on_error(self):
            self._validate_params()
            spread = strategy(self.strategy)
            if spread.starts:
                return fit_elsewhere(self, spread, *given, **options)
            with self._threads():
                return self._fit(*given, **options)

    @with_callbacks
    def _fit(self, X, y, sample_weight, validation, again: bool, one_pass: bool = False,
             classes=None):
        callbacks, given = callbacks_of(self.callbacks), (X, y, sample_weight)
        refuse_unusable(X=X, y=y, sample_weight=sample_weight)
        with explained():
            X, y = self._read(X, reset=not again, y=loaded(y), **self._y_options())
            require_numbers(X)
            X, y, sample_weight = self._joined(self._shaped(X, reset=not again), y, sample_weight)
            targets = self._encoded(y, again, classes)
            weights = self._weights(sample_weight, X, targets)
            seen = targets, self._weights_of(sample_weight, X)
        numbers = np.arange(len(X)) if weights is None else np.flatnonzero(weights)
        data = (*without_weightless(X, targets, weights), numbers)
        self.baseline_ = self.baseline_ if again else self._baseline_of(*seen)
        val = held = validation_data(self, *validation)
        seed = self._seed(again)
        if self.checkpoint is not None and not one_pass:
            if self.n_ensemble > 1:
                raise ParameterError("a checkpoint is of one net, not of an ensemble",
                                     fix="leave out checkpoint= or n_ensemble=")
            callbacks = [*callbacks, checkpoint(self.checkpoint)]
        calibrates = self.calibration is not None and not one_pass
        if calibrates and val is None:
            data, held = hold_out(self, data, seed)
        if self.early_stopping and not one_pass:
            callbacks = [*callbacks, EarlyStopping(patience=self.patience)]
            if val is None:
                data, val = hold_out(self, data, seed)
        (X, targets, weights, numbers), (X_val, y_val, weights_val) = data, val or (None,) * 3
        watchers = [Health()] if self.health else []
        full, balanced = self._full_batch(len(X)), self.sampling == "balanced"
        rows = min(self._auto_batch_size if self.batch_size == "auto" else self.batch_size, len(X))
        steps = 1 if full else -(-len(X) // (rows * self.accumulate))
        epochs = 1 if one_pass else self._epochs(steps, full)
        rate, dtype = self._rate(full, None if one_pass else epochs * steps), self._dtype(full)
        penalty = self._penalty(None if one_pass else len(X) if weights is None else weights.sum())
        if full and balanced:
            weights = self._balanced(targets, weights,
                                     None if seen[1] is None else seen[1][numbers])
        if not again:
            output = self._output_layer(X, targets, weights)
            self._fitted, *self._fitted.others = [
                Fitted(self._new_network(X, weights), output, s, rate, dtype)
                for s in member_seeds(seed, self.n_ensemble)]
        fitted = self._fitted
        for member in fitted.members:
            freeze(member, self.freeze)
            trainer = member.live(self)
            trainer.schedule, trainer.alpha = self._schedule(one_pass), penalty
            trainer.row_numbers = numbers
            trainer.prepare(X)
        if not again:
            for member in fitted.members:
                start_from(member.network, self.warm_start_from)
            self._check_outputs(fitted.outputs)
        judged = (targets, weights, "") if y_val is None else (y_val, weights_val, "val_")
        targets, y_val = (None if t is None else self._scaled(t) for t in (targets, y_val))
        before = self.history_ if again else []
        tasks = [] if one_pass else fit_tasks(self, given, epochs * self.n_ensemble, before)
        self._calibrate(None)                # callbacks may predict before the net is calibrated
        with fitted.training(rate):
            run = fitted.fit(X, targets, weights, epochs=epochs, X_val=X_val, y_val=y_val,
                             sample_weight_val=weights_val, batch_size=None if full else rows,
                             callbacks=[*callbacks, *watchers, *tasks], verbose=int(self.verbose),
                             first_epoch=len(before), balanced=balanced and not full,
                             max_time=self.max_time, check_finite=True)
        vars(self).pop("feature_importances_", None)              # they were the last fit's
        for watcher in watchers:
            self.health_ = run.memory(watcher).epochs
        self.history_ = [*before, *run.history]
        self.n_epochs_ = len(self.history_)
        best = len(run.history) - 1 if run.best_epoch is None else run.best_epoch
        self.best_epoch_ = max(len(before) + best, 0)
        self._calibrate(held if calibrates else None)
        if self.verbose and run.history and run.rank == 0:
            self._tell(self.history_[self.best_epoch_], *judged)
        for task in tasks:
            task.end()
        return self

    def _joined(self, X, y, sample_weight) -> tuple:
        """Samples, targets and weights with those that other processes have brought.

        Raises
        ------
        DistributedError
            If something has been learned of the samples already, and ranks have learned otherwise.
        """
        found = strategy(self.strategy).joined(X, y, loaded(sample_weight))
        if isinstance(found[0], ShardedRows):
            import joblib
            names = sorted(fit_sets(type(self)) & vars(self).keys())
            learned = {name.strip("_"): joblib.hash(vars(self)[name]) for name in names}
            require_the_same(found[0].team, learned, {})
        return found

    def _checked(self, X):
        """Samples after a fit, in the form the net takes."""
        X = self._read(X, reset=False)
        require_numbers(X)
        return self._shaped(X, reset=False)

    def _new_network(self, X, weights) -> Sequential:
        """Standardisation and the net, not yet built."""
        sample = X[0].shape if isinstance(X, list) else X.shape[1:]
        net = self._network(Spec.of(sample, "float32"), self._n_outputs)
        if not isinstance(net, Layer):
            raise ParameterError(f"the architecture returned {type(net).__name__}, not a Layer",
                                 fix="return a layers.Sequential or a Model")
        if not self.standardize or net.takes_integers:
            return Sequential([net])
        mean, variance = self._statistics(X, weights)
        return Sequential([standardization("standardize", mean, variance), net])

    def _output_layer(self, X, targets, weights) -> Layer | None:
        """The layer that brings the net's outputs to the targets' scale, if any."""
        return None

    def _check_outputs(self, shape: tuple[int, ...]) -> None:
        """Refuse a net of other outputs than classes or targets, and the loss, ask for."""
        if shape != (self._n_outputs,):
            raise ShapeError("the net has other outputs than are needed",
                             got=f"{list(shape)} per sample, not [{self._n_outputs}]",
                             fix="end an architecture with Dense(n_outputs), after Flatten or "
                             "pooling; after a change of parameters, fit anew")

    def _sample_tail(self) -> tuple[int, ...]:
        """The last axes of a sample as the net takes it."""
        return (self.n_features_in_,)

    def _check_fitted(self) -> None:
        """Refuse a net from a file that does not fit parameters and fitted attributes."""
        self._network(self._fitted.network.built, self._n_outputs)
        for member in self._fitted.members:
            member.live(self)

    def _check_member(self, member: Fitted) -> None:
        """Refuse a fitted net that takes or returns something else than is asked of it now."""
        self._check_outputs(member.outputs)
        shape, tail = member.network.built.shape, self._sample_tail()
        if shape[len(shape) - len(tail):] != tail:
            raise ShapeError("the net takes other samples than it was fitted on",
                             got=f"{list(shape)}, not {list(tail)}",
                             fix="after a change of parameters, fit anew")
        output = member.output
        if output is not None and output.built.shape != (self._n_scales,):
            raise ShapeError("the targets' scale is that of others", got=str(output.built))

    def _new_trainer(self, network: Layer, seed: int, rate: float, dtype: str) -> Trainer:
        return Trainer(network, self._loss(), self._optimizer, learning_rate=rate,
                       metrics=self._metrics(), dtype=dtype,
                       precision=self._rounding if dtype == "float32" else None,
                       seed=seed, backend=self.backend, strategy=self.strategy,
                       accumulate=self.accumulate, ema=self.ema, swa=self.swa)

    def _weights(self, sample_weight, X, targets) -> np.ndarray | None:
        """Weights of samples in a fit."""
        return self._weights_of(sample_weight, X)

    def _weights_of(self, sample_weight, X) -> np.ndarray | None:
        """Weights as float64, by scikit-learn's own checks."""
        return None if sample_weight is None else _check_sample_weight(
            loaded(sample_weight), X, dtype=np.float64, ensure_non_negative=True)

    # ---- what classifiers and regressors decide ------------------------------------------------

    @abstractmethod
    def _y_options(self) -> dict:
        """What scikit-learn's checks are told of targets."""

    @abstractmethod
    def _encoded(self, y, again: bool, classes) -> np.ndarray:
        """Targets as numbers, at a fit."""

    @abstractmethod
    def _encoded_again(self, y) -> np.ndarray:
        """Validation targets as numbers, by what the fit knows."""

    def _scaled(self, targets: np.ndarray) -> np.ndarray:
        """Targets as the net is to produce them."""
        output = self._fitted.output
        return targets if output is None else (targets - output.mean) / np.sqrt(output.variance)

    @property
    @abstractmethod
    def _n_outputs(self) -> int:
        """How many numbers the net is to return for a sample."""

    @property
    def _n_scales(self) -> int:
        """How many targets have a scale of their own."""
        return self._n_outputs

    def _calibrate(self, held) -> None:
        """Learn from held-out samples how far the net is to be trusted."""

    @abstractmethod
    def _loss(self) -> Loss:
        """What the parameter ``loss`` names."""

    def _metrics(self) -> list:
        return []

    # ---- after fitting -------------------------------------------------------------------------

    def _apply(self, X, head):
        """The net's output with ``head`` on top, or the mean of several, for unchecked samples."""
        return average(self._outputs(self._usable(X), head))

    def _usable(self, X):
        """Samples for a fitted net, checked and in its form."""
        check_is_fitted(self)
        refuse_unusable(X=X)
        with explained():
            return self._checked(gathered(X))

    def _outputs(self, X, head) -> list[np.ndarray]:
        """The output of every net of the ensemble with ``head`` on top, for checked samples."""
        with self._threads():
            return [member.live(self).predict(X, head) for member in self._fitted.members]

    @property
    def _net(self) -> Layer:
        """The fitted net without what the estimator put around it."""
        return next(n for n in self.network_.layers if n.name != "standardize")

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_fitted")

    @property
    def network_(self) -> Layer:
        """The fitted net, standardisation included."""
        check_is_fitted(self)
        return self._fitted.network
