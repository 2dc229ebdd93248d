"""LinearClassifier: multinomial logistic regression on the graph."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..backend import Spec
from ..layers import Dense, Sequential
from .classifier import Classifier


@dataclass(kw_only=True, eq=False, repr=False)
class LinearClassifier(Classifier):
    """Multinomial logistic regression: one linear score per class, then the softmax.

    Attributes
    ----------
    coef_ : array (n_classes, n_features)
        Weights of the features as they are standardised.
    intercept_ : array (n_classes,)
        Scores of an average sample.

    Examples
    --------
    >>> from gradatim import LinearClassifier
    >>> from gradatim.datasets import load_iris
    >>> data = load_iris()
    >>> model = LinearClassifier(epochs=200, random_state=0).fit(data.data, data.target)
    >>> bool(model.score(data.data, data.target) > 0.95)
    True
    """
    _auto_full_batch_rate = 3e-2
    _auto_full_batch_steps = 3000

    def _network(self, spec: Spec, n_outputs: int):
        return Sequential([Dense(n_outputs, kernel_initializer="zeros")])

    @property
    def coef_(self) -> np.ndarray:
        """Weights, one row per class."""
        return self._net.layers[-1].kernel.numpy().T

    @property
    def intercept_(self) -> np.ndarray:
        """Intercepts, one per class."""
        return self._net.layers[-1].bias.numpy()
