"""WideAndDeepClassifier and WideAndDeepRegressor: a linear and a deep part, trained as one net."""
from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np

from ..backend import OPS, Spec
from ..backend.errors import ParameterError
from ..layers import Add, Concatenate, Dense, Input, Model
from .classifier import Classifier
from .dnn import CONSTRAINTS as DENSE_CONSTRAINTS, PARAMETERS as DENSE_PARAMETERS, dense_network
from .regressor import Regressor

CONSTRAINTS = {**DENSE_CONSTRAINTS, "wide_features": ["array-like", None],
               "deep_features": ["array-like", None], "crosses": ["array-like", None]}

PARAMETERS = DENSE_PARAMETERS + """
    wide_features, deep_features : list of int or str, optional
        Columns of the linear and of the deep part, by number, or by name where X is a DataFrame;
        all by default.
    crosses : list of tuple of int or str, optional
        Products of columns for the linear part, besides its columns: with the 0 and 1 of one-hot
        columns, the places where all of them are 1."""


class WideAndDeep:
    """The net that both share: outputs are the sums of a linear and a deep part's.

    Cheng et al. 2016, "Wide & deep learning for recommender systems", equation 3.
    """

    def _network(self, spec: Spec, n_outputs: int):
        x = Input(spec.shape)
        wide = [self._columns(x, "wide_features", self.wide_features)]
        for cross in () if self.crosses is None else self.crosses:
            if isinstance(cross, (str, Integral)) or len(cross) < 2:
                raise ParameterError("crosses holds tuples of at least two columns",
                                     got=repr(cross), fix='pass crosses=[(0, 3), (1, 2)], say')
            product, *others = [self._columns(x, "crosses", [column]) for column in cross]
            for other in others:
                product = product * other
            wide.append(product)
        wide = wide[0] if len(wide) == 1 else Concatenate()(wide)
        deep = dense_network(self.hidden_layer_sizes, self.activation, self.dropout,
                             self.batch_norm, n_outputs)
        deep = deep(self._columns(x, "deep_features", self.deep_features))
        linear = Dense(n_outputs, use_bias=False, kernel_initializer="zeros", name="wide")
        return Model(x, Add()([linear(wide), deep]))

    def _columns(self, x, parameter: str, columns):
        """Some columns of the input, or all of them."""
        if columns is None:
            return x
        names = getattr(self, "feature_names_in_", np.array([], object)).tolist()
        numbers = []
        for column in columns:
            number = names.index(column) if column in names else column
            if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or \
                    not -x.shape[-1] <= number < x.shape[-1]:
                raise ParameterError(f"{parameter} names a column that is not there: {column!r}",
                                     got=f"{x.shape[-1]} columns" + (f": {names[:10]}" if names
                                                                     else ""),
                                     fix="use numbers from 0 on, or the names of a DataFrame")
            numbers.append(int(number) % x.shape[-1])
        if not numbers:
            raise ParameterError(f"{parameter} is empty", fix="leave it out to take all columns")
        return OPS["gather"](x, np.array(numbers, np.int64), axis=-1)


@dataclass(kw_only=True, eq=False, repr=False)
class WideAndDeepClassifier(WideAndDeep, Classifier):
    """A linear and a deep part for classes, trained together.

    The linear part remembers single columns and crosses of them; the deep part generalises.

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
    >>> from gradatim import WideAndDeepClassifier
    >>> from gradatim.datasets import load_iris
    >>> data = load_iris()
    >>> model = WideAndDeepClassifier(crosses=[(0, 2), (1, 3)], epochs=100, random_state=0)
    >>> bool(model.fit(data.data, data.target).score(data.data, data.target) > 0.95)
    True
    """
    hidden_layer_sizes: Any = (128,)
    activation: Any = "relu"
    dropout: float = 0.0
    batch_norm: bool = False
    wide_features: Any = None
    deep_features: Any = None
    crosses: Any = None

    _own_parameters = PARAMETERS
    _parameter_constraints = {**Classifier._parameter_constraints, **CONSTRAINTS}


@dataclass(kw_only=True, eq=False, repr=False)
class WideAndDeepRegressor(WideAndDeep, Regressor):
    """A linear and a deep part for numbers, trained together.

    The linear part remembers single columns and crosses of them; the deep part generalises.

    Parameters
    ----------
    {own}
    {shared}

    Attributes
    ----------
    {fitted}

    Examples
    --------
    >>> from gradatim import WideAndDeepRegressor
    >>> from gradatim.datasets import load_diabetes
    >>> data = load_diabetes()
    >>> model = WideAndDeepRegressor(epochs=100, random_state=0).fit(data.data, data.target)
    >>> bool(model.score(data.data, data.target) > 0.5)
    True
    """
    hidden_layer_sizes: Any = (128,)
    activation: Any = "relu"
    dropout: float = 0.0
    batch_norm: bool = False
    wide_features: Any = None
    deep_features: Any = None
    crosses: Any = None

    _own_parameters = PARAMETERS
    _parameter_constraints = {**Regressor._parameter_constraints, **CONSTRAINTS}
