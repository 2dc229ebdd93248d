"""What each rank runs for the tests of faults: steps, at one of which rank 1 does wrong."""
import os
import signal
import sys
import time

import numpy as np

from gradatim.backend.distribute import world

FAULT, TIMEOUT = sys.argv[1], float(sys.argv[2])
FAULTS = {
    "none": lambda team: None,
    "kill": lambda team: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda team: os.kill(os.getpid(), signal.SIGSTOP),
    "sleep": lambda team: time.sleep(1000),
    "raise": lambda team: 1 // 0,
    "exit": lambda team: sys.exit(3),
    "system_exit": lambda team: exec("raise SystemExit(0)"),
    "_exit": lambda team: os._exit(5),
    "counts": lambda team: team.all_reduce(np.ones(500, np.float32)),
    "order": lambda team: team.broadcast_from(np.ones(1000, np.float32)),
    "swallow": lambda team: time.sleep(1000),
}


def train(team):
    gradient = np.ones(1000, np.float32)
    for team.step in range(1, 21):
        if team.step == 12 and team.rank == 1:
            FAULTS[FAULT](team)
        gradient = team.all_reduce(gradient) / team.size
    return gradient


team = world()
team.timeout = TIMEOUT
try:
    assert (train(team) == 1).all()
except RuntimeError:
    if FAULT != "swallow":
        raise
sys.stdout.write(f"rank {team.rank} is through\n")
