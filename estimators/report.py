"""Report: a score, and beside it what a model reaches that looks at the targets alone."""
from __future__ import annotations

import sys
from dataclasses import dataclass, field

import numpy as np
from sklearn.utils.validation import check_is_fitted


@dataclass(frozen=True)
class Report:
    """A score beside those of naive baselines.

    Parameters
    ----------
    metric : str
        What was counted.
    score : float
        What the model reached; higher is better.
    baselines : dict of str to float
        What naive rules reach, by rule.

    Examples
    --------
    >>> from gradatim.estimators import Report
    >>> print(Report("accuracy", 0.932, {"most frequent class": 0.11}))
    accuracy 0.93 (most frequent class: 0.11)
    """
    metric: str
    score: float
    baselines: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        naive = ", ".join(f"{rule}: {_short(value)}" for rule, value in self.baselines.items())
        return f"{self.metric} {_short(self.score)}" + (f" ({naive})" if naive else "")


def _short(value: float) -> str:
    """Two digits, and no minus before a zero."""
    return f"{round(value, 2) + 0.0:.2f}"


class Reported:
    """An estimator whose scores come with the naive baseline beside them."""

    _rule, _metric = "mean", "R²"      # the naive rule, and what `score` counts

    def report(self, X, y=None, sample_weight=None) -> Report:
        """The score, and beside it that of a rule that knows the targets of `fit` and no samples.

        Parameters
        ----------
        X : array-like (n, ...)
            Samples, as in `score`.
        y : array-like (n,) or (n, n_targets)
            Their labels or numbers.
        sample_weight : array-like (n,), optional
            Weights of the samples.

        Returns
        -------
        Report
            Printed as ``accuracy 0.93 (most frequent class: 0.11)``, with the numbers in
            ``score`` and ``baselines``.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            As in `score`.
        """
        check_is_fitted(self)
        weighted = {} if sample_weight is None else {"sample_weight": sample_weight}
        score = self.score(X, y, **weighted)
        naive = self._naive(self._reported_targets(X, y), sample_weight)
        return Report(self._metric, float(score), {self._rule: naive})

    def _tell(self, logs: dict, targets, weights, prefix: str) -> None:
        """After a fit, the metric of the epoch that is kept, beside the naive rule's."""
        names = [getattr(metric, "name", metric) for metric in self._metrics()]
        if names and prefix + names[0] in logs:
            tell(prefix, Report(self._metric, logs[prefix + names[0]],
                                {self._rule: self._naive(targets, weights)}))

    def _reported_targets(self, X, y) -> np.ndarray:
        """Targets in the form of those of a fit."""
        return np.asarray(y, np.float64).reshape(len(y), -1)

    def _baseline_of(self, targets, weights) -> np.ndarray:
        """What a fit keeps of its targets: their means, or the shares of the classes."""
        return np.average(np.asarray(targets, np.float64), axis=0, weights=weights)

    def _naive(self, targets, weights) -> float:
        """The score of the naive rule."""
        return naive_r2(targets, self.baseline_, weights)


def tell(prefix: str, report: Report) -> None:
    """Write a report to the error stream, where the progress bar is."""
    print(f"{'validation' if prefix else 'training'} {report}", file=sys.stderr)


def naive_r2(targets, means, weights) -> float:
    """R² of predicting the same for every sample."""
    from sklearn.metrics import r2_score                   # a third of the time of an import
    return float(r2_score(targets, np.broadcast_to(means, np.shape(targets)),
                          sample_weight=weights)) if len(targets) > 1 else float("nan")


def naive_accuracy(targets, shares, weights) -> float:
    """Accuracy of the most frequent class, or of the more frequent answer to each question."""
    right = targets == np.argmax(shares) if targets.ndim == 1 else \
        ((targets > 0.5) == (shares > 0.5)).all(axis=1)
    return float(np.average(right, weights=weights))
