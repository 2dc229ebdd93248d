"""What each rank runs for the tests of faults around a fit: rank 1, or the disk, does wrong."""
import errno
import os
import signal
import sys

import numpy as np

FAULT, FOLDER = sys.argv[1:]
RANK = int(os.environ.get("PMI_RANK", "0"))
if FAULT == "import" and RANK == 1:
    import there_is_no_such_module  # noqa: F401

import gradatim as gt
from gradatim.backend.distribute import mpi, world

X = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
y, settings = X[:, 0].copy(), {}
if RANK == 1:
    X = {"shape": X[:290], "numbers": X + 1}.get(FAULT, X)
    y = y[:len(X)]
    settings = {"parameters": {"learning_rate": 0.5}, "network": {"hidden_layer_sizes": (7,)}
                }.get(FAULT, {})
replace = os.replace


def full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def kill(source, target):
    if os.path.exists(target):            # the second time: a whole checkpoint is there
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)


if FAULT == "disk":
    os.fsync = full
if FAULT == "rename":
    os.replace = kill
mpi.START = 2.0
world()
model = gt.DNNRegressor(epochs=4, batch_size=50, random_state=0, verbose=0,
                        checkpoint=os.path.join(FOLDER, "run.h5"),
                        strategy=gt.DataParallel(timeout=2.0), **settings)
model.fit(X, y)
sys.stdout.write(f"rank {RANK} is through\n")
