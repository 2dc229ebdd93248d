"""The training loop: batches in, one call per step, callbacks at the ends of epochs."""
from __future__ import annotations

from time import perf_counter
from types import SimpleNamespace
from typing import Iterator

import numpy as np

from ..backend.function import Function
from .progress import Progress

CALL_SECONDS = 0.05     # of steps in one call
CALL_BYTES = 2 ** 24    # of their results

class Run:
    """One fit while it goes on: what callbacks see and change.

    Attributes
    ----------
    trainer : Trainer
        Model, optimizer and variables.
    epoch, epochs : int
        The epoch now, from 0, and how many are planned.
    logs : dict of str to float
        Numbers of the last finished epoch.
    history : list of dict
        The logs of all epochs.
    stop : bool
        Set it to end training after this epoch.
    best_epoch : int or None
        The epoch whose weights early stopping keeps.
    interrupted : bool
        Whether Ctrl-C ended training.
    """

    def __init__(self, trainer, epochs: int):
        self.trainer, self.epochs = trainer, epochs
        self.epoch, self.logs, self.history = 0, {}, []
        self.stop = self.interrupted = False
        self.best_epoch: int | None = None
        self.pace = Pace()
        self._memories: dict[int, tuple] = {}

    def memory(self, callback) -> SimpleNamespace:
        """What a callback remembers during this fit."""
        # The callback is kept beside its memory, so that its id stays its own.
        return self._memories.setdefault(id(callback), (callback, SimpleNamespace()))[1]

    def weights(self) -> dict[str, np.ndarray]:
        """Copies of the model's weights by path."""
        return {path: v.numpy() for path, v in self.trainer.model.variables().items()}

    def set_weights(self, weights: dict[str, np.ndarray]) -> None:
        """Put copied weights back."""
        for path, v in self.trainer.model.variables().items():
            v.assign(weights[path])

    @property
    def learning_rate(self) -> float:
        """The learning rate before the schedule."""
        return float(self.trainer.keys.rate.numpy())

    @learning_rate.setter
    def learning_rate(self, value: float) -> None:
        self.trainer.keys.rate.assign(np.float64(value))


def fit_loop(run: Run, source, validation, callbacks, verbose: int, first_epoch: int = 0) -> None:
    """Train for some epochs; Ctrl-C ends training and keeps what has been learned."""
    trainer, keys, steps = run.trainer, run.trainer.keys, source.steps_per_epoch
    keys.start.assign(keys.step.numpy())
    keys.total.assign(np.float64(max(run.epochs * steps, 1)))
    for callback in callbacks:
        callback.on_fit_begin(run)
    progress = Progress(run.epochs, steps, verbose)
    try:
        for run.epoch in range(run.epochs):
            logs = _one_epoch(run, source, first_epoch + run.epoch, progress)
            if validation is not None:
                logs |= {f"val_{k}": v for k, v in trainer.count(validation).items()}
            run.logs = logs
            run.history.append(logs)
            for callback in callbacks:
                callback.on_epoch_end(run)
            if run.stop:
                break
    except KeyboardInterrupt:
        run.interrupted = True
    finally:
        progress.close(run.epoch, run.logs)
    for callback in callbacks:
        callback.on_fit_end(run)


def _one_epoch(run: Run, source, number: int, progress: Progress) -> dict[str, float]:
    """Every batch once; the logs are exact over the epoch's samples."""
    trainer = run.trainer
    totals: list = []

    def logs() -> dict[str, float]:
        return trainer.logs(names, totals) | {"learning_rate": float(rates[-1])}

    for names, (*sums, rates) in stepped(source, number, trainer.training_function, run.pace):
        totals = added_up(totals, sums)
        progress.step(run.epoch, logs, len(rates))
    return logs()


class Pace:
    """How many steps one call makes: about as many as take ``CALL_SECONDS``.

    A call ends often enough for Ctrl-C and the progress bar, and seldom enough to cost nothing.
    """

    def __init__(self):
        self.steps = 1

    def measured(self, steps: int, seconds: float, size: int) -> None:
        """The last call made so many steps in that time, and its results have ``size`` bytes."""
        share = min(CALL_SECONDS / max(seconds, 1e-9), CALL_BYTES / max(size, 1))
        self.steps = max(1, int(steps * share))


def stepped(source, number: int, compiled, pace: Pace) -> Iterator[tuple[list, list]]:
    """The steps of an epoch, several in one call where the samples lie in memory.

    Yields the names of results and, for each, those of all steps of a call in one array.
    """
    tables, done = source.tables, 0
    if tables is not None:
        compute, names = compiled(source.first())
        if isinstance(compute, Function):
            rows = source.full_batches(number)
            while done < len(rows):
                part = rows[done:done + pace.steps]
                begin = perf_counter()
                found = compute.steps(tables, part)
                pace.measured(len(part), perf_counter() - begin, sum(a.nbytes for a in found))
                done += len(part)
                yield names, found
    for batch in source.epoch(number, done):
        compute, names = compiled(batch)
        yield names, [np.asarray(a)[None] for a in compute(*feeds_of(batch))]


def added(totals: list[np.ndarray], sums: list) -> list[np.ndarray]:
    """Sums of sums in float64, which counts to 2**53 without an error."""
    return added_up(totals, [np.asarray(s)[None] for s in sums])


def added_up(totals: list[np.ndarray], sums: list[np.ndarray]) -> list[np.ndarray]:
    """The same for sums of several steps, in their order: the grouping of steps leaves no trace."""
    found = []
    for i, parts in enumerate(sums):
        parts = parts.astype(np.float64)
        if totals:
            parts[0] += totals[i]
        found.append(np.add.accumulate(parts, axis=0)[-1] if len(parts) > 1 else parts[0])
    return found


def feeds_of(batch) -> list[np.ndarray]:
    """The arrays of a batch in the order of the step's inputs."""
    return [a for a in (batch.x, batch.y, batch.weights, batch.lengths) if a is not None]
