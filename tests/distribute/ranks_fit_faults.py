"""What each rank runs for the matrix of faults around a fit: rank 1, or the disk, does wrong."""
import errno
import os
import signal
import sys
from pathlib import Path

import numpy as np

FAULT, FOLDER, TIMEOUT = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
RANK = int(os.environ.get("PMI_RANK", "0"))
(FOLDER / "at").touch()
if FAULT == "import" and RANK == 1:
    import there_is_no_such_module  # noqa: F401

import gradatim as gt
from gradatim.backend.distribute import mpi, world

X = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
y, settings = X[:, 0].copy(), {}
if RANK == 1:
    X = {"shape": X[:290], "numbers": X + 1, "no_data": X[:0]}.get(FAULT, X)
    y = y[:len(X)]
    settings = {"parameters": {"learning_rate": 0.5}, "network": {"hidden_layer_sizes": (7,)}
                }.get(FAULT, {})
replace = os.replace


def full(*_, **__):
    (FOLDER / "at").touch()
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def kill(source, target):
    if os.path.exists(target):            # the second time: a whole checkpoint is there
        (FOLDER / "at").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)


if FAULT == "disk":
    os.fsync = full
if FAULT == "rename":
    os.replace = kill
mpi.START = TIMEOUT
world()
model = gt.DNNRegressor(epochs=4, batch_size=50, random_state=0, verbose=0,
                        checkpoint=FOLDER / "run.h5",
                        strategy=gt.DataParallel(timeout=TIMEOUT), **settings)
(FOLDER / "at").touch()
model.fit(X, y)
sys.stdout.write(f"rank {RANK} is through\n")
