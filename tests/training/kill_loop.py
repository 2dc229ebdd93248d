"""Kills training with SIGKILL at random steps, resumes it, and compares all bits with a whole run.

``python tests/training/kill_loop.py [runs]``: each run takes another net, seed and kind of
checkpoint; the tests call `killed_and_whole` a few times.
"""
import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

# What the child process runs: fit, then the hash of all weights and of the history.
CHILD = """
import hashlib, os, signal, sys
import numpy as np
import gradatim as gt
from gradatim.training import Callback, Checkpoint, EarlyStopping, ReduceLROnPlateau

net, checkpoint, kill_at, seed = sys.argv[1], eval(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
rng = np.random.default_rng(3)
X, noise = rng.standard_normal((330, 12)), rng.standard_normal(330)
y = (X[:, 0] * X[:, 1] + 0.3 * noise > 0).astype(int)

class Kill(Callback):
    '''Kills this process after some steps of its own.'''
    every_steps = 1
    def on_fit_begin(self, run):
        run.memory(self).steps = 0
    def on_batch_end(self, run):
        Kill.done = getattr(Kill, "done", 0) + 1
        if Kill.done == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

settings = dict(random_state=seed, epochs=6, batch_size=32, checkpoint=checkpoint,
                early_stopping=True, patience=2, schedule="cosine",
                callbacks=[Kill(), ReduceLROnPlateau(patience=1, factor=0.5)])
NETS = {
    "dense": (lambda: gt.DNNClassifier(hidden_layer_sizes=(16,), dropout=0.3, batch_norm=True,
                                       **settings), X),
    "sequences": (lambda: gt.RNNClassifier(units=6, dropout=0.2, **settings),
                  [np.asarray(x[:4 + i % 7, None]) for i, x in enumerate(X)]),
    "full": (lambda: gt.DNNClassifier(hidden_layer_sizes=(8,), dropout=0.2, solver="full_batch",
                                      **{**settings, "epochs": 30}), X),
}
make, samples = NETS[net]
model = make().fit(samples, y)
found = hashlib.sha256(repr((model.history_, model.best_epoch_)).encode())
for name, v in {**model.network_.variables(), **model._fitted.trainer.variables()}.items():
    found.update(name.encode() + v.numpy().tobytes())
print(found.hexdigest())
"""
NETS = {"dense": 60, "sequences": 60, "full": 30}        # and about how many steps each makes


def run(net, checkpoint, kill_at, seed):
    """The exit status of a child and what it printed."""
    package = Path(__file__).resolve().parents[2].parent
    paths = os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-c", CHILD, net, checkpoint, str(kill_at), str(seed)],
                          capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PYTHONPATH": paths})
    if done.returncode not in (0, -signal.SIGKILL):
        raise AssertionError(done.stderr)
    return done.returncode, done.stdout.strip()


def killed_and_whole(net, seed, kills=3, extra="every_steps=1"):
    """Hashes of a run that was killed some times and of one that was not, and the kills there were.
    """
    choose = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "run.h5")
        _, whole = run(net, "None", 0, seed)
        happened = 0
        for _ in range(kills):
            kill_at = choose.randint(1, max(NETS[net] // (kills + 1), 2))
            status, found = run(net, f"Checkpoint({path!r}, {extra})", kill_at, seed)
            happened += status != 0
            if status == 0:
                break
        else:
            _, found = run(net, f"Checkpoint({path!r}, {extra})", 0, seed)
        left = os.listdir(folder)
    return found, whole, happened, left


if __name__ == "__main__":
    kinds = ["every_steps=1", "every_steps=7, every_epochs=None", "every_epochs=1",
             "every_seconds=0.02", "every_epochs=2, every_steps=3"]
    wrong = 0
    for seed in range(int(sys.argv[1]) if len(sys.argv) > 1 else 15):
        net, kind = list(NETS)[seed % len(NETS)], kinds[seed % len(kinds)]
        found, whole, happened, left = killed_and_whole(net, seed, 4, kind)
        good = found == whole and not left
        wrong += not good
        print(f"{net:<10} {kind:<34} kills {happened}  {'equal' if good else 'DIFFERENT'}",
              flush=True)
    sys.exit(wrong > 0)
