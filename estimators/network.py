"""NetworkClassifier and NetworkRegressor: nets of your own under scikit-learn's contract."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sklearn.utils.validation import _check_n_features, check_array, check_X_y, validate_data

from ..backend import Spec
from ..backend.errors import ShapeError
from ..layers import Layer
from ..layers.copies import unbuilt
from .classifier import Classifier
from .dnn import dense_network
from .regressor import Regressor

CONSTRAINTS = {"network": [None, callable]}       # a layer may be called, too

PARAMETERS = """network : Layer, callable ``(spec, n_outputs) -> Layer`` or None
        The net. A layer, such as a `Sequential`, says what is built; every fit starts with a copy
        of it and first weights of its own. A callable is given the `Spec` of one sample, without
        the batch axis. What comes out are logits, one for each class (also for two of them), or
        one number for each target; ``loss="gaussian"`` needs two. None is one hidden layer of
        128 units."""


class AnySamples:
    """How both read samples: arrays ``(n, ...)`` of any number of axes, or sparse rows."""

    _fit_sets = ("_sample_shape",)

    def _network(self, spec: Spec, n_outputs: int):
        if self.network is None:
            return dense_network((128,), "relu", 0.0, False, n_outputs)
        if isinstance(self.network, Layer):
            return unbuilt(self.network)
        return self.network(spec, n_outputs)

    def _validated(self, X, reset, **with_y):
        options = {"dtype": "numeric", "allow_nd": True, "accept_sparse": "csr"}
        if reset or getattr(X, "ndim", 2) == 2:
            return validate_data(self, X, reset=reset, **options, **with_y)
        if with_y:
            return check_X_y(X, estimator=self, **options, **with_y)
        return check_array(X, estimator=self, input_name="X", **options)

    def _count_features(self, X, reset):
        if reset or X.ndim == 2:
            _check_n_features(self, X, reset=reset)

    def _shaped(self, X, reset):
        X = super()._shaped(X, reset)
        if reset:
            self._sample_shape = list(X.shape[1:])
        elif self._sample_shape != list(X.shape[1:]):
            raise ShapeError(f"{type(self).__name__} was fitted on samples of another shape",
                             got=f"{list(X.shape[1:])}, not {self._sample_shape}",
                             fix="bring the samples to that shape, or fit anew")
        return X

    def _sample_tail(self):
        return tuple(self._sample_shape)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = tags.input_tags.three_d_array = True
        return tags


@dataclass(kw_only=True, eq=False, repr=False)
class NetworkClassifier(AnySamples, Classifier):
    """A net of your own for classes.

    Parameters
    ----------
    {own}
    class_weight : dict, "balanced" or None
        Weights of classes.
    {shared}

    Attributes
    ----------
    classes_ : array (n_classes,)
        The labels, sorted.
    {fitted}

    Examples
    --------
    >>> from gradatim import NetworkClassifier, Sequential, layers
    >>> from gradatim.datasets import load_iris
    >>> data = load_iris()
    >>> net = Sequential([layers.Dense(16, "relu"), layers.Dropout(0.1), layers.Dense(3)])
    >>> model = NetworkClassifier(network=net, epochs=300, random_state=0)
    >>> bool(model.fit(data.data, data.target).score(data.data, data.target) > 0.95)
    True
    """
    network: Any = None

    _own_parameters = PARAMETERS
    _parameter_constraints = {**Classifier._parameter_constraints, **CONSTRAINTS}


@dataclass(kw_only=True, eq=False, repr=False)
class NetworkRegressor(AnySamples, Regressor):
    """A net of your own for numbers.

    Parameters
    ----------
    {own}
    {shared}

    Attributes
    ----------
    {fitted}

    Examples
    --------
    >>> from gradatim import NetworkRegressor, Sequential, layers
    >>> from gradatim.datasets import load_diabetes
    >>> data = load_diabetes()
    >>> def net(spec, n_outputs):
    ...     return Sequential([layers.Dense(16, "relu"), layers.Dense(n_outputs)])
    >>> model = NetworkRegressor(network=net, epochs=300, random_state=0)
    >>> bool(model.fit(data.data, data.target).score(data.data, data.target) > 0.5)
    True
    """
    network: Any = None

    _own_parameters = PARAMETERS
    _parameter_constraints = {**Regressor._parameter_constraints, **CONSTRAINTS}
