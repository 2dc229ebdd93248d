"""LinearRegressor: exact least squares and ridge, in one shot or streamed, with standard errors."""
from __future__ import annotations

from functools import partial
from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils import assert_all_finite
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ..backend import OPS, get_backend
from ..backend.errors import ParameterError, ShapeError
from .checking import explained, refuse_unusable, require_numbers, unchanged_on_error
from .iterators import gathered
from .report import Reported, naive_r2
from .saving import Saveable
from .weightless import require_weight
from .least_squares import (
    CACHED_ELEMENTS, GRAM_ELEMENTS, Rows, column_norms, dense, one_thread, real, remembered, solve,
    triangular_factor)


class LinearRegressor(MultiOutputMixin, RegressorMixin, Reported, Saveable, BaseEstimator):
    """Linear regression by exact least squares.

    Minimises ``sum_i w_i (y_i - x_i b - c)^2 + alpha |b|^2``. Nothing is iterated to a tolerance
    and nothing is random: the answer has the digits the data allow. Arithmetic is in float64
    whatever the dtype of `X`; rows are read in blocks, so that little memory is needed beyond `X`.

    Parameters
    ----------
    alpha : float, default=0.0
        Weight of the ridge penalty on the coefficients (never on the intercept), at least 0. With
        0 and columns that depend on each other the solution of least norm is taken.
    fit_intercept : bool, default=True
        Whether the model has a constant term.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients ``b``.
    intercept_ : float or ndarray of shape (n_targets,)
        Constant ``c``; 0 without an intercept.
    standard_errors_ : ndarray, shaped like `coef_`
        Standard errors of the coefficients; NaN where no degree of freedom is left.
    intercept_standard_error_ : float or ndarray of shape (n_targets,)
        Standard error of the intercept; 0 without an intercept.
    residual_std_ : float or ndarray of shape (n_targets,)
        Estimated standard deviation of the noise of a row of weight 1,
        ``sqrt(sum_i w_i residual_i^2 / degrees_of_freedom_)``.
    degrees_of_freedom_ : float
        Rows of non-zero weight, less the coefficients that could be told apart, less 1 for the
        intercept. With ``alpha > 0`` the coefficients count as the trace of the hat matrix.
    rank_ : int
        Number of independent columns, after centring and after columns were scaled.
    condition_ : float
        Estimated condition number (1-norm) of the centred columns scaled to unit length (with the
        penalty stacked below them); infinite where `rank_` is less than `n_features_in_`.
    r_factor_ : ndarray of shape (k, 1 + n_features + n_targets)
        Upper triangular factor of ``[1 X y]`` (without the 1 if there is no intercept), or the rows
        themselves while they are few or dependent: all that `partial_fit` remembers.
    n_samples_seen_ : int
        Rows of non-zero weight seen so far.
    n_features_in_ : int
        Number of columns of `X`.
    feature_names_in_ : ndarray of str
        Names of the columns, where `X` had names.

    Notes
    -----
    Weights are *precision* weights: row i has noise variance ``s^2 / w_i``. Coefficients are those
    of a row repeated ``w_i`` times; standard errors count every row of non-zero weight once.

    Standard errors and deviations follow Seber and Lee, *Linear Regression Analysis*, 2nd ed. 2003,
    chapters 3 and 5. With a penalty they are the deviations of the (biased) ridge estimate, and its
    effective number of coefficients is that of Hastie, Tibshirani and Friedman, *The Elements of
    Statistical Learning*, 2nd ed. 2009, section 3.4.1. Of dependent columns they are those of the
    solution of least norm.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.estimators.linear_regressor import LinearRegressor
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> model = LinearRegressor().fit(X, [1.0, 3.0, 5.0, 8.0])
    >>> print(model.coef_.round(4), round(model.intercept_, 4), model.standard_errors_.round(4))
    [2.3] 0.8 [0.1732]
    >>> mean, std = model.predict([[4.0]], return_std=True)
    >>> print(mean.round(4), std.round(4))
    [10.] [0.6124]
    """

    _fit_sets = ("coef_", "intercept_", "standard_errors_", "intercept_standard_error_",
                 "residual_std_", "degrees_of_freedom_", "rank_", "condition_", "r_factor_",
                 "n_samples_seen_", "n_features_in_", "_r_factor_low_", "_mean_",
                 "_covariance_root_", "_mean_variance_")
    _parameter_constraints = {
        "alpha": [Interval(Real, 0, None, closed="left")], "fit_intercept": ["boolean"]}

    def __init__(self, alpha=0.0, *, fit_intercept=True):
        self.alpha = alpha
        self.fit_intercept = fit_intercept

    def fit(self, X, y, sample_weight=None):
        """Fit to all rows of `X` at once, forgetting any earlier fit.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Predictors.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : array-like of shape (n_samples,), optional
            Weights, at least 0. Weight 0 removes a row; all default to 1.

        Returns
        -------
        LinearRegressor
            The estimator itself.

        Raises
        ------
        ValueError
            Data or weights that cannot be used; the earlier fit then stays as it was.
        """
        return self._learn(X, y, sample_weight, first=True)

    def partial_fit(self, X, y, sample_weight=None):
        """Add the rows of `X` to those seen before; the result is that of one `fit` to them all.

        `alpha` may be changed between calls; it is applied to the rows seen so far.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`, with the same columns and targets at every call.

        Returns
        -------
        LinearRegressor
            The estimator itself.

        Raises
        ------
        ValueError
            Data or weights that cannot be used (a block whose weights are all zero among them);
            what was learned before is kept.
        """
        return self._learn(X, y, sample_weight, first=not hasattr(self, "r_factor_"))

    def predict(self, X, return_std=False):
        """Predict the targets, and how far a new observation may lie from them.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Predictors.
        return_std : bool, default=False
            Also return the standard deviation of a *new observation* of weight 1 at each row x,
            ``s sqrt(1 + 1 / sum(w) + (x - m)' C (x - m))`` with the noise s, the mean m of the
            training rows and ``s^2 C`` the covariance of the coefficients (Seber and Lee 2003,
            chapter 5); without an intercept m and the second term are 0. For an interval multiply
            by a quantile of Student's t with `degrees_of_freedom_`.

        Returns
        -------
        ndarray, or two of them with ``return_std=True``
            Each of shape (n_samples,) or (n_samples, n_targets), like the y of `fit`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before `fit`.
        ValueError
            `X` has other columns than in `fit`, or values that are not finite.
        """
        check_is_fitted(self)
        X = gathered(X)
        refuse_unusable(X=X)
        with explained():
            X = validate_data(self, X, reset=False, accept_sparse="csr", dtype="numeric",
                              ensure_all_finite=False)
        require_numbers(X)
        mean = self._means(X)
        if not np.isfinite(mean).all():     # NaN and infinity in X always reach the prediction
            _require_finite(X)
        if not return_std:
            return mean
        spread = np.sqrt(1.0 + self._mean_variance_ + self._leverage(X))
        return mean, np.multiply.outer(spread, self.residual_std_)

    def _means(self, X):
        """Predictions; NaN or infinite where a row of X is."""
        mean = np.empty((X.shape[0], *np.shape(self.intercept_)))
        kernel, bias = np.atleast_2d(self.coef_).T, np.atleast_1d(self.intercept_)
        run = get_backend().run
        with np.errstate(all="ignore"):
            for rows in _slices(X, GRAM_ELEMENTS):
                found = run(OPS["affine"], real(dense(X[rows])), kernel, bias)
                mean[rows] = found.reshape(mean[rows].shape)
        return mean

    def _leverage(self, X):
        """(x - m)' C (x - m) for the rows x."""
        leverage = np.empty(X.shape[0])
        for rows in _slices(X, CACHED_ELEMENTS):
            away = (real(dense(X[rows])) - self._mean_) @ self._covariance_root_
            np.einsum("ij,ij->i", away, away, out=leverage[rows])
        return leverage

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _learn(self, X, y, sample_weight, first):
        """Bring the triangular factor up to date and read the regression from it."""
        self._validate_params()
        X, y, sample_weight = map(gathered, (X, y, sample_weight))
        refuse_unusable(X=X, y=y, sample_weight=sample_weight)
        with unchanged_on_error(self), explained():
            X, y = validate_data(self, X, y, reset=first, accept_sparse="csr", dtype="numeric",
                                 multi_output=True, y_numeric=True, ensure_all_finite=False)
            require_numbers(X)
            y = _numbers(y)
            Y = y.reshape(len(y), -1)
            ones = int(self.fit_intercept)
            root, keep = _roots(sample_weight, X)
            rows = Rows(X, Y, root, keep, ones,
                        None if first else (self.r_factor_, self._r_factor_low_))
            if not first:
                self._check_same_model(Y.shape[1], rows.columns)
            seen = len(Y) if keep is None else len(keep)
            self.n_samples_seen_ = seen if first else self.n_samples_seen_ + seen
            factor = triangular_factor(rows, partial(_require_finite, X))
            with one_thread(rows):
                self.r_factor_, self._r_factor_low_ = remembered(rows, factor)
                solution = solve(factor, X.shape[1], float(self.alpha), ones)
                single = y.ndim == 1 if first else np.ndim(self.intercept_) == 0
                self._publish(solution, ones, single)
        return self

    def _naive(self, targets, weights):
        mean = self.intercept_ + self._mean_ @ self.coef_.T if self.fit_intercept else 0.0
        return naive_r2(targets, mean, weights)

    def _check_fitted(self):
        """Refuse attributes from a file whose shapes do not fit together."""
        features, targets = (self.n_features_in_,), np.shape(self.intercept_)
        shapes = {"coef_": targets + features, "standard_errors_": targets + features,
                  "intercept_standard_error_": targets, "residual_std_": targets,
                  "_mean_": features, "_mean_variance_": (), "degrees_of_freedom_": (),
                  "condition_": ()}
        columns = int(self.fit_intercept) + features[0] + int(np.prod(targets))
        fits = all(np.shape(getattr(self, name)) == shape for name, shape in shapes.items())
        if not fits or len(targets) > 1 or np.shape(self.r_factor_)[1:] != (columns,) or \
                np.shape(self._r_factor_low_) != np.shape(self.r_factor_) or \
                np.shape(self._covariance_root_)[:1] != features:
            raise ShapeError("the attributes of the regression do not fit together")

    def _check_same_model(self, targets, columns):
        """Refuse a block whose targets or intercept do not fit the factor kept so far."""
        if np.size(self.intercept_) != targets:
            raise ShapeError("partial_fit: y has other targets than in the first call",
                             got=f"{targets} a row, before: {np.size(self.intercept_)}",
                             fix="pass the same targets at every call, or fit a new model")
        if columns != self.r_factor_.shape[1]:
            raise ParameterError("partial_fit: fit_intercept was changed after the first call",
                                 got=f"fit_intercept={self.fit_intercept}",
                                 fix="start again with fit")

    def _publish(self, solution, ones, single):
        """Set the fitted attributes, in the shape of y."""
        freedom = self.n_samples_seen_ - ones - solution.parameters
        spare = freedom > 1e-9 * self.n_samples_seen_
        noise = solution.residual / np.sqrt(freedom if spare else np.nan)
        root = solution.map
        centre = np.sqrt(solution.mean_variance + np.sum((solution.mean @ root) ** 2))
        shape = (lambda values: values[0]) if single else (lambda values: values)
        self.coef_ = shape(np.ascontiguousarray(solution.coefficients.T))
        self.standard_errors_ = shape(np.outer(noise, column_norms(root.T)))
        self.intercept_ = shape(solution.intercept)
        self.intercept_standard_error_ = shape(noise * centre)
        self.residual_std_ = shape(noise)
        self.degrees_of_freedom_ = max(0.0, float(freedom))
        self.rank_, self.condition_ = solution.rank, solution.condition
        self._mean_, self._covariance_root_ = solution.mean, root
        self._mean_variance_ = solution.mean_variance


def _slices(X, elements):
    """Blocks of rows of about so many elements."""
    size = max(1, elements // X.shape[1])
    return (slice(start, start + size) for start in range(0, X.shape[0], size))


def _require_finite(X):
    """Refuse NaN and infinity, in scikit-learn's words."""
    assert_all_finite(X, input_name="X", estimator_name="LinearRegressor")


def _numbers(y):
    """y as float64."""
    require_numbers(y, "y")
    y = np.asarray(y, dtype=np.float64)
    assert_all_finite(y, input_name="y")                        # None passes as an object
    return y


def _roots(sample_weight, X):
    """Roots of the weights and the rows to keep; None where there is nothing to do."""
    if sample_weight is None:
        return None, None
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    require_weight(weight)      # scikit-learn refuses zeros alone itself only since 1.9
    keep = np.flatnonzero(weight > 0)
    return np.sqrt(weight), None if len(keep) == len(weight) else keep
