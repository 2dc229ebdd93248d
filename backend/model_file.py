"""The model file: a JSON manifest and named arrays in HDF5, every byte checked before it is used."""
from __future__ import annotations

import hashlib
import io
import json
import math
import os
import re
import stat
import struct

import numpy as np

from .atomic import atomic_write
from .errors import (
    CorruptFileError, DataNotFoundError, DTypeError, Error, FileAccessError, ParameterError)

# Bytes 0-7 magic, 8-11 format version, 12-19 length of the rest, 20-51 sha256 of the rest, zeros.
# HDF5 tools skip such a user block, so any of them opens the file.
FORMAT_VERSION = 1
_MAGIC = b"GRADATIM"
_HEADER = struct.Struct("<8sIQ32s460x")
# The one superblock we write (version 2, addresses of 8 bytes, behind 512 bytes): fixing its bytes
# keeps every other feature of the HDF5 file format out of reach before the library runs.
_SUPERBLOCK = struct.Struct("<12sQQQ")
_SIGNATURE = b"\x89HDF\r\n\x1a\n\x02\x08\x08\x00"
_NO_ADDRESS = 2**64 - 1

_COMPONENT = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_DTYPES = {name: np.dtype(name).newbyteorder("<") for name in (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64").split()}
_TEXT = re.compile(r"U([1-9][0-9]{0,9})")
_RESERVED = ("format_version", "tensors")
_DEEPEST = 100
_CHUNK = 1 << 20

# Kinds of header message that our own groups and data sets have. External storage, filters,
# attributes, shared messages and old layouts would each show as another kind.
_GROUP_MESSAGES = {0, 2, 6, 10, 16}
_DATASET_MESSAGES = {0, 1, 3, 5, 8, 16}


def write_model(path, manifest: dict, arrays: dict) -> None:
    """Save a manifest and named arrays as one file; the same input gives the same bytes anywhere.

    Parameters
    ----------
    path : str or os.PathLike
        The file to make or to replace, atomically.
    manifest : dict
        Any tree of dict (with string keys), list, str, int, float, bool and None. Tuples are
        written as lists; the order of keys is not kept. ``format_version`` and ``tensors`` are
        the writer's own keys. NaN and the infinities are written as ``{"float": "nan"}``,
        ``{"float": "inf"}`` and ``{"float": "-inf"}``; a dict of yours whose only key is
        ``"float"`` as ``{"float": [value]}``, so that nothing is ambiguous.
    arrays : dict of str to numpy.ndarray
        Of bool, integers, float16/32/64 or str, of any shape. A name is one or more components
        ``[A-Za-z0-9_.-]{1,128}`` joined by ``/``, such as ``adam/m/dense_1/kernel``. bool is
        stored as uint8 (0 or 1), str as UTF-8 bytes padded with zeros along one more axis.

    Raises
    ------
    ParameterError
        If a name or a value of the manifest cannot be stored; the text names its place.
    DTypeError
        If an array has another element type.
    FileAccessError
        If the operating system refuses; an older file is then as it was.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "model.h5"
    ...     write_model(path, {"seed": 7, "best": float("inf")}, {"dense/bias": np.zeros(3)})
    ...     manifest, arrays = read_model(path)
    >>> manifest, arrays
    ({'best': inf, 'seed': 7}, {'dense/bias': array([0., 0., 0.])})
    """
    if not isinstance(manifest, dict):
        raise ParameterError("the manifest is not a dict", got=type(manifest).__name__)
    for key in _RESERVED:
        if key in manifest:
            raise ParameterError(f'manifest["{key}"] is a key of the writer itself',
                                 fix="use another key")
    tree = _to_json(manifest, "manifest")
    _tree_of_names(list(arrays), _bad_name)
    stored, entries = {}, []
    for name in sorted(arrays):
        entry, stored[name] = _to_stored(name, arrays[name])
        entries.append(entry)
    text = _canonical({**tree, "format_version": FORMAT_VERSION, "tensors": entries})
    image = _build(np.frombuffer(text, np.uint8), stored)
    body = memoryview(image)[_HEADER.size:]
    digest = hashlib.sha256(body).digest()
    header = _HEADER.pack(_MAGIC, FORMAT_VERSION, len(body), digest)

    def writer(stream):
        stream.write(header)
        for start in range(0, len(body), _CHUNK):
            stream.write(body[start:start + _CHUNK])

    def verify(part):
        with open(part, "rb") as stream:
            if stream.read(_HEADER.size) != header or _digest(stream) != digest:
                raise FileAccessError("the disk gave back other bytes than were written",
                                      at=os.fspath(path), fix="check the disk; save elsewhere")

    atomic_write(path, writer, verify)


def read_model(path) -> tuple[dict, dict]:
    """Load what `write_model` saved, or refuse; nothing but the given file is ever opened.

    Header, length and sha256 of the whole file are checked in plain Python before the HDF5
    library sees a byte, and what was checked is what is parsed: a copy in memory. Then only what
    the writer writes is let through: hard links, contiguous unfiltered data sets, the names,
    element types and shapes of the manifest, and no more bytes than the file has. Nothing in the
    file is ever used as a path, a module or code.

    Parameters
    ----------
    path : str or os.PathLike

    Returns
    -------
    manifest : dict
        Equal to the one that was written (tuples as lists), without the writer's own keys.
    arrays : dict of str to numpy.ndarray
        New, writable arrays, in the order of their names.

    Raises
    ------
    DataNotFoundError
        If there is no such file.
    CorruptFileError
        If the file is damaged, hostile, made by a newer version, or no model file at all.
    FileAccessError
        If the operating system does not let us read it.
    """
    path = os.fspath(path)
    try:
        return _parse(_read_checked(path))
    except _Refusal as refusal:
        what, got, fix = refusal.args
        raise CorruptFileError(f'"{os.path.basename(path)}" {what}', got=got, at=path,
                               fix=fix) from refusal.__cause__


# ---------------------------------------------------------------------------------- the manifest

def _to_json(value, place: str, depth: int = 0):
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
        return [_to_json(v, f"{place}[{i}]", depth + 1) for i, v in enumerate(value)]
    if kind is dict:
        for key in value:
            if type(key) is not str:
                raise ParameterError(f"{place} has a key that is not a string", got=repr(key),
                                     fix="use string keys")
        tree = {k: _to_json(v, f'{place}["{k}"]', depth + 1) for k, v in value.items()}
        return {"float": [tree["float"]]} if set(tree) == {"float"} else tree
    raise ParameterError(
        f"{place} cannot be stored in a model file", got=f"{kind.__module__}.{kind.__qualname__}",
        fix="use dict, list, str, int, float, bool or None; store arrays as tensors, and "
            "NumPy scalars by .item()")


def _from_json(tree):
    """The values `_to_json` was given."""
    if isinstance(tree, list):
        return [_from_json(v) for v in tree]
    if not isinstance(tree, dict):
        return tree
    if set(tree) != {"float"}:
        return {k: _from_json(v) for k, v in tree.items()}
    inner = tree["float"]
    if isinstance(inner, list) and len(inner) == 1:
        return {"float": _from_json(inner[0])}
    _require(inner in ("nan", "inf", "-inf"), "has a number in its manifest that is none", inner)
    return float(inner)


def _canonical(tree) -> bytes:
    """The one way to write a tree: sorted keys, no spaces, ASCII."""
    return json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


# ------------------------------------------------------------------------------------- the names

def _bad_name(name, why):
    """Refuse a name the caller chose."""
    raise ParameterError(
        f"{name!r} cannot be the name of a tensor: {why}".replace("'", '"'),
        fix="use components of A-Z a-z 0-9 _ . - (at most 128 characters) joined by /")


def _tree_of_names(names, refuse) -> dict:
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

def _to_stored(name: str, array) -> tuple[dict, np.ndarray]:
    """The manifest's entry for a tensor and the array of numbers that stands for it in HDF5."""
    entry = {"name": name}
    if not isinstance(array, np.ndarray) or isinstance(array, np.ma.MaskedArray):
        raise DTypeError(f'tensor "{name}" is not a NumPy array', got=type(array).__qualname__,
                         fix="convert it by numpy.asarray")
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
    return entry | {"shape": list(array.shape), "sha256": _sha256(stored)}, stored


def _from_stored(entry: dict, stored: np.ndarray) -> np.ndarray:
    """The array `_to_stored` was given; every value that it could not have made is refused."""
    name, dtype = entry["name"], entry["dtype"]
    if dtype == "bool":
        _require(stored.size == 0 or stored.max() <= 1, f'has a bool in "{name}" that is none')
        return stored.view(np.bool_)
    if "width" not in entry:
        return stored.astype(_DTYPES[dtype].newbyteorder("="), copy=False)
    raw = np.frombuffer(stored.tobytes(), f"S{entry['width']}").reshape(entry["shape"])
    text = np.array(np.char.decode(raw, "utf-8", "surrogatepass"), f"<{dtype}")
    again = np.char.encode(text, "utf-8", "surrogatepass").astype(raw.dtype)
    _require(again.tobytes() == raw.tobytes(), f'has text in "{name}" that is not as written')
    return text


def _checked_entry(entry) -> tuple[str, np.dtype, tuple]:
    """Name, stored element type and stored shape that an entry of the manifest promises."""
    keys = {"name", "dtype", "shape", "sha256"}
    _require(isinstance(entry, dict) and set(entry) in (keys, keys | {"width"}),
             "has a list of tensors that is not as written")
    name, dtype, shape = entry["name"], entry["dtype"], entry["shape"]
    text = _TEXT.fullmatch(dtype) if isinstance(dtype, str) else None
    sizes = [*shape, entry["width"]] if text and "width" in entry else shape
    _require(isinstance(shape, list) and all(type(n) is int and 0 <= n < 2**63 for n in sizes)
             and len(sizes) <= 32, f"has a tensor of impossible shape: {name}", str(sizes))
    if text:
        _require("width" in entry and int(text[1]) <= entry["width"],
                 f"has text of impossible width: {name}")
    else:
        _require(isinstance(dtype, str) and dtype in _DTYPES and "width" not in entry,
                 f"has a tensor of unknown element type: {name}", str(dtype))
    return name, np.dtype(np.uint8) if text or dtype == "bool" else _DTYPES[dtype], tuple(sizes)


def _sha256(array: np.ndarray) -> str:
    """The checksum of an array's bytes, row by row."""
    return hashlib.sha256(array.reshape(-1).view(np.uint8)).hexdigest()


# -------------------------------------------------------------------------------------- the bytes

def _build(text: np.ndarray, arrays: dict) -> bytearray:
    """The HDF5 file as bytes, its user block still empty."""
    from h5py import h5d, h5f, h5fd, h5g, h5p, h5s, h5t

    def plain(kind):  # HDF5 stores the time of creation unless told not to
        properties = h5p.create(kind)
        properties.set_obj_track_times(False)
        return properties

    def put(parent, name, array):
        space = h5s.create_simple(array.shape) if array.ndim else h5s.create(h5s.SCALAR)
        data = h5d.create(parent, name.encode(), h5t.py_create(array.dtype), space, contiguous)
        if array.size:
            data.write(h5s.ALL, h5s.ALL, array)

    buffer = io.BytesIO()
    creation, access = plain(h5p.FILE_CREATE), h5p.create(h5p.FILE_ACCESS)
    creation.set_userblock(_HEADER.size)
    # One version of the file format, whatever the library's: else the bytes change with it.
    access.set_libver_bounds(h5f.LIBVER_V18, h5f.LIBVER_V18)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    access.set_fileobj_driver(h5fd.fileobj_driver, buffer)
    group, contiguous = plain(h5p.GROUP_CREATE), plain(h5p.DATASET_CREATE)
    contiguous.set_layout(h5d.CONTIGUOUS)
    file = h5f.create(b"model", h5f.ACC_TRUNC, creation, access)
    try:
        put(file, "manifest", text)
        groups = {"": h5g.create(file, b"tensors", None, group)}
        for name, array in arrays.items():
            parts = name.split("/")
            for i in range(1, len(parts)):
                parent, here = "/".join(parts[:i - 1]), "/".join(parts[:i])
                if here not in groups:
                    groups[here] = h5g.create(groups[parent], parts[i - 1].encode(), None, group)
            put(groups["/".join(parts[:-1])], parts[-1], array)
    finally:
        file.close()
    return buffer.getbuffer()


def _digest(stream) -> bytes:
    """The sha256 of what is left of a stream."""
    digest = hashlib.sha256()
    while block := stream.read(_CHUNK):
        digest.update(block)
    return digest.digest()


class _Refusal(Exception):
    """Why a file is refused: what, got, fix; the reader adds the path."""


_REPLACE = "use another copy of the file, or save the model again"
_FOREIGN = "give a file that gradatim saved"


def _require(condition, what: str, got: str | None = None, fix: str = _REPLACE) -> None:
    """Refuse the file unless the condition holds."""
    if not condition:
        raise _Refusal(what, got, fix)


def _read_checked(path: str) -> bytes:
    """The whole file, its header and checksum verified in plain Python."""
    def opener(name, flags):  # without O_NONBLOCK a named pipe would be waited for
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    try:
        with open(path, "rb", opener=opener) as stream:
            status = os.fstat(stream.fileno())
            _require(stat.S_ISREG(status.st_mode), "is not a regular file", fix=_FOREIGN)
            header = stream.read(_HEADER.size)
            magic = header[:8]
            _require(magic == _MAGIC[:len(magic)] and magic, "is not a gradatim model file",
                     f"it begins with {magic!r}" if magic else "it is empty", _FOREIGN)
            size = status.st_size
            _require(len(header) == _HEADER.size, "is cut off", f"{size} bytes")
            _, version, length, digest = _HEADER.unpack(header)
            _require(version <= FORMAT_VERSION, "was made by a newer gradatim",
                     f"format version {version}; this gradatim reads up to {FORMAT_VERSION}",
                     "update gradatim: pip install --upgrade gradatim")
            _require(version and header == _HEADER.pack(magic, version, length, digest),
                     "has a damaged header")
            _require(size == _HEADER.size + length, "is cut off or has bytes added",
                     f"{size} bytes, not {_HEADER.size + length}")
            image = header + stream.read(length)
    except FileNotFoundError as cause:
        raise DataNotFoundError(f'there is no file "{os.path.basename(path)}"', at=path,
                                fix="check the path; a relative one starts at the working folder"
                                ) from cause
    except OSError as cause:
        _require(not os.path.isdir(path), "is a folder, not a model file", fix=_FOREIGN)
        raise FileAccessError(f'cannot read "{os.path.basename(path)}": {cause.strerror}',
                              at=path, fix="check the permissions of the file") from cause
    found = hashlib.sha256(memoryview(image)[_HEADER.size:]).digest()
    _require(found == digest, "is damaged: its bytes are not those that were saved",
             f"sha256 {found.hex()[:12]}..., not {digest.hex()[:12]}...")
    return image


# -------------------------------------------------------------------------------------- the guard

def _parse(image: bytes) -> tuple[dict, dict]:
    """Manifest and arrays of a file whose checksum is right but whose maker may be hostile."""
    superblock = image[_HEADER.size:_HEADER.size + _SUPERBLOCK.size]
    _require(superblock == _SUPERBLOCK.pack(_SIGNATURE, _HEADER.size, _NO_ADDRESS, len(image)),
             "has a body that gradatim did not write")
    from h5py import h5f, h5fd, h5p
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    access.set_fileobj_driver(h5fd.fileobj_driver, io.BytesIO(image))
    try:
        file = h5f.open(b"model", h5f.ACC_RDONLY, access)
        try:
            return _read_tree(file, len(image))
        finally:
            file.close()
    except (_Refusal, MemoryError):
        raise
    except Exception as cause:
        # Whatever the HDF5 library or the JSON parser raises on such a file means the same.
        raise _Refusal("has a body that cannot be read", f"{type(cause).__name__}: {cause}",
                       _REPLACE) from cause


def _read_tree(file, limit: int) -> tuple[dict, dict]:
    """Check every object of the file against the manifest, then read the arrays."""
    from h5py import h5g
    root = h5g.open(file, b"/")
    _require_group(root, {"manifest", "tensors"}, "/")
    data = _open(root, "manifest", group=False)
    shape = data.get_space().get_simple_extent_dims()
    text = _read(data, "manifest", np.dtype(np.uint8), shape, limit)
    _require(text.ndim == 1, "has a manifest of impossible shape")
    tree = json.loads(text.tobytes().decode("ascii"))
    _require(isinstance(tree, dict) and _canonical(tree) == text.tobytes(),
             "has a manifest that is not canonical JSON")
    _require(tree.pop("format_version", None) == FORMAT_VERSION,
             "has a manifest of another version than its header")
    entries = tree.pop("tensors", None)
    _require(isinstance(entries, list), "has no list of tensors")
    promised = {name: rest for name, *rest in map(_checked_entry, entries)}
    _require([e["name"] for e in entries] == sorted(promised), "has tensors twice or unsorted")

    def refuse(name, why):
        raise _Refusal(f"has a tensor of impossible name: {name!r}", why, _REPLACE)

    names = _tree_of_names(promised, refuse)
    bytes_promised = sum(math.prod(shape) * dtype.itemsize for dtype, shape in promised.values())
    _require(bytes_promised <= limit, "promises more data than the file has",
             f"{bytes_promised} bytes promised, {limit} in the file")
    groups = {}
    for path in sorted(names, key=lambda p: (p.count("/") + bool(p), p)):  # parents first
        parent, _, last = path.rpartition("/")
        groups[path] = _open(groups[parent] if path else root, last or "tensors", group=True)
        _require_group(groups[path], names[path], f"/tensors/{path}")
    arrays = {}
    for entry in entries:
        name = entry["name"]
        parent, _, last = name.rpartition("/")
        stored = _read(_open(groups[parent], last, group=False), name, *promised[name], limit)
        _require(_sha256(stored) == entry["sha256"], f'has a damaged tensor "{name}"')
        arrays[name] = _from_stored(entry, stored)
    return _from_json(tree), arrays


def _require_group(group, expected: set, path: str) -> None:
    """A group must hold hard links of the expected names and nothing else."""
    from h5py import h5l
    count = group.get_num_objs()
    _require(count == len(expected), f"has other names than its manifest in {path}",
             f"{count} names, not {len(expected)}")
    for name in expected:
        _require(group.links.exists(name.encode()), f"lacks {path} {name}")
        _require(group.links.get_info(name.encode()).type == h5l.TYPE_HARD,
                 f"has a link out of its own tree: {path} {name}")


def _open(parent, name: str, group: bool):
    """A group or data set, its header looked at first: opening some kinds opens other files."""
    from h5py import h5d, h5g, h5o
    raw = name.encode()
    info = h5o.get_info(parent, raw)
    present = {i for i in range(64) if info.hdr.mesg.present >> i & 1}
    _require(info.type == (h5o.TYPE_GROUP if group else h5o.TYPE_DATASET) and info.rc == 1,
             f"has an object of the wrong kind: {name}")
    _require(present <= (_GROUP_MESSAGES if group else _DATASET_MESSAGES)
             and not info.hdr.mesg.shared, f"has an object with features we never use: {name}",
             f"HDF5 message kinds {sorted(present)}")
    return h5g.open(parent, raw) if group else h5d.open(parent, raw)


def _read(data, name: str, dtype: np.dtype, shape: tuple, limit: int) -> np.ndarray:
    """A new array of a data set's values, after everything that is promised of it holds."""
    from h5py import h5d, h5s, h5t
    properties, space, kind = data.get_create_plist(), data.get_space(), data.get_type()
    _require(properties.get_layout() == h5d.CONTIGUOUS and properties.get_nfilters() == 0
             and properties.get_external_count() == 0, f"has a tensor stored as we never do: {name}")
    _require(kind.equal(h5t.py_create(dtype)) and not kind.committed(),
             f"has a tensor of another element type than promised: {name}")
    dims = space.get_simple_extent_dims() if space.get_simple_extent_ndims() else ()
    _require(space.get_simple_extent_type() in (h5s.SIMPLE, h5s.SCALAR) and dims == shape
             and space.get_simple_extent_dims(maxdims=True) == shape,
             f"has a tensor of another shape than promised: {name}", f"{dims}, not {shape}")
    size = math.prod(shape) * dtype.itemsize
    _require(size <= data.get_storage_size() <= limit and (
        not size or _HEADER.size <= data.get_offset() <= limit - size),
        f"has a tensor larger than the file: {name}", f"{size} bytes")
    array = np.empty(shape, dtype)
    if size:
        data.read(h5s.ALL, h5s.ALL, array)
    return array
