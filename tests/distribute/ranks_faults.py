"""What each rank runs for the matrix of faults: steps, at one of which rank 1 does wrong."""
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from gradatim.backend.distribute import world

FAULT, FOLDER, TIMEOUT = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])


def fail(error):
    raise error


def compute():
    while True:
        pass


FAULTS = {
    "none": lambda team: None,
    "kill": lambda team: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda team: os.kill(os.getpid(), signal.SIGSTOP),
    "sleep": lambda team: time.sleep(1000),
    "compute": lambda team: compute(),
    "raise": lambda team: 1 // 0,
    "memory": lambda team: fail(MemoryError()),
    "interrupt": lambda team: fail(KeyboardInterrupt()),
    "exit": lambda team: sys.exit(3),
    "system_exit": lambda team: fail(SystemExit(0)),
    "_exit": lambda team: os._exit(5),
    "_exit_0": lambda team: os._exit(0),
    "counts": lambda team: team.all_reduce(np.ones(500, np.float32)),
    "types": lambda team: team.all_reduce(np.ones(1000)),
    "order": lambda team: team.broadcast_from(np.ones(1000, np.float32)),
    "swallow": lambda team: time.sleep(1000),
    "leave": lambda team: None,
}


def train(team):
    gradient = np.ones(1000, np.float32)
    for team.step in range(1, 21):
        if team.step == 12 and team.rank == 1:
            (FOLDER / "at").touch()
            FAULTS[FAULT](team)
        gradient = team.all_reduce(gradient) / team.size
        if team.step == 3:
            assert (team.all_reduce(np.ones(20_000)) == team.size).all()     # in shared memory
    return gradient


team = world()
team.timeout = TIMEOUT
try:
    assert (train(team) == 1).all()
except RuntimeError:
    if FAULT != "swallow":
        raise
sys.stdout.write(f"rank {team.rank} is through\n")
if FAULT == "leave":                       # in haste, but together
    sys.stdout.flush()
    os._exit(0)
