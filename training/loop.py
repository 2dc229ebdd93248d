"""The training loop: batches in, one call per step, callbacks at the ends of epochs."""
from __future__ import annotations

import math
from time import perf_counter
from types import SimpleNamespace

import numpy as np

from .averaging import average_epoch, averaged, averages
from .forensics import explain
from .progress import Progress
from .ranks import agree, agree_on_rate, cancellable, require_the_same
from .stepping import CALL_BYTES, Pace, added_up, stepped

MARK_SECONDS = 0.25     # between states that are remembered


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
    converged : bool
        Whether training ended because the optimizer found nothing left to be gained.
    timed_out : bool
        Whether training ended because ``max_time`` was over.
    resumed : bool
        Whether a checkpoint said where to go on.
    batch : int
        Steps made in the epoch under way.
    team : Communicator or None
        How the processes meet that train together; None if there is only this one.
    results : tuple of list
        Names of what the last call of steps counted, ``(metric, part)``, and for each of them
        an array with one entry per step.
    """

    def __init__(self, trainer, epochs: int):
        self.trainer, self.epochs = trainer, epochs
        self.epoch, self.logs, self.history = 0, {}, []
        self.stop = self.interrupted = self.converged = False
        self.best_epoch: int | None = None
        self.timed_out = self.resumed = self.halt = False
        self.batch = self.next_epoch = self.first_epoch = 0
        self.names, self.totals, self.rate, self.results = [], [], 0.0, ([], [])
        self.source = self.validation = None
        self.callbacks: list = []
        self.deadline = math.inf
        self.check_finite, self.mark, self.marked = False, None, 0.0
        self.pace, self.cancelled = Pace(), False
        self.team = None
        self._memories: dict[int, tuple] = {}

    def memory(self, callback) -> SimpleNamespace:
        """What a callback remembers during this fit."""
        # The callback is kept beside its memory, so that its id stays its own.
        return self._memories.setdefault(id(callback), (callback, SimpleNamespace()))[1]

    def weights(self) -> dict[str, np.ndarray]:
        """Copies of the model's weights by path; averages where there are any."""
        weights = {path: v.numpy() for path, v in self.trainer.model.variables().items()}
        return weights | averages(self.trainer)

    def set_weights(self, weights: dict[str, np.ndarray]) -> None:
        """Put copied weights back."""
        variables = self.trainer.model.variables()
        for path, value in weights.items():
            variables[path].assign(value)

    def set_mark(self) -> None:
        """Remember the state now, to make the steps from here again if they come to no good."""
        now = perf_counter()
        if self.callbacks or self.mark is None or now - self.marked > MARK_SECONDS:
            self.mark = self.epoch, self.batch, {
                v: v.snapshot() for v in self.trainer.variables().values()}
            self.marked = now

    @property
    def rank(self) -> int:
        """This process's number among those that train together: the first, 0, writes files."""
        return 0 if self.team is None else self.team.rank

    @property
    def steps_done(self) -> int:
        """Steps made in this fit."""
        return self.epoch * self.source.steps_per_epoch + self.batch

    def room(self, batch: int) -> int:
        """How many steps may follow in one call before a callback wants to see the run."""
        done = self.epoch * self.source.steps_per_epoch + batch
        wanted = (getattr(c, "every_steps", None) for c in self.callbacks)
        return min((every - done % every for every in wanted if every), default=CALL_BYTES)

    def end_now(self) -> None:
        """End training after the step under way; its epoch is closed with what it has seen."""
        self.stop = self.halt = True

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
    if trainer.swa is not None:
        trainer.slots["swa"][""].assign(np.int64(0))
    run.source, run.validation, run.team = source, validation, trainer.strategy.team()
    run.callbacks, run.first_epoch = callbacks, first_epoch
    if run.team is not None:
        from .checkpoint import facts_of
        facts = facts_of(run)              # samples first: they decide the model, too
        require_the_same(run.team, {"samples": facts["samples"], **facts}, trainer.variables())
    for callback in callbacks:
        callback.on_fit_begin(run)
    verbose = verbose if run.rank == 0 else 0
    progress = Progress(run.epochs, steps, verbose, run.next_epoch * steps + run.batch)
    try:
        with cancellable(run):
            _epochs(run, source, validation, first_epoch, progress)
    except KeyboardInterrupt:
        run.interrupted = True
    finally:
        progress.close(run.epoch, run.logs)
    run.set_weights(averages(trainer))
    for callback in callbacks:
        callback.on_fit_end(run)


def _epochs(run: Run, source, validation, first_epoch: int, progress: Progress) -> None:
    """Every epoch that is left, each with its validation and its callbacks."""
    trainer = run.trainer
    for run.epoch in range(run.next_epoch, 0 if run.stop else run.epochs):
        if run.check_finite:
            run.set_mark()
        logs = _one_epoch(run, source, first_epoch + run.epoch, progress)
        average_epoch(run)
        if validation is not None:
            with averaged(trainer):
                logs |= {f"val_{k}": v for k, v in trainer.count(validation).items()}
        run.logs = logs
        run.history.append(logs)
        if trainer.optimizer.converged(trainer.slots):
            run.converged = run.stop = True
        for callback in run.callbacks:
            callback.on_epoch_end(run)
        agree(run)
        agree_on_rate(run)
        run.batch, run.totals = 0, []
        if run.stop:
            break


def _one_epoch(run: Run, source, number: int, progress: Progress) -> dict[str, float]:
    """Every batch that is left, once; the logs are exact over the epoch's samples."""
    trainer = run.trainer
    hooks = [c.on_batch_end for c in run.callbacks if hasattr(c, "on_batch_end")]

    def logs() -> dict[str, float]:
        return trainer.logs(run.names, run.totals) | {"learning_rate": run.rate}

    for names, found in stepped(source, number, trainer.training_function, run.pace, run.batch,
                                run.room):
        *sums, rates = found
        run.names, run.totals, run.rate = names, added_up(run.totals, sums), float(rates[-1])
        run.batch, run.results = run.batch + len(rates), (names, found)
        if run.check_finite and not np.isfinite(sums[0]).all():
            explain(run)
        if perf_counter() > run.deadline:
            run.timed_out = True
            run.end_now()
        if hooks:
            agree(run)
        for hook in hooks:
            hook(run)
        agree(run)
        progress.step(run.epoch, logs, len(rates))
        if run.halt:
            break
    return logs()
