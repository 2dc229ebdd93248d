"""Windows of a time series: what is known at a moment, beside what comes after it."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from sklearn.utils.validation import check_array

from ..backend.errors import DataError, ShapeError
from .checking import explained, refuse_unusable, require_numbers


class Series(NamedTuple):
    """One series: what is forecast, what is known until now, and what is known of the future."""
    targets: np.ndarray              # (time, n_targets) float64
    past: np.ndarray                 # (time, n_past), no columns where X itself is forecast
    known: np.ndarray                # (time, n_known), or longer than the others at a forecast

    def last(self, steps: int) -> Series:
        """The last steps, and all that is known after them."""
        start = len(self.targets) - steps
        return Series(self.targets[start:], self.past[start:], self.known[start:])


def several(X) -> bool:
    """Whether these are several series: a list of arrays or tables."""
    return isinstance(X, (list, tuple)) and len(X) > 0 and \
        all(getattr(part, "ndim", 0) in (1, 2) for part in X)


def series_of(X, y, known, ahead: int = 0) -> list[Series]:
    """The series of a call, as checked arrays.

    Parameters
    ----------
    X, y, known : array-like (time,) or (time, columns), or list of such
        y and known may be None.
    ahead : int
        How many steps longer than X the known columns must be.
    """
    if not several(X):
        X, y, known = [X], None if y is None else [y], None if known is None else [known]
    for name, parts in (("y", y), ("known", known)):
        if parts is not None and (not isinstance(parts, (list, tuple)) or len(parts) != len(X)):
            raise ShapeError(f"{name} must hold one series for each of X", got=f"{len(X)} series",
                             fix=f"pass {name} as a list of as many arrays")
    found = []
    for i, part in enumerate(X):
        columns = table(part, "X")
        targets = columns if y is None else table(y[i], "y")
        later = np.empty((len(columns) + ahead, 0)) if known is None else table(known[i], "known")
        past = columns[:, :0] if y is None else columns
        if len(targets) != len(columns) or len(later) < len(columns) + ahead:
            name, length = ("y", len(targets)) if len(targets) != len(columns) else \
                ("known", len(later))
            raise ShapeError(f"{name} does not cover the time of X" + (
                f" and the {ahead} steps to forecast" if ahead and name == "known" else ""),
                got=f"{length} steps, and {len(columns)} in X", fix="pass one row per step")
        found.append(Series(targets, past, later[:len(columns) + ahead]))
    shapes = {tuple(part.shape[1] for part in series) for series in found}
    if len(shapes) > 1:
        raise ShapeError("the series differ in their columns", got=str(sorted(shapes))[:80],
                         fix="give every series the same columns")
    return found


def table(values, name: str) -> np.ndarray:
    """Checked numbers over time, (time, columns) in float64."""
    refuse_unusable(**{name: values})
    with explained():
        shape = [] if values is None else list(np.shape(values))
        if len(shape) not in (1, 2):
            raise ShapeError(f"{name} must be a series (time,) or (time, columns)",
                             got=f"{shape}", fix="pass one row per step of time")
        values = check_array(values, dtype="numeric", ensure_2d=False, input_name=name,
                             ensure_min_samples=1, ensure_min_features=int(name != "known"))
    require_numbers(values, name)
    return np.asarray(values, np.float64).reshape(len(values), -1)


def check_long(series: list[Series], steps: int, what: str) -> None:
    """Refuse series that are too short."""
    longest = max(len(s.targets) for s in series)
    if longest < steps:
        raise DataError(f"the series is too short: {what} takes {steps} steps",
                        got=f"{longest} steps", fix="pass a longer series, or a shorter lookback")


def windows(series: Series, lookback: int, horizon: int, season: int | None):
    """Every stretch of ``lookback + horizon`` steps, as the net reads it, and what comes.

    Values are given from the last one known, which makes the level of a window no matter. In the
    rows of the future stand the values of the last known season (or the last value), the last
    known values of the past columns, and what is known of the future.

    Returns
    -------
    X : array (n, lookback + horizon, columns)
    y : array (n, horizon, n_targets)
        The future, from the last value known.
    last : array (n, 1, n_targets)
    """
    def cut(columns):
        return sliding_window_view(columns, lookback + horizon, axis=0).transpose(0, 2, 1)

    values, past, known = (cut(part) for part in series)          # (n, time, columns)
    last = values[:, lookback - 1:lookback]
    y = values[:, lookback:] - last
    X = np.concatenate([values - last, past, known], axis=2)
    n_targets, n_past = values.shape[2], past.shape[2]
    X[:, lookback:, :n_targets] = X[:, repeated(lookback, horizon, season), :n_targets]
    covariates = slice(n_targets, n_targets + n_past)
    X[:, lookback:, covariates] = X[:, lookback - 1:lookback, covariates]
    return X, y, last


def naive(series: Series, lookback: int, horizon: int, season: int | None):
    """Forecasts that repeat the last season (or value), and what came: ``(n, horizon, n_targets)``.
    """
    X, y, last = windows(series, lookback, horizon, season)
    return X[:, lookback:, :y.shape[2]] + last, y + last


def repeated(lookback: int, horizon: int, season: int | None) -> np.ndarray:
    """For each step to come, the step of the past that a naive forecast repeats."""
    period = season or 1
    return lookback - period + np.arange(horizon) % period


def extended(series: Series, horizon: int) -> Series:
    """The series with room for what comes: the values there are of no matter."""
    def longer(columns):
        return np.concatenate([columns, np.repeat(columns[-1:], horizon, axis=0)])

    return Series(longer(series.targets), longer(series.past), series.known)
