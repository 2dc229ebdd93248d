"""Residuals: how small the variances of a Gaussian head may become, by what a simple model misses.

A net that learns a small table by heart leaves no residuals there, and its variances, fitted to
them, would go to nothing.
"""
from __future__ import annotations

import numpy as np

from .standardize import weighted_statistics

PRIOR_ROWS = 50.0             # how many rows the prior of a variance counts for
MOST_ENTRIES = 2 ** 18        # larger tables leave residuals, and would take time
PENALTIES = np.logspace(-3, 4, 15)


def least_variance(X, targets, weights) -> float:
    """The least variance, as a share of that of the targets; of several targets the smallest.

    With a scaled inverse chi-squared prior around ``s``, worth ``m`` rows, n rows of variance
    ``v`` make it ``(m s + n v) / (m + n)`` (Gelman et al., Bayesian Data Analysis, section 2.6):
    no less than ``m s / (m + n)``, which fades as n grows.
    """
    if not isinstance(X, np.ndarray) or X.ndim != 2 or X.size > MOST_ENTRIES:
        return 0.0
    weights = np.ones(len(X)) if weights is None else weights
    rows = weights.sum()
    return PRIOR_ROWS / (PRIOR_ROWS + rows) * unexplained(X, targets, weights)


def unexplained(X, targets, weights) -> float:
    """The share of the variance that ridge regression leaves, of the penalty where it is least.

    By generalised cross-validation (Golub, Heath and Wahba 1979, equation 1.4), in which a row of
    weight 2 is two rows.
    """
    roots, rows = np.sqrt(weights)[:, None], weights.sum()
    x, y = (roots * (a - mean) / np.sqrt(variance) for a, (mean, variance) in (
        (a, weighted_statistics(a, weights)) for a in (X, targets)))
    left, scales, _ = np.linalg.svd(x, full_matrices=False)
    shares = scales**2 / (scales**2 + PENALTIES[:, None])               # (penalties, directions)
    parts = left.T @ y                                                  # (directions, targets)
    missed = (y**2).sum(axis=0) - (1.0 - (1.0 - shares)**2) @ parts**2  # (penalties, targets)
    free = rows - 1.0 - shares.sum(axis=1)
    free, missed = free[free > 0], missed[free > 0]
    return float(min(1.0, np.min(rows * missed / free[:, None]**2, initial=1.0)))
