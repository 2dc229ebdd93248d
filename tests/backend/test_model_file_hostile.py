"""Model files made by an attacker, every checksum right: refused, and nothing else is opened."""
import copy
import hashlib
import io
import json
import os
import struct
import subprocess
import sys

import h5py
import numpy as np
import pytest

from gradatim.backend import model_file
from gradatim.backend.errors import CorruptFileError
from gradatim.backend.model_file import read_model, write_model

KERNEL = np.arange(6, dtype="<f4").reshape(2, 3)
FLAGS = np.array([1, 0], "uint8")


def promise(name, array, **changes):
    return {"name": name, "dtype": array.dtype.name, "shape": list(array.shape),
            "sha256": hashlib.sha256(array.tobytes()).hexdigest(), **changes}


HONEST = {"format_version": 1, "seed": 7,
          "tensors": [promise("flags", FLAGS, dtype="bool"), promise("x/kernel", KERNEL)]}


def canonical(tree):
    return json.dumps(tree, sort_keys=True, separators=(",", ":")).encode()


def forge(path, tensors=lambda group: None, manifest=lambda tree: None, text=None,
          libver=("v108", "v108")):
    """Write an honest file, let the attacker change it, and sign the result."""
    tree = copy.deepcopy(HONEST)
    manifest(tree)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", userblock_size=512, libver=libver) as file:
        raw = np.frombuffer(canonical(tree) if text is None else text, "uint8")
        file.create_dataset("manifest", data=raw)
        group = file.create_group("tensors")
        group["flags"] = FLAGS
        group["x/kernel"] = KERNEL
        tensors(group)
    body = buffer.getvalue()[512:]
    header = struct.pack("<8sIQ32s460x", b"GRADATIM", 1, len(body), hashlib.sha256(body).digest())
    path.write_bytes(header + body)


def swap(make):
    """Put another object in the place of the kernel."""
    def change(group):
        del group["x/kernel"]
        make(group)
    return change


def create(*args, **settings):
    return swap(lambda group: group.create_dataset("x/kernel", *args, **settings))


def link(target):
    return swap(lambda group: group.__setitem__("x/kernel", target))


def virtual(group):
    layout = h5py.VirtualLayout((2, 3), "<f4")
    layout[:] = h5py.VirtualSource(OUTSIDE, "kernel", (2, 3))
    group.create_virtual_dataset("x/kernel", layout)


def compact(group):
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.COMPACT)
    h5py.h5d.create(group["x"].id, b"kernel", h5py.h5t.py_create(KERNEL.dtype),
                    h5py.h5s.create_simple((2, 3)), properties)


def null_space(group):
    group.create_dataset("x/kernel", data=h5py.Empty("<f4"))


def named_type(group):
    group["x/kernel"] = np.dtype("<f4")


def committed_type(group):
    group["type"] = np.dtype("<f4")
    group.create_dataset("x/kernel", (2, 3), group["type"], data=KERNEL)
    del group["type"]


def cycle(group):
    del group["x"]
    group["x"] = group


def two_axes(group):
    text = group.file["manifest"][:]
    del group.file["manifest"]
    group.file["manifest"] = text[None]


# The outside file is a named pipe: whoever opens it waits for ever, and the test would time out.
OUTSIDE = "/nonexistent/outside"
WRONG_KIND, FEATURE = "object of the wrong kind", "features we never use"
STORED, TYPE, SHAPE = "stored as we never do", "another element type", "another shape"
LINK, NAMES = "a link out of its own tree", "other names than its manifest"

BODIES = {
    "soft link": (link(h5py.SoftLink("/tensors/flags")), LINK),
    "dangling soft link": (link(h5py.SoftLink("/nowhere")), LINK),
    "external link": (link(h5py.ExternalLink(OUTSIDE, "/kernel")), LINK),
    "hard link twice": (swap(lambda g: g.__setitem__("x/kernel", g["flags"])), WRONG_KIND),
    "cyclic group": (cycle, WRONG_KIND),
    "cyclic member": (swap(lambda g: g.__setitem__("x/kernel", g["x"])), WRONG_KIND),
    "external storage": (create((2, 3), "<f4", external=[(OUTSIDE, 0, 24)]), FEATURE),
    "virtual": (swap(virtual), STORED),
    "chunked": (create(data=KERNEL, chunks=(1, 3)), STORED),
    "gzip": (create(data=KERNEL, chunks=(1, 3), compression="gzip"), FEATURE),
    "checksum filter": (create(data=KERNEL, chunks=(1, 3), fletcher32=True), FEATURE),
    "compact": (swap(compact), STORED),
    "null dataspace": (swap(null_space), SHAPE),
    "variable strings": (create(data=["a"] * 6, dtype=h5py.string_dtype()), TYPE),
    "fixed strings": (create(data=np.array([b"abcd"] * 6).reshape(2, 3)), TYPE),
    "references": (create((2, 3), h5py.ref_dtype), TYPE),
    "region references": (create((2, 3), h5py.regionref_dtype), TYPE),
    "ragged": (create((2, 3), h5py.vlen_dtype("<f4")), TYPE),
    "compound": (create((2, 3), np.dtype("<f4,<f4")), TYPE),
    "enum": (create(data=KERNEL.astype(bool)), TYPE),
    "opaque": (create(data=KERNEL.view("V4")), TYPE),
    "array type": (create((2,), np.dtype(("<f4", (3,)))), TYPE),
    "double": (create(data=KERNEL.astype("<f8")), TYPE),
    "big endian": (create(data=KERNEL.astype(">f4")), TYPE),
    "integer": (create(data=KERNEL.astype("<i4")), TYPE),
    "named type": (swap(named_type), WRONG_KIND),
    "shared type": (swap(committed_type), FEATURE),
    "group for a tensor": (swap(lambda g: g.create_group("x/kernel")), WRONG_KIND),
    "tensor for a group": (lambda g: (g.__delitem__("x"), g.__setitem__("x", KERNEL)), WRONG_KIND),
    "transposed shape": (create(data=KERNEL.T), SHAPE),
    "more axes": (create(data=KERNEL[None]), SHAPE),
    "fewer axes": (create(data=KERNEL.reshape(6)), SHAPE),
    "no storage": (create((2, 3), "<f4"), "larger than the file"),
    "declared huge": (create((1 << 40,), "<f4"), SHAPE),
    "manifest of two axes": (two_axes, "a manifest of impossible shape"),
    "manifest that is a group": (
        lambda g: (g.file.__delitem__("manifest"), g.file.create_group("manifest")), WRONG_KIND),
    "extra tensor": (lambda g: g.__setitem__("x/more", KERNEL), NAMES),
    "extra group": (lambda g: g.create_group("more"), NAMES),
    "extra at the root": (lambda g: g.file.__setitem__("more", KERNEL), NAMES),
    "missing tensor": (swap(lambda g: None), NAMES),
    "missing group": (lambda g: g.__delitem__("x"), NAMES),
    "renamed": (swap(lambda g: g.__setitem__("x/bias", KERNEL)), "lacks"),
    "attribute": (lambda g: g["x/kernel"].attrs.__setitem__("a", 1), FEATURE),
    "group attribute": (lambda g: g["x"].attrs.__setitem__("a", "text"), FEATURE),
    "root attribute": (lambda g: g.file.attrs.__setitem__("a", 1), FEATURE),
    "other values": (create(data=KERNEL + 1), "a damaged tensor"),
    "bool of 2": (lambda g: g["flags"].__setitem__(0, 2), "a damaged tensor"),
}


def first(**changes):
    return lambda tree: tree["tensors"][0].update(changes)


def second(**changes):
    return lambda tree: tree["tensors"][1].update(changes)


def without(key):
    return lambda tree: tree["tensors"][1].pop(key)


ENTRIES, IMPOSSIBLE = "list of tensors that is not as written", "impossible"
MANIFESTS = {
    "promise of 4 TiB": (second(shape=[1 << 20, 1 << 20]), "promises more data"),
    "promise of overflow": (second(shape=[1 << 62, 1 << 62]), "promises more data"),
    "negative shape": (second(shape=[-2, -3]), IMPOSSIBLE),
    "float shape": (second(shape=[2.0, 3]), IMPOSSIBLE),
    "bool shape": (second(shape=[True, 3]), IMPOSSIBLE),
    "text shape": (second(shape="23"), IMPOSSIBLE),
    "too many axes": (second(shape=[1] * 33), IMPOSSIBLE),
    "object": (second(dtype="object"), "unknown element type"),
    "structured": (second(dtype="f4,O"), "unknown element type"),
    "callable": (second(dtype="os.system"), "unknown element type"),
    "dtype of another kind": (second(dtype=["float32"]), "unknown element type"),
    "text without width": (second(dtype="U3"), IMPOSSIBLE),
    "text wider than its bytes": (second(dtype="U999999999", width=3, shape=[2]), IMPOSSIBLE),
    "number with width": (second(width=3), "unknown element type"),
    "climbing name": (second(name="x/../../etc"), "impossible name"),
    "absolute name": (first(name="/etc/passwd"), "impossible name"),
    "name that is a list": (second(name=["x"]), "cannot be read"),
    "name of another tensor": (second(name="flags"), "twice or unsorted"),
    "unsorted": (lambda tree: tree["tensors"].reverse(), "twice or unsorted"),
    "unknown key": (second(module="os"), ENTRIES),
    "missing key": (without("sha256"), ENTRIES),
    "entry that is a list": (lambda t: t.update(tensors=[["x"]]), ENTRIES),
    "no tensors": (lambda t: t.pop("tensors"), "no list of tensors"),
    "tensors in a dict": (lambda t: t.update(tensors={}), "no list of tensors"),
    "other version": (lambda t: t.update(format_version=2), "another version than its header"),
    "other checksum": (first(sha256="0" * 64), "a damaged tensor"),
    "checksum that is a number": (first(sha256=0), "a damaged tensor"),
    "odd float": (lambda t: t.update(seed={"float": "1e5"}), "a number in its manifest"),
    "odd float list": (lambda t: t.update(seed={"float": [1, 2]}), "a number in its manifest"),
}

TEXTS = {
    "not JSON": b"import os",
    "empty": b"",
    "not ASCII": '{"é":1}'.encode(),
    "spaces": json.dumps(HONEST, sort_keys=True).encode(),
    "a key twice": canonical(HONEST)[:-1] + b',"tensors":[]}',
    "NaN": canonical(HONEST).replace(b"7", b"NaN"),
    "a list": b"[]",
    "very deep": b"[" * 100_000 + b"]" * 100_000,
    "huge number": canonical(HONEST).replace(b'"seed":7', b'"seed":' + b"7" * 10_000),
    "pickle": b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.",
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.h5"


def refused(path, text):
    with pytest.raises(CorruptFileError, match=text) as error:
        read_model(path)
    assert error.value.facts["at"] == str(path) and error.value.facts["fix"]


def test_the_honest_forgery_is_accepted(path):
    forge(path)
    manifest, arrays = read_model(path)
    assert manifest == {"seed": 7} and list(arrays) == ["flags", "x/kernel"]
    assert np.array_equal(arrays["x/kernel"], KERNEL) and arrays["flags"].tolist() == [True, False]


@pytest.mark.parametrize("case", BODIES)
def test_hostile_bodies_are_refused(path, monkeypatch, case):
    change, text = BODIES[case]
    if case == "virtual":  # needs a newer superblock, which would be refused before the data set
        monkeypatch.setattr(model_file, "_SIGNATURE", b"\x89HDF\r\n\x1a\n\x03\x08\x08\x00")
        forge(path, change, libver=("v110", "v110"))
    else:
        forge(path, change)
    refused(path, text)


@pytest.mark.parametrize("case", MANIFESTS)
def test_hostile_manifests_are_refused(path, case):
    change, text = MANIFESTS[case]
    forge(path, manifest=change)
    refused(path, text)


@pytest.mark.parametrize("case", TEXTS)
def test_manifests_that_are_not_canonical_json_are_refused(path, case):
    forge(path, text=TEXTS[case])
    refused(path, "cannot be read|not canonical JSON|larger than the file")


@pytest.mark.parametrize("libver", [("v110", "v110"), ("latest", "latest")])
def test_other_versions_of_the_hdf5_format_are_refused(path, libver):
    forge(path, libver=libver)
    refused(path, "a body that gradatim did not write")


@pytest.mark.parametrize("raw, text", [
    (b"\xff\xfe", "cannot be read"), (b"a\0b\0", "U1|cannot be read|not as written"),
    (b"abcd", "not as written")])
def test_text_that_was_not_written_by_us_is_refused(path, raw, text):
    stored = np.frombuffer(raw, "uint8").reshape(1, -1)
    entry = promise("flags", stored, dtype="U1", shape=[1], width=len(raw))
    forge(path, lambda g: (g.__delitem__("flags"), g.__setitem__("flags", stored)),
          lambda tree: tree["tensors"].__setitem__(0, entry))
    refused(path, text)


def test_a_bool_that_is_neither_is_refused(path):
    odd = np.array([2, 0], "uint8")
    forge(path, lambda g: g["flags"].__setitem__(..., odd),
          first(sha256=hashlib.sha256(odd.tobytes()).hexdigest()))
    refused(path, "a bool")


def test_no_header_leads_hdf5_to_another_place(path):
    """A second HDF5 file inside the body must not be found when the first is gone."""
    forge(path)
    body = b"\0" * 512 + path.read_bytes()[512:]
    header = struct.pack("<8sIQ32s460x", b"GRADATIM", 1, len(body), hashlib.sha256(body).digest())
    path.write_bytes(header + body)
    refused(path, "a body that gradatim did not write")


WATCH = """
import sys
from gradatim.backend import model_file
from gradatim.backend.errors import CorruptFileError
warm, newer, *paths = sys.argv[1:]
model_file.read_model(warm)                   # what the library itself imports is imported now
try: model_file.read_model("/dev/null")
except CorruptFileError: pass
events = []
quiet = ("builtins.id", "object.__getattr__", "sys._getframe")
sys.addaudithook(lambda name, args: name.startswith(quiet) or events.append((name, args)))
for path in paths:
    if path == newer: model_file._SIGNATURE = b"\\x89HDF\\r\\n\\x1a\\n\\x03\\x08\\x08\\x00"
    del events[:]
    before = set(sys.modules)
    try:
        model_file.read_model(path)
        outcome = "loaded"
    except CorruptFileError:
        outcome = "refused"
    print(outcome, sorted({name for name, _ in events}),
          {str(args[0]) for _, args in events} - {path}, set(sys.modules) - before)
"""


def test_loading_opens_nothing_but_the_given_file(tmp_path, monkeypatch):
    outside = tmp_path / "outside"
    os.mkfifo(outside)
    monkeypatch.setitem(globals(), "OUTSIDE", str(outside))
    good, evil = tmp_path / "good.h5", {
        "link": link(h5py.ExternalLink(str(outside), "/kernel")),
        "storage": create((2, 3), "<f4", external=[(str(outside), 0, 24)]),
        "virtual": swap(virtual)}
    manifest = {"class_name": "os.system", "module": "this", "config": {"path": str(outside),
                "url": "http://localhost/x", "fn": "builtins.eval", "lambda": "gASVIAAAAA=="}}
    arrays = {"os.system/x": KERNEL, "text": np.array(["a"]), "b": FLAGS > 0}
    write_model(good, manifest, arrays)
    for name, change in evil.items():
        libver = "v110" if name == "virtual" else "v108"
        forge(tmp_path / name, change, libver=(libver, libver))
    paths = [good, *(tmp_path / name for name in evil)]
    done = subprocess.run([sys.executable, "-c", WATCH, good, paths[-1], *paths],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "loaded ['open'] set() set()", *["refused ['open'] set() set()"] * 3]


def test_the_pipe_of_the_test_above_does_catch_a_careless_reader(tmp_path):
    outside = tmp_path / "outside"
    os.mkfifo(outside)
    forge(tmp_path / "evil", create((2, 3), "<f4", external=[(str(outside), 0, 24)]))
    careless = "import h5py, sys; h5py.File(sys.argv[1])['tensors/x/kernel'][:]"
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([sys.executable, "-c", careless, tmp_path / "evil"], timeout=2)


def test_memory_stays_bounded_when_a_small_file_promises_terabytes(path):
    forge(path, create((1 << 40,), "<f4"), second(shape=[1 << 40]))
    limited = ("import resource, sys; from gradatim.backend.model_file import read_model\n"
               "read_model(sys.argv[2]); used = int(open('/proc/self/statm').read().split()[0])\n"
               "limit = used * resource.getpagesize() + (64 << 20)\n"
               "resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
               "try: read_model(sys.argv[1])\n"
               "except ValueError as error: print(type(error).__name__)")
    good = path.with_name("good.h5")
    forge(good)
    done = subprocess.run([sys.executable, "-c", limited, path, good], capture_output=True,
                          text=True, timeout=60)
    assert done.stdout == "CorruptFileError\n", done.stderr
