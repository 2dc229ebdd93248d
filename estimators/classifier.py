"""Classifier: what every net for classes adds to the common contract."""
from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from ..backend import OPS, Tensor
from ..backend.errors import DataError, ParameterError
from ..layers.losses import BinaryCrossentropy, Loss, SparseCategoricalCrossentropy
from ..layers.losses import loss as find_loss
from .base import Estimator
from .multilabel import SubsetAccuracy, indicator, is_indicator, log_sigmoids, sigmoids
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
    """A net that tells classes: labels of any kind, probabilities, class weights, partial fits."""

    class_weight: Any = None

    _fit_sets = ("classes_", "n_features_in_")
    _fit_may_set = ("_multilabel",)
    _multilabel = False           # a fit on an indicator matrix sets it
    _rule, _metric = "most frequent class", "accuracy"
    _parameter_constraints = {**Estimator._parameter_constraints,
                              "class_weight": [StrOptions({"balanced"}), dict, None]}

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
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            raise ParameterError('class_weight="balanced" cannot be used with partial_fit, which '
                                 "sees a part of the samples only",
                                 fix="pass a dict of weights by label")
        again = hasattr(self, "_fitted")
        return self._guarded(X, y, sample_weight, (None, None, None), again, one_pass=True,
                             classes=classes)

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
        scores = self._apply(X, as_float64)
        return (scores > 0).astype(np.int64) if self._multilabel else \
            self.classes_[scores.argmax(axis=1)]

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
        return self._apply(X, sigmoids if self._multilabel else probabilities)

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
        return self._apply(X, log_sigmoids if self._multilabel else log_probabilities)

    def decision_function(self, X) -> np.ndarray:
        """Scores before the softmax (logits).

        Parameters
        ----------
        X : array-like (n, ...)
            As in `predict`, with the same errors.

        Returns
        -------
        array (n, n_classes), or (n,) for two classes
            For two classes, the second score less the first: the log-odds of ``classes_[1]``.
        """
        scores = self._apply(X, as_float64)
        two = scores.shape[1] == 2 and not self._multilabel
        return scores[:, 1] - scores[:, 0] if two else scores

    # ---- the contract's parts ------------------------------------------------------------------

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

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
            self.classes_ = np.unique(y if classes is None else column_or_1d(classes))
        elif classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise DataError("`classes` is not the same as on the first call",
                            got=str(np.unique(classes)[:10]), fix="leave it out after that")
        return self._encoded_again(y)

    def _encoded_again(self, y):
        if self._multilabel:
            return indicator(y, len(self.classes_))
        y = column_or_1d(y)
        known = np.isin(y, self.classes_)
        if not known.all():
            raise DataError(f"the label {y[~known].tolist()[0]!r} was not seen when classes were "
                            "fixed", got=f"classes {self.classes_[:10].tolist()}",
                            fix="pass all labels as classes= to the first partial_fit, or fit anew")
        return np.searchsorted(self.classes_, y)

    def _weights(self, sample_weight, X, targets):
        weights = super()._weights(sample_weight, X, targets)
        if self.class_weight is None:
            return weights
        if self._multilabel:
            raise ParameterError("class_weight cannot be used with several labels per sample",
                                 fix="pass sample_weight to fit")
        factors = self._class_factors(targets, weights)[targets]
        weights = factors if weights is None else weights * factors
        if not weights.any():
            raise ParameterError("class_weight leaves no sample any weight",
                                 got=repr(self.class_weight), fix="give one class a weight above 0")
        return weights

    def _class_factors(self, targets, weights) -> np.ndarray:
        """One factor per class; balanced: every class has the same weight in all."""
        labels = self.classes_.tolist()
        if self.class_weight == "balanced":
            counts = np.bincount(targets, weights, len(labels))
            return counts.sum() / np.count_nonzero(counts) / np.where(counts > 0, counts, 1.0)
        strange = [c for c in self.class_weight if c not in labels]
        if strange:
            raise ParameterError(f"class_weight names a class that is not there: {strange[0]!r}",
                                 got=f"classes {labels[:10]}", fix="use the labels of y as keys")
        for label, factor in self.class_weight.items():
            if not isinstance(factor, Real) or not 0 <= factor < np.inf:
                raise ParameterError("class_weight must hold finite numbers from 0 on",
                                     got=f"{factor!r} for class {label!r}")
        return np.array([self.class_weight.get(label, 1.0) for label in labels], np.float64)

    def _baseline_of(self, targets, weights):
        if targets.ndim > 1:
            return super()._baseline_of(targets, weights)
        counts = np.bincount(targets, weights, len(self.classes_))
        return counts / counts.sum()

    def _naive(self, targets, weights):
        return naive_accuracy(targets, self.baseline_, weights)

    def _reported_targets(self, X, y):
        if self._multilabel:
            return indicator(y, len(self.classes_))
        labels = column_or_1d(y)          # a label that was never seen is a wrong answer
        return np.where(np.isin(labels, self.classes_), np.searchsorted(self.classes_, labels), -1)

    @property
    def _n_outputs(self) -> int:
        return len(self.classes_)

    def _loss(self):
        if self._multilabel and isinstance(self.loss, str) and self.loss == "auto":
            return BinaryCrossentropy(from_logits=True)
        if isinstance(self.loss, str) and self.loss in ("auto", "sparse_categorical_crossentropy"):
            return SparseCategoricalCrossentropy(from_logits=True)
        found = find_loss(self.loss)
        if isinstance(found, Loss) and not found.integer_labels and \
                isinstance(self.loss, str) and not self._multilabel:
            raise ParameterError(f'loss "{self.loss}" does not take class numbers',
                                 fix='use loss="sparse_categorical_crossentropy"')
        return found

    def _metrics(self):
        return [SubsetAccuracy() if self._multilabel else "accuracy"]
