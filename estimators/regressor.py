"""Regressor: what every net for numbers adds to the common contract."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_array

from ..backend import Tensor
from ..layers.base import Flow
from ..layers.losses import loss as find_loss
from .base import Estimator, standardization, weighted_statistics


@dataclass(kw_only=True, eq=False, repr=False)
class Regressor(RegressorMixin, MultiOutputMixin, Estimator):
    """A net that predicts one or several numbers."""

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
        """
        again = hasattr(self, "_fitted")
        return self._guarded(X, y, sample_weight, (None, None, None), again, one_pass=True)

    def predict(self, X) -> np.ndarray:
        """Predictions in the shape of the targets of `fit`: ``(n,)`` or ``(n, n_targets)``."""
        out = self._apply(X, self._in_units)
        return out[:, 0] if self._flat_targets else out

    # ---- the contract's parts ------------------------------------------------------------------

    def _in_units(self, x: Tensor) -> Tensor:
        """The net's output brought to the scale of the targets."""
        output = self._fitted.output
        return x if output is None else output.run(Flow(x, dtype=str(x.dtype)), False).x

    def _y_options(self) -> dict:
        return {"multi_output": True, "y_numeric": True}

    def _encoded(self, y, again, classes):
        y = np.asarray(y)
        flat = y.ndim == 1
        targets = y.reshape(len(y), -1).astype(np.float64)
        if not again:
            self._flat_targets, self._targets = flat, targets.shape[1]
        elif targets.shape[1] != self._targets:
            raise ValueError(f"y has {targets.shape[1]} targets, but {type(self).__name__} was "
                             f"fitted with {self._targets}")
        return targets

    def _encoded_again(self, y):
        y = check_array(y, ensure_2d=False, dtype="numeric")
        return self._encoded(y, True, None)

    def _output_layer(self, targets, weights):
        if not self.standardize or self.loss == "poisson":
            return None
        mean, variance = weighted_statistics(targets, weights)
        return standardization("targets", mean, variance, invert=True)

    def _scaled(self, targets):
        output = self._fitted.output
        if output is None:
            return targets
        return (targets - output.mean) / np.sqrt(output.variance)

    @property
    def _n_outputs(self) -> int:
        return self._targets

    def _loss(self):
        return find_loss("mean_squared_error" if self.loss == "auto" else self.loss)

    def _metrics(self):
        return ["r2"]
