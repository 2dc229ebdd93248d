"""DNNClassifier and DNNRegressor: fully connected nets on rows of features."""
from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from sklearn.utils._param_validation import Interval

from ..backend import OPS, Spec
from ..backend.ops.activations import activation as find_activation
from ..layers import Activation, BatchNormalization, Dense, Dropout, Sequential
from .classifier import Classifier
from .parameters import layer_sizes
from .regressor import Regressor
from .tabular import TableSamples


def first_weights(activation) -> str:
    """The initializer of kernels before an activation."""
    return "he_normal" if find_activation(activation) is OPS["relu"] else "glorot_uniform"


def dense_network(sizes, activation, dropout: float, batch_norm: bool, n_outputs: int):
    """Hidden layers and a linear last one."""
    find_activation(activation)
    net = []
    for units in layer_sizes("hidden_layer_sizes", sizes, least=0):
        net.append(Dense(units, None if batch_norm else activation,
                         kernel_initializer=first_weights(activation)))
        if batch_norm:
            net += [BatchNormalization(), Activation(activation)]
        if dropout:
            net.append(Dropout(dropout))
    return Sequential([*net, Dense(n_outputs)])


@dataclass(kw_only=True, eq=False, repr=False)
class DenseNet(TableSamples):
    """The net of both, for rows of features.

    Parameters
    ----------
    hidden_layer_sizes : tuple of int
        Units of each hidden layer.
    activation : str or callable
        Of the hidden layers.
    dropout : float
        Share of hidden units left out at each step.
    batch_norm : bool
        Whether hidden layers are normalised over the batch before their activation.
    """
    hidden_layer_sizes: Any = (128,)
    activation: Any = "relu"
    dropout: float = 0.0
    batch_norm: bool = False
    alpha: Any = "auto"

    _parameter_constraints = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [str, callable],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "batch_norm": ["boolean"],
    }

    def _network(self, spec: Spec, n_outputs: int):
        return self._embedded(self._dense(n_outputs))

    def _dense(self, n_outputs: int) -> Sequential:
        """The hidden layers and the last one."""
        return dense_network(self.hidden_layer_sizes, self.activation, self.dropout,
                             self.batch_norm, n_outputs)


@dataclass(kw_only=True, eq=False, repr=False)
class DNNClassifier(DenseNet, Classifier):
    """A fully connected net for classes.

    Examples
    --------
    >>> from gradatim import DNNClassifier
    >>> from gradatim.datasets import load_iris
    >>> data = load_iris()
    >>> model = DNNClassifier(epochs=100, random_state=0).fit(data.data, data.target)
    >>> bool(model.score(data.data, data.target) > 0.95)
    True
    """


@dataclass(kw_only=True, eq=False, repr=False)
class DNNRegressor(DenseNet, Regressor):
    """A fully connected net for numbers.

    Examples
    --------
    >>> from gradatim import DNNRegressor
    >>> from gradatim.datasets import load_diabetes
    >>> data = load_diabetes()
    >>> model = DNNRegressor(epochs=100, random_state=0).fit(data.data, data.target)
    >>> bool(model.score(data.data, data.target) > 0.5)
    True
    """
