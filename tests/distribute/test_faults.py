"""Faults of one rank: the job ends soon, says which rank at which step, and leaves nothing."""
import importlib.util
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

MATRIX = runpy.run_path(str(Path(__file__).parent / "fault_matrix.py"))
needs_mpi = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None or not MATRIX["MPIEXEC"].exists(),
    reason='needs mpi4py and mpiexec: pip install "gradatim[mpi]"')
LONG = {"types", "compute", "memory", "network"}     # left to fault_matrix.py itself


@needs_mpi
@pytest.mark.parametrize("fault", [f for f in MATRIX["FAULTS"] if f not in LONG])
def test_a_fault_of_one_rank(fault, traceless, tmp_path):
    assert not MATRIX["complaint"](fault, *MATRIX["run"](fault, 2, traceless, tmp_path))


@needs_mpi
@pytest.mark.parametrize("size, end", [(2, "none"), (3, "leave")])
def test_no_fault(size, end, traceless, tmp_path):
    command = [MATRIX["MPIEXEC"], "-n", str(size), sys.executable, MATRIX["HERE"] /
               "ranks_faults.py", end, tmp_path, str(MATRIX["TIMEOUT"])]
    done = subprocess.run(command, env=traceless, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == [f"rank {r} is through" for r in range(size)]


def test_a_wrong_end_is_told():
    """The matrix itself: an end that says nothing, or comes late, is not taken for a good one."""
    said = "[rank 1] ZeroDivisionError on rank 1 of 2 at step 12, last exchange: all_reduce sum " \
           "of float32[1000]; all ranks end"
    ended = lambda code, out="", text=said: subprocess.CompletedProcess([], code, out, text)
    complaint = MATRIX["complaint"]
    assert not complaint("raise", ended(1), 3.9)
    assert complaint("raise", ended(1), 4.1) == "it took 4.1 s"
    assert complaint("raise", ended(0), 1.0) == "it ended with 0"
    assert complaint("exit", ended(1, text=said.replace("ZeroDivisionError", "sys.exit(3)")), 1.0
                     ) == "it ended with 1"
    assert complaint("raise", ended(1, text=""), 1.0) == "it said ''"
    assert complaint("raise", ended(1, "rank 1 is through"), 1.0).startswith("it went on")


@needs_mpi
def test_launch_starts_again_what_was_killed(tmp_path, traceless):
    script = tmp_path / "script.py"
    script.write_text(f"""
import os, sys
from gradatim.backend.distribute import world
team, path = world(), {str(tmp_path / "starts")!r}
if team.rank == 0:
    open(path, "a").write("x")
team.barrier()
if team.rank == 1 and os.path.getsize(path) < 3:
    os.kill(os.getpid(), 9)
team.barrier()
print(sys.argv[1:])
""")
    command = [sys.executable, "-m", "gradatim", "launch", "-n", "2", "--restarts"]
    done = subprocess.run([*command, "5", script, "--epochs", "3"], env=traceless,
                          capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("['--epochs', '3']") == 2
    assert done.stderr.count("was killed, or ended without a word") == 2
    assert "gradatim: the processes ended with exit code 9; start 2 of 5 again" in done.stderr
    (tmp_path / "starts").unlink()
    done = subprocess.run([*command, "1", script], env=traceless, capture_output=True)
    assert done.returncode == 9
