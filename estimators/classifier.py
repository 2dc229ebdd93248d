"""Classifier: what every net for classes adds to the common contract."""
from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.special import expit, log_expit, logit
from sklearn.base import ClassifierMixin
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from ..backend import OPS, Tensor
from ..backend.errors import ParameterError
from ..layers.classification_losses import CrossEntropy
from ..layers.losses import loss as find_loss
from .base import Estimator
from .calibration import best_temperature, tempered
from .class_labels import (CLASS_WEIGHT, balancing, class_factors, class_numbers, fix_classes,
                           judged_numbers, refuse_balanced, shares)
from .fitted import average
from .multilabel import SubsetAccuracy, indicator, is_indicator, sigmoids
from .report import naive_accuracy


def probabilities(logits: Tensor) -> Tensor:
    """Softmax in float64, so that rows sum to one."""
    return OPS["softmax"](OPS["cast"](logits, dtype="float64"), axis=-1)


def log_probabilities(logits: Tensor) -> Tensor:
    """Logarithms of the probabilities, exact where a probability underflows."""
    return OPS["log_softmax"](OPS["cast"](logits, dtype="float64"), axis=-1)


def as_float64(logits: Tensor) -> Tensor:
    """Scores in float64."""
    return OPS["cast"](logits, dtype="float64")


@dataclass(kw_only=True, eq=False, repr=False)
class Classifier(ClassifierMixin, Estimator):
    """A net that tells classes: labels of any kind, probabilities, class weights, partial fits.

    Parameters
    ----------
    class_weight : dict, "balanced" or None
        Weights of classes.
    sampling : {"balanced"} or None
        ``"balanced"`` draws every class equally often in an epoch: samples of small classes several
        times, of large ones a part. Full batches weigh the classes instead.
    label_smoothing : float
        Share of probability that targets spread over all classes (Szegedy et al. 2016).
    n_ensemble : int
        How many nets of different seeds are trained, one after another; probabilities are their
        mean, and ``history_`` and ``network_`` are the first one's.
    calibration : {"temperature"} or None
        ``"temperature"`` holds out ``validation_fraction`` of the samples (or takes ``X_val``) and
        divides the logits by the number that makes their labels most likely (Guo et al. 2017).

    Attributes
    ----------
    classes_ : array (n_classes,)
        The labels, sorted.
    temperature_ : float
        What logits are divided by: 1 without ``calibration``.
    """

    class_weight: Any = None
    sampling: str | None = None
    label_smoothing: float = 0.0
    n_ensemble: int = 1
    calibration: str | None = None

    _fit_sets = ("classes_", "n_features_in_", "temperature_")
    _fit_may_set = ("_multilabel",)
    _multilabel = False           # a fit on an indicator matrix sets it
    _rule, _metric = "most frequent class", "accuracy"
    _parameter_constraints = {
        "class_weight": CLASS_WEIGHT,
        "sampling": [StrOptions({"balanced"}), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "n_ensemble": [Interval(Integral, 1, None, closed="left")],
        "calibration": [StrOptions({"temperature"}), None]}

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Make one pass over some samples at a constant rate.

        Parameters
        ----------
        X : array-like (n, ...)
            Samples.
        y : array-like (n,)
            Labels.
        classes : array-like, optional
            All labels there will ever be; needed at the first call only.
        sample_weight : array-like (n,), optional
            Weights of the samples.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As in `fit`; for a label that is not among ``classes`` or those of the first call; and
            for ``class_weight="balanced"``, which needs all samples at once.
        """
        refuse_balanced(self.class_weight)
        return self._one_pass(X, y, sample_weight, classes=classes)

    def predict(self, X) -> np.ndarray:
        """The most probable label of each sample.

        Parameters
        ----------
        X : array-like (n, ...)
            Samples, in the form of those of `fit`.

        Returns
        -------
        array (n,), or (n, n_classes) of 0 and 1
            The latter after a fit on an indicator matrix.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the samples cannot be used or are of another shape than those of `fit`.
        """
        check_is_fitted(self)
        if self._multilabel:
            return (self._scores(X) > 0).astype(np.int64)
        return self.classes_[self._scores(X).argmax(axis=1)]

    def predict_proba(self, X) -> np.ndarray:
        """Probabilities of the classes, in the order of ``classes_``.

        Parameters
        ----------
        X : array-like (n, ...)
            As in `predict`, with the same errors.

        Returns
        -------
        array (n, n_classes) of float64
            Rows sum to one; after a fit on an indicator matrix, each is a probability of its own.
        """
        if self._multilabel:
            return expit(self._scores(X))
        if self._plain:
            return self._apply(X, probabilities)
        return np.exp(self._log_proba(self._usable(X), self.temperature_))

    def predict_log_proba(self, X) -> np.ndarray:
        """Logarithms of the probabilities, exact where a probability is next to nothing.

        Parameters
        ----------
        X : array-like (n, ...)
            As in `predict`, with the same errors.

        Returns
        -------
        array (n, n_classes) of float64
        """
        if self._multilabel:
            return log_expit(self._scores(X))
        return self._log_proba(self._usable(X), self.temperature_)

    def decision_function(self, X) -> np.ndarray:
        """Scores before the softmax: logits; of an ensemble, or calibrated, log-probabilities.

        With several labels per sample they are the log-odds of each.

        Parameters
        ----------
        X : array-like (n, ...)
            As in `predict`, with the same errors.

        Returns
        -------
        array (n, n_classes), or (n,) for two classes
            For two classes, the second score less the first: the log-odds of ``classes_[1]``.
        """
        scores = self._scores(X)
        two = scores.shape[1] == 2 and not self._multilabel
        return scores[:, 1] - scores[:, 0] if two else scores

    # ---- the contract's parts ------------------------------------------------------------------

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    @property
    def _plain(self) -> bool:
        """Whether there is one net, and its logits are taken as they are."""
        check_is_fitted(self)
        return self.temperature_ == 1.0 and not self._fitted.others

    def _scores(self, X) -> np.ndarray:
        """One number per class, the highest for the most probable one."""
        if self._plain:
            return self._apply(X, as_float64)
        X = self._usable(X)
        return self._log_odds(X) / self.temperature_ if self._multilabel else \
            self._log_proba(X, self.temperature_)

    def _log_odds(self, X) -> np.ndarray:
        """Of each label, for checked samples."""
        if not self._fitted.others:
            return average(self._outputs(X, as_float64))
        return logit(average(self._outputs(X, sigmoids)))

    def _log_proba(self, X, temperature: float) -> np.ndarray:
        """Logarithms of the probabilities for checked samples."""
        if self._fitted.others:
            with np.errstate(divide="ignore"):
                logs = np.log(average(self._outputs(X, probabilities)))
        else:
            logs = average(self._outputs(X, log_probabilities))
        return tempered(logs, temperature)

    def _calibrate(self, held):
        self.temperature_ = 1.0
        if held is None:
            return
        X, labels, weights = held
        if self._multilabel:                     # every label is a choice of two
            odds = self._log_odds(X).reshape(-1, 1)
            scores = np.hstack([log_expit(-odds), log_expit(odds)])
            weights = None if weights is None else weights.repeat(labels.shape[1])
            labels = labels.astype(np.int64).ravel()
        else:
            scores = self._log_proba(X, 1.0)
        self.temperature_ = best_temperature(scores, labels, weights)

    def _balanced(self, targets, weights, sample_weights):
        """Weights with which classes count as if they were drawn equally often."""
        factors = balancing(targets, sample_weights, len(self.classes_))[targets]
        return factors if weights is None else weights * factors

    def _refuse_weights_of_classes(self) -> None:
        """Several labels per sample have no class to be weighed or drawn by."""
        for name in ("sampling", "class_weight"):
            if getattr(self, name) is not None:
                raise ParameterError(f"{name} cannot be used with several labels per sample",
                                     got=f"{name}={getattr(self, name)!r}",
                                     fix="leave it out, and pass sample_weight to fit")

    def _y_options(self) -> dict:
        return {"multi_output": True}

    def _encoded(self, y, again, classes):
        if np.ndim(y) > 1 and not is_indicator(y):
            y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        if not again:
            vars(self).pop("_multilabel", None)
            if np.ndim(y) > 1:
                self._multilabel, classes = True, np.arange(np.shape(y)[1])
        fix_classes(self, y, classes, again)
        if self._multilabel:
            self._refuse_weights_of_classes()
        return self._encoded_again(y)

    def _encoded_again(self, y):
        if self._multilabel:
            return indicator(y, len(self.classes_))
        return class_numbers(column_or_1d(y), self.classes_)

    def _weights(self, sample_weight, X, targets):
        weights = super()._weights(sample_weight, X, targets)
        if self.class_weight is None:
            return weights
        factors = class_factors(self.class_weight, targets, weights, self.classes_)[targets]
        return factors if weights is None else weights * factors

    def _baseline_of(self, targets, weights):
        if targets.ndim > 1:
            return super()._baseline_of(targets, weights)
        return shares(targets, weights, len(self.classes_))

    def _naive(self, targets, weights):
        return naive_accuracy(targets, self.baseline_, weights)

    def _reported_targets(self, X, y):
        if self._multilabel:
            return indicator(y, len(self.classes_))
        return judged_numbers(column_or_1d(y), self.classes_)

    @property
    def _n_outputs(self) -> int:
        return len(self.classes_)

    def _loss(self):
        usual = "binary_crossentropy" if self._multilabel else "sparse_categorical_crossentropy"
        by_name = isinstance(self.loss, str)
        found = find_loss(usual if by_name and self.loss == "auto" else self.loss)
        if by_name and found.integer_labels == self._multilabel:
            labels = "several labels per sample" if self._multilabel else "class numbers"
            raise ParameterError(f'loss "{self.loss}" does not take {labels}',
                                 fix=f'use loss="{usual}"')
        if by_name and isinstance(found, CrossEntropy):                # of nets that return logits
            return type(found)(from_logits=True, label_smoothing=self.label_smoothing)
        if self.label_smoothing:
            raise ParameterError("label_smoothing goes with cross-entropies by name only",
                                 got=f"loss={self.loss!r}",
                                 fix="give your loss a label_smoothing of its own")
        return found

    def _metrics(self):
        return [SubsetAccuracy() if self._multilabel else "accuracy"]
