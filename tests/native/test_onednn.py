"""oneDNN: opened privately beside other copies and other libraries, and refused if it is wrong."""
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import gradatim as gt
from gradatim.backend import available
from gradatim.backend.native import library

if "native" not in available():
    pytest.skip("the compiled core is not here", allow_module_level=True)

SOURCE = Path(library.__file__).with_name("src") / "onednn.cpp"
COMPILER = shutil.which("cc") or shutil.which("gcc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler")

# Everything is compared with NumPy in float64, so that a wrong library cannot hide.
PARTS = {
    "native": """
import numpy as np, gradatim as gt
a = np.random.default_rng(0).standard_normal((70, 6, 6, 3)).astype("f")
k = np.random.default_rng(1).standard_normal((3, 3, 3, 8)).astype("f")
def both(a, k, backend):
    x, w = gt.placeholder(a.shape, a.dtype), gt.placeholder(k.shape, k.dtype)
    flat = gt.reshape(gt.relu(gt.convolution(x, w)), shape=(70, -1))
    loss = (flat @ gt.reshape(flat, shape=(70, -1)).T).sum()
    return gt.function([x, w], [flat, *gt.gradients(loss, [w])], backend=backend)(a, k)
for found, right in zip(both(a, k, "native"), both(a.astype("d"), k.astype("d"), "reference")):
    assert np.linalg.norm(found - right) <= 1e-5 * np.linalg.norm(right)
""",
    "copy": """
import ctypes
other = ctypes.CDLL({copy!r}, mode=ctypes.RTLD_GLOBAL)
a = (ctypes.c_float * 4)(1, 2, 3, 4); c = (ctypes.c_float * 4)()
number, one, zero = ctypes.c_int64(2), ctypes.c_float(1), ctypes.c_float(0)
assert not other.dnnl_sgemm(ctypes.c_char(b"N"), ctypes.c_char(b"N"), number, number, number, one,
                            a, number, a, number, zero, c, number) and list(c) == [7, 10, 15, 22]
""",
    "strange": """
import ctypes
ctypes.CDLL({strange!r}, mode=ctypes.RTLD_GLOBAL)
""",
    "torch": """
import torch
a = torch.arange(60000.0).reshape(200, 300) / 60000
k, i = torch.ones(5, 3, 3, 3), torch.arange(8 * 3 * 144.0).reshape(8, 3, 12, 12) / 3456
assert torch.allclose((a @ a.T).double(), a.double() @ a.double().T, rtol=1e-5)
assert torch.allclose(torch.nn.functional.conv2d(i, k).double(),
                      torch.nn.functional.conv2d(i.double(), k.double()), rtol=1e-5)
""",
    "tensorflow": """
import numpy, tensorflow as tf
i = numpy.arange(8 * 144 * 3.0).reshape(8, 12, 12, 3) / 3456; k = numpy.ones((3, 3, 3, 5))
one, two = (tf.nn.conv2d(i.astype(t), k.astype(t), 1, "VALID").numpy() for t in "fd")
assert numpy.allclose(one, two, rtol=1e-5)
""",
}


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """A copy of oneDNN under another name, and a library with the same names that only aborts."""
    folder = tmp_path_factory.mktemp("libraries")
    places = {"copy": str(folder / "libdnnl_copy.so"), "strange": str(folder / "libstrange.so")}
    found = Path(library.find_onednn())
    if found.is_absolute():
        shutil.copy(found, places["copy"])
    if COMPILER:
        build(places["strange"], "".join(f"void {name}(void) {{ __builtin_trap(); }}\n"
                                         for name in names()))
    return places


def names():
    """The functions the core takes from oneDNN."""
    listed = SOURCE.read_text().split("#define TRAMPOLINE")[0]
    return re.findall(r"F\((dnnl_\w+)\)", listed)


def build(path, code):
    subprocess.run([COMPILER, "-shared", "-fPIC", "-x", "c", "-", "-o", path], input=code,
                   text=True, check=True)


ORDERS = [(first, "native", first) for first in PARTS if first != "native"]
ORDERS += [("native", other, "native") for other in PARTS if other != "native"]


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
def test_neither_meets_the_other(order, libraries):
    for name in order:
        if name in libraries and not os.path.exists(libraries[name]):
            pytest.skip("no C compiler" if name == "strange" else "oneDNN is not that of the wheel")
        if name in ("torch", "tensorflow") and not find_spec(name):
            pytest.skip(f"{name} is not installed")
    code = "\n".join(PARTS[name].replace("{copy!r}", repr(libraries["copy"]))
                     .replace("{strange!r}", repr(libraries["strange"])) for name in order)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240,
                          env=os.environ | {"OMP_NUM_THREADS": "2", "TF_CPP_MIN_LOG_LEVEL": "3"})
    assert done.returncode == 0, done.stderr[-2000:]


# ---- what cannot be used -----------------------------------------------------------------------

def version(major):
    return f"static int v[3] = {{{major}, 7, 1}}; void *dnnl_version(void) {{ return v; }}\n"


def functions(count=None):
    return "".join(f"void {name}(void) {{}}\n" for name in names()[:count])


WRONG = {
    "another version": (version(2) + functions(), "oneDNN 2 is not version 3"),
    "a later version": (version(4) + functions(), "oneDNN 4 is not version 3"),
    "a function missing": (version(3) + functions(-1), r"\S+ has no dnnl_stream_destroy"),
    "another library": ("int nothing;", r"\S+ does not tell its version"),
}


@needs_compiler
@pytest.mark.parametrize("code, why", WRONG.values(), ids=WRONG)
def test_a_wrong_library_is_refused_and_the_right_one_stays(code, why, tmp_path, monkeypatch):
    path = tmp_path / "libdnnl.so.3"
    build(path, code)
    x = gt.placeholder((3, 4))
    f = gt.function([x], x @ x.T, backend="native")
    expected = f(range12())
    monkeypatch.setattr(library, "find_onednn", lambda: str(path))
    with pytest.raises(gt.backend.errors.BackendError) as caught:
        library.open_core()
    assert caught.value.what == "oneDNN cannot be used"
    assert re.fullmatch(why, caught.value.facts["why"])
    assert caught.value.facts["fix"] == "pip install onednn-cpu-gomp"
    assert (f(range12()) == expected).all()


def range12():
    import numpy as np
    return np.arange(12, dtype="f").reshape(3, 4)


def test_no_library_at_all(monkeypatch):
    monkeypatch.setattr(library, "find_onednn", lambda: "libdnnl_that_is_not_there.so.3")
    with pytest.raises(gt.backend.errors.BackendError, match="libdnnl_that_is_not_there.so.3: "
                                                             "cannot open shared object file"):
        library.open_core()


def test_without_the_wheel_the_systems_library_is_asked_for(monkeypatch):
    def files(package):
        raise library.PackageNotFoundError(package)
    monkeypatch.setattr(library, "files", files)
    assert library.find_onednn() == "libdnnl.so.3"


@pytest.mark.parametrize("processor", ["SSE41", "AVX2"])
def test_on_an_older_processor(processor):
    """oneDNN's own loops for it; ours choose by the processor that is there."""
    done = subprocess.run([sys.executable, "-c", PARTS["native"]], capture_output=True, text=True,
                          env=os.environ | {"ONEDNN_MAX_CPU_ISA": processor})
    assert done.returncode == 0, done.stderr
