"""TableSamples: rows of features for dense nets; categories in a frame are embedded by the net."""
from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import check_array, check_X_y, validate_data

from ..backend.errors import ParameterError
from ..layers import EmbedColumns, Sequential
from .checking import ABSENT
from .columns import CATEGORY, is_frame, read_table
from .encodings import apply, as_numbers, labels, learn_values


@dataclass(kw_only=True, eq=False, repr=False)
class TableSamples:
    """How dense nets read samples: numbers, and codes in columns of categories.

    Parameters
    ----------
    categorical_features : "from_dtype", array-like of names, positions or bool, or None
        Columns of categories, for each of which the net learns an `EmbedColumns` vector; rare and
        missing values are categories, too, and what the fit did not see is "other". from_dtype:
        the columns of a frame that are of a category type or hold nothing but text.
    """
    categorical_features: Any = "from_dtype"

    _parameter_constraints = {
        "categorical_features": [None, StrOptions({"from_dtype"}), "array-like"]}
    _fit_sets = ("_categories",)

    def _validated(self, X, reset, y=ABSENT, **options):
        if reset:
            positions = self._category_positions(X)
            self._categories = []
        given = {} if y is ABSENT else {"y": y}
        if not (positions if reset else self._categories):
            return super()._validated(X, reset, **given, **options)
        columns = read_table(X, self)
        validate_data(self, X, reset=reset, skip_check_array=True, **given)
        if reset:
            self._categories = [{**learn_values(columns[j]), "columns": [j]} for j in positions]
        plans = {plan["columns"][0]: plan for plan in self._categories}
        rows = np.stack([apply(plans[j], column) if j in plans else as_numbers(column)
                         for j, column in enumerate(columns)], axis=1)
        if given:
            return check_X_y(rows, y, estimator=self, **options)
        return check_array(rows, estimator=self, input_name="X")

    def _count_features(self, X, reset):
        super()._count_features(X, reset)
        if self._category_positions(X) if reset else self._categories:
            raise ParameterError("columns of categories cannot be read from a file",
                                 fix="pass a frame, or encode them as numbers first")
        if reset:
            self._categories = []

    def _category_positions(self, X) -> list[int]:
        """Where the columns of categories are."""
        wish = self.categorical_features
        if wish is None or isinstance(wish, str) and not is_frame(X):
            return []
        if isinstance(wish, str):
            names = [str(dtype).lower() for dtype in X.dtypes]
            if not any(name.startswith(("cat", "enum", "obj", "str")) for name in names):
                return []
            return [j for j, column in enumerate(read_table(X, self)) if column.kind == CATEGORY
                    and (names[j].startswith(("cat", "enum"))
                         or all(v is None or isinstance(v, str) for v in column.values))]
        names = [str(name) for name in X.columns] if is_frame(X) else []
        n, wish = np.shape(X)[1] if np.ndim(X) == 2 else 0, np.asarray(wish).tolist()
        if len(wish) == n and all(isinstance(w, bool) for w in wish):
            return [j for j, chosen in enumerate(wish) if chosen]
        found = [names.index(w) if w in names else w for w in wish]
        strange = [w for w in found if not isinstance(w, Integral) or isinstance(w, bool)
                   or not 0 <= w < n]
        if strange:
            raise ParameterError(f"categorical_features names no column of X: {strange[0]!r}",
                                 got=f"{n} columns {', '.join(names)}".strip(),
                                 fix="use names of a frame, positions from 0 on, or one bool each")
        return sorted(set(found))

    def _sizes(self) -> list[int]:
        """How many categories each column has; 0 for numbers."""
        sizes = [0] * self.n_features_in_
        for plan in self._categories:
            sizes[plan["columns"][0]] = len(labels(plan))
        return sizes

    def _embedded(self, network: Sequential) -> Sequential:
        """The net, after embeddings of the columns of categories."""
        if not self._categories:
            return network
        return Sequential([EmbedColumns(tuple(self._sizes())), *network.layers])

    def _statistics(self, X, weights):
        mean, variance = super()._statistics(X, weights)
        coded = [plan["columns"][0] for plan in self._categories]
        mean[coded], variance[coded] = 0.0, 1.0                 # codes are no measurements
        return mean, variance
