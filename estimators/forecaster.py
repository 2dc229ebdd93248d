"""RNNForecaster: many steps of one or several time series, forecast at once."""
from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Callable

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from ..backend import Spec
from ..backend.errors import ParameterError
from ..layers import (
    Add, Concatenate, Cropping1D, Dense, Flatten, Input, Layer, Model, Permute, Reshape,
    ZeroPadding1D)
from .forecasts import Forecasts
from .parameters import layer_sizes
from .regressor import Regressor
from .report import naive_r2
from .rnn import CELLS, recurrent_layers
from .windows import Series, check_long, series_of, windows


@dataclass(kw_only=True, eq=False, repr=False)
class RNNForecaster(Forecasts, Regressor):
    """A recurrent net that forecasts many steps of a time series at once.

    The net reads the last ``lookback`` steps and then the steps to come, in which stand what is
    known of the future and the values of the last known season, some steps at a time; two dense
    layers give all steps in one go. A linear layer from the past of each target to its future,
    the same for all targets, is added. Values are read and given from the last one known.

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
    segment : int
        How many steps the recurrent layer reads at once; 1 reads them one by one.
    cell : {"lstm", "gru", "rnn"}
        The recurrent layer.
    units : int or tuple of int
        Its size; several make a stack.
    dropout : float
        Share of features left out after each recurrent layer.

    References
    ----------
    Taieb et al., A review and comparison of strategies for multi-step ahead time series
    forecasting, Expert Systems with Applications 39(8), 2012: the multi-input multi-output one.
    Lin et al., SegRNN: segment recurrent neural network for long-term time series forecasting,
    2023: the segments. Zeng et al., Are transformers effective for time series forecasting?,
    AAAI 2023: the linear layer, "NLinear".

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
    segment: int = 8
    cell: str = "gru"
    units: Any = 32
    dropout: float = 0.0

    _parameter_constraints = {
        "calibration": [None],             # windows overlap: those held out are not exchangeable
        "horizon": [Interval(Integral, 1, None, closed="left")],
        "lookback": [Interval(Integral, 1, None, closed="left")],
        "season": [None, Interval(Integral, 1, None, closed="left")],
        "segment": [Interval(Integral, 1, None, closed="left")],
        "cell": [StrOptions(set(CELLS))],
        "units": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "dropout": [Interval(Real, 0, 1, closed="left")],
    }
    _fit_sets = ("_columns", "_end")
    _rule = "last value"
    _auto_batch_size = 32
    _auto_learning_rate = 5e-3
    _auto_steps = 150
    _auto_full_batch_rows = 0              # windows have no weights that must equal repetitions
    _auto_full_batch_steps = 100

    def _network(self, spec: Spec, n_outputs: int) -> Layer:
        parts, columns = self._loss().outputs, spec.shape[1]
        n_targets = n_outputs // self.horizon // parts
        before, after = -self.lookback % self.segment, -self.horizon % self.segment
        x = Input(spec.shape)
        segments = h = Reshape((-1, self.segment * columns))(ZeroPadding1D((before, after))(x))
        for layer in recurrent_layers(self, both_ways=False):
            h = layer(h)
        past = (before + self.lookback) // self.segment
        ahead = Cropping1D((past, 0))(Concatenate()([h, segments]))    # (segments, features)
        ahead = Dense(layer_sizes("units", self.units, least=1)[-1], "relu",
                      kernel_initializer="he_normal")(ahead)
        ahead = Reshape((-1, parts * n_targets))(Dense(self.segment * parts * n_targets)(ahead))
        ahead = Cropping1D((0, after))(ahead)
        # The first numbers of all steps, then the second.
        ahead = Permute((2, 1, 3))(Reshape((self.horizon, parts, n_targets))(ahead))
        targets = Permute((2, 1))(Cropping1D((0, self.horizon))(x))     # (columns, lookback)
        targets = Cropping1D((0, columns - n_targets))(targets)
        linear = Dense(parts * self.horizon, kernel_initializer="zeros")(targets)
        return Model(x, Add()([Flatten()(ahead), Flatten()(Permute((2, 1))(linear))]))

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
        return self._guarded((X, y, known), None, None, (X_val, y_val, known_val), self._goes_on)

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
        return self._one_pass((X, y, known), None)

    def _fit(self, given, y, sample_weight, validation, again, one_pass=False):
        self._check_season(self.season or 1)
        series = series_of(*given)
        if again:
            self._check_columns(series, given[0])
            self._remember(series)
        least = self.lookback + self.horizon
        check_long(series, least, "one window of lookback and horizon")
        if not again:
            self._learn_columns(series, *given[:2])
        held = None
        if validation[0] is not None:
            held = series_of(*validation)
            self._check_columns(held, validation[0])
            check_long(held, least, "one window of lookback and horizon")
        elif self.early_stopping and not one_pass:
            series, held = map(list, zip(*(self._parted(s) for s in series)))
        X, targets = self._windows(series)
        validation = (None,) * 3 if held is None else (*self._windows(held), None)
        return super()._fit(X, targets, None, validation, again, one_pass)

    def predict_quantiles(self, X=None, known=None, *, y=None, horizon: int | None = None):
        """The quantiles that the net was fitted for, of what comes after a series.

        Parameters
        ----------
        X, known, y, horizon
            As in `predict`, with the same errors.

        Returns
        -------
        array (horizon, n_quantiles) or (horizon, n_targets, n_quantiles), or list of such
            In rising order.

        Raises
        ------
        ValueError
            As in `predict`, and without ``loss="quantile"``.
        """
        return self._after_each(X, known, y, horizon,
                                lambda part: self._around(part, self._quantiles))

    def predict_interval(self, X=None, known=None, *, y=None, horizon: int | None = None,
                         coverage: float = 0.9):
        """Intervals that hold a share of what comes after a series, step by step.

        They are as right as the quantiles, or the normal distributions, that the net has learnt.

        Parameters
        ----------
        X, known, y, horizon
            As in `predict`, with the same errors.
        coverage : float
            The share, between 0 and 1.

        Returns
        -------
        array (horizon, 2) or (horizon, n_targets, 2), or list of such
            Lower and upper ends.

        Raises
        ------
        ValueError
            As in `predict`, and if the net has neither a Gaussian head nor the two quantiles.

        Examples
        --------
        >>> from gradatim import RNNForecaster
        >>> from gradatim.datasets import make_seasonal
        >>> model = RNNForecaster(horizon=6, lookback=12, units=8, epochs=3, random_state=0,
        ...                       loss="quantile", quantile=(0.1, 0.5, 0.9))
        >>> model.fit(make_seasonal(200, period=12)).predict_interval(coverage=0.8).shape
        (6, 2)
        """
        return self._after_each(X, known, y, horizon, lambda part: self._around(
            part, lambda X: self._interval(X, coverage)))

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
        return X.astype(self._dtype(self._full_batch(len(X))), copy=False), y.reshape(len(y), -1)

    def _ahead(self, series: Series) -> tuple[np.ndarray, np.ndarray]:
        """Forecasts from every moment, and what came: ``(n, horizon, n_targets)`` each."""
        X, y, last = windows(series, self.lookback, self.horizon, self.season)
        out = self._means(X)
        return out.astype(np.float64).reshape(y.shape) + last, y + last

    def _around(self, series: Series, heads: Callable) -> np.ndarray:
        """Several numbers for each that is forecast, ``(n, horizon, n_targets, several)``."""
        X, y, last = windows(series, self.lookback, self.horizon, self.season)
        return heads(X).astype(np.float64).reshape(*y.shape, -1) + last[..., None]

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

