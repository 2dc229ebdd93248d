"""Packing: trees of plain values and arrays as a manifest and named arrays, and back."""
from __future__ import annotations

import numpy as np

from ..backend.errors import ParameterError


def pack(value, arrays: dict, what: str):
    """A tree that a manifest can hold; arrays of it are put in ``arrays`` under numbers.

    Raises
    ------
    ParameterError
        If there is something in it that no file can hold.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.training.packing import pack, unpack
    >>> arrays = {}
    >>> tree = pack({"best": 0.5, "weights": {"w": np.ones(2)}}, arrays, "a memory")
    >>> unpack(tree, arrays)
    {'best': 0.5, 'weights': {'w': array([1., 1.])}}
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufU":
        name = f"packed/{len(arrays)}"
        arrays[name] = value
        return {"array": name}
    if type(value) in (list, tuple):
        return {type(value).__name__: [pack(v, arrays, what) for v in value]}
    if type(value) is dict:
        return {"dict": [[pack(k, arrays, what), pack(v, arrays, what)] for k, v in value.items()]}
    raise ParameterError(f"{what} holds something that cannot be written to a file",
                         got=repr(value)[:80],
                         fix="let callbacks remember numbers, text, arrays, lists and dicts")


def unpack(tree, arrays: dict):
    """What `pack` was given; KeyError, TypeError or ValueError if it is no such tree."""
    if not isinstance(tree, (dict, list)):
        return tree
    (kind, value), = tree.items() if isinstance(tree, dict) else (("", None),)
    if kind == "array":
        return arrays[value]
    if kind == "dict":
        return {unpack(k, arrays): unpack(v, arrays) for k, v in value}
    if kind not in ("list", "tuple"):
        raise ValueError(f"not packed: {kind}")
    found = [unpack(v, arrays) for v in value]
    return tuple(found) if kind == "tuple" else found
