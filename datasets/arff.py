"""The part of the ARFF format that holds numbers: real and nominal columns, missing values."""
from __future__ import annotations

import re

import numpy as np

from ..backend.errors import CorruptFileError
from .text import load_text

_ATTRIBUTE = re.compile(r"""@attribute\s+('[^']+'|"[^"]+"|[^\s'"{]+)\s*(\{.*\}|\w+)""", re.I)
_NUMERIC = ("real", "numeric", "integer")


def read_arff(path) -> tuple[list[str], np.ndarray]:
    """Read a dense ARFF file whose values are all numbers.

    Nominal columns are read as the numbers their values are; a ``?`` is missing and becomes NaN.
    Text, dates and sparse rows are refused.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    names : list of str
        The columns.
    table : ndarray
        float64 (rows, columns).

    Raises
    ------
    DataNotFoundError
        If there is no such file.
    CorruptFileError
        If a line is not as it should be, with its number.

    References
    ----------
    Witten, Frank and Hall, Data Mining, section 2.4, "ARFF format".

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from gradatim.datasets import read_arff
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "cars.arff")
    ...     _ = path.write_text("@relation cars\\n@attribute doors {2, 4}\\n"
    ...                         "@attribute weight real\\n@data\\n4,1200\\n2,?\\n")
    ...     read_arff(path)
    (['doors', 'weight'], array([[   4., 1200.],
           [   2.,   nan]]))
    """
    names, kinds, rows, in_data = [], [], [], False
    for number, line in enumerate(load_text(path).split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("%"):
            continue
        if in_data:
            rows.append(_row(line, kinds, path, number))
        elif line.lower() == "@data":
            in_data = True
        elif match := _ATTRIBUTE.fullmatch(line):
            names.append(match[1].strip("'\""))
            kinds.append(_kind(match[2], path, number))
        elif not line.lower().startswith("@relation"):
            raise _corrupt("this is not a line of an ARFF header", path, number, line)
    if not (names and rows):
        raise _corrupt("this ARFF file has no data", path, number, f"{len(names)} columns")
    return names, np.array(rows)


def _kind(text: str, path, number: int) -> frozenset[str] | None:
    """The values of a nominal column, or None for a column of any numbers."""
    if text.startswith("{"):
        return frozenset(value.strip() for value in text[1:-1].split(","))
    if text.lower() not in _NUMERIC:
        raise _corrupt("a column is neither numeric nor nominal", path, number, text)
    return None


def _row(line: str, kinds, path, number: int) -> list[float]:
    """The numbers of one row."""
    fields = [field.strip() for field in line.split(",")]
    if len(fields) != len(kinds):
        raise _corrupt(f"the header promises {len(kinds)} columns", path, number,
                       f"{len(fields)} values")
    for field, kind in zip(fields, kinds):
        if kind is not None and field != "?" and field not in kind:
            raise _corrupt("a value is not among the header's", path, number, field)
    try:
        return [np.nan if field == "?" else float(field) for field in fields]
    except ValueError:
        raise _corrupt("a value is not a number", path, number, line) from None


def _corrupt(what: str, path, number: int, got: str) -> CorruptFileError:
    """The error for a line that is not what it should be."""
    return CorruptFileError(what, got=got[:60], at=f"{path}:{number}",
                            fix="get the file again, or mend the line")
