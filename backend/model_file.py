"""The model file: a manifest and named arrays in HDF5, every byte checked before it is used."""
from __future__ import annotations

import hashlib
import io
import json
import math
import os
import stat
import struct

import numpy as np

from .atomic import atomic_write
from .errors import CorruptFileError, DataNotFoundError, FileAccessError, ParameterError
from .manifest import (
    FOREIGN, REPLACE, Refusal, bad_name, canonical, checked_entry, from_json, from_stored, require,
    sha256, to_json, to_stored, tree_of_names)

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
_RESERVED = ("format_version", "tensors")
_CHUNK = 1 << 20

# Kinds of header message that our own groups and data sets have. External storage, filters,
# attributes, shared messages and old layouts would each show as another kind.
_GROUP_MESSAGES = {0, 2, 6, 10, 16}  # nil, link info, link, group info, continuation
_DATASET_MESSAGES = {0, 1, 3, 5, 8, 16}  # nil, space, type, fill value, layout, continuation


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
    ShapeError
        If an array has more than 32 axes (31 for str).
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
    tree = to_json(manifest, "manifest")
    tree_of_names(list(arrays), bad_name)
    stored, entries = {}, []
    for name in sorted(arrays):
        entry, stored[name] = to_stored(name, arrays[name])
        entries.append(entry)
    text = canonical({**tree, "format_version": FORMAT_VERSION, "tensors": entries})
    body = _build(np.frombuffer(text, np.uint8), stored)[_HEADER.size:]
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
                                      at=os.fsdecode(path), fix="check the disk; save elsewhere")

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
    path = os.fsdecode(path)
    try:
        return _parse(_read_checked(path))
    except Refusal as refusal:
        what, got, fix = refusal.args
        raise CorruptFileError(f'"{os.path.basename(path)}" {what}', got=got, at=path,
                               fix=fix) from refusal.__cause__


# -------------------------------------------------------------------------------------- the bytes

def _build(text: np.ndarray, arrays: dict) -> memoryview:
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


def _read_checked(path: str) -> bytes:
    """The whole file, its header and checksum verified in plain Python."""
    def opener(name, flags):  # without O_NONBLOCK a named pipe would be waited for
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    try:
        with open(path, "rb", opener=opener) as stream:
            status = os.fstat(stream.fileno())
            require(stat.S_ISREG(status.st_mode), "is not a regular file", fix=FOREIGN)
            header = stream.read(_HEADER.size)
            magic = header[:8]
            require(magic == _MAGIC[:len(magic)] and magic, "is not a gradatim model file",
                    f"it begins with {magic!r}" if magic else "it is empty", FOREIGN)
            size = status.st_size
            require(len(header) == _HEADER.size, "is cut off", f"{size} bytes")
            _, version, length, digest = _HEADER.unpack(header)
            require(version <= FORMAT_VERSION, "was made by a newer gradatim",
                    f"format version {version}; this gradatim reads up to {FORMAT_VERSION}",
                    "update gradatim: pip install --upgrade gradatim")
            require(version and header == _HEADER.pack(magic, version, length, digest),
                    "has a damaged header")
            require(size == _HEADER.size + length, "is cut off or has bytes added",
                    f"{size} bytes, not {_HEADER.size + length}")
            image = header + stream.read(length)
    except FileNotFoundError as cause:
        raise DataNotFoundError(f'there is no file "{os.path.basename(path)}"', at=path,
                                fix="check the path; a relative one starts at the working folder"
                                ) from cause
    except OSError as cause:
        require(not os.path.isdir(path), "is a folder, not a model file", fix=FOREIGN)
        raise FileAccessError(f'cannot read "{os.path.basename(path)}": {cause.strerror}',
                              at=path, fix="check the permissions of the file") from cause
    found = hashlib.sha256(memoryview(image)[_HEADER.size:]).digest()
    require(found == digest, "is damaged: its bytes are not those that were saved",
            f"sha256 {found.hex()[:12]}..., not {digest.hex()[:12]}...")
    return image


# -------------------------------------------------------------------------------------- the guard

def _parse(image: bytes) -> tuple[dict, dict]:
    """Manifest and arrays of a file whose checksum is right but whose maker may be hostile."""
    superblock = image[_HEADER.size:_HEADER.size + _SUPERBLOCK.size]
    require(superblock == _SUPERBLOCK.pack(_SIGNATURE, _HEADER.size, _NO_ADDRESS, len(image)),
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
    except (Refusal, MemoryError):
        raise
    except Exception as cause:
        # Whatever the HDF5 library or the JSON parser raises on such a file means the same.
        raise Refusal("has a body that cannot be read", f"{type(cause).__name__}: {cause}",
                      REPLACE) from cause


def _read_tree(file, limit: int) -> tuple[dict, dict]:
    """Check every object of the file against the manifest, then read the arrays."""
    root = _open(file, "/", group=True)
    _require_group(root, {"manifest", "tensors"}, "/")
    data = _open(root, "manifest", group=False)
    shape = data.get_space().get_simple_extent_dims()
    text = _read(data, "manifest", np.dtype(np.uint8), shape, limit)
    require(text.ndim == 1, "has a manifest of impossible shape")
    tree = json.loads(text.tobytes().decode("ascii"))
    require(isinstance(tree, dict) and canonical(tree) == text.tobytes(),
            "has a manifest that is not canonical JSON")
    require(tree.pop("format_version", None) == FORMAT_VERSION,
            "has a manifest of another version than its header")
    entries = tree.pop("tensors", None)
    require(isinstance(entries, list), "has no list of tensors")
    promised = {name: rest for name, *rest in map(checked_entry, entries)}
    require([e["name"] for e in entries] == sorted(promised), "has tensors twice or unsorted")

    def refuse(name, why):
        raise Refusal(f"has a tensor of impossible name: {name!r}", why, REPLACE)

    names = tree_of_names(promised, refuse)
    bytes_promised = sum(math.prod(shape) * dtype.itemsize for dtype, shape in promised.values())
    require(bytes_promised <= limit, "promises more data than the file has",
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
        require(sha256(stored) == entry["sha256"], f'has a damaged tensor "{name}"')
        arrays[name] = from_stored(entry, stored)
    return from_json(tree), arrays


def _require_group(group, expected: set, path: str) -> None:
    """A group must hold hard links of the expected names and nothing else."""
    from h5py import h5l
    count = group.get_num_objs()
    require(count == len(expected), f"has other names than its manifest in {path}",
            f"{count} names, not {len(expected)}")
    for name in sorted(expected):
        require(group.links.exists(name.encode()), f"lacks {path} {name}")
        require(group.links.get_info(name.encode()).type == h5l.TYPE_HARD,
                f"has a link out of its own tree: {path} {name}")


def _open(parent, name: str, group: bool):
    """A group or data set, its header looked at first: opening some kinds opens other files."""
    from h5py import h5d, h5g, h5o
    raw = name.encode()
    info = h5o.get_info(parent, raw)
    present = {i for i in range(64) if info.hdr.mesg.present >> i & 1}
    require(info.type == (h5o.TYPE_GROUP if group else h5o.TYPE_DATASET) and info.rc == 1,
            f"has an object of the wrong kind: {name}")
    require(present <= (_GROUP_MESSAGES if group else _DATASET_MESSAGES)
            and not info.hdr.mesg.shared, f"has an object with features we never use: {name}",
            f"HDF5 message kinds {sorted(present)}")
    return h5g.open(parent, raw) if group else h5d.open(parent, raw)


def _read(data, name: str, dtype: np.dtype, shape: tuple, limit: int) -> np.ndarray:
    """A new array of a data set's values, after everything that is promised of it holds."""
    from h5py import h5d, h5s, h5t
    properties, space, kind = data.get_create_plist(), data.get_space(), data.get_type()
    require(properties.get_layout() == h5d.CONTIGUOUS and properties.get_nfilters() == 0
            and properties.get_external_count() == 0,
            f"has a tensor stored as we never do: {name}")
    require(kind.equal(h5t.py_create(dtype)) and not kind.committed(),
            f"has a tensor of another element type than promised: {name}")
    dims = space.get_simple_extent_dims() if space.get_simple_extent_ndims() else ()
    require(space.get_simple_extent_type() in (h5s.SIMPLE, h5s.SCALAR) and dims == shape
            and space.get_simple_extent_dims(maxdims=True) == shape,
            f"has a tensor of another shape than promised: {name}", f"{dims}, not {shape}")
    size = math.prod(shape) * dtype.itemsize
    require(size <= data.get_storage_size() <= limit and (
        not size or _HEADER.size <= data.get_offset() <= limit - size),
        f"has a tensor larger than the file: {name}", f"{size} bytes")
    array = np.empty(shape, dtype)
    if size:
        data.read(h5s.ALL, h5s.ALL, array)
    return array
