"""Regressor: what every net for numbers adds to the common contract."""
from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import MultiOutputMixin, RegressorMixin
from sklearn.utils import assert_all_finite
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_array

from ..backend import OPS, Tensor
from ..backend.errors import DataError, ParameterError, ShapeError
from ..layers import (Activation, GaussianLikelihood, Loss, Poisson, Quantile, Sequential,
                      Tweedie)
from ..layers.flow import Flow
from ..layers.losses import loss as find_loss
from .base import Estimator
from .checking import require_numbers
from .intervals import Intervals
from .residuals import least_variance
from .standardize import scale_of, weighted_statistics

# The losses that have settings of the estimator's when they are asked for by name.
HEADS = {Quantile: lambda net: Quantile(net.quantile), Tweedie: lambda net: Tweedie(net.power),
         GaussianLikelihood: lambda net: GaussianLikelihood(net._min_variance)}


@dataclass(kw_only=True, eq=False, repr=False)
class Regressor(Intervals, RegressorMixin, MultiOutputMixin, Estimator):
    """A net that predicts one or several numbers.

    Parameters
    ----------
    quantile : float or tuple of float
        Which quantile ``loss="quantile"`` estimates. Of several, in rising order, `predict` gives
        the one next to the median, `predict_quantiles` all, and `predict_interval` the two that
        are its coverage apart.
    power : float
        Of ``loss="tweedie"``, from 1 (Poisson) over 2 (gamma) to 3 (inverse Gaussian): the
        variance of targets grows as ``mean ** power``.
    n_ensemble : int
        How many nets of different seeds are trained, one after another; predictions are their
        mean, and ``history_`` and ``network_`` are the first one's.
    calibration : {"conformal"} or None
        ``"conformal"`` holds out ``validation_fraction`` of the samples (or takes ``X_val``) to
        learn how wide `predict_interval` must be.

    Attributes
    ----------
    conformity_scores_ : array (n_held_out, n_targets) or None
        Sorted absolute errors on the samples held out for ``calibration="conformal"``; with
        ``loss="gaussian"`` they are divided by the predicted standard deviations, and with several
        quantiles they are distances from the outermost two, below 0 between them.
    """

    quantile: Any = 0.5
    power: float = 1.5
    n_ensemble: int = 1
    calibration: str | None = None

    _auto_alpha = 10.0
    _fit_sets = ("n_features_in_", "_flat_targets", "_targets", "conformity_scores_")
    _fit_may_set = ("_min_variance",)
    _min_variance = 1e-6          # of loss="gaussian"; a fit on a table sets it
    _parameter_constraints = {
        "quantile": [Interval(Real, 0, 1, closed="neither"), tuple, list],
        "power": [Interval(Real, 1, 3, closed="both")],
        "n_ensemble": [Interval(Integral, 1, None, closed="left")],
        "calibration": [StrOptions({"conformal"}), None]}

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
        return self._one_pass(X, y, sample_weight)

    def predict(self, X, return_std: bool = False):
        """Predictions, in the units of the targets.

        What is predicted goes by ``loss``: the mean, with ``"absolute_error"`` the median, with
        ``"quantile"`` that quantile, or of several the one next to the median.

        Parameters
        ----------
        X : array-like (n, ...)
            Samples, in the form of those of `fit`.
        return_std : bool
            Whether to return standard deviations, too; only with ``loss="gaussian"``. Those of an
            ensemble hold the spread of its nets (Lakshminarayanan et al. 2017, section 2.4).

        Returns
        -------
        array (n,) or (n, n_targets), or two of them
            In the shape of the targets of `fit`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the samples cannot be used or are of another shape than those of `fit`.
        """
        if return_std and not self._gaussian:
            raise ParameterError('return_std=True needs loss="gaussian"', got=f"loss={self.loss!r}",
                                 fix='fit with loss="gaussian", or use predict_interval')
        X = self._usable(X)
        mean, variance = self._moments(X) if return_std else (self._means(X), None)
        parts = (mean, np.sqrt(variance)) if return_std else (mean,)
        parts = tuple(a[:, 0] if self._flat_targets else a for a in parts)
        return parts if return_std else parts[0]

    # ---- the contract's parts ------------------------------------------------------------------

    def _unscaled(self, x: Tensor) -> Tensor:
        """Numbers of a net brought to the scale of the targets."""
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
        loss = self._loss()
        if isinstance(loss, Poisson) and targets.min() < 0:
            raise DataError("the Poisson loss takes counts from 0 on", got=f"{targets.min()} in y",
                            fix='use loss="squared_error" for numbers of either sign')
        if isinstance(loss, Tweedie) and (targets.min() < 0 or
                                          targets.min() == 0 and loss.power >= 2):
            least = "above 0" if loss.power >= 2 else "from 0 on"
            raise DataError(f"the Tweedie loss of power {loss.power:g} takes numbers {least}",
                            got=f"{targets.min()} in y", fix="use a power below 2 for zeros, and "
                            'loss="squared_error" for numbers of either sign')
        return targets

    def _encoded_again(self, y):
        y = y if hasattr(y, "dtype") else np.asarray(y)         # a None in a list becomes NaN
        return self._encoded(check_array(y, ensure_2d=False, dtype="numeric", input_name="y"),
                             True, None)

    @property
    def _positive(self) -> bool:
        """Whether means are above 0: then they are exponentials of what the net returns."""
        return isinstance(self._loss(), (Poisson, Tweedie))

    @property
    def _gaussian(self) -> bool:
        """Whether the net returns variances after the means."""
        return isinstance(self._loss(), GaussianLikelihood)

    @property
    def _several(self) -> bool:
        """Whether the net returns several quantiles."""
        loss = self._loss()
        return isinstance(loss, Quantile) and loss.outputs > 1

    def _new_network(self, X, weights) -> Sequential:
        network = super()._new_network(X, weights)
        return Sequential([*network.layers, Activation("exponential")]) if self._positive else \
            network

    def _output_layer(self, X, targets, weights):
        mean, variance = weighted_statistics(targets, weights)
        if self._gaussian:
            unit = 1.0 if self.standardize else variance.min()
            self._min_variance = max(1e-6, float(unit * least_variance(X, targets, weights)))
        if not self.standardize:
            return None
        if self._positive:                   # their unit may be chosen, and their zero may not
            mean, variance = np.zeros_like(mean), np.where(mean > 0, mean, 1.0) ** 2
        return scale_of("targets", mean, variance, self._targets)

    @property
    def _n_outputs(self) -> int:
        return self._targets * self._loss().outputs

    @property
    def _n_scales(self) -> int:
        return self._targets

    def _loss(self) -> Loss:
        name = "squared_error" if isinstance(self.loss, str) and self.loss == "auto" else self.loss
        found = find_loss(name)
        if isinstance(name, str) and type(found) in HEADS:
            found = HEADS[type(found)](self)
        if found.integer_labels:
            raise ParameterError(f"{found} takes class numbers, not targets of a regression",
                                 fix='use loss="mean_squared_error", or a classifier')
        return found

    def _metrics(self):
        return ["r2"]
