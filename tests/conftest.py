"""What several test files need: the folder of real data sets."""
import os

# Workers of a parallel run share the cores: with threads of their own each they would only wait.
if "PYTEST_XDIST_WORKER" in os.environ:
    for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(_name, "1")
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_home() -> Path:
    """The folder named by GRADATIM_DATA; without it tests are skipped, but not where CI is set."""
    folder = os.environ.get("GRADATIM_DATA")
    if not folder:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing("the environment variable GRADATIM_DATA names no folder of data sets")
    return Path(folder)
