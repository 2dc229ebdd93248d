"""RNNForecaster: many steps of one or several time series, forecast at once."""
from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from ..backend import Spec
from ..backend.errors import ParameterError, ShapeError
from ..layers import Concatenate, Cropping1D, Dense, Dropout, Flatten, Input, Layer, Model
from .automatic import FULL_BATCH_ROWS
from .fitted import average
from .parameters import layer_sizes
from .regressor import Regressor
from .report import Report, naive_r2
from .rnn import CELLS
from .windows import Series, check_long, extended, naive, series_of, several, table, windows


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
        check_is_fitted(self)
        steps = self.horizon if horizon is None else horizon
        if not isinstance(steps, Integral) or not 1 <= steps <= self.horizon:
            raise ParameterError(f"horizon must be a whole number from 1 to {self.horizon}, the "
                                 f"model's own, not {steps!r}", fix="fit with a longer horizon")
        if X is None:
            series = [self._after(known)]
        else:
            series = series_of(X, y, known, ahead=self.horizon)
            self._check_columns(series)
        found = []
        for part in series:
            check_long([part], self._steps, "a forecast")
            part = extended(part.last(self._steps), self.horizon)
            forecast = self._ahead(part)[0][0, :steps]
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
        self._check_columns(series)
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

    def _learn_columns(self, series: list[Series], flat: bool) -> None:
        """Remember what the series of a fit look like, and the last of them."""
        first = series[0]
        self._flat_targets = flat
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

    def _check_columns(self, series: list[Series]) -> None:
        """Refuse series of other columns than those of the fit."""
        for name, part, count in zip(("targets", "past columns", "known columns"), series[0],
                                     self._columns):
            if part.shape[1] != count:
                raise ShapeError(f"the series has {part.shape[1]} {name}, but "
                                 f"{type(self).__name__} was fitted with {count}",
                                 fix="pass X, y and known with the columns of those of fit")


def r2(truth, forecasts) -> float:
    """R² over moments and steps, each target with the same weight."""
    error = ((truth - forecasts) ** 2).sum(axis=(0, 1))
    spread = ((truth - truth.mean(axis=(0, 1))) ** 2).sum(axis=(0, 1))
    return float(np.mean(1 - error / np.where(spread > 0, spread, 1.0)))


@dataclass(kw_only=True, eq=False, repr=False)
class RNNForecaster(Forecasts, Regressor):
    """A recurrent net that forecasts many steps of a time series at once.

    The net reads the last ``lookback`` steps and then the steps to come, in which stand what is
    known of the future and the values of the last known season; one more dense layer gives all
    steps in one go. Values are read and given from the last one known.

    Rows are moments of time, not samples of their own: shuffling them means something else.

    Parameters
    ----------
    horizon : int
        How many steps are forecast.
    lookback : int
        How many steps of the past the net sees.
    season : int or None
        Steps after which the series is about the same, such as 24 for hours of days; at most
        ``lookback``. None for none.
    cell : {"lstm", "gru", "rnn"}
        The recurrent layer.
    units : int or tuple of int
        Its size; several make a stack.
    dropout : float
        Share of features left out after each recurrent layer.
    {shared}

    Attributes
    ----------
    {fitted}

    References
    ----------
    Taieb et al., A review and comparison of strategies for multi-step ahead time series
    forecasting, Expert Systems with Applications 39(8), 2012: the multi-input multi-output one.

    Examples
    --------
    >>> from gradatim import RNNForecaster
    >>> from gradatim.datasets import make_seasonal
    >>> series = make_seasonal(400, period=12)
    >>> model = RNNForecaster(horizon=6, lookback=24, season=12, units=8, epochs=30, random_state=0)
    >>> model.fit(series[:300]).predict().shape
    (6,)
    >>> model.score(series[300:]) > 0.5
    True
    """
    horizon: int = 24
    lookback: int = 48
    season: Any = None
    cell: str = "gru"
    units: Any = 32
    dropout: float = 0.0

    _parameter_constraints = {
        **Regressor._parameter_constraints,
        "calibration": [None],             # windows overlap: those held out are not exchangeable
        "horizon": [Interval(Integral, 1, None, closed="left")],
        "lookback": [Interval(Integral, 1, None, closed="left")],
        "season": [None, Interval(Integral, 1, None, closed="left")],
        "cell": [StrOptions(set(CELLS))],
        "units": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
    }
    _fit_sets = ("_columns", "_end")
    _rule = "last value"
    _auto_batch_size = 64
    _auto_learning_rate = 5e-3
    _auto_full_batch_rate = 1e-2

    def _network(self, spec: Spec, n_outputs: int) -> Layer:
        if self._gaussian:
            raise ParameterError('loss="gaussian" is not for forecasts',
                                 fix='use loss="quantile" with several values of quantile')
        x = h = Input(spec.shape)
        for size in layer_sizes("units", self.units, least=1):
            h = CELLS[self.cell](size, return_sequences=True)(h)
            if self.dropout:
                h = Dropout(self.dropout)(h)
        ahead = Cropping1D((self.lookback, 0))(Concatenate()([h, x]))   # (horizon, features)
        ahead = Dense(layer_sizes("units", self.units, least=1)[-1], "relu",
                      kernel_initializer="he_normal")(ahead)
        return Model(x, Flatten()(Dense(n_outputs // self.horizon)(ahead)))

    def fit(self, X, y=None, known=None, X_val=None, y_val=None, known_val=None):
        """Fit the net to every stretch of ``lookback + horizon`` steps.

        Parameters
        ----------
        X : array-like (time,) or (time, n_columns), or list of such
            The series, all of whose columns are forecast; or, beside y, what is known of the past.
        y : array-like (time,) or (time, n_targets), or list of such, optional
            What is forecast, if it is not X.
        known : array-like (time, n_known), or list of such, optional
            Columns whose future is known, such as the hour and the day of the week.
        X_val, y_val, known_val : optional
            Validation series for early stopping and the ``val_`` numbers of ``history_``; early
            stopping takes the end of each series otherwise.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter or the series cannot be used; the text says what to do.
        NonFiniteError
            If training diverged.
        """
        again = self.warm_start and hasattr(self, "_fitted")
        return self._guarded((X, y, known), None, None, (X_val, y_val, known_val), again)

    def partial_fit(self, X, y=None, known=None):
        """Make one pass over a series at a constant rate.

        Parameters
        ----------
        X, y, known
            As in `fit`, with the same errors.

        Returns
        -------
        self
        """
        again = hasattr(self, "_fitted")
        return self._guarded((X, y, known), None, None, (None,) * 3, again, one_pass=True)

    def _fit(self, given, y, sample_weight, validation, again, one_pass=False):
        if (self.season or 1) > self.lookback:
            raise ParameterError("season must not be longer than lookback",
                                 got=f"season={self.season}, lookback={self.lookback}",
                                 fix="pass a lookback of at least one season")
        series = series_of(*given)
        if again:
            self._check_columns(series)
            self._remember(series)
        least = self.lookback + self.horizon
        check_long(series, least, "one window of lookback and horizon")
        if not again:
            target = given[0] if given[1] is None else given[1]
            self._learn_columns(series, np.ndim(target[0] if several(target) else target) == 1)
        held = None
        if validation[0] is not None:
            held = series_of(*validation)
            self._check_columns(held)
            check_long(held, least, "one window of lookback and horizon")
        elif self.early_stopping and not one_pass:
            series, held = map(list, zip(*(self._parted(s) for s in series)))
        X, targets = self._windows(series)
        validation = (None,) * 3 if held is None else (*self._windows(held), None)
        return super()._fit(X, targets, None, validation, again, one_pass)

    @property
    def predict_interval(self):
        """Forecasts have no intervals: errors of neighbouring windows depend on each other."""
        raise AttributeError(f"{type(self).__name__} has no predict_interval")

    @property
    def _steps(self) -> int:
        return self.lookback

    def _parted(self, series: Series) -> tuple[Series, Series]:
        """A series but its end, and its end: what is forecast there is not in the first part."""
        time, least = len(series.targets), self.lookback + self.horizon
        cut = min(time - round(self.validation_fraction * time), time - self.horizon)
        if cut < least:
            raise ParameterError("a series is too short to hold a part of it out",
                                 got=f"{time} steps", fix="pass X_val=, or early_stopping=False")
        return (Series(*(part[:cut] for part in series)),
                Series(*(part[cut - self.lookback:] for part in series)))

    def _windows(self, series: list[Series]) -> tuple[np.ndarray, np.ndarray]:
        """Windows of all series, and what comes after each, flat."""
        least = self.lookback + self.horizon
        parts = [windows(s, self.lookback, self.horizon, self.season)[:2]
                 for s in series if len(s.targets) >= least]
        X, y = (np.concatenate(found) for found in zip(*parts))
        narrow = len(X) > FULL_BATCH_ROWS and self.precision != "float64"
        return X.astype(np.float32 if narrow else np.float64, copy=False), y.reshape(len(y), -1)

    def _ahead(self, series: Series) -> tuple[np.ndarray, np.ndarray]:
        """Forecasts from every moment, and what came: ``(n, horizon, n_targets)`` each."""
        X, y, last = windows(series, self.lookback, self.horizon, self.season)
        out = average(self._outputs(X, self._in_units))
        return out.astype(np.float64).reshape(y.shape) + last, y + last

    def _naive(self, targets, weights):
        return naive_r2(targets, 0.0, weights)         # targets are given from the last value

    # The windows are made here and need no scikit-learn checks.
    def _validated(self, X, reset, y=None, **_):
        return X if y is None else (X, y)

    def _encoded(self, y, again, classes):
        flat = self._flat_targets
        targets = super()._encoded(y, again, classes)
        self._flat_targets = flat
        return targets

    def _sample_tail(self):
        return (self.lookback + self.horizon, sum(self._columns))

    def _statistics(self, X, weights):
        return super()._statistics(X.reshape(-1, X.shape[-1]), None)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False         # rows are moments of time, not samples
        tags.target_tags.required = False
        return tags
