"""NetworkClassifier and NetworkRegressor: nets of your own under scikit-learn's contract."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..backend import Spec
from ..layers import Layer
from ..layers.copies import unbuilt
from .classifier import Classifier
from .dnn import dense_network
from .regressor import Regressor
from .samples import ArraySamples


@dataclass(kw_only=True, eq=False, repr=False)
class OwnNetwork(ArraySamples):
    """The net of both, for samples ``(n, ...)`` of any number of axes, or sparse rows.

    Parameters
    ----------
    network : Layer, callable ``(spec, n_outputs) -> Layer`` or None
        The net. A layer, such as a `Sequential`, says what is built; every fit starts with a copy
        of it and first weights of its own. A callable is given the `Spec` of one sample, without
        the batch axis. What comes out are logits, one for each class (also for two of them), or
        one number for each target; ``loss="gaussian"`` needs two. None is one hidden layer of
        128 units.
    """
    network: Any = None

    _parameter_constraints = {"network": [None, callable]}     # a layer may be called, too

    def _network(self, spec: Spec, n_outputs: int):
        if self.network is None:
            return dense_network((128,), "relu", 0.0, False, n_outputs)
        if isinstance(self.network, Layer):
            return unbuilt(self.network)
        return self.network(spec, n_outputs)


@dataclass(kw_only=True, eq=False, repr=False)
class NetworkClassifier(OwnNetwork, Classifier):
    """A net of your own for classes.

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


@dataclass(kw_only=True, eq=False, repr=False)
class NetworkRegressor(OwnNetwork, Regressor):
    """A net of your own for numbers.

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
