"""Checkpoints: a fit that was killed goes on from its file, and ends with the same bits."""
from __future__ import annotations

import hashlib
import math
import os
import re
from glob import escape, glob
from tempfile import TemporaryFile
from time import monotonic

import numpy as np

from .. import __version__
from ..backend.atomic import refusal
from ..backend.errors import CorruptFileError, ParameterError
from ..backend.model_file import read_model, write_model
from ..layers.arguments import number, whole
from .callbacks import Callback, a_path
from .packing import pack, unpack
from .ranks import once

DIGEST_ROWS = 4096      # so many rows of the samples, evenly spaced, are what tells data apart


class Checkpoint(Callback):
    """Write the whole state of a fit to a file; a fit that finds its file goes on from there.

    Kept are weights, optimizer state, step and rate, the place in the order of the samples, sums
    of metrics, history, and what callbacks remember, so that a fit that was killed and called
    again ends with the bits of one that was not. The file is replaced atomically. It is removed
    when the fit is complete, and stays after Ctrl-C, an error, or when ``max_time`` was over.

    Parameters
    ----------
    path : str or path-like
        The file.
    every_epochs : int or None
        Write after so many epochs.
    every_steps : int or None
        Write after so many steps, also in the middle of an epoch.
    every_seconds : float or None
        Write when so much time has passed since the last time.
    keep : bool
        Whether the file stays when the fit is complete; the same fit then returns at once.

    Raises
    ------
    ParameterError
        If a parameter is out of range; at the beginning of a fit, if the file is of a fit of
        other data or settings; when writing, if a callback remembers what no file can hold.
    CorruptFileError
        At the beginning of a fit, if the file is damaged or no checkpoint.
    FileAccessError
        If the file cannot be read or written.

    Examples
    --------
    >>> import os, tempfile, numpy as np, gradatim as gt
    >>> from gradatim import layers
    >>> from gradatim.training import Checkpoint
    >>> X = np.linspace(-1, 1, 64)[:, None]
    >>> def fit(path, epochs_until_killed=None):
    ...     def kill(run):
    ...         if run.epoch + 1 == epochs_until_killed:
    ...             raise SystemExit
    ...     trainer = gt.Trainer(gt.Sequential([layers.Dense(1)]))
    ...     callbacks = [gt.training.FunctionCallback(kill), Checkpoint(path, every_steps=3)]
    ...     trainer.fit(X, X, epochs=4, batch_size=16, callbacks=callbacks)
    ...     return trainer.model.get_weights()
    >>> path = os.path.join(tempfile.mkdtemp(), "run.h5")
    >>> try:
    ...     fit(path, epochs_until_killed=3)
    ... except SystemExit:
    ...     pass
    >>> resumed = fit(path)
    >>> os.path.exists(path), np.array_equal(resumed[0], fit(path)[0])
    (False, True)
    """
    last = True              # it sees what the other callbacks of the same moment did

    def __init__(self, path, every_epochs: int | None = 1, every_steps: int | None = None,
                 every_seconds: float | None = None, keep: bool = False):
        for name, value in (("every_epochs", every_epochs), ("every_steps", every_steps)):
            if value is not None:
                whole(name, value, 1, fix="pass None for never")
        if every_seconds is not None:
            every_seconds = number("every_seconds", every_seconds, at_least=0.0)
        if every_epochs is every_steps is every_seconds is None:
            raise ParameterError("a checkpoint that is never written is of no use",
                                 fix="pass every_epochs, every_steps or every_seconds")
        self.path, self.every_epochs, self.every_steps = a_path(path), every_epochs, every_steps
        self.every_seconds, self.keep = every_seconds, bool(keep)

    def seed(self, other: int) -> int:
        """The seed of the fit in the file; without a file, the other one."""
        if not os.path.lexists(self.path):
            return other
        return read_checkpoint(self.path)[0]["seed"]

    def on_fit_begin(self, run):
        memory = run.memory(self)
        memory.facts, memory.written = facts_of(run), monotonic()
        found = once(run.team, self._found)
        if found:
            restore(run, self.path, memory.facts, *found)

    def _found(self) -> tuple | None:
        """What is in the file, if there is one."""
        folder, name = os.path.split(os.path.realpath(os.fsdecode(self.path)))
        left = f".{escape(name[:40])}.{'[0-9a-f]' * 16}.tmp"
        for part in glob(os.path.join(escape(folder), left)):
            os.unlink(part)                    # what a process left that was killed while writing
        try:
            TemporaryFile(dir=folder).close()  # told now, not after an epoch of hours
        except OSError as error:
            raise refusal(self.path, error) from error
        return read_checkpoint(self.path) if os.path.lexists(self.path) else None

    def on_batch_end(self, run):
        every = self.every_steps
        if run.timed_out or every and run.steps_done % every == 0 or self._late(run):
            self._write(run, run.epoch, run.batch)

    def on_epoch_end(self, run):
        every = self.every_epochs
        if not run.timed_out and (run.stop or every and (run.epoch + 1) % every == 0
                                  or run.epoch + 1 == run.epochs or self._late(run)):
            self._write(run, run.epoch + 1, 0)

    def on_fit_end(self, run):
        if not (self.keep or run.interrupted or run.timed_out):
            once(run.team, lambda: os.path.lexists(self.path) and os.unlink(self.path))

    def _late(self, run) -> bool:
        """Whether it is time to write again."""
        if self.every_seconds is None:
            return False
        written = run.memory(self).written
        return once(run.team, lambda: monotonic() - written >= self.every_seconds)

    def _write(self, run, epoch: int, batch: int) -> None:
        """Put the state of the run in the file."""
        once(run.team, lambda: self._write_here(run, epoch, batch))
        run.memory(self).written = monotonic()

    def _write_here(self, run, epoch: int, batch: int) -> None:
        """The same on one rank, which has the state of all."""
        memory, arrays = run.memory(self), {}
        arrays.update((f"variables/{name}", v.numpy())
                      for name, v in run.trainer.variables().items())
        state = {"epoch": epoch, "batch": batch, "totals": run.totals if batch else [],
                 "names": [list(name) for name in run.names], "rate": run.rate,
                 "history": run.history, "best_epoch": run.best_epoch,
                 "stop": run.stop and not run.halt,
                 "memories": [vars(run.memory(c)) for c in others(run)]}
        manifest = {"kind": "checkpoint", "library_version": __version__, "facts": memory.facts,
                    "state": pack(state, arrays, "the state of a fit")}
        write_model(self.path, manifest, arrays)


def others(run) -> list:
    """The callbacks whose memory is kept."""
    return [c for c in run.callbacks if not isinstance(c, Checkpoint)]


def facts_of(run) -> dict:
    """What must be equal for a fit to be the same fit."""
    trainer, source, check = run.trainer, run.source, run.validation
    return {
        "model": digest(plain(trainer.model).encode(),
                        *(f"{name} {v.spec}".encode() for name, v in
                          trainer.model.variables().items())),
        "loss": plain(trainer.loss), "optimizer": plain(trainer.optimizer),
        "schedule": plain(trainer.schedule), "metrics": plain(trainer.metrics),
        "learning_rate": run.learning_rate, "alpha": trainer.alpha, "dtype": trainer.dtype,
        "seed": trainer.seed, "backend": trainer.backend.name,
        "strategy": trainer.strategy.meaning, "epochs": run.epochs,
        "first_epoch": run.first_epoch, "batch_size": source.batch_size,
        "precision": trainer.precision, "accumulate": trainer.accumulate, "ema": trainer.ema,
        "swa": trainer.swa,
        "shuffle": bool(source.shuffle), "balanced": bool(source.balanced),
        "samples": digest_of(source),
        "validation samples": "" if check is None else digest_of(check),
        "callbacks": [type(c).__name__ for c in others(run)],
    }


def plain(thing) -> str:
    """Text of an object without the addresses that differ from process to process."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(thing))


def digest_of(source) -> str:
    """Tells samples, targets and weights apart, by some of their rows."""
    n = len(source.X)
    rows = np.unique(np.linspace(0, n - 1, min(n, DIGEST_ROWS)).astype(np.int64))
    parts = [str(n).encode()]
    for table in (source.X, source.y, source.weights):
        # Arrays of objects hold addresses, which another process has not.
        by_row = isinstance(table, list) or table.dtype == object
        found = [table[i] for i in rows] if by_row else [table[rows]]
        for array in map(np.ascontiguousarray, found):
            parts += [f"{array.dtype}{array.shape}".encode(), array.tobytes()]
    found = digest(*parts)
    return found if source.shards is None else digest(*map(str.encode,
                                                           source.shards.team.gather(found)))


def digest(*parts: bytes) -> str:
    """A short sha256."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()[:16]


def read_checkpoint(path) -> tuple[dict, dict, dict]:
    """Facts, state and variables of a checkpoint file."""
    manifest, arrays = read_model(path)
    if manifest.get("kind") != "checkpoint":
        raise CorruptFileError(f'"{os.path.basename(os.fsdecode(path))}" is no checkpoint',
                               got=f"a file of kind {manifest.get('kind')!r}", at=str(path),
                               fix="pass another path; this file stays as it is")
    variables = {k.removeprefix("variables/"): v for k, v in arrays.items()
                 if k.startswith("variables/")}
    try:
        facts, state = manifest["facts"], unpack(manifest["state"], arrays)
        whole = type(facts) is dict and all(
            type(state[name]) is kind for name, kind in STATE.items()) and facts["seed"] >= 0
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise misfit(path) from error
    if not whole:
        raise misfit(path)
    return facts, state, variables


STATE = {"epoch": int, "batch": int, "totals": list, "names": list, "rate": float,
         "history": list, "stop": bool, "memories": list}


def restore(run, path, facts: dict, found: dict, state: dict, arrays: dict) -> None:
    """Bring a run to where the file left it; nothing is changed if the file does not fit."""
    different = [k for k in {**facts, **found} if facts.get(k) != found.get(k)]
    if different:
        name = different[0]
        raise ParameterError(
            f'the checkpoint is of another fit: its {name} {"are" if name[-1] == "s" else "is"} '
            "not the same", got=f"{found.get(name)} in the file, {facts.get(name)} here",
            at=str(path), fix="pass the data and settings of that fit, or remove the file")
    variables = run.trainer.variables()
    if {k: (v.shape, v.dtype) for k, v in variables.items()} != \
            {k: (a.shape, a.dtype) for k, a in arrays.items()}:
        raise misfit(path)
    epoch, batch, memories = state["epoch"], state["batch"], state["memories"]
    if not (0 <= epoch <= run.epochs and 0 <= batch <= run.source.steps_per_epoch
            and len(memories) == len(others(run)) and all(type(m) is dict for m in memories)
            and len(state["totals"]) == (len(state["names"]) - 1 if batch else 0)):
        raise misfit(path)
    for name, v in variables.items():
        v.assign(arrays[name])
    run.next_epoch, run.epoch, run.batch = epoch, max(epoch - (not batch), 0), batch
    run.totals, run.rate = state["totals"], state["rate"]
    run.names = [tuple(name) for name in state["names"]]
    run.history[:] = state["history"]
    run.logs = run.history[-1] if run.history else {}
    run.best_epoch, run.stop, run.resumed = state["best_epoch"], state["stop"], True
    for callback, memory in zip(others(run), memories):
        vars(run.memory(callback)).update(memory)


def misfit(path) -> CorruptFileError:
    """The error for a checkpoint whose parts contradict each other."""
    return CorruptFileError(f'"{os.path.basename(os.fsdecode(path))}" is a checkpoint that does '
                            "not fit together", at=str(path), fix="remove the file to start anew")


def checkpoint(given) -> Checkpoint | None:
    """A checkpoint from a path, the object itself, or nothing."""
    return given if given is None or isinstance(given, Checkpoint) else Checkpoint(given)


def seconds(name: str, value) -> float:
    """A time in seconds from a number, or from text such as "90s", "10m", "1.5h" or "2d"."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([smhd]?)\s*", value) \
        if isinstance(value, str) else None
    if found:
        value = float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]]
    good = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
    if not good or not 0 < value < math.inf:
        raise ParameterError(f"{name} must be a time, not {value!r}",
                             fix=f'pass seconds, or text such as {name}="10m"')
    return float(value)
