"""Ranks that ``mpiexec`` started: each test runs a script on 1 to 8 of them."""
import functools
import importlib.util
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gradatim.backend.distribute import launched

HERE = Path(__file__).parent
TRAINING = runpy.run_path(str(HERE / "ranks_training.py"))
SHARDED = runpy.run_path(str(HERE / "ranks_sharded.py"))
INVARIANCE = runpy.run_path(str(HERE / "ranks_invariance.py"))
alone = functools.cache(functools.partial(TRAINING["trained"], strategy="single"))
MPIEXEC = Path(sys.executable).parent / "mpiexec"
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None or not MPIEXEC.exists(),
    reason='needs mpi4py and mpiexec: pip install "gradatim[mpi]"')


def on_ranks(size, script, *arguments, seconds=60):
    """The output of a script on so many single-threaded ranks."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([MPIEXEC, "-n", str(size), sys.executable, HERE / script, *arguments],
                          env=environment, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_ranks_exchange_arrays(size):
    assert on_ranks(size, "ranks_communicator.py", str(size)) == "all is well\n"


@pytest.fixture(scope="module", params=[2, 4])
def learned(request, tmp_path_factory):
    """A folder with what all cases taught the ranks, which were the same to the last bit."""
    folder = tmp_path_factory.mktemp("ranks")
    on_ranks(request.param, "ranks_training.py", str(folder), seconds=240)
    return folder


@pytest.mark.parametrize("case", TRAINING["CASES"])
def test_ranks_learn_what_one_process_learns(learned, case):
    want = alone(case)
    with np.load(learned / f"{case}.npz") as found:
        assert set(found) == set(want) and len(want) > 5
        for name, value in want.items():
            np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-10, err_msg=name)


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_bring_their_own_samples(size, tmp_path):
    on_ranks(size, "ranks_sharded.py", str(tmp_path), seconds=240)
    for case in SHARDED["CASES"]:
        want = SHARDED["alone"](case, size)
        with np.load(tmp_path / f"{case}.npz") as found:
            assert set(found) == set(want) and len(want) > 5
            for name, value in want.items():
                if value.dtype.kind == "f":
                    np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-9,
                                               err_msg=f"{case} {name}")
                else:
                    np.testing.assert_array_equal(found[name], value)


@pytest.mark.parametrize("size", [2, 4, 8])
def test_the_bits_do_not_depend_on_the_number_of_ranks(size):
    digest = INVARIANCE["digest"]
    want = [f"{name} {digest(name)}" for name in INVARIANCE["NETS"]]
    assert on_ranks(size, "ranks_invariance.py").splitlines() == want


def test_scikit_learn_checks_pass_on_ranks():
    """One check in ten; ``mpiexec -n 2 python ranks_estimators.py 1 NAME...`` runs all."""
    names = "LinearClassifier", "DNNClassifier", "CNNClassifier"
    found = on_ranks(2, "ranks_estimators.py", "10", *names, seconds=240)
    assert [line.split()[0] for line in found.splitlines()] == list(names)


def test_a_process_that_nobody_launched_is_alone(monkeypatch):
    for name in ("PMI_RANK", "PMI_SIZE", "OMPI_COMM_WORLD_RANK", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    assert launched() == 0
    monkeypatch.setenv("SLURM_NTASKS", "4")        # a batch script's own process is no rank
    assert launched() == 0
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert launched() == 4
