"""The matrix of faults: every way a rank can go wrong, and what the user reads when it did.

Run as ``python tests/distribute/fault_matrix.py [FAULT ...] --ranks 2 3 4``: each fault, at each
number of ranks, must end the job within its deadline and two seconds, name the rank and the step,
and leave no process and no shared memory. The test suite runs it on two ranks.
"""
from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
MPIEXEC = Path(sys.executable).parent / "mpiexec"
TIMEOUT = 2.0          # the deadline of an exchange in these runs
GRACE = 2.0            # seconds that the end may take beyond it
START = 30.0           # of processes, on a machine that is busy with other tests

LAST = r"last exchange: all_reduce sum of float32\[1000\]; all ranks end"
DIFFERENT = r"the ranks have come to different exchanges at step 12\n.*got  rank 0: all_reduce sum "
LATE = (r"DistributedError: all_reduce sum of float32\[1000\] at step 12 waited 2 s; ranks not "
        r"arrived: \[1\]\n.*got  rank 1 last seen at step 11, all_reduce sum of float32\[1000\]; ")
KILLED = (r"^gradatim: rank 1 of \d \(process \d+\) was killed, or ended without a word, "
          rf"at step 11, {LAST}$")
ALONE = "the launcher started 4 processes, and MPI knows only this one"


class Fault(NamedTuple):
    """What a script is told to do wrong, and what must be read then."""
    script: str
    said: str
    code: int | None = None          # of the end; None: any but 0
    launched: bool = True
    variables: dict = {}


def steps(said: str, code: int | None = None) -> Fault:
    """A fault of rank 1 between two exchanges."""
    return Fault("ranks_faults.py", said, code)


def fits(said: str) -> Fault:
    """A fault around a fit."""
    return Fault("ranks_fit_faults.py", said)


def unlaunched(said: str, **variables: str) -> Fault:
    """A process that a launcher's variables make believe that it is one of several."""
    return Fault("ranks_faults.py", said, launched=False, variables=variables)


FAULTS = {
    "kill": steps(KILLED, 9),
    "_exit": steps(r"^\[rank 1\] os._exit\(5\) on rank 1 of \d at step 12, " + LAST, 5),
    "_exit_0": steps(DIFFERENT + r"of float32\[1000\]; rank 1: exit\b"),
    "stop": steps(LATE + r"process \d+ is stopped"),
    "sleep": steps(LATE + r"process \d+ sleeps"),
    "compute": steps(LATE + r"process \d+ computes"),
    "raise": steps(r"^\[rank 1\] ZeroDivisionError on rank 1 of \d at step 12, " + LAST),
    "memory": steps(r"^\[rank 1\] MemoryError on rank 1 of \d at step 12, " + LAST),
    "interrupt": steps(r"^\[rank 1\] KeyboardInterrupt on rank 1 of \d at step 12, " + LAST, 130),
    "exit": steps(r"^\[rank 1\] sys.exit\(3\) on rank 1 of \d at step 12, " + LAST, 3),
    "system_exit": steps(DIFFERENT + r"of float32\[1000\]; rank 1: exit\b"),
    "counts": steps(DIFFERENT + r"of float32\[1000\]; rank 1: all_reduce sum of float32\[500\]"),
    "types": steps(DIFFERENT + r"of float32\[1000\]; rank 1: all_reduce sum of float64\[1000\]"),
    "order": steps(DIFFERENT + r"of float32\[1000\]; rank 1: broadcast_from 0 of float32\[1000\]"),
    "swallow": steps(r"^\[rank 0\] the ranks have lost each other on rank 0 of \d at step 12"),
    "shape": fits("rank 1 has different samples from rank 0"),
    "numbers": fits("rank 1 has different samples from rank 0"),
    "parameters": fits("rank 1 has different learning_rate from rank 0\n.*got  0.5, not 0.0"),
    "network": fits("rank 1 has different model from rank 0"),
    "no_data": fits(r"Found array with 0 sample\(s\)(.*\n)*.*on rank 1 of 2"),
    "import": fits(r"No module named 'there_is_no_such_module'(.*\n)*.*rank \d waited 2 s for all"),
    "disk": fits('cannot write "run.h5": No space left on device(.*\n)*.*on rank 0 of 2 at step 6'),
    "rename": fits("rank 0 of 2 .* was killed, or ended without a word, at step 12"),
    "foreign_mpich": unlaunched(ALONE, OMPI_COMM_WORLD_SIZE="4", OMPI_COMM_WORLD_RANK="0"),
    "foreign_srun": unlaunched(ALONE, SLURM_NTASKS="4", SLURM_PROCID="0"),
}


def run(fault: str, ranks: int, environment: dict, folder) -> tuple[subprocess.CompletedProcess,
                                                                     float]:
    """What came of a fault, and seconds from it to the end of the job."""
    case, mark = FAULTS[fault], Path(folder, "at")
    launcher = [MPIEXEC, "-n", str(ranks)] if case.launched else []
    arguments = [fault, folder, str(TIMEOUT)]
    done = subprocess.run([*launcher, sys.executable, HERE / case.script, *arguments],
                          env=environment | case.variables, capture_output=True, text=True,
                          timeout=TIMEOUT + GRACE + START)
    return done, time.time() - mark.stat().st_mtime if mark.exists() else 0.0


def complaint(fault: str, done: subprocess.CompletedProcess, seconds: float) -> str:
    """What is wrong with the end of a job; nothing if all is well."""
    case = FAULTS[fault]
    if not re.search(case.said, done.stderr, re.MULTILINE):
        return f"it said {done.stderr!r}"
    if done.returncode == 0 or case.code not in (None, done.returncode):
        return f"it ended with {done.returncode}"
    if "rank 1 is through" in done.stdout or "through" in done.stdout and fault != "swallow":
        return f"it went on: {done.stdout!r}"
    return f"it took {seconds:.1f} s" if seconds > TIMEOUT + GRACE else ""


def main() -> int:
    """Print a line per fault and number of ranks; 1 if one of them is wrong."""
    from conftest import leaving_no_trace
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, nargs="+", default=[2, 3, 4])
    parser.add_argument("faults", nargs="*", metavar="FAULT", help=", ".join(FAULTS))
    options, wrong = parser.parse_args(), 0
    for fault in options.faults or FAULTS:
        # A script that fits names two ranks in what it says.
        for ranks in options.ranks if FAULTS[fault].script == "ranks_faults.py" else [2]:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    with leaving_no_trace() as environment:
                        done, seconds = run(fault, ranks, environment, folder)
                        found = complaint(fault, done, seconds)
                except (AssertionError, subprocess.TimeoutExpired) as error:
                    found, seconds = repr(error), float("nan")
            wrong += bool(found)
            print(f"{fault:<14} {ranks} ranks {seconds:5.1f} s  {found or 'as it must'}",
                  flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
