"""What several test files need: the folder of real data sets."""
import os
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
