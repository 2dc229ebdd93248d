"""What several test files need: threads and signals as they expect, and the real data sets."""
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

import pytest

CUDA = Path(__file__).parent / "cuda"

# Workers of a parallel run share the cores: with threads of their own each they would only wait.
if "PYTEST_XDIST_WORKER" in os.environ:
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(_name, "1")

# scikit-learn skips a check of its own where SciPy, imported later, does not find this.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

# A shell starts what runs in its background deaf to Ctrl-C, which some tests send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items):
    """Processes that share the tests must know them by the same names."""
    changing = [item.nodeid for item in items if " at 0x" in item.nodeid]
    if changing:
        raise pytest.UsageError(f"the names of tests hold addresses: {changing[:3]}")


@pytest.fixture(scope="session")
def data_home() -> Path:
    """The folder named by GRADATIM_DATA; without it tests are skipped, but not where CI is set."""
    folder = os.environ.get("GRADATIM_DATA")
    if not folder:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("the environment variable GRADATIM_DATA names no folder of data sets")
    return Path(folder)


@pytest.fixture(scope="session")
def fake_library(tmp_path_factory):
    """A function that builds a library of NVIDIA's with loops in the place of kernels."""
    built = {}

    def build(name: str) -> Path:
        if name not in built:
            built[name] = tmp_path_factory.mktemp(name) / f"lib{name}.so"
            subprocess.run([shutil.which("g++") or shutil.which("c++"), "-std=c++17", "-O1",
                            "-shared", "-fPIC", str(CUDA / f"fake_{name}.cpp"), "-o",
                            str(built[name])], check=True)
        return built[name]
    return build


@pytest.fixture
def install(monkeypatch, fake_library, tmp_path):
    """A function that puts a fake CuPy and its libraries in place; cuDNN if asked for."""
    from gradatim.backend.cuda import cache, cuda_device, libraries, tune
    spec = importlib.util.spec_from_file_location("fake_cupy", CUDA / "fake_cupy.py")
    fake_cupy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fake_cupy)

    def kept_apart(*arguments):                      # what is measured here is no GPU's
        with monkeypatch.context() as context:
            context.setenv("GRADATIM_CACHE", str(tmp_path))
            return cache.cached(*arguments)

    def put(cudnn=False, proof=False, **options):
        monkeypatch.setattr(tune, "cached", kept_apart)
        if not proof:                                    # what it runs would be counted
            monkeypatch.setattr(cuda_device, "prove_library", lambda backend: None)
        fake = fake_cupy.Fake(**options)
        for name, module in fake.modules.items():
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(cuda_device, "nvrtc", fake_cupy.Compiler)
        there = {"cublasLt": True, "cuDNN": cudnn}
        for name, is_there in there.items():
            path = str(fake_library(name.lower())) if is_there else f"lib{name}-none.so"
            monkeypatch.setitem(libraries.LIBRARIES, name, libraries.LIBRARIES[name]._replace(
                wheels=(), system=(path,)))
        libraries.open_library.cache_clear()
        fake.library = libraries.open_library("cublasLt")
        fake.products = fake.hooked("matmul", fake.library.fake_hook, fake.library.fake_run)
        if cudnn:
            fake.cudnn = libraries.open_library("cuDNN")
            fake.executions = fake.hooked("cudnn", fake.cudnn.fake_cudnn_hook,
                                          fake.cudnn.fake_cudnn_run)
            fake.layers = fake.hooked("rnn", fake.cudnn.fake_rnn_hook, fake.run_layer)
        return fake
    yield put
    libraries.open_library.cache_clear()


@pytest.fixture
def traceless():
    """The environment for processes of which, after the test, none and no shared memory is left."""
    with leaving_no_trace() as environment:
        yield environment


@contextmanager
def leaving_no_trace():
    """The same for a block of code."""
    mark, memory = uuid.uuid4().hex, shared_memory()
    yield os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MARK": mark}
    end = time.monotonic() + 5
    while found := [*marked(mark), *sorted(shared_memory() - memory)]:
        assert time.monotonic() < end, found          # what belongs to tests beside goes away
        time.sleep(0.02)


def shared_memory() -> set[str]:
    """Names of what MPI and gradatim have in shared memory; other libraries' come and go."""
    return {name for name in os.listdir("/dev/shm") if name.startswith(("mpich", "gradatim"))}


def marked(mark: str):
    """The processes that carry a mark in their environment."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "environ").read_bytes():
                yield (entry / "cmdline").read_text().replace("\0", " ")
        except OSError:
            pass                                      # it has just ended
