"""FeatureEncoder: tables of numbers, categories and dates, with gaps, as numbers for nets."""
from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from math import isfinite
from numbers import Integral, Real
from typing import Any, Mapping

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from ..backend.errors import ParameterError, ShapeError
from .checking import explained, refuse_unusable, unchanged_on_error
from .columns import DATE, NUMBER, Column, is_dict, read_table
from .encodings import (apply, given_values, is_coded, labels, learn_buckets, learn_cross,
                        learn_date, learn_scale, learn_values)
from .iterators import Transformer, gathered
from .saving import Saveable

SCALES = ("standard", "minmax", "passthrough")
WORDS = (*SCALES, "buckets", "category", "hash", "date", "drop")
LISTS = (list, tuple, np.ndarray)
SETTINGS = {"buckets": lambda setting: is_size(setting) or are_edges(setting),
            "hash": lambda setting: is_size(setting),
            "category": lambda setting: isinstance(setting, LISTS)}


@dataclass(kw_only=True, eq=False, repr=False)
class FeatureEncoder(Transformer, Saveable, BaseEstimator):
    """Turns a table of mixed columns with gaps into numbers.

    Takes frames of pandas or polars, dicts of columns, and 2-D arrays or lists of rows. Columns of
    numbers, and time spans in days, are scaled, categories (text, booleans as 0 and 1, category
    dtypes) become one column each or whole numbers, dates become days and the phases of year, week
    and day. What was rare or missing at the fit, or was not there, has a place of its own.

    Parameters
    ----------
    columns : dict of name or position to encoding, optional
        For columns that are not to be treated by their kind. ``"standard"``, ``"minmax"`` and
        ``"passthrough"`` take numbers; ``"buckets"`` numbers by quantiles, ``{"buckets": 4}``
        so many, ``{"buckets": [18, 65]}`` by edges; ``"category"`` learns its values,
        ``{"category": ["a", "b"]}`` is given them; ``"hash"`` and ``{"hash": 1000}`` spread them
        over so many buckets; ``"date"`` also reads text in ISO 8601; ``"drop"`` leaves it out.
    numeric : {"standard", "minmax", "passthrough", "buckets"}
        What happens to other columns of numbers.
    encoding : {"onehot", "ordinal"}
        Codes as one column of 0 and 1 for each category, or as whole numbers.
    crosses : sequence of tuples of column
        Combinations that are categories themselves, of columns of categories or buckets; columns
        of numbers are cut into buckets for that.
    cross_size : int, optional
        Buckets over which each cross is hashed; otherwise its combinations are learned.
    n_buckets : int
        Of columns of numbers that become buckets.
    hash_size : int
        Of columns that are hashed.
    min_frequency : int
        Rows a category must have at the fit; rarer ones share the bucket "other".
    max_categories : int, optional
        The most frequent ones that are kept per column.
    sparse_output : bool
        Whether the result is a sparse array of rows.

    Attributes
    ----------
    n_features_in_ : int
        Columns of the table.
    feature_names_in_ : array of str
        Their names, where all are text.
    category_sizes_ : list of int
        For each column that is given out, how many codes it may hold: 0 for numbers. With
        ``encoding="ordinal"``, what an embedding needs.

    Notes
    -----
    These are the feature columns of Cheng et al., "TensorFlow Estimators: managing simplicity vs.
    flexibility in high-level machine learning frameworks", KDD 2017, as one transformer.

    Examples
    --------
    >>> from gradatim import FeatureEncoder
    >>> table = {"city": ["Oslo", "Rome", None, "Rome"], "age": [30.0, None, 50.0, 40.0]}
    >>> encoder = FeatureEncoder(columns={"age": "passthrough"}).fit(table)
    >>> encoder.get_feature_names_out().tolist()
    ['city_other', 'city_Oslo', 'city_Rome', 'city_missing', 'age', 'age_missing']
    >>> encoder.transform({"city": ["Paris"], "age": [33.0]}).tolist()
    [[1.0, 0.0, 0.0, 0.0, 33.0, 0.0]]
    """
    columns: Any = None
    numeric: str = "standard"
    encoding: str = "onehot"
    crosses: Any = ()
    cross_size: Any = None
    n_buckets: int = 10
    hash_size: int = 64
    min_frequency: int = 1
    max_categories: Any = None
    sparse_output: bool = False

    _fit_sets = ("n_features_in_", "category_sizes_", "_plans")
    _parameter_constraints = {
        "columns": [None, dict],
        "numeric": [StrOptions({*SCALES, "buckets"})],
        "encoding": [StrOptions({"onehot", "ordinal"})],
        "crosses": [list, tuple],
        "cross_size": [None, Interval(Integral, 1, None, closed="left")],
        "n_buckets": [Interval(Integral, 1, None, closed="left")],
        "hash_size": [Interval(Integral, 1, None, closed="left")],
        "min_frequency": [Interval(Integral, 1, None, closed="left")],
        "max_categories": [None, Interval(Integral, 1, None, closed="left")],
        "sparse_output": ["boolean"],
    }

    def fit(self, X, y=None):
        """Learn scales, categories, buckets and crosses.

        Parameters
        ----------
        X : frame, dict of columns, array or list of rows (n, n_features)
            The table.
        y : None
            Not used.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the table cannot be read, a parameter cannot be used, or a column does not hold what
            its encoding takes.
        """
        self._validate_params()
        with unchanged_on_error(self):
            table = self._table(X, reset=True)
            chosen = self._chosen()
            plans = []
            for j, column in enumerate(table):
                plan = self._plan(chosen.get(j), column)
                if plan is not None:
                    plans.append({**plan, "columns": [j]})
            for cross in self.crosses:
                plans.append(self._cross(cross, table, chosen))
            if not plans:
                raise ParameterError("no column is left", fix="drop fewer columns")
            self._plans = plans
            self.category_sizes_ = [size for plan in plans for size in self._sizes(plan)]
        return self

    def transform(self, X):
        """The table as numbers.

        Parameters
        ----------
        X : frame, dict of columns, array or list of rows (n, n_features)
            A table with the columns of `fit`; a dict may have them in any order.

        Returns
        -------
        array (n, n_features_out) of float64, or sparse array
            int64 if all columns are codes with ``encoding="ordinal"``.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If there are other columns than at the fit, or one does not hold what its encoding
            takes.
        """
        check_is_fitted(self)
        return self._encoded(self._table(X, reset=False))

    def get_feature_names_out(self, input_features=None) -> np.ndarray:
        """Names of the columns that `transform` gives; repeated ones end in a number.

        Parameters
        ----------
        input_features : array of str, optional
            Names of the columns of the table, where `fit` saw none.

        Returns
        -------
        array of str

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If the names are not those of `fit`.
        """
        from sklearn.utils.validation import _check_feature_names_in
        check_is_fitted(self)
        given = _check_feature_names_in(self, input_features)
        names = []
        for plan in self._plans:
            stem = "_x_".join(str(given[j]) for j in plan["columns"])
            if is_coded(plan) and self.encoding == "ordinal":
                names.append(stem)
            else:
                names += [f"{stem}_{label}" if label else stem for label in labels(plan)]
        return np.array(different(names), object)

    # ---- inside --------------------------------------------------------------------------------

    def _table(self, X, reset: bool) -> list[Column]:
        """The columns, with names and number checked as scikit-learn does."""
        X = gathered(X)
        refuse_unusable(X=X)
        if is_dict(X):
            X = self._named(X, reset)
            return read_table(X, self)
        with explained():
            columns = read_table(X, self)
        shaped = X if hasattr(X, "shape") else np.empty((len(columns[0].values), len(columns)))
        validate_data(self, shaped, reset=reset, skip_check_array=True)
        return columns

    def _named(self, X: Mapping, reset: bool) -> Mapping:
        """A dict with the columns of the fit in their order."""
        if reset:
            self.n_features_in_ = len(X)
            self.feature_names_in_ = np.array(list(X), object)
            return X
        names = getattr(self, "feature_names_in_", None)
        if names is None or set(names) != set(X):
            raise ShapeError("X has other columns than at the fit",
                             got=", ".join(map(str, X)) or "none",
                             fix="no names were seen then: pass an array" if names is None
                             else f"pass {', '.join(names)}")
        return {name: X[name] for name in names}

    def _position(self, key) -> int:
        """A column by name or position."""
        names = getattr(self, "feature_names_in_", np.array([], object)).tolist()
        if key in names:
            return names.index(key)
        if isinstance(key, Integral) and 0 <= key < self.n_features_in_:
            return int(key)
        raise ParameterError(f"there is no column {key!r}",
                             got=", ".join(map(str, names)) or f"{self.n_features_in_} columns",
                             fix="use a name of the table or a position from 0 on")

    def _chosen(self) -> dict[int, tuple[str, Any]]:
        """Encoding and setting of the columns that have their own."""
        chosen = {}
        for key, wish in (self.columns or {}).items():
            position = self._position(key)
            if position in chosen:
                raise ParameterError(f"column {key!r} has two encodings in columns=",
                                     got=repr(self.columns), fix="name each column once")
            chosen[position] = encoding_of(key, wish)
        return chosen

    def _plan(self, wish, column: Column) -> dict | None:
        """What is to be done with a column."""
        by_kind = {NUMBER: self.numeric, DATE: "date"}
        word, setting = wish or (by_kind.get(column.kind, "category"), None)
        if word == "drop":
            return None
        if word in SCALES:
            return learn_scale(column, word)
        if word == "date":
            return learn_date(column)
        if word == "buckets":
            return learn_buckets(column, self.n_buckets if setting is None else setting)
        if word == "hash":
            return {"kind": "hash", "size": int(self.hash_size if setting is None else setting)}
        if setting is not None:
            return given_values(setting)
        return learn_values(column, self.min_frequency, self.max_categories)

    def _cross(self, cross, table, chosen) -> dict:
        """A plan for a combination of columns."""
        if not isinstance(cross, (tuple, list)) or len(cross) < 2:
            raise ParameterError("a cross combines two columns or more", got=repr(cross),
                                 fix='pass crosses=[("city", "day")]')
        at = [self._position(key) for key in cross]
        parts = []
        for j in at:
            plan = self._plan(chosen.get(j), table[j])
            if plan is None or not is_coded(plan):
                plan = learn_buckets(table[j], self.n_buckets) if table[j].kind == NUMBER else \
                    learn_values(table[j], self.min_frequency, self.max_categories)
            parts.append(plan)
        plan = learn_cross(parts, [table[j] for j in at], self.cross_size,
                           min_frequency=self.min_frequency, most=self.max_categories)
        return {**plan, "columns": at}

    def _sizes(self, plan: dict) -> list[int]:
        """How many codes each column of a plan holds; 0 for numbers."""
        n = len(labels(plan))
        if is_coded(plan) and self.encoding == "ordinal":
            return [n]
        return [0] * n

    def _encoded(self, table: list[Column]):
        """Every plan's columns side by side."""
        found = []
        for plan in self._plans:
            at = plan["columns"]
            part = apply(plan, [table[j] for j in at] if len(at) > 1 else table[at[0]])
            if is_coded(plan) and self.encoding == "onehot":
                part = one_hot(part, len(labels(plan)), self.sparse_output)
            found.append(part[:, None] if part.ndim == 1 else part)
        if not self.sparse_output:
            return np.hstack(found)
        from scipy import sparse
        return sparse.hstack([sparse.csr_array(part) for part in found], format="csr")

    def _check_fitted(self) -> None:
        """Refuse what came from a file and does not encode a row."""
        gaps = Column(NUMBER, np.array([np.nan]))             # any encoding takes a missing value
        row = self._encoded([gaps] * self.n_features_in_)
        if row.shape[1] != len(self.category_sizes_):
            raise ShapeError("the encoder has other columns than it says", got=str(row.shape))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_plans")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = tags.input_tags.string = tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = []      # float64, or int64 for codes alone
        return tags


def encoding_of(key, wish) -> tuple[str, Any]:
    """An encoding and its setting, from ``"hash"`` or ``{"hash": 64}``."""
    word, setting = wish, None
    if isinstance(wish, dict) and len(wish) == 1:
        (word, setting), = wish.items()
        if word not in SETTINGS or not SETTINGS[word](setting):
            raise ParameterError(f"the encoding of column {key!r} has no such setting",
                                 got=repr(wish), fix='pass {"buckets": 4}, {"buckets": [18, 65]}, '
                                 '{"hash": 64} or {"category": ["a", "b"]}')
    if word not in WORDS:
        raise ParameterError(f"column {key!r} cannot be encoded like that", got=repr(wish),
                             fix=f"use one of {', '.join(WORDS)}")
    return word, setting


def is_size(setting) -> bool:
    """Whether it says how many buckets there are."""
    return isinstance(setting, Integral) and not isinstance(setting, bool) and setting >= 1


def are_edges(setting) -> bool:
    """Whether they are numbers between which buckets can lie."""
    return isinstance(setting, LISTS) and all(isinstance(edge, Real) and isfinite(edge)
                                              for edge in setting)


def different(names) -> list[str]:
    """The names, repeated ones with a number: a category may be called "other", too."""
    taken, found = set(names), {}
    for name in names:
        if name in found:
            name = next(new for i in count(2) if (new := f"{name}_{i}") not in taken)
            taken.add(name)
        found[name] = None
    return list(found)


def one_hot(codes: np.ndarray, size: int, sparse_output: bool):
    """Codes as rows of zeros with one 1."""
    rows = np.arange(len(codes))
    if sparse_output:
        from scipy import sparse
        return sparse.csr_array((np.ones(len(codes)), (rows, codes)), shape=(len(codes), size))
    found = np.zeros((len(codes), size))
    found[rows, codes] = 1.0
    return found
