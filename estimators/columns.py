"""Columns: tables of any kind as columns of numbers, dates or categories, with gaps."""
from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from numbers import Real
from typing import Any, Mapping, NamedTuple

import numpy as np
from sklearn.utils.validation import check_array

from ..backend.errors import DataError, ShapeError

NUMBER, DATE, CATEGORY = "number", "date", "category"
MICROSECONDS = "datetime64[us]"
GAPPY = (float, np.floating, np.datetime64, np.timedelta64, date)     # may differ from themselves


class Column(NamedTuple):
    """One column of a table."""
    kind: str                  # "number", "date" or "category"
    values: np.ndarray         # float64 with NaN, datetime64 with NaT, or object with None
    name: str = ""             # for errors


def is_frame(X) -> bool:
    """Whether it is a frame of pandas, polars or their like."""
    return all(hasattr(X, name) for name in ("columns", "dtypes", "shape", "__getitem__"))


def is_dict(X) -> bool:
    """Whether it is a dict of columns; one kind of sparse matrix is a dict, too."""
    return isinstance(X, Mapping) and not hasattr(X, "shape")


def read_table(X, estimator) -> list[Column]:
    """The columns of a frame, a dict of columns, or a 2-D array or list of rows."""
    if is_dict(X):
        return same_length([column_of(values, name) for name, values in X.items()], X)
    if is_frame(X):
        parts = X.get_columns() if hasattr(X, "get_columns") else [
            X.iloc[:, j] for j in range(X.shape[1])]
        columns = [column_of(part, name) for part, name in zip(parts, X.columns)]
        if not len(X) or not columns:
            check_array(np.empty(X.shape), estimator=estimator, input_name="X")
        return columns
    if isinstance(X, (list, tuple)) and any(isinstance(v, str) or v is None for row in X[:100]
                                            if isinstance(row, (list, tuple)) for v in row):
        X = table_of_rows(X)
    X = check_array(X, dtype=None, ensure_all_finite=False, estimator=estimator, input_name="X")
    return [column_of(X[:, j], j) for j in range(X.shape[1])]


def table_of_rows(rows) -> np.ndarray:
    """Rows of mixed values as they are: NumPy would make text of the numbers in them."""
    sizes = {len(row) if isinstance(row, (list, tuple)) else 0 for row in rows}
    if len(sizes) > 1:
        raise ShapeError("rows of X differ in length", got=" ".join(map(str, sorted(sizes))),
                         fix="give every row the same columns, None where a value is missing")
    table = np.empty((len(rows), sizes.pop()), object)
    for i, row in enumerate(rows):
        table[i] = row
    return table


def same_length(columns: list[Column], X: Mapping) -> list[Column]:
    """Refuse a dict that is no table."""
    lengths = {name: len(column.values) for name, column in zip(X, columns)}
    if not lengths or not min(lengths.values()):
        raise DataError("Found array with 0 sample(s) while a minimum of 1 is required.",
                        got="a dict without rows", fix="pass one sequence per column")
    if not all(isinstance(name, str) for name in X):
        raise DataError("the names of columns are text", got=", ".join(map(repr, X))[:60],
                        fix="pass a dict of names and equally long sequences")
    if len(set(lengths.values())) > 1:
        raise ShapeError("the columns of X differ in length", got=str(lengths),
                         fix="pass a dict of names and equally long sequences")
    return columns


def column_of(series, name) -> Column:
    """A column from a Series, an array or a list."""
    return read_column(series)._replace(name=str(name))


def read_column(series) -> Column:
    """A column that has no name yet."""
    name = str(getattr(series, "dtype", "")).lower()
    if hasattr(series, "to_numpy"):
        if name.startswith(("cat", "enum")):
            return Column(CATEGORY, categories_of(np.asarray(series.to_numpy(), object)))
        if name.startswith("date"):
            zoned = "," in name and hasattr(series, "iloc")
            return dates_of(series.to_numpy(dtype=MICROSECONDS) if zoned else series.to_numpy())
        if hasattr(series, "iloc") and name.startswith(("int", "uint", "float", "bool", "double")):
            return numbers_of(series.to_numpy(dtype="float64", na_value=np.nan))
        series = series.to_numpy()
    if isinstance(series, (str, bytes)) or not hasattr(series, "__iter__"):
        raise ShapeError("a column holds one value per row", got=repr(series)[:60],
                         fix="pass a list or an array, also for a single row")
    if not isinstance(series, np.ndarray):
        series = list(series)
        values = np.empty(len(series), object)
        values[:] = series
        series = values
    if series.ndim != 1:
        raise ShapeError("a column holds one value per row", got=f"shape {list(series.shape)}",
                         fix="pass a column of scalars")
    if series.dtype.kind in "biuf":
        return numbers_of(series)
    if series.dtype.kind == "M":
        return dates_of(series)
    if series.dtype.kind == "m":
        return spans_of(series)
    if series.dtype.kind in "OUST":
        return inferred(series.astype(object))
    raise DataError("a column holds neither numbers, dates nor text", got=f"dtype {series.dtype}",
                    fix="convert it first")


def inferred(values: np.ndarray) -> Column:
    """A column of objects: numbers or dates if all that is there are such, categories otherwise."""
    there = [v for v in values if not is_missing(v)]
    if all(isinstance(v, (Real, Decimal)) for v in there):
        return numbers_of(np.array([np.nan if is_missing(v) else v for v in values], np.float64))
    if all(isinstance(v, (date, np.datetime64)) for v in there):
        return dates_of(np.array([None if is_missing(v) else v for v in values], MICROSECONDS))
    if all(isinstance(v, (timedelta, np.timedelta64)) for v in there):
        return spans_of(np.array([None if is_missing(v) else v for v in values], "m8[us]"))
    return Column(CATEGORY, categories_of(values))


def spans_of(values) -> Column:
    """A column of spans of time, in days."""
    return numbers_of(values / np.timedelta64(1, "D"))


def numbers_of(values) -> Column:
    """A column of numbers; infinity is a mistake, NaN is missing."""
    values = np.asarray(values, np.float64)
    if np.isinf(values).any():
        raise DataError("Input X contains infinity or a value too large for dtype('float64').",
                        fix="replace it, or leave it out as missing")
    return Column(NUMBER, values)


def dates_of(values) -> Column:
    """A column of moments, to the microsecond."""
    return Column(DATE, np.asarray(values).astype(MICROSECONDS))


def categories_of(values: np.ndarray) -> np.ndarray:
    """Categories: text and numbers as they are, None where one is missing, others as text."""
    return np.fromiter(map(category, values), object, len(values))


def category(value) -> Any:
    """One category."""
    if type(value) is str:
        return value
    if is_missing(value):
        return None
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, (str, int, float)):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, (list, dict, set, np.ndarray)):
        raise DataError("a category is one value", got=repr(value)[:60],
                        fix="pass text or a number in each cell")
    return str(value)


def is_missing(value) -> bool:
    """None, NaN, NaT, or pandas' NA."""
    if value is None or type(value).__name__ == "NAType":
        return True
    return isinstance(value, GAPPY) and value != value
