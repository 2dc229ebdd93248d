"""What several test files need: threads and signals as they expect, and the real data sets."""
import os
import signal
import time
import uuid
from pathlib import Path

import pytest

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


@pytest.fixture
def traceless():
    """The environment for processes of which, after the test, none and no shared memory is left."""
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
