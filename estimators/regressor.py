"""Regressor: what every net for numbers adds to the common contract."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import check_array

from ..backend import OPS, Tensor, placeholder
from ..backend.errors import DataError, ParameterError, ShapeError
from ..layers import Activation, Sequential
from ..layers.base import Flow
from ..layers.losses import Loss, Poisson, loss as find_loss
from .base import Estimator
from .checking import require_numbers
from .standardize import standardization, weighted_statistics


@dataclass(kw_only=True, eq=False, repr=False)
class Regressor(RegressorMixin, MultiOutputMixin, Estimator):
    """A net that predicts one or several numbers."""

    _fit_sets = ("n_features_in_", "_flat_targets", "_targets")

    def partial_fit(self, X, y, sample_weight=None):
        """Make one pass over some samples at a constant rate.

        Parameters
        ----------
        X : array-like (n, ...)
            Samples.
        y : array-like (n,) or (n, n_targets)
            Targets.
        sample_weight : array-like (n,), optional
            Weights of the samples.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As in `fit`, and if the number of targets is another than in the first call.
        """
        again = hasattr(self, "_fitted")
        return self._guarded(X, y, sample_weight, (None, None, None), again, one_pass=True)

    def predict(self, X) -> np.ndarray:
        """Predictions, in the units of the targets.

        Parameters
        ----------
        X : array-like (n, ...)
            Samples, in the form of those of `fit`.

        Returns
        -------
        array (n,) or (n, n_targets)
            In the shape of the targets of `fit`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the samples cannot be used or are of another shape than those of `fit`.
        """
        out = self._apply(X, self._in_units)
        return out[:, 0] if self._flat_targets else out

    # ---- the contract's parts ------------------------------------------------------------------

    def _in_units(self, x: Tensor) -> Tensor:
        """The net's output brought to the scale of the targets."""
        output = self._fitted.output
        if output is None:
            return x
        return output.run(Flow(OPS["cast"](x, dtype=output.dtype)), training=False).x

    def _y_options(self) -> dict:
        return {"multi_output": True, "y_numeric": True}

    def _encoded(self, y, again, classes):
        require_numbers(y, "y")
        targets = y.reshape(len(y), -1).astype(np.float64)
        assert_all_finite(targets, input_name="y")              # None passes as an object
        if not again:
            self._flat_targets, self._targets = y.ndim == 1, targets.shape[1]
        elif targets.shape[1] != self._targets:
            raise ShapeError(f"y has {targets.shape[1]} targets, but {type(self).__name__} was "
                             f"fitted with {self._targets}", fix="pass the same targets as before")
        if self._counts and targets.min() < 0:
            raise DataError("the Poisson loss takes counts from 0 on", got=f"{targets.min()} in y",
                            fix='use loss="mean_squared_error" for numbers of either sign')
        return targets

    def _encoded_again(self, y):
        y = y if hasattr(y, "dtype") else np.asarray(y)         # a None in a list becomes NaN
        return self._encoded(check_array(y, ensure_2d=False, dtype="numeric", input_name="y"),
                             True, None)

    @property
    def _counts(self) -> bool:
        """Whether the net predicts rates of counts: they are exponentials of its outputs."""
        return isinstance(self._loss(), Poisson)

    def _new_network(self, X, weights) -> Sequential:
        network = super()._new_network(X, weights)
        return Sequential([*network.layers, Activation("exponential")]) if self._counts else network

    def _output_layer(self, targets, weights):
        if not self.standardize or self._counts:
            return None
        mean, variance = weighted_statistics(targets, weights)
        layer = standardization("targets", mean, variance, invert=True)
        layer.run(Flow(placeholder((2, self._targets), "float64")), training=False)
        return layer

    def _scaled(self, targets):
        output = self._fitted.output
        if output is None:
            return targets
        return (targets - output.mean) / np.sqrt(output.variance)

    @property
    def _n_outputs(self) -> int:
        return self._targets

    def _loss(self) -> Loss:
        found = find_loss("mean_squared_error" if self.loss == "auto" else self.loss)
        if found.integer_labels:
            raise ParameterError(f"{found} takes class numbers, not targets of a regression",
                                 fix='use loss="mean_squared_error", or a classifier')
        return found

    def _metrics(self):
        return ["r2"]
