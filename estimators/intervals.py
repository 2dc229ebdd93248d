"""Intervals: how sure a regressor is, by quantiles, by normal heads, or by held-out errors."""
from __future__ import annotations

from statistics import NormalDist

import numpy as np

from ..backend import OPS, Tensor
from ..backend.errors import ParameterError
from .calibration import checked_coverage, conformal_width
from .fitted import average


class Intervals:
    """What regressors say beside their predictions."""

    def predict_quantiles(self, X) -> np.ndarray:
        """The quantiles that the net was fitted for, in rising order.

        Those of single nets may cross; they are sorted, which brings them no further from the
        true ones (Chernozhukov et al. 2010).

        Parameters
        ----------
        X : array-like (n, ...)
            Samples, in the form of those of `fit`.

        Returns
        -------
        array (n, n_quantiles) or (n, n_targets, n_quantiles)
            In the units of the targets.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            Without ``loss="quantile"``, or if the samples cannot be used.

        Examples
        --------
        >>> import numpy as np
        >>> from gradatim import DNNRegressor
        >>> X = np.random.default_rng(0).uniform(-1, 1, (200, 1))
        >>> model = DNNRegressor(loss="quantile", quantile=(0.1, 0.5, 0.9), epochs=20)
        >>> model.fit(X, X[:, 0]).predict_quantiles(X[:4]).shape
        (4, 3)
        """
        X = self._usable(X)
        found = self._quantiles(X)
        return found[:, 0] if self._flat_targets else found

    def predict_interval(self, X, coverage: float = 0.9) -> np.ndarray:
        """Intervals that hold a share of the targets.

        With ``calibration="conformal"`` they do so for any distribution, on average over samples
        that are exchangeable with those held out (split conformal prediction, Lei et al. 2018;
        with several quantiles, Romano et al. 2019). Otherwise, with ``loss="gaussian"``, as far as
        the targets are normal and the net is right, which a floor under the variances of small
        tables helps; with several quantiles, as far as these are.

        Parameters
        ----------
        X : array-like (n, ...)
            Samples, in the form of those of `fit`.
        coverage : float
            The share, between 0 and 1.

        Returns
        -------
        array (n, 2) or (n, n_targets, 2)
            Lower and upper ends, in the units of the targets.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the net is not calibrated and has neither a Gaussian head nor the two quantiles, if
            too few samples were held out for the coverage, or if the samples cannot be used.

        Examples
        --------
        >>> import numpy as np
        >>> from gradatim import DNNRegressor
        >>> random = np.random.default_rng(0)
        >>> X = random.uniform(-1, 1, (200, 1))
        >>> y = X[:, 0] + random.normal(0, 0.1, 200)
        >>> model = DNNRegressor(calibration="conformal", epochs=100, random_state=0).fit(X, y)
        >>> model.predict_interval([[0.0], [0.5]], coverage=0.8).shape
        (2, 2)
        """
        ends = self._interval(self._usable(X), coverage)
        return ends[:, 0] if self._flat_targets else ends

    # ---- for checked samples -------------------------------------------------------------------

    def _interval(self, X, coverage: float) -> np.ndarray:
        """Lower and upper ends, ``(n, n_targets, 2)``."""
        coverage = checked_coverage(coverage)
        if self.conformity_scores_ is not None:
            width, (low, high, scale) = conformal_width(self.conformity_scores_, coverage), \
                self._band(X)
        elif self._gaussian:
            width, (low, high, scale) = NormalDist().inv_cdf(0.5 + coverage / 2), self._band(X)
        else:
            found, width, scale = self._quantiles(X, self._ends(coverage)), 0.0, 1.0
            low, high = found[..., 0], found[..., 1]
        # Held-out errors may ask for less than nothing: what is left is the gap between the ends.
        return np.sort(np.stack([low - width * scale, high + width * scale], -1), axis=-1)

    def _band(self, X):
        """What errors are counted from, below and above, and their scale."""
        if self._several:
            found = self._quantiles(X)
            return found[..., 0], found[..., -1], 1.0
        mean, variance = self._moments(X) if self._gaussian else (self._means(X), 1.0)
        return mean, mean, np.sqrt(variance)

    def _calibrate(self, held):
        self.conformity_scores_ = None
        if held is not None:
            X, y, _ = held
            low, high, scale = self._band(X)
            self.conformity_scores_ = np.sort(np.maximum(low - y, y - high) / scale, axis=0)

    def _ends(self, coverage: float) -> list[int]:
        """Which quantiles are the ends of an interval."""
        wanted = [round(0.5 - coverage / 2, 9), round(0.5 + coverage / 2, 9)]
        known = [round(q, 9) for q in getattr(self._loss(), "quantiles", ())]
        if not set(wanted) <= set(known):
            raise ParameterError(
                f"the net was not fitted for intervals of coverage={coverage:g}",
                got=f"calibration={self.calibration!r}, loss={self.loss!r}" + (
                    f", quantile={self.quantile!r}" if known else ""),
                fix='fit with calibration="conformal", loss="gaussian", or loss="quantile" and '
                f"quantile=({wanted[0]:g}, 0.5, {wanted[1]:g})")
        return [known.index(q) for q in wanted]

    def _quantiles(self, X, which=slice(None)) -> np.ndarray:
        """Those that the net was fitted for, ``(n, n_targets, n_quantiles)``."""
        loss = self._loss()
        if not hasattr(loss, "quantiles"):
            raise ParameterError('quantiles need loss="quantile"', got=f"loss={self.loss!r}",
                                 fix='fit with loss="quantile" and quantile=(0.1, 0.5, 0.9), say')
        found = average(self._outputs(X, self._all_in_units))
        found = found.reshape(len(found), loss.outputs, -1).swapaxes(1, 2)
        return np.sort(found, axis=-1)[..., which]

    def _means(self, X) -> np.ndarray:
        """Predictions ``(n, n_targets)``."""
        if self._several:
            return self._quantiles(X, self._loss().middle)
        return average(self._outputs(X, self._in_units))

    def _moments(self, X) -> tuple[np.ndarray, np.ndarray]:
        """Means and variances; of an ensemble those of the mixture of its nets' normals."""
        means = np.stack(self._outputs(X, self._in_units)).astype(np.float64)
        variances = np.stack(self._outputs(X, self._variance)).astype(np.float64)
        if self._fitted.output is not None:
            variances *= self._fitted.output.variance_weight.numpy()
        return means.mean(axis=0), variances.mean(axis=0) + means.var(axis=0)

    # ---- heads of the net ----------------------------------------------------------------------

    def _in_units(self, x: Tensor) -> Tensor:
        """The net's prediction brought to the scale of the targets."""
        return self._unscaled(self._loss().prediction(x))

    def _all_in_units(self, x: Tensor) -> Tensor:
        """All quantiles brought to the scale of the targets."""
        return OPS["concatenate"](*map(self._unscaled, self._loss().parts(x)), axis=-1)

    def _variance(self, x: Tensor) -> Tensor:
        """The variances that a Gaussian head says, on the scale of the net."""
        return self._loss().variance(x)
