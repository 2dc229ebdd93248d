"""WideAndDeepClassifier and WideAndDeepRegressor: a linear and a deep part, trained as one net."""
from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from numbers import Integral
from operator import mul
from typing import Any

import numpy as np

from ..backend import OPS, Spec
from ..backend.errors import ParameterError
from ..backend.ops.elementwise import maximum, minimum
from ..layers import Add, Concatenate, Dense, EmbedColumns, Embedding, Input, Model, Sequential
from .classifier import Classifier
from .dnn import DenseNet
from .regressor import Regressor

LARGEST_CROSS = 2 ** 22        # weights per output


@dataclass(kw_only=True, eq=False, repr=False)
class WideAndDeep(DenseNet):
    """The net that both share: outputs are the sums of a linear and a deep part's.

    Cheng et al. 2016, "Wide & deep learning for recommender systems", equation 3.

    Parameters
    ----------
    wide_features, deep_features : list of int or str, optional
        Columns of the linear and of the deep part, by number, or by name where X is a DataFrame;
        all by default.
    crosses : list of tuple of int or str, optional
        Columns that the linear part takes together, besides alone: it has a weight for each pair
        (or triple, ...) of categories, and for the product of numbers.
    """
    wide_features: Any = None
    deep_features: Any = None
    crosses: Any = None

    _parameter_constraints = {
        "wide_features": ["array-like", None],
        "deep_features": ["array-like", None], "crosses": ["array-like", None]}

    def _network(self, spec: Spec, n_outputs: int):
        x, sizes = Input(spec.shape), self._sizes()
        wide = self._numbers(x, "wide_features", self.wide_features)
        numbers = [j for j in wide if not sizes[j]]
        plain = [_columns(x, numbers)] if numbers else []
        terms = [self._term(x, [j], sizes, n_outputs) for j in wide if sizes[j]]
        for cross in () if self.crosses is None else self.crosses:
            if isinstance(cross, (str, Integral)) or len(cross) < 2:
                raise ParameterError("crosses holds tuples of at least two columns",
                                     got=repr(cross), fix='pass crosses=[(0, 3), (1, 2)], say')
            columns = self._numbers(x, "crosses", cross)
            if any(sizes[j] for j in columns):
                terms.append(self._term(x, columns, sizes, n_outputs))
            else:
                plain.append(_product(x, columns))
        if plain:
            linear = Dense(n_outputs, use_bias=False, kernel_initializer="zeros", name="wide")
            terms.append(linear(plain[0] if len(plain) == 1 else Concatenate()(plain)))
        deep = self._numbers(x, "deep_features", self.deep_features)
        net = self._dense(n_outputs)
        if any(sizes[j] for j in deep):
            net = Sequential([EmbedColumns([sizes[j] for j in deep]), *net.layers])
        return Model(x, Add()([*terms, net(_columns(x, deep))]))

    def _term(self, x, columns: list[int], sizes: list[int], n_outputs: int):
        """The weights of the categories in some columns, times the numbers in the others."""
        places, code = 1, 0
        for j in (j for j in columns if sizes[j]):
            one = minimum(maximum(x[:, j], 0.0), float(sizes[j] - 1))          # (batch,)
            code, places = OPS["cast"](one, dtype="int64") + code * sizes[j], places * sizes[j]
        if places > LARGEST_CROSS:
            raise ParameterError("a cross has too many categories", got=f"{places}, at columns "
                                 f"{columns}", fix="leave it to the deep part, or join categories")
        weights = Embedding(places, n_outputs, embeddings_initializer="zeros")(code)
        numbers = [j for j in columns if not sizes[j]]
        return weights * _product(x, numbers) if numbers else weights

    def _numbers(self, x, parameter: str, columns) -> list[int]:
        """Columns by number; all of them by default."""
        if columns is None:
            return list(range(x.shape[-1]))
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
        return numbers


def _columns(x, numbers: list[int]):
    """Some columns of the input, or the input itself."""
    if numbers == list(range(x.shape[-1])):
        return x
    return OPS["gather"](x, np.array(numbers, np.int64), axis=-1)


def _product(x, numbers: list[int]):
    """The product of some columns, ``(batch, 1)``."""
    return reduce(mul, (_columns(x, [j]) for j in numbers))


@dataclass(kw_only=True, eq=False, repr=False)
class WideAndDeepClassifier(WideAndDeep, Classifier):
    """A linear and a deep part for classes, trained together.

    The linear part remembers single columns and crosses of them, and has a weight for each
    category; the deep part generalises.

    Examples
    --------
    >>> from gradatim import WideAndDeepClassifier
    >>> from gradatim.datasets import load_iris
    >>> data = load_iris()
    >>> model = WideAndDeepClassifier(crosses=[(0, 2), (1, 3)], epochs=100, random_state=0)
    >>> bool(model.fit(data.data, data.target).score(data.data, data.target) > 0.95)
    True
    """


@dataclass(kw_only=True, eq=False, repr=False)
class WideAndDeepRegressor(WideAndDeep, Regressor):
    """A linear and a deep part for numbers, trained together.

    The linear part remembers single columns and crosses of them, and has a weight for each
    category; the deep part generalises.

    Examples
    --------
    >>> from gradatim import WideAndDeepRegressor
    >>> from gradatim.datasets import load_diabetes
    >>> data = load_diabetes()
    >>> model = WideAndDeepRegressor(epochs=100, random_state=0).fit(data.data, data.target)
    >>> bool(model.score(data.data, data.target) > 0.5)
    True
    """
