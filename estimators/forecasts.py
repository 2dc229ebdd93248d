"""Forecasts: what all forecasters share, whatever they forecast with."""
from __future__ import annotations

from numbers import Integral
from typing import Callable

import numpy as np
from sklearn.utils.validation import _check_feature_names, check_is_fitted

from ..backend.errors import ParameterError, ShapeError
from .report import Report
from .windows import Series, check_long, extended, naive, series_of, several, table


class Forecasts:
    """What forecasters share: forecasts after a series, and of the past of one, to judge them."""

    def predict(self, X=None, known=None, *, y=None, horizon: int | None = None):
        """What comes after a series.

        Parameters
        ----------
        X : array-like (time,) or (time, n_columns), or list of such, optional
            The past until now, at least ``lookback`` steps; that of `fit` if left out.
        known : array-like (time + horizon, n_known), optional
            The columns whose future is known, for the steps of X and those to come; only those
            to come if X is left out. Needed if `fit` had them.
        y : array-like (time,) or (time, n_targets), optional
            The past of what is forecast, if it was given to `fit` beside X.
        horizon : int, optional
            How many steps, from 1 to the horizon of the model, which is the default.

        Returns
        -------
        array (horizon,) or (horizon, n_targets), or list of such
            In the form of the series of `fit`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the series are too short or do not have the columns of those of `fit`.
        """
        return self._after_each(X, known, y, horizon, lambda part: self._ahead(part)[0])

    def _after_each(self, X, known, y, horizon, forecasts: Callable):
        """What comes after each series by ``forecasts``, which is given its last steps."""
        check_is_fitted(self)
        steps = self.horizon if horizon is None else horizon
        if not isinstance(steps, Integral) or not 1 <= steps <= self.horizon:
            raise ParameterError(f"horizon must be a whole number from 1 to {self.horizon}, the "
                                 f"model's own, not {steps!r}", fix="fit with a longer horizon")
        if X is None:
            series = [self._after(known)]
        else:
            series = series_of(X, y, known, ahead=self.horizon)
            self._check_columns(series, X)
        found = []
        for part in series:
            check_long([part], self._steps, "a forecast")
            part = extended(part.last(self._steps), self.horizon)
            forecast = forecasts(part)[0, :steps]
            found.append(forecast[:, 0] if self._flat_targets else forecast)
        return found if X is not None and several(X) else found[0]

    def backtest(self, X, y=None, known=None) -> tuple[np.ndarray, np.ndarray]:
        """Forecasts from every moment of a series from which the future is in the series, too.

        Parameters
        ----------
        X : array-like (time,) or (time, n_columns), or list of such
            At least ``lookback + horizon`` steps.
        y : array-like (time,) or (time, n_targets), optional
            What is forecast, if it was given to `fit` beside X.
        known : array-like (time, n_known), optional
            The columns whose future is known.

        Returns
        -------
        truth, forecasts : array (n, horizon, n_targets)
            With ``n = time - lookback - horizon + 1``.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the series are too short or do not have the columns of those of `fit`.
        """
        check_is_fitted(self)
        series = series_of(X, y, known)
        self._check_columns(series, X)
        check_long(series, self._steps + self.horizon, "a forecast with what came")
        parts = [self._ahead(s) for s in series if len(s.targets) >= self._steps + self.horizon]
        return (np.concatenate([truth for _, truth in parts]),
                np.concatenate([forecast for forecast, _ in parts]))

    def score(self, X, y=None, known=None) -> float:
        """R² of the forecasts from every moment of a series, over all steps and targets.

        Parameters
        ----------
        X, y, known
            As in `backtest`, with the same errors.

        Returns
        -------
        float
            At most 1; each target has the same weight.
        """
        return r2(*self.backtest(X, y, known))

    def report(self, X, y=None, known=None) -> Report:
        """The score, and beside it those of repeating the last value and the last season.

        Parameters
        ----------
        X, y, known
            As in `backtest`, with the same errors.

        Returns
        -------
        Report
            Printed as ``R² 0.52 (last value: 0.41, last season: 0.22)``.
        """
        score, least = self.score(X, y, known), self._steps + self.horizon
        series = [s for s in series_of(X, y, known) if len(s.targets) >= least]
        rules = {"last value": 1} | ({"last season": self.season} if self.season else {})
        found = {}
        for rule, season in rules.items():
            if season <= self._steps:
                parts = [naive(s, self._steps, self.horizon, season) for s in series]
                forecasts, truth = map(np.concatenate, zip(*parts))
                found[rule] = r2(truth, forecasts)
        return Report("R²", score, found)

    def _check_season(self, season: int) -> None:
        """Refuse a season that no forecast sees the whole of."""
        if season > self._steps:
            raise ParameterError("season must not be longer than lookback",
                                 got=f"season={season}, lookback={self._steps}",
                                 fix="pass a lookback of at least one season")

    def _learn_columns(self, series: list[Series], X, y) -> None:
        """Remember what the series of a fit look like, and the last of them."""
        first, target = series[0], X if y is None else y
        self._check_names(X, reset=True)
        self._flat_targets = np.ndim(target[0] if several(target) else target) == 1
        self._columns = [part.shape[1] for part in first]
        self.n_features_in_ = first.past.shape[1] or first.targets.shape[1]
        self._remember(series)

    def _remember(self, series: list[Series]) -> None:
        """Keep the end of the last series, to go on from."""
        last = series[-1].last(self._steps)
        self._end = np.concatenate(list(last), axis=1)                # (lookback, columns)

    def _after(self, known) -> Series:
        """The end of the series of the fit, with what is known of the time after it."""
        targets, past, known_before = np.split(self._end, np.cumsum(self._columns[:2]), axis=1)
        if self._columns[2] and known is None:
            raise ShapeError("known= is needed: the model was fitted with such columns",
                             fix=f"pass known= for the {self.horizon} steps after those of fit")
        later = np.empty((self.horizon, 0)) if known is None else table(known, "known")
        if later.shape != (self.horizon, self._columns[2]):
            raise ShapeError("known= must cover the steps after those of fit",
                             got=f"{list(later.shape)}, not {[self.horizon, self._columns[2]]}",
                             fix="pass one row per step to come")
        return Series(targets, past, np.concatenate([known_before, later]))

    def _check_names(self, X, reset: bool) -> None:
        """Note or compare the names of columns, as scikit-learn does, of every series."""
        parts = X if several(X) else [X]
        _check_feature_names(self, parts[0], reset=reset)
        for part in parts[1:]:
            _check_feature_names(self, part, reset=False)

    def _check_columns(self, series: list[Series], X) -> None:
        """Refuse series of other columns than those of the fit."""
        self._check_names(X, reset=False)
        for name, part, count in zip(("targets", "past columns", "known columns"), series[0],
                                     self._columns):
            if part.shape[1] != count:
                raise ShapeError(f"the series has {part.shape[1]} {name}, but "
                                 f"{type(self).__name__} was fitted with {count}",
                                 fix="pass X, y and known with the columns of those of fit")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False         # rows are moments of time, not samples
        tags.target_tags.required = False
        return tags


def r2(truth, forecasts) -> float:
    """R² over moments and steps, each target with the same weight."""
    error = ((truth - forecasts) ** 2).sum(axis=(0, 1))
    spread = ((truth - truth.mean(axis=(0, 1))) ** 2).sum(axis=(0, 1))
    return float(np.mean(1 - error / np.where(spread > 0, spread, 1.0)))
