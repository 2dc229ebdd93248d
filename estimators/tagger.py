"""RNNTagger: a label for every step of every sequence."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from ..backend import OPS
from ..backend.errors import DataError, ParameterError, ShapeError
from ..layers import SparseCategoricalCrossentropy
from .base import Estimator
from .checking import require_targets
from .class_labels import (CLASS_WEIGHT, class_factors, class_numbers, fix_classes,
                           judged_numbers, refuse_balanced, shares)
from .classifier import as_float64, probabilities
from .report import naive_accuracy
from .rnn import SequenceSamples


class WeightedLabels(SparseCategoricalCrossentropy):
    """The cross-entropy of labels, each times the weight of its class."""

    def __init__(self, factors: tuple[float, ...]):
        super().__init__(from_logits=True)
        self.factors = factors

    def values(self, y_true, y_pred):
        factors = OPS["gather"](np.array(self.factors, y_pred.dtype), y_true)
        return super().values(y_true, y_pred) * factors


@dataclass(kw_only=True, eq=False, repr=False)
class RNNTagger(SequenceSamples, ClassifierMixin, Estimator):
    """A recurrent net that labels every step of sequences, of equal length or not.

    X is a list of sequences ``(time, features)`` or an array ``(n, time, features)``, and y has a
    label for each step. Every sequence has the same weight in the loss, whatever its length; in
    the score every step has.

    Parameters
    ----------
    class_weight : dict, "balanced" or None
        Weights of classes, which the loss of each step is multiplied by; ``"balanced"`` counts
        steps.

    Attributes
    ----------
    classes_ : array (n_classes,)
        The labels, sorted.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim import RNNTagger
    >>> rng = np.random.default_rng(0)
    >>> X = [rng.normal(size=(5 + k % 7, 1)) for k in range(60)]
    >>> y = [np.where(x[:, 0].cumsum() > 0, "above", "below") for x in X]     # of the running sum
    >>> model = RNNTagger(units=8, epochs=60, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.85), len(model.predict(X)), model.predict(X)[1].shape
    (True, 60, (6,))
    """
    alpha: float = 1e-4
    class_weight: Any = None

    _parameter_constraints = {"class_weight": CLASS_WEIGHT}
    _class_factors = None         # those of the last fit
    _fit_sets = ("classes_", "n_features_in_")
    _rule, _metric = "most frequent class", "accuracy"
    _last_step = False

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Make one pass over some sequences at a constant rate.

        Parameters
        ----------
        X, y : list of array-like
            Sequences and the labels of their steps.
        classes : array-like, optional
            All labels there will ever be; needed at the first call only.
        sample_weight : array-like (n,), optional
            Weights of the sequences.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            As in `fit`; for a label that is not among the classes; and for
            ``class_weight="balanced"``, which needs all sequences at once.
        """
        refuse_balanced(self.class_weight)
        return self._one_pass(X, y, sample_weight, classes=classes)

    def predict(self, X) -> list[np.ndarray]:
        """The most probable label of each step.

        Parameters
        ----------
        X : list of array-like (time, features), or array (n, time, features)
            Sequences.

        Returns
        -------
        list of array (time,)

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the sequences cannot be used or have other features than those of `fit`.
        """
        check_is_fitted(self)
        return [self.classes_[scores.argmax(axis=-1)] for scores in self._apply(X, as_float64)]

    def predict_proba(self, X) -> list[np.ndarray]:
        """Probabilities of the classes at each step, in the order of ``classes_``.

        Parameters
        ----------
        X : list of array-like
            As in `predict`, with the same errors.

        Returns
        -------
        list of array (time, n_classes) of float64
        """
        return list(self._apply(X, probabilities))

    def score(self, X, y, sample_weight=None) -> float:
        """Accuracy over all steps.

        Parameters
        ----------
        X, y : list of array-like
            Sequences and the labels of their steps.
        sample_weight : array-like (n,), optional
            Weights of the sequences, which each step of them has.

        Returns
        -------
        float
            From 0 to 1.
        """
        found = self.predict(X)
        right = np.concatenate([a == b for a, b in zip(found, labels_of(found, y))])
        weights = None if sample_weight is None else \
            np.repeat(sample_weight, [len(steps) for steps in found])
        return float(np.average(right, weights=weights))

    # ---- the contract's parts ------------------------------------------------------------------

    def _validated(self, X, reset, **with_y):
        X = super()._validated(X, reset)
        if "y" not in with_y:
            return X
        require_targets(self, with_y["y"])
        return X, labels_of(X, with_y["y"])

    def _encoded(self, y, again, classes):
        labels = np.concatenate([np.asarray(steps) for steps in y])
        check_classification_targets(labels)
        fix_classes(self, labels, classes, again)
        return self._encoded_again(y)

    def _encoded_again(self, y):
        found = np.empty(len(y), object)
        for i, steps in enumerate(map(np.asarray, y)):
            found[i] = class_numbers(steps, self.classes_)
        return found

    def _y_options(self):
        return {}

    @property
    def _n_outputs(self) -> int:
        return len(self.classes_)

    def _check_outputs(self, shape):
        super()._check_outputs(shape[1:])                       # (time, n_classes)

    def _loss(self):
        if self.loss not in ("auto", "sparse_categorical_crossentropy"):
            raise ParameterError("a tagger has one loss, the cross-entropy of labels",
                                 got=repr(self.loss), fix='leave loss="auto"')
        return SparseCategoricalCrossentropy(from_logits=True) if self._class_factors is None else \
            WeightedLabels(self._class_factors)

    def _weights(self, sample_weight, X, targets):
        weights = super()._weights(sample_weight, X, targets)
        self._class_factors = None if self.class_weight is None else tuple(
            class_factors(self.class_weight, *self._steps(targets, weights), self.classes_))
        return weights

    def _metrics(self):
        return ["accuracy"]

    def _baseline_of(self, targets, weights):
        return shares(*self._steps(targets, weights), len(self.classes_))

    def _naive(self, targets, weights):
        codes, weights = self._steps(targets, weights)
        return naive_accuracy(codes, self.baseline_, weights)

    def _steps(self, targets, weights) -> tuple[np.ndarray, np.ndarray | None]:
        """The class numbers of all steps, and their weights."""
        repeated = None if weights is None else np.repeat(weights, [len(t) for t in targets])
        return np.concatenate(list(targets)), repeated

    def _reported_targets(self, X, y):
        labels = labels_of(X, y)
        found = np.empty(len(labels), object)
        found[:] = [judged_numbers(steps, self.classes_) for steps in labels]
        return found

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False         # y has a label per step, not per row
        return tags


def labels_of(X, y) -> list[np.ndarray]:
    """The labels of each sequence, checked to be one per step."""
    if np.ndim(y) == 0 if hasattr(y, "ndim") else not isinstance(y, (list, tuple)):
        raise DataError("y must hold the labels of each sequence", got=type(y).__name__,
                        fix="pass a list of arrays of labels")
    if len(y) != len(X):
        raise ShapeError("X and y differ in their number of sequences",
                         got=f"{len(X)} and {len(y)}", fix="pass labels for every sequence")
    found = [np.asarray(steps) for steps in y]
    for i, (sequence, steps) in enumerate(zip(X, found)):
        if steps.shape != (len(sequence),):
            raise ShapeError(f"sequence {i} needs one label per step",
                             got=f"{len(sequence)} steps and labels of shape {list(steps.shape)}",
                             fix="pass a list of arrays of labels")
    return found
