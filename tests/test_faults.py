"""Faults of one rank: the job ends soon, says which rank at which step, and leaves nothing."""
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
MPIEXEC = Path(sys.executable).parent / "mpiexec"
needs_mpi = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None or not MPIEXEC.exists(),
    reason='needs mpi4py and mpiexec: pip install "gradatim[mpi]"')
TIMEOUT = 2.0          # the deadline of an exchange in these tests
START = 15.0           # of processes, on a machine that is busy with other tests

LAST = r"last exchange: all_reduce sum of float32\[1000\]; all ranks end"
DIFFERENT = r"the ranks have come to different exchanges at step 12\n.*got  rank 0: all_reduce sum "
LATE = (r"DistributedError: all_reduce sum of float32\[1000\] at step 12 waited 2 s; ranks not "
        r"arrived: \[1\]\n.*got  rank 1 last seen at step 11, all_reduce sum of float32\[1000\]; ")
KILLED = (rf"^gradatim: rank 1 of 2 \(process \d+\) was killed, or ended without a word, "
          rf"at step 11, {LAST}$")
SAID = {
    "kill": KILLED,
    "_exit": KILLED,
    "stop": LATE + r"process \d+ is stopped",
    "sleep": LATE + r"process \d+ sleeps",
    "raise": r"^\[rank 1\] ZeroDivisionError on rank 1 of 2 at step 12, " + LAST,
    "exit": r"^\[rank 1\] sys.exit\(3\) on rank 1 of 2 at step 12, " + LAST,
    "system_exit": DIFFERENT + r"of float32\[1000\]; rank 1: exit$",
    "counts": DIFFERENT + r"of float32\[1000\]; rank 1: all_reduce sum of float32\[500\]$",
    "order": DIFFERENT + r"of float32\[1000\]; rank 1: broadcast_from 0 of float32\[1000\]$",
    "swallow": r"^\[rank 0\] the ranks have lost each other on rank 0 of 2 at step 12",
}


def run_ranks(size, environment, *command):
    """Run a script on ranks; it must end in time."""
    return subprocess.run([MPIEXEC, "-n", str(size), sys.executable, *command], env=environment,
                          capture_output=True, text=True, timeout=TIMEOUT + 2 + START)


@needs_mpi
@pytest.mark.parametrize("fault", SAID)
def test_a_fault_of_one_rank(fault, traceless):
    done = run_ranks(2, traceless, HERE / "ranks_faults.py", fault, str(TIMEOUT))
    assert re.search(SAID[fault], done.stderr, re.MULTILINE), done.stderr
    assert done.returncode == {"exit": 3, "kill": 9}.get(fault, done.returncode) != 0


@needs_mpi
@pytest.mark.parametrize("size", [2, 3])
def test_no_fault(size, traceless):
    done = run_ranks(size, traceless, HERE / "ranks_faults.py", "none", str(TIMEOUT))
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == [f"rank {r} is through" for r in range(size)]


AROUND_A_FIT = {
    "shape": "rank 1 has different samples from rank 0",
    "numbers": "rank 1 has different samples from rank 0",
    "parameters": "rank 1 has different learning_rate from rank 0\n.*got  0.5, not 0.001",
    "network": "rank 1 has different model from rank 0",
    "import": "No module named 'there_is_no_such_module'(.*\n)*.*rank 0 waited 2 s for all",
    "disk": 'cannot write "run.h5": No space left on device(.*\n)*.*on rank 0 of 2 at step 6',
    "rename": "rank 0 of 2 .* was killed, or ended without a word, at step 12",
}


@needs_mpi
@pytest.mark.parametrize("fault", AROUND_A_FIT)
def test_a_fault_around_a_fit(fault, traceless, tmp_path):
    done = run_ranks(2, traceless, HERE / "ranks_fit_faults.py", fault, tmp_path)
    assert re.search(AROUND_A_FIT[fault], done.stderr), done.stderr
    assert done.returncode != 0 and "through" not in done.stdout


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
