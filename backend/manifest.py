"""What a model file's manifest holds: a tree of plain values, names, and a promise per tensor."""
from __future__ import annotations

import hashlib
import json
import math
import re

import numpy as np

from .errors import DTypeError, ParameterError, ShapeError

_COMPONENT = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_DTYPES = {name: np.dtype(name).newbyteorder("<") for name in (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64").split()}
_TEXT = re.compile(r"U([1-9][0-9]{0,9})")
_DEEPEST = 100
_AXES = 32  # HDF5 has no more


class Refusal(Exception):
    """Why a file is refused: what, got, fix; the reader adds the path."""


REPLACE = "use another copy of the file, or save the model again"
FOREIGN = "give a file that gradatim saved"


def require(condition, what: str, got: str | None = None, fix: str = REPLACE) -> None:
    """Refuse the file unless the condition holds."""
    if not condition:
        raise Refusal(what, got, fix)


# ---------------------------------------------------------------------------------- the manifest

def to_json(value, place: str, depth: int = 0):
    """A tree of plain JSON values, or an error that names the place of the value that is none."""
    if depth > _DEEPEST:
        raise ParameterError(f"the manifest is nested deeper than {_DEEPEST} levels", at=place,
                             fix="flatten it, or break the reference of a container to itself")
    kind = type(value)
    if value is None or kind is bool:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if kind is int and value.bit_length() <= 1024:
        return value
    if isinstance(value, float):  # numpy.float64 is one of these
        return float(value) if math.isfinite(value) else {"float": repr(float(value))}
    if kind in (list, tuple):
        return [to_json(v, f"{place}[{i}]", depth + 1) for i, v in enumerate(value)]
    if kind is dict:
        for key in value:
            if type(key) is not str:
                raise ParameterError(f"{place} has a key that is not a string", got=repr(key),
                                     fix="use string keys")
        tree = {k: to_json(v, f'{place}["{k}"]', depth + 1) for k, v in value.items()}
        return {"float": [tree["float"]]} if set(tree) == {"float"} else tree
    raise ParameterError(
        f"{place} cannot be stored in a model file", got=f"{kind.__module__}.{kind.__qualname__}",
        fix="use dict, list, str, int, float, bool or None; store arrays as tensors, and "
            "NumPy scalars by .item()")


def from_json(tree):
    """The values `to_json` was given."""
    if isinstance(tree, list):
        return [from_json(v) for v in tree]
    if not isinstance(tree, dict):
        return tree
    if set(tree) != {"float"}:
        return {k: from_json(v) for k, v in tree.items()}
    inner = tree["float"]
    if isinstance(inner, list) and len(inner) == 1:
        return {"float": from_json(inner[0])}
    require(inner in ("nan", "inf", "-inf"), "has a number in its manifest that is none", inner)
    return float(inner)


def canonical(tree) -> bytes:
    """The one way to write a tree: sorted keys, no spaces, ASCII."""
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


# ------------------------------------------------------------------------------------- the names

def bad_name(name, why):
    """Refuse a name the caller chose."""
    raise ParameterError(
        f"{name!r} cannot be the name of a tensor: {why}".replace("'", '"'),
        fix="use components of A-Z a-z 0-9 _ . - (at most 128 characters) joined by /")


def tree_of_names(names, refuse) -> dict:
    """What each group must hold: {"": {"dense_1"}, "dense_1": {"kernel", "bias"}, ...}."""
    groups: dict[str, set] = {"": set()}
    for name in names:
        if not isinstance(name, str):
            refuse(name, "it is not a string")
        parts = name.split("/")
        for part in parts:
            if not _COMPONENT.fullmatch(part) or part in (".", ".."):
                refuse(name, f"{part!r} is not allowed in it")
        if len(parts) > _DEEPEST:
            refuse(name, f"it has more than {_DEEPEST} components")
        for i, part in enumerate(parts):
            groups.setdefault("/".join(parts[:i]), set()).add(part)
    for name in names:
        if name in groups:
            refuse(name, "it is also the beginning of another name")
    return groups


# ----------------------------------------------------------------------------------- the tensors

def to_stored(name: str, array) -> tuple[dict, np.ndarray]:
    """The manifest's entry for a tensor and the array of numbers that stands for it in HDF5."""
    entry = {"name": name}
    if not isinstance(array, (np.ndarray, np.generic)) or isinstance(array, np.ma.MaskedArray):
        raise DTypeError(f'tensor "{name}" is not a NumPy array', got=type(array).__qualname__,
                         fix="convert it by numpy.asarray")
    array = np.asarray(array)
    if array.dtype.kind == "U":
        width = max(1, array.dtype.itemsize // 4)
        raw = np.char.encode(array, "utf-8", "surrogatepass")
        # At least as many bytes as characters: the reader can then bound what it allocates.
        raw = np.asarray(raw, f"S{max(width, raw.dtype.itemsize)}", order="C")
        stored = np.frombuffer(raw.tobytes(), np.uint8).reshape(*array.shape, raw.dtype.itemsize)
        entry |= {"dtype": f"U{width}", "width": raw.dtype.itemsize}
    else:
        dtype = _DTYPES.get(array.dtype.name)
        if dtype is None:
            raise DTypeError(f'tensor "{name}" has an element type a model file cannot hold',
                             got=str(array.dtype),
                             fix="use bool, int8..int64, uint8..uint64, float16/32/64 or str")
        stored = np.asarray(array, dtype, order="C")
        stored = stored.view(np.uint8) if array.dtype == bool else stored
        entry["dtype"] = array.dtype.name
    if stored.ndim > _AXES:
        raise ShapeError(f'tensor "{name}" has more than {_AXES} axes', got=f"{stored.ndim} axes",
                         fix="reshape it; text counts one axis more")
    return entry | {"shape": list(array.shape), "sha256": sha256(stored)}, stored


def from_stored(entry: dict, stored: np.ndarray) -> np.ndarray:
    """The array `to_stored` was given; every value that it could not have made is refused."""
    name, dtype = entry["name"], entry["dtype"]
    if dtype == "bool":
        require(stored.size == 0 or stored.max() <= 1, f'has a bool in "{name}" that is none')
        return stored.view(np.bool_)
    if "width" not in entry:
        return stored.astype(_DTYPES[dtype].newbyteorder("="), copy=False)
    raw = np.frombuffer(stored.tobytes(), f"S{entry['width']}").reshape(entry["shape"])
    text = np.array(np.char.decode(raw, "utf-8", "surrogatepass"), f"<{dtype}")
    again = np.char.encode(text, "utf-8", "surrogatepass").astype(raw.dtype)
    require(again.tobytes() == raw.tobytes(), f'has text in "{name}" that is not as written')
    return text


def checked_entry(entry) -> tuple[str, np.dtype, tuple]:
    """Name, stored element type and stored shape that an entry of the manifest promises."""
    keys = {"name", "dtype", "shape", "sha256"}
    require(isinstance(entry, dict) and set(entry) in (keys, keys | {"width"}),
            "has a list of tensors that is not as written")
    name, dtype, shape = entry["name"], entry["dtype"], entry["shape"]
    text = _TEXT.fullmatch(dtype) if isinstance(dtype, str) else None
    sizes = [*shape, entry["width"]] if text and "width" in entry else shape
    require(isinstance(shape, list) and all(type(n) is int and 0 <= n < 2**63 for n in sizes)
            and len(sizes) <= _AXES,
            f"has a tensor of impossible shape: {name!r:.80}", f"{sizes!s:.80}")
    if text:
        require("width" in entry and int(text[1]) <= entry["width"],
                f"has text of impossible width: {name!r:.80}")
    else:
        require(isinstance(dtype, str) and dtype in _DTYPES and "width" not in entry,
                f"has a tensor of unknown element type: {name!r:.80}", f"{dtype!s:.80}")
    return name, np.dtype(np.uint8) if text or dtype == "bool" else _DTYPES[dtype], tuple(sizes)


def sha256(array: np.ndarray) -> str:
    """The checksum of an array's bytes, row by row."""
    return hashlib.sha256(array.reshape(-1).view(np.uint8)).hexdigest()
