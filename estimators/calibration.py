"""Calibration on held-out samples: a temperature for probabilities, scores for intervals."""
from __future__ import annotations

import numpy as np

from ..backend.errors import DataError, ParameterError

COLDEST, HOTTEST = 0.05, 20.0      # between which the temperature is searched


def best_temperature(log_proba: np.ndarray, labels: np.ndarray, weights=None) -> float:
    """The temperature that makes held-out labels most likely (Guo et al. 2017, section 4.2).

    The loss is convex in ``1 / temperature``, so its slope is bisected.
    """
    weights = np.ones(len(labels)) if weights is None else weights
    low, high = 1 / HOTTEST, 1 / COLDEST
    # log(0) stands for "next to nothing"; its product with a probability of 0 must not be NaN.
    scores = np.maximum(log_proba, -1e4)                           # (n, classes)
    right = scores[np.arange(len(labels)), labels]
    for _ in range(60):
        middle = (low * high) ** 0.5
        p = np.exp(tempered(scores, 1 / middle))
        slope = weights @ ((p * scores).sum(axis=1) - right)
        low, high = (low, middle) if slope > 0 else (middle, high)
    return float(1 / (low * high) ** 0.5)


def tempered(log_proba: np.ndarray, temperature: float) -> np.ndarray:
    """Logarithms of probabilities at another temperature."""
    if temperature == 1.0:
        return log_proba
    scores = log_proba / temperature
    scores = scores - scores.max(axis=1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def conformal_width(scores: np.ndarray, coverage: float) -> np.ndarray:
    """Per target, the score that a new sample stays below with probability ``coverage``.

    The ``ceil((n + 1) * coverage)``-th smallest of n held-out scores (Lei et al. 2018,
    algorithm 2): exact for finite n as long as samples are exchangeable.
    """
    n = len(scores)
    rank = int(np.ceil((n + 1) * coverage - 1e-9))
    if rank > n:
        raise DataError(f"{n} held-out samples are too few for coverage={coverage}",
                        got=f"{n} samples", fix=f"hold out at least {_needed(coverage)}: raise "
                        "validation_fraction, or pass X_val and y_val")
    return scores[rank - 1]


def checked_coverage(coverage) -> float:
    """A share between 0 and 1."""
    if not isinstance(coverage, (float, np.floating)) or not 0 < coverage < 1:
        raise ParameterError("coverage must be between 0 and 1", got=repr(coverage),
                             fix="pass coverage=0.9, say")
    return float(coverage)


def _needed(coverage: float) -> int:
    """The fewest samples that allow a coverage."""
    return int(np.ceil(coverage / (1 - coverage) - 1e-9))
