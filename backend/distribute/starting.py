"""Starting: a rank that fails before all have met is not waited for without end.

MPI holds Python's lock while ranks wait to start, so a clock must run in a process of its own. It
ends with the process that it watches, whatever ends that.
"""
from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager

from .launched import RANKS, told

_CLOCK = """
import os, select, signal, sys
process, rank, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
if select.select([0], [], [], seconds)[0]:
    sys.exit()                                  # it has started, or is gone
sys.stderr.write(f"gradatim: rank {rank} waited {seconds:g} s for all ranks to start; one of them "
                 "failed before it came to that\\n")
with open(f"/proc/{process}/maps") as file:
    shared = {line.split(maxsplit=5)[5].strip() for line in file if "/dev/shm/mpich" in line}
for path in filter(os.path.exists, shared):
    os.unlink(path)
os.kill(process, signal.SIGKILL)
"""


@contextmanager
def start_within(seconds: float):
    """End this process with a message if what is inside takes longer."""
    numbers = map(str, (os.getpid(), told(RANKS, 0), seconds))
    clock = subprocess.Popen([sys.executable, "-S", "-E", "-c", _CLOCK, *numbers],
                             stdin=subprocess.PIPE)
    try:
        yield
    finally:
        clock.stdin.close()
        clock.wait()
