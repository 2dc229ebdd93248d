"""The training loop: batches in, one call per step, callbacks at the ends of epochs."""
from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from .progress import Progress


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
        return trainer.logs(names, totals) | {"learning_rate": float(rate)}

    for batch in source.epoch(number):
        function, names = trainer.training_function(batch)
        *sums, rate = function(*feeds_of(batch))
        totals = added(totals, sums)
        progress.step(run.epoch, logs)
    return logs()


def added(totals: list[np.ndarray], sums: list) -> list[np.ndarray]:
    """Sums of sums in float64, which counts to 2**53 without an error."""
    if not totals:
        return [np.asarray(s, np.float64) for s in sums]
    return [np.add(total, s, dtype=np.float64) for total, s in zip(totals, sums)]


def feeds_of(batch) -> list[np.ndarray]:
    """The arrays of a batch in the order of the step's inputs."""
    return [a for a in (batch.x, batch.y, batch.weights, batch.lengths) if a is not None]
