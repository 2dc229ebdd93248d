"""The model file: same bytes, exact round trips, every damage and every hostile body refused."""
import errno
import hashlib
import json
import math
import os
import pathlib
import random
import stat
import subprocess
import sys

import h5py
import numpy as np
import pytest

from gradatim.backend import atomic, model_file
from gradatim.backend.errors import (
    CorruptFileError, DataNotFoundError, DTypeError, FileAccessError, ParameterError, ShapeError)
from gradatim.backend.model_file import read_model, write_model

HERE = pathlib.Path(__file__).parent
GOLDEN = "7830a9d8d95a5a08effcff5baaf83c977c64e53aecbc9851fa12aa3b887f11b7"
MANIFEST = {"class_name": "Sequential", "layers": [{"units": 3, "rate": 0.5}], "seed": 7}
ARRAYS = {"dense_1/kernel": np.arange(6, dtype="float32").reshape(2, 3),
          "adam/m/dense_1/kernel": np.zeros((2, 3), "float32"),
          "classes": np.array(["no", "yes"])}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.h5"


@pytest.fixture
def saved(path):
    write_model(path, MANIFEST, ARRAYS)
    return path


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


# ------------------------------------------------------------------------- bytes and round trips

def test_the_same_input_gives_the_same_bytes_anywhere(saved, tmp_path):
    other = tmp_path / "other.h5"
    write_model(other, dict(reversed(MANIFEST.items())), dict(reversed(ARRAYS.items())))
    assert saved.read_bytes() == other.read_bytes()
    write_model(other, *read_model(saved))
    assert saved.read_bytes() == other.read_bytes()
    assert hashlib.sha256(saved.read_bytes()).hexdigest() == GOLDEN


def test_any_hdf5_tool_opens_the_file(saved):
    with h5py.File(saved) as file:
        assert file.userblock_size == 512
        assert np.array_equal(file["tensors/dense_1/kernel"][:], ARRAYS["dense_1/kernel"])
        manifest = json.loads(file["manifest"][:].tobytes())
    assert manifest["format_version"] == 1
    assert [t["name"] for t in manifest["tensors"]] == sorted(ARRAYS)


NUMBERS = ("bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 "
           ">f8 >i4").split()


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (5,), (3, 4), (2, 0, 3), (2, 3, 1, 2)], ids=str)
def test_numbers_come_back_bit_for_bit(path, dtype, shape):
    random_bytes = np.random.default_rng(0).bytes(math.prod(shape) * 8)
    raw = np.frombuffer(random_bytes, "uint64").reshape(shape)
    array = (raw % 2).astype(bool) if dtype == "bool" else (raw % 60_000).astype(dtype)
    manifest, arrays = read_model_of(path, {}, {"x": array})
    assert manifest == {}
    assert same(arrays["x"], array.astype(array.dtype.newbyteorder("=")))
    assert arrays["x"].flags.writeable and arrays["x"].flags.c_contiguous


def read_model_of(path, manifest, arrays):
    write_model(path, manifest, arrays)
    return read_model(path)


def test_special_floats_keep_their_bits(path):
    bits = np.array([0x7fc00001, 0xffc12345, 0x7f800000, 0x80000000, 1], "uint32")  # nan payloads
    assert same(read_model_of(path, {}, {"x": bits.view("float32")})[1]["x"].view("uint32"), bits)


TEXTS = [np.array(["no", "yes"]), np.array([], "U3"), np.array("one"), np.array([""]),
         np.array(["é", "日本語", "🙂 a", "a\0b"]), np.array([["a", "bc"], ["", "d"]], "U20"),
         np.array(["lone \ud800"]), np.array(["long" * 500, "s"]), np.array(["a", "b"], ">U4")]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_text_comes_back_exactly(path, text):
    native = text.astype(text.dtype.newbyteorder("="))
    assert same(read_model_of(path, {}, {"x": text})[1]["x"], native)


def test_views_and_transposes_are_stored_by_value(path):
    base = np.arange(24.0).reshape(4, 6)
    arrays = {"t": base.T, "s": base[::2, ::-3], "f": np.asfortranarray(base)}
    back = read_model_of(path, {}, arrays)[1]
    assert all(np.array_equal(back[k], arrays[k]) for k in arrays)


VALUES = [None, True, False, 0, -1, 2**200, 0.1, -0.0, 5e-324, 1.7976931348623157e308, "",
          "é\ud800\0", [], {}, [[], [{}]], {"": {"a.b/c": [1, "x"]}}, {"float": 1.0},
          {"float": "nan"}, {"float": {"float": [1.5]}}, {"float": float("inf")},
          {"float": 1, "other": 2}, "x" * 200_000]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_manifest_values_come_back_exactly(path, value):
    back = read_model_of(path, {"value": value}, {})[0]["value"]
    assert repr(back) == repr(value)  # tells -0.0 from 0.0 and True from 1


def test_floats_that_json_cannot_hold(path):
    back = read_model_of(path, {"v": [float("nan"), float("inf"), -float("inf")]}, {})[0]["v"]
    assert repr(back) == "[nan, inf, -inf]"
    assert b'{"float":"-inf"}' in path.read_bytes()


def test_many_tensors_deep_names_and_a_large_manifest(path):
    arrays = {f"g{i % 7}/" + "/".join("abc"[:i % 4]) + f"x{i}": np.full(3, i) for i in range(600)}
    manifest = {"vocabulary": [f"word{i}" for i in range(20_000)]}
    back_manifest, back = read_model_of(path, manifest, arrays)
    assert back_manifest == manifest and list(back) == sorted(arrays)
    assert all(same(back[k], arrays[k]) for k in arrays)


# --------------------------------------------------------------------------- what cannot be saved

BAD_MANIFESTS = [
    ({"a": [1, {"b": np.float32(1)}]}, 'manifest["a"][1]["b"] cannot be stored', "numpy.float32"),
    ({"a": np.zeros(2)}, 'manifest["a"] cannot be stored', "numpy.ndarray"),
    ({"a": {1: 2}}, 'manifest["a"] has a key that is not a string', "1"),
    ({"a": {1, 2}}, 'manifest["a"] cannot be stored', "builtins.set"),
    ({"a": b"x"}, 'manifest["a"] cannot be stored', "builtins.bytes"),
    ({"a": print}, 'manifest["a"] cannot be stored', "builtin_function_or_method"),
    ({"tensors": []}, 'manifest["tensors"] is a key of the writer itself', ""),
    ({"a": 10**5000}, 'manifest["a"] cannot be stored', "builtins.int"),
    ([], "the manifest is not a dict", "list"),
]


@pytest.mark.parametrize("manifest, text, got", BAD_MANIFESTS, ids=range(len(BAD_MANIFESTS)))
def test_a_manifest_that_cannot_be_stored(path, manifest, text, got):
    with pytest.raises(ParameterError) as error:
        write_model(path, manifest, {})
    assert error.value.what.startswith(text) and got in str(error.value)
    assert os.listdir(path.parent) == []


def test_a_manifest_that_holds_itself(path):
    loop = []
    loop.append(loop)
    with pytest.raises(ParameterError, match="nested deeper than 100 levels"):
        write_model(path, {"loop": loop}, {})


@pytest.mark.parametrize("name", [
    "", "/", "a//b", "/a", "a/", ".", "..", "a/../b", "a b", "a\n", "é", "a" * 129, "a\0", "a\\b",
    7, "/".join("a" * 101)], ids=repr)
def test_names_that_cannot_be_stored(path, name):
    with pytest.raises(ParameterError, match="cannot be the name of a tensor"):
        write_model(path, {}, {name: np.zeros(1)})


def test_a_name_cannot_begin_another(path):
    with pytest.raises(ParameterError, match='"a" cannot be .* the beginning of another name'):
        write_model(path, {}, {"a/b": np.zeros(1), "a": np.zeros(1)})


@pytest.mark.parametrize("array", [
    np.array([1, "x"], object), np.array([b"x"]), np.array([1j]), np.array(["2020"], "M8[D]"),
    np.zeros(2, "f4,i4"), [1.0], np.ma.array([1.0]), 1.0], ids=range(8))
def test_arrays_that_cannot_be_stored(path, array):
    with pytest.raises(DTypeError, match='tensor "x"'):
        write_model(path, {}, {"x": array})


def test_too_many_axes(path):
    with pytest.raises(ShapeError, match="more than 32 axes"):
        write_model(path, {}, {"x": np.zeros((1,) * 33)})


# ------------------------------------------------------------------------------------- damage

def refuses(path):
    with pytest.raises(CorruptFileError):
        read_model(path)
    return True


def test_every_truncation_is_refused(saved):
    size = saved.stat().st_size
    for length in reversed(range(size)):
        os.truncate(saved, length)
        assert refuses(saved)


def test_appended_bytes_are_refused(saved):
    with open(saved, "ab") as stream:
        stream.write(b"\0")
    assert refuses(saved)


def test_every_flip_in_the_header_and_10000_in_the_rest_are_refused(saved):
    size, rng = saved.stat().st_size, random.Random(0)
    bits = [*range(512 * 8), *(rng.randrange(512 * 8, size * 8) for _ in range(10_000))]
    with open(saved, "r+b", buffering=0) as stream:
        for bit in bits:
            byte = os.pread(stream.fileno(), 1, bit // 8)[0]
            os.pwrite(stream.fileno(), bytes([byte ^ 1 << bit % 8]), bit // 8)
            assert refuses(saved), bit
            os.pwrite(stream.fileno(), bytes([byte]), bit // 8)
    read_model(saved)


EXACT = {
    "newer": (CorruptFileError, '''"model.h5" was made by a newer gradatim
  got  format version 2; this gradatim reads up to 1
  at   {path}
  fix  update gradatim: pip install --upgrade gradatim'''),
    "cut": (CorruptFileError, '''"model.h5" is cut off or has bytes added
  got  1000 bytes, not {size}
  at   {path}
  fix  use another copy of the file, or save the model again'''),
    "foreign": (CorruptFileError, '''"model.h5" is not a gradatim model file
  got  it begins with b'\\x89HDF\\r\\n\\x1a\\n'
  at   {path}
  fix  give a file that gradatim saved'''),
    "folder": (CorruptFileError, '''"model.h5" is a folder, not a model file
  at   {path}
  fix  give a file that gradatim saved'''),
    "missing": (DataNotFoundError, '''there is no file "model.h5"
  at   {path}
  fix  check the path; a relative one starts at the working folder'''),
}
BREAK = {
    "newer": lambda p: p.write_bytes(p.read_bytes()[:8] + b"\2" + p.read_bytes()[9:]),
    "cut": lambda p: os.truncate(p, 1000),
    "foreign": lambda p: h5py.File(p, "w").close(),
    "folder": lambda p: (p.unlink(), p.mkdir()),
    "missing": lambda p: p.unlink(),
}


@pytest.mark.parametrize("case", EXACT)
def test_exact_error_texts(saved, case):
    size = saved.stat().st_size
    BREAK[case](saved)
    kind, text = EXACT[case]
    with pytest.raises(kind) as error:
        read_model(saved)
    assert str(error.value) == text.format(path=saved, size=size)


def test_a_named_pipe_is_refused_at_once(path):
    os.mkfifo(path)
    with pytest.raises(CorruptFileError, match="not a regular file"):
        read_model(path)


# ----------------------------------------------------------------------------------- saving fails

class FailingStream:
    """A stream whose write number `fatal` fails."""

    def __init__(self, stream, fatal, error):
        self.stream, self.left, self.error = stream, fatal, error

    def write(self, data):
        if self.left == 0:
            self.stream.write(bytes(data)[:len(data) // 2])
            raise self.error
        self.left -= 1
        return self.stream.write(data)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()

    def __getattr__(self, name):
        return getattr(self.stream, name)


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("error, raised", [(FULL, FileAccessError),
                                           (KeyboardInterrupt(), KeyboardInterrupt)])
def test_a_failure_at_any_write_keeps_the_old_file(saved, monkeypatch, error, raised):
    old, fdopen, failures = saved.read_bytes(), os.fdopen, 0
    monkeypatch.setattr(model_file, "_CHUNK", 300)
    for fatal in range(100):
        monkeypatch.setattr(os, "fdopen",
                            lambda *args: FailingStream(fdopen(*args), fatal, error))
        try:
            write_model(saved, {}, ARRAYS)
        except raised:
            failures += 1
            assert saved.read_bytes() == old and os.listdir(saved.parent) == ["model.h5"]
        else:
            break
    assert failures == fatal >= 5 and read_model(saved)[0] == {}


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_a_failure_of_the_system_keeps_the_old_file(saved, monkeypatch, call):
    def fail(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    old = saved.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(FileAccessError) as error:
            write_model(saved, {}, {})
    assert error.value.errno == errno.ENOSPC
    assert str(error.value) == f'''cannot write "model.h5": No space left on device
  at   {saved}
  fix  free some space on the disk, or save elsewhere; an older file is as it was'''
    assert saved.read_bytes() == old and os.listdir(saved.parent) == ["model.h5"]


def test_a_disk_that_returns_other_bytes_is_noticed(saved, monkeypatch):
    old = saved.read_bytes()
    monkeypatch.setattr(model_file, "_digest", lambda stream: b"")
    with pytest.raises(FileAccessError, match="gave back other bytes"):
        write_model(saved, {}, {})
    assert saved.read_bytes() == old and os.listdir(saved.parent) == ["model.h5"]


@pytest.mark.parametrize("place, text", [
    ("model.h5/sub.h5", "Not a directory"), ("none/sub.h5", "No such file or directory"),
    ("folder", "Is a directory"), ("x" * 300, "File name too long"),
    ("pipe", "it is a device or a pipe")])
def test_places_that_cannot_be_written(saved, place, text):
    (saved.parent / "folder").mkdir()
    os.mkfifo(saved.parent / "pipe")
    with pytest.raises(FileAccessError, match=text) as error:
        write_model(saved.parent / place, {}, {})
    assert error.value.facts["fix"] and isinstance(error.value, OSError)


@pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not bind the superuser")
def test_a_read_only_folder_is_a_clear_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(FileAccessError, match="Permission denied"):
        write_model(tmp_path / "model.h5", {}, {})


def test_the_order_on_the_disk_is_data_name_folder(saved, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (
            calls.append("folder" if name == "fsync" and stat.S_ISDIR(os.fstat(args[0]).st_mode)
                         else name), real(*args)))
    write_model(saved, {}, {})
    assert calls == ["fsync", "replace", "folder"]


def test_permissions_follow_the_umask_and_the_old_file(path):
    umask = os.umask(0o027)
    try:
        write_model(path, {}, {})
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        path.chmod(0o600)
        write_model(path, {}, {})
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(umask)


def test_a_symbolic_link_stays_one(saved):
    link = saved.parent / "link.h5"
    link.symlink_to(saved)
    write_model(link, {"new": 1}, {})
    assert link.is_symlink() and read_model(saved)[0] == {"new": 1}


def test_atomic_write_takes_any_writer(tmp_path):
    atomic.atomic_write(tmp_path / "a", lambda stream: stream.write(b"1"))
    with pytest.raises(ZeroDivisionError):
        atomic.atomic_write(tmp_path / "a", lambda stream: stream.write(b"22"), lambda part: 1 / 0)
    assert (tmp_path / "a").read_bytes() == b"1" and os.listdir(tmp_path) == ["a"]


def test_kills_flips_and_forgeries_short_form():
    done = subprocess.run([sys.executable, HERE / "fuzz_model_file.py", "--rounds", "20",
                           "--flips", "200"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "'flips refused': 200" in done.stdout and "'crashes': 0" in done.stdout
