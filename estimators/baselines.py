"""Baselines: what can be reached without looking at the samples, or by repeating the past."""
from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, MultiOutputMixin, RegressorMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (_check_sample_weight, _check_y, _num_samples,
                                      assert_all_finite, check_consistent_length, check_is_fitted,
                                      column_or_1d)

from ..backend.errors import ShapeError
from .checking import (explained, refuse_unusable, require_numbers, require_targets,
                       unchanged_on_error)
from .forecasts import Forecasts
from .saving import Saveable
from .weightless import require_weight
from .windows import check_long, naive, series_of


class _Constant(Saveable):
    """What both share: samples are counted, not looked at."""

    def _targets_and_weights(self, X, y, sample_weight, **options):
        """Targets and weights, checked."""
        self._validate_params()
        require_targets(self, y)
        refuse_unusable(y=y, sample_weight=sample_weight)
        with explained():
            y = self._checked(_check_y(y, estimator=self, **options))
            check_consistent_length(X, y)
            if not len(y):
                raise ValueError("Found array with 0 sample(s) while a minimum of 1 is required.")
            weights = np.ones(len(y)) if sample_weight is None else _check_sample_weight(
                sample_weight, y, dtype=np.float64, ensure_non_negative=True)
            require_weight(weights)
        return y, weights

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.no_validation = True
        tags.input_tags.three_d_array = tags.input_tags.allow_nan = True
        tags.input_tags.sparse = tags.input_tags.string = True
        for of_kind in filter(None, (tags.classifier_tags, tags.regressor_tags)):
            of_kind.poor_score = True
        return tags


@dataclass(kw_only=True, eq=False, repr=False)
class BaselineClassifier(_Constant, ClassifierMixin, BaseEstimator):
    """The same answer for every sample: what a classifier must beat.

    Samples are counted, not looked at, so that they may be of any kind.

    Parameters
    ----------
    strategy : {"most_frequent", "prior"}
        Whether probabilities are one for the most frequent class and zero for the others, or the
        shares of the classes. `predict` gives the most frequent class in either case.

    Attributes
    ----------
    classes_ : array (n_classes,)
        The labels, sorted.
    class_prior_ : array (n_classes,)
        Their weighted shares.

    Examples
    --------
    >>> from gradatim import BaselineClassifier
    >>> model = BaselineClassifier().fit([[0], [1], [2]], ["a", "b", "b"])
    >>> model.predict([[7]]).tolist(), model.predict_proba([[7]]).round(2).tolist()
    (['b'], [[0.33, 0.67]])
    """
    strategy: str = "prior"

    _parameter_constraints = {"strategy": [StrOptions({"most_frequent", "prior"})]}
    _fit_sets = ("classes_", "class_prior_")

    def fit(self, X, y, sample_weight=None):
        """Count the labels.

        Parameters
        ----------
        X : any with a length
            Samples.
        y : array-like (n,)
            Labels.
        sample_weight : array-like (n,), optional
            Weights from 0 on.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the labels or weights cannot be used.
        """
        y, weights = self._targets_and_weights(X, y, sample_weight)
        self.classes_, codes = np.unique(y, return_inverse=True)
        self.class_prior_ = np.bincount(codes, weights) / weights.sum()
        return self

    def _checked(self, y):
        """Labels of one kind."""
        check_classification_targets(y)
        return column_or_1d(y)

    def predict(self, X) -> np.ndarray:
        """The most frequent label, once per sample.

        Parameters
        ----------
        X : any with a length
            Samples.

        Returns
        -------
        array (n,)
        """
        check_is_fitted(self)
        return np.repeat(self.classes_[[self.class_prior_.argmax()]], _num_samples(X))

    def predict_proba(self, X) -> np.ndarray:
        """The same probabilities for every sample.

        Parameters
        ----------
        X : any with a length
            Samples.

        Returns
        -------
        array (n, n_classes)
        """
        check_is_fitted(self)
        shares = self.class_prior_
        if self.strategy == "most_frequent":
            shares = np.eye(len(shares))[shares.argmax()]
        return np.tile(shares, (_num_samples(X), 1))

    def predict_log_proba(self, X) -> np.ndarray:
        """Logarithms of the probabilities.

        Parameters
        ----------
        X : any with a length
            Samples.

        Returns
        -------
        array (n, n_classes)
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def _check_fitted(self) -> None:
        """Refuse attributes from a file that do not fit together."""
        if np.shape(self.class_prior_) != np.shape(self.classes_):
            raise ShapeError("there are other shares than classes")


@dataclass(kw_only=True, eq=False, repr=False)
class BaselineRegressor(_Constant, MultiOutputMixin, RegressorMixin, BaseEstimator):
    """The same numbers for every sample: what a regressor must beat.

    Samples are counted, not looked at, so that they may be of any kind.

    Parameters
    ----------
    strategy : {"mean", "median"}
        What is predicted: the mean has the least squared error, the median the least absolute one.

    Attributes
    ----------
    constant_ : float or array (n_targets,)
        What is predicted.

    Examples
    --------
    >>> from gradatim import BaselineRegressor
    >>> BaselineRegressor(strategy="median").fit([[0], [1], [2]], [1.0, 2.0, 9.0]).predict([[7]])
    array([2.])
    """
    strategy: str = "mean"

    _parameter_constraints = {"strategy": [StrOptions({"mean", "median"})]}
    _fit_sets = ("constant_",)

    def fit(self, X, y, sample_weight=None):
        """Take the mean or the median of the targets.

        Parameters
        ----------
        X : any with a length
            Samples.
        y : array-like (n,) or (n, n_targets)
            Targets.
        sample_weight : array-like (n,), optional
            Weights from 0 on.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the targets or weights cannot be used.
        """
        y, weights = self._targets_and_weights(X, y, sample_weight, multi_output=True,
                                               y_numeric=True)
        middle = weighted_median if self.strategy == "median" else \
            lambda columns, w: np.average(columns, axis=0, weights=w)
        found = middle(y.reshape(len(y), -1), weights)
        self.constant_ = found if y.ndim == 2 else found[0]
        return self

    def _checked(self, y):
        """Finite numbers."""
        require_numbers(y, "y")
        y = np.asarray(y, np.float64)
        assert_all_finite(y, input_name="y")        # None among objects has become NaN only now
        return y

    def predict(self, X) -> np.ndarray:
        """The same numbers, once per sample.

        Parameters
        ----------
        X : any with a length
            Samples.

        Returns
        -------
        array (n,) or (n, n_targets)
        """
        check_is_fitted(self)
        return np.repeat(np.asarray(self.constant_)[None], _num_samples(X), axis=0)

    def _check_fitted(self) -> None:
        """Refuse attributes from a file that do not fit together."""
        if np.ndim(self.constant_) > 1:
            raise ShapeError("the constant has too many axes", got=str(np.shape(self.constant_)))


def weighted_median(columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of each column, the middle value of the rows repeated as their weights say."""
    found = []
    for column in columns.T:
        order = np.argsort(column, kind="stable")
        order = order[weights[order] > 0]
        below, half = np.cumsum(weights[order]), 0.5 * weights.sum()
        first = np.searchsorted(below, half, side="left")
        second = min(np.searchsorted(below, half, side="right"), len(order) - 1)
        found.append(0.5 * (column[order[first]] + column[order[second]]))
    return np.array(found)


@dataclass(kw_only=True, eq=False, repr=False)
class BaselineForecaster(Forecasts, Saveable, BaseEstimator):
    """The past, repeated: what a forecaster must beat.

    Parameters
    ----------
    strategy : {"last", "seasonal"}
        What is repeated: the last value, or the values of the last season.
    horizon : int
        How many steps are forecast.
    season : int
        Steps after which the series is about the same, for ``"seasonal"``.
    lookback : int or None
        How many steps of the past are asked for, which decides from where on `backtest` and `score`
        forecast; as many as are needed by default.

    References
    ----------
    Hyndman and Athanasopoulos, Forecasting: principles and practice, 3rd ed. 2021, section 5.2.

    Examples
    --------
    >>> from gradatim import BaselineForecaster
    >>> model = BaselineForecaster(strategy="seasonal", season=2, horizon=3)
    >>> model.fit([1.0, 2.0, 1.0, 3.0]).predict().tolist()
    [1.0, 3.0, 1.0]
    """
    strategy: str = "last"
    horizon: int = 24
    season: int = 24
    lookback: Any = None

    _parameter_constraints = {
        "strategy": [StrOptions({"last", "seasonal"})],
        "horizon": [Interval(Integral, 1, None, closed="left")],
        "season": [Interval(Integral, 1, None, closed="left")],
        "lookback": [None, Interval(Integral, 1, None, closed="left")],
    }
    _fit_sets = ("n_features_in_", "_columns", "_end", "_flat_targets")

    def fit(self, X, y=None, known=None):
        """Remember the end of the series.

        Parameters
        ----------
        X, y, known : array-like (time, ...), or list of such
            As in `RNNForecaster.fit`.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the series cannot be used.
        """
        self._validate_params()
        self._check_season(self._period)
        series = series_of(X, y, known)
        check_long(series[-1:], self._steps, "a forecast")
        with unchanged_on_error(self):
            self._learn_columns(series, X, y)
        return self

    @property
    def _period(self) -> int:
        return self.season if self.strategy == "seasonal" else 1

    @property
    def _steps(self) -> int:
        return self._period if self.lookback is None else self.lookback

    def _ahead(self, series):
        return naive(series, self._steps, self.horizon, self._period)

    def _check_fitted(self) -> None:
        """Refuse attributes from a file that do not fit together."""
        if self._end.shape != (self._steps, sum(self._columns)) or len(self._columns) != 3:
            raise ShapeError("the end of the series does not fit the columns")
