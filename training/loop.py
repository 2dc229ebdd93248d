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
        self._memories: dict[int, SimpleNamespace] = {}

    def memory(self, callback) -> SimpleNamespace:
        """What a callback remembers during this fit."""
        return self._memories.setdefault(id(callback), SimpleNamespace())

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
        self.trainer.keys.rate.assign(np.float32(value))


def fit_loop(trainer, source, validation, epochs: int, callbacks, verbose: int,
             first_epoch: int = 0) -> Run:
    """Train for some epochs; Ctrl-C ends training and keeps what has been learned."""
    run = Run(trainer, epochs)
    steps = source.steps_per_epoch
    keys = trainer.keys
    keys.start.assign(keys.step.numpy())
    keys.total.assign(np.float32(max(epochs * steps, 1)))
    for callback in callbacks:
        callback.on_fit_begin(run)
    progress = Progress(epochs * steps, verbose, f"epoch 1/{epochs}")
    try:
        for run.epoch in range(epochs):
            logs = _one_epoch(trainer, source, first_epoch + run.epoch, progress)
            if validation is not None:
                logs |= {f"val_{k}": v for k, v in trainer.count(validation).items()}
            run.logs = logs
            run.history.append(logs)
            progress.epoch(run.epoch, epochs, logs)
            for callback in callbacks:
                callback.on_epoch_end(run)
            if run.stop:
                break
    except KeyboardInterrupt:
        run.interrupted = True
    finally:
        progress.close()
    for callback in callbacks:
        callback.on_fit_end(run)
    return run


def _one_epoch(trainer, source, epoch: int, progress: Progress) -> dict[str, float]:
    """Every batch once; the logs are exact over the epoch's samples."""
    totals: list | None = None
    names: list[str] = []
    rate = 0.0
    for batch in source.epoch(epoch):
        function, names = trainer.training_function(batch)
        *sums, rate = function(*feeds_of(batch))
        totals = sums if totals is None else [a + b for a, b in zip(totals, sums)]
        if progress.bar is not None:
            progress.step(lambda: trainer.logs(names, totals) | {"learning_rate": float(rate)})
    return trainer.logs(names, totals) | {"learning_rate": float(rate)}


def feeds_of(batch) -> list[np.ndarray]:
    """The arrays of a batch in the order of the step's inputs."""
    return [a for a in (batch.x, batch.y, batch.weights, batch.lengths) if a is not None]
