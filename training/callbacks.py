"""Callbacks: what happens beside training at the ends of epochs; parameters only, no state."""
from __future__ import annotations

import csv
import math
import os
from typing import Callable

from ..backend.atomic import refusal
from ..backend.errors import NonFiniteError, ParameterError
from ..layers.arguments import number, one_of, whole
from ..layers.value import Value
from .ranks import once

MODES = ("auto", "min", "max")


class Callback(Value):
    """Base. Hooks get the run; what a callback must remember it keeps in ``run.memory(self)``.

    A callback object holds only its parameters, so that the same object serves clones, threads
    and repeated fits.

    Examples
    --------
    >>> from gradatim.training import Callback
    >>> class Count(Callback):
    ...     '''Counts epochs.'''
    ...     def on_epoch_end(self, run):
    ...         memory = run.memory(self)
    ...         memory.count = getattr(memory, "count", 0) + 1
    """

    def on_fit_begin(self, run) -> None:
        """Before the first step."""

    def on_batch_end(self, run) -> None:
        """After some steps made in one call, of which ``run.results`` has the numbers.

        A callback with an attribute ``every_steps`` is called after each multiple of it.
        """

    def on_epoch_end(self, run) -> None:
        """After each epoch: ``run.logs`` holds its numbers, ``run.stop = True`` ends training."""

    def on_fit_end(self, run) -> None:
        """After the last step, also after Ctrl-C."""


class EarlyStopping(Callback):
    """Stop when the monitored number stops improving; the best weights are restored always.

    Parameters
    ----------
    monitor : str
        A key of the logs; ``"val_loss"`` falls back to ``"loss"`` without validation data.
    patience : int
        After so many epochs in a row without improvement training stops.
    min_delta : float
        A change of more than this is an improvement.
    mode : {"auto", "min", "max"}
        Direction of improvement; auto: as the metric says, and down for losses.

    Raises
    ------
    ParameterError
        If a parameter is out of range; during training, if nothing is called ``monitor``.

    Examples
    --------
    >>> from gradatim.training import EarlyStopping
    >>> EarlyStopping(patience=3).patience
    3
    """

    def __init__(self, monitor: str = "val_loss", patience: int = 5, min_delta: float = 0.0,
                 mode: str = "auto"):
        self.monitor, self.patience = monitor, whole("patience", patience)
        self.min_delta = number("min_delta", min_delta, at_least=0.0)
        self.mode = one_of("mode", mode, MODES)

    def on_fit_begin(self, run):
        memory = run.memory(self)
        memory.best, memory.wait, memory.weights = math.inf, 0, None

    def on_epoch_end(self, run):
        memory = run.memory(self)
        value = _signed(run, self.monitor, self.mode)
        if value < memory.best - self.min_delta:
            memory.best, memory.wait = value, 0
            memory.weights = run.weights()
            run.best_epoch = run.epoch
        else:
            memory.wait += 1
            run.stop = run.stop or memory.wait >= self.patience

    def on_fit_end(self, run):
        weights = run.memory(self).weights
        if weights is not None:
            run.set_weights(weights)


class ReduceLROnPlateau(Callback):
    """Lower the learning rate when the monitored number stops improving.

    Parameters
    ----------
    monitor, min_delta, mode
        As in `EarlyStopping`.
    factor : float
        What the rate is multiplied by.
    patience : int
        How many epochs in a row without improvement come before that.
    min_lr : float
        The rate is not lowered further than this.

    Raises
    ------
    ParameterError
        If a parameter is out of range; during training, if nothing is called ``monitor``.

    Examples
    --------
    >>> from gradatim.training import ReduceLROnPlateau
    >>> ReduceLROnPlateau(factor=0.5).factor
    0.5
    """

    def __init__(self, monitor: str = "val_loss", factor: float = 0.1, patience: int = 10,
                 min_delta: float = 1e-4, min_lr: float = 0.0, mode: str = "auto"):
        if not 0 < number("factor", factor) < 1:
            raise ParameterError(f"factor must be in (0, 1), not {factor!r}")
        self.monitor, self.factor = monitor, float(factor)
        self.patience = whole("patience", patience)
        self.min_delta = number("min_delta", min_delta, at_least=0.0)
        self.min_lr = number("min_lr", min_lr, at_least=0.0)
        self.mode = one_of("mode", mode, MODES)

    def on_fit_begin(self, run):
        memory = run.memory(self)
        memory.best, memory.wait = math.inf, 0

    def on_epoch_end(self, run):
        memory = run.memory(self)
        value = _signed(run, self.monitor, self.mode)
        if value < memory.best - self.min_delta:
            memory.best, memory.wait = value, 0
            return
        memory.wait += 1
        if memory.wait >= self.patience:
            memory.wait = 0
            if run.learning_rate > self.min_lr:
                run.learning_rate = max(run.learning_rate * self.factor, self.min_lr)


class LearningRateScheduler(Callback):
    """Set the learning rate before every epoch by a function of your own.

    Parameters
    ----------
    schedule : callable ``(epoch, rate) -> rate``
        From the number of the epoch, from 0, and the rate as it is. A `Schedule` changes the rate
        from step to step, and needs no function.

    Raises
    ------
    ParameterError
        If it is not callable; during training, if it gives no rate.

    Examples
    --------
    >>> from gradatim.training import LearningRateScheduler
    >>> halve = LearningRateScheduler(lambda epoch, rate: rate * 0.5 if epoch else rate)
    """

    def __init__(self, schedule: Callable):
        if not callable(schedule):
            raise ParameterError(f"schedule must be callable, not {schedule!r}")
        self.schedule = schedule

    def on_fit_begin(self, run):
        self._set(run, run.first_epoch)

    def on_epoch_end(self, run):
        self._set(run, run.first_epoch + run.epoch + 1)

    def _set(self, run, epoch: int) -> None:
        """The rate of an epoch."""
        if epoch < run.first_epoch + run.epochs:
            rate = self.schedule(epoch, run.learning_rate)
            run.learning_rate = number("the learning rate of the schedule", rate, at_least=0.0)


class TerminateOnNaN(Callback):
    """Stop with an error as soon as the loss of an epoch is NaN or infinite.

    Raises
    ------
    NonFiniteError
        During training; the model keeps the weights it has then.

    Examples
    --------
    >>> from gradatim.training import TerminateOnNaN
    >>> TerminateOnNaN()
    TerminateOnNaN()
    """

    def on_epoch_end(self, run):
        if not math.isfinite(run.logs["loss"]):
            raise NonFiniteError(f"the loss is {run.logs['loss']} after epoch {run.epoch + 1}",
                                 fix="lower learning_rate, or set global_clipnorm")


class CSVLogger(Callback):
    """Write one line of numbers per epoch to a CSV file, flushed at once.

    Parameters
    ----------
    path : str or path-like
        The file; it is replaced unless ``append``.
    append : bool
        Whether to go on after what is there.

    Raises
    ------
    FileAccessError
        During training, if the file cannot be written.
    ParameterError
        If ``path`` is no path.

    Examples
    --------
    >>> from gradatim.training import CSVLogger
    >>> CSVLogger("log.csv").append
    False
    """

    def __init__(self, path, append: bool = False):
        self.path, self.append = a_path(path), append

    def on_fit_begin(self, run):
        memory = run.memory(self)
        memory.first, memory.size = True, None

    def on_epoch_end(self, run):
        once(run.team, lambda: self._write(run, run.memory(self)))

    def _write(self, run, memory) -> None:
        """Add the line of an epoch."""
        kept = self.append and os.path.exists(self.path) and os.path.getsize(self.path) > 0
        fresh = memory.first and not kept
        rows = [["epoch", *run.logs]] if fresh else []
        try:
            with open(self.path, "w" if fresh else "a", newline="") as file:
                if memory.size is not None and file.tell() > memory.size:
                    file.truncate(memory.size)      # epochs that a killed fit makes again
                csv.writer(file).writerows([*rows, [run.epoch, *run.logs.values()]])
                file.flush()
                memory.size = os.path.getsize(self.path)
        except OSError as error:
            raise refusal(self.path, error) from error
        memory.first = False


class FunctionCallback(Callback):
    """Call functions of your own with the run.

    Parameters
    ----------
    on_epoch_end, on_fit_begin, on_fit_end, on_batch_end : callable ``(run)``, optional
        What to call.

    Examples
    --------
    >>> from gradatim.training import FunctionCallback
    >>> show = FunctionCallback(on_epoch_end=lambda run: print(run.epoch, run.logs["loss"]))
    """

    def __init__(self, on_epoch_end: Callable | None = None, on_fit_begin: Callable | None = None,
                 on_fit_end: Callable | None = None, on_batch_end: Callable | None = None):
        for name, function in [("on_epoch_end", on_epoch_end), ("on_fit_begin", on_fit_begin),
                               ("on_fit_end", on_fit_end), ("on_batch_end", on_batch_end)]:
            if function is not None and not callable(function):
                raise ParameterError(f"{name} must be callable, not {function!r}")
            setattr(self, name, function or _nothing)

    def config(self) -> dict:
        """The functions that were given."""
        return {name: f for name, f in vars(self).items() if f is not _nothing}


def _nothing(run) -> None:
    """What is called where no function was given."""


def callbacks_of(callbacks) -> list[Callback]:
    """A list of callbacks from None, one, or several; those that want to be last are."""
    found = [] if callbacks is None else list(callbacks) if isinstance(
        callbacks, (list, tuple)) else [callbacks]
    for c in found:
        if isinstance(c, type) or not all(callable(getattr(c, hook, None)) for hook in
                   ("on_fit_begin", "on_epoch_end", "on_fit_end")):
            raise ParameterError(f"{c!r} is not a callback",
                                 fix="pass instances of gradatim.training.Callback")
    return sorted(found, key=lambda c: getattr(c, "last", False))


def a_path(value):
    """Text or a path: a number would be taken for a file that is open."""
    if isinstance(value, (str, os.PathLike)):
        return value
    raise ParameterError(f"a path is text, not {value!r}", fix='pass "log.csv" or "run.h5", say')


def _signed(run, monitor: str, mode: str) -> float:
    """The monitored number, signed so that smaller is better; NaN is worst."""
    key = monitor if monitor in run.logs else monitor.removeprefix("val_")
    if key not in run.logs:
        raise ParameterError(f'there is nothing called "{monitor}" to monitor',
                             fix=f"use one of {', '.join(run.logs)}")
    rising = {m.name for m in run.trainer.metrics if m.greater_is_better}
    up = mode == "max" or mode == "auto" and key.removeprefix("val_") in rising
    value = -run.logs[key] if up else run.logs[key]
    return math.inf if math.isnan(value) else value
