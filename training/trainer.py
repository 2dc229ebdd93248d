"""Trainer: fits, evaluates and applies any model, with no estimator around it."""
from __future__ import annotations

from functools import partial
from time import perf_counter
from typing import Callable

import numpy as np

from ..backend import Tensor, get_backend, placeholder
from ..backend.distribute import ShardedRows, strategy as find_strategy
from ..backend.errors import DataError
from ..backend.memory import check_memory
from ..backend.plan import PlanReport
from ..layers.arguments import fraction, number, one_of
from ..layers.base import Layer
from ..layers.flow import Flow
from .averaging import ema_slots, swa_slots
from .callbacks import callbacks_of
from .checkpoint import seconds
from .loop import Run, fit_loop
from .loss_scale import LossScale, Unscaled
from .optimizers import optimizer as find_optimizer
from .predicting import predicted
from .programs import evaluation_program, training_program
from .rounds import evaluation_source, planned, training_source
from .schedules import schedule as find_schedule
from .settings import check_fit, check_settings
from .several import Ends
from .sharded_source import ShardedSource
from .sources import Batch, Source, as_samples
from .split import split
from .stepping import Pace, added_up, stepped
from .steps import Keys
from .targets import targets_for


class Trainer:
    """Trains a model made of layers.

    Parameters
    ----------
    model : Layer
        Usually a `Sequential` or `Model`.
    loss : str, Loss or callable ``(y_true, y_pred) -> (batch,)``
        What is made small.
    optimizer : str or Optimizer
        How.
    learning_rate : float, optional
        Takes the place of the optimizer's own.
    schedule : str or Schedule
        How the rate changes over a fit.
    metrics : sequence of str or Metric
        What is counted besides the loss.
    alpha : float
        L2 penalty: ``alpha / 2 * sum(w ** 2)`` over kernels.
    dtype : {"float32", "float64"}
        Element type of weights and activations.
    precision : {None, "tf32", "bfloat16", "float16"}
        With ``"bfloat16"``, matrix products and convolutions of float32 read their factors rounded
        to bfloat16; weights, sums, losses, statistics and optimizer stay in float32. With
        ``"float16"``, to float16, and slopes are computed of a loss made large by a scale: where
        they overflow, the step is left out and the scale halved. ``"tf32"`` is of the backend
        cuda.
    seed : int
        From 0 to 2**63 - 1. Decides first weights, order of samples and dropout: equal seeds give
        equal bits.
    backend : str or Backend
        Where it runs.
    strategy : str or Strategy
        Over which devices.
    accumulate : int
        Each step sees so many times the batch size, in so many parts whose gradients are added up:
        a larger batch in the memory of a smaller. Only batch statistics are those of a part.
    ema : float, optional
        Decay of an exponential moving average of the trained weights, in [0, 1), at most
        ``t / (t + 10)`` in step ``t`` (Polyak and Juditsky 1992). Validation and the end see it.
    swa : float, optional
        Stochastic weight averaging (Izmailov et al. 2018): after that share of the epochs, such as
        0.75, weights at the ends of epochs are averaged. Validation and the end see the averages,
        with new statistics of `BatchNormalization`. It suits a rate that stays high.
    loss_weights : list of float or dict of str to float, optional
        Of a `Model` with several outputs: how much the loss of each counts; 1 by default.

    Attributes
    ----------
    history : list of dict
        The logs of every epoch of the last fit, also of one that failed: ``loss``, the metrics by
        name, both again with ``val_`` before them for validation data, and ``learning_rate``.

    Raises
    ------
    ParameterError
        If a parameter is out of range or two metrics have the same name.
    UnknownNameError
        If there is no loss, optimizer, schedule, metric, backend or strategy of that name.

    Notes
    -----
    The loss of a step is ``sum(w * loss) / sum(w)`` over its samples, with their weights ``w``,
    plus the penalties.

    A `Model` of several inputs takes ``X`` as a list of arrays or a dict by the names of its
    inputs; one of several outputs takes ``y``, ``loss`` and ``metrics`` as a list or a dict by
    ``model.output_names``, logs ``<name>_loss`` and ``<name>_<metric>``, and predicts a list.

    Examples
    --------
    >>> import numpy as np, gradatim as gt
    >>> from gradatim import layers
    >>> X = np.linspace(-1, 1, 64)[:, None]
    >>> trainer = gt.Trainer(gt.Sequential([layers.Dense(1)]), loss="mse", learning_rate=0.1)
    >>> _ = trainer.fit(X, 3 * X + 1, epochs=40, batch_size=16)
    >>> bool(trainer.evaluate(X, 3 * X + 1)["loss"] < 1e-2)
    True
    """

    def __init__(self, model: Layer, loss="mse", optimizer="adam", *, learning_rate=None,
                 schedule="constant", metrics=(), alpha: float = 0.0, dtype: str = "float32",
                 precision: str | None = None, seed: int = 0, backend="auto", strategy="auto",
                 accumulate: int = 1, ema: float | None = None, swa: float | None = None,
                 loss_weights=None):
        self.model, self.ends = model, Ends(model, loss, loss_weights, metrics)
        self.loss, self.metrics = self.ends.loss, self.ends.metrics
        self.optimizer, self.schedule = find_optimizer(optimizer), schedule
        self.seed, self.accumulate = seed, accumulate
        self.ema = None if ema is None else fraction("ema", ema)
        self.swa = None if swa is None else fraction("swa", swa)
        self.alpha = number("alpha", alpha, at_least=0.0)
        self.dtype = one_of("dtype", dtype, ("float32", "float64"))
        self.backend, self.strategy = get_backend(backend), find_strategy(strategy)
        self.backend.check_precision(precision)
        self.precision = precision
        self.loss_scale = LossScale() if precision == "float16" else Unscaled()
        check_settings(self)
        self.seed, self.accumulate = int(seed), int(accumulate)
        self.rounds = self.accumulate         # into how many parts a batch is cut; see rounds.py
        rate = self.optimizer.learning_rate if learning_rate is None else learning_rate
        self.keys = Keys(self.seed, number("learning_rate", rate, at_least=0.0))
        self.slots: dict = {}
        self.history: list[dict] = []
        self.row_numbers = None        # what errors call the samples, if not 0, 1, 2, ...
        self._functions: dict = {}
        self._sample: tuple[int, ...] | None = None    # the shape the model was built for
        self._outputs = 0                              # how many numbers the last axis has

    def fit(self, X, y, sample_weight=None, *, epochs: int = 10, batch_size: int | None = 32,
            X_val=None, y_val=None, sample_weight_val=None, validation_fraction: float = 0.0,
            stratify: bool = False, shuffle: bool = True, callbacks=None, verbose: int = 0,
            first_epoch: int = 0, balanced: bool = False, max_time=None,
            check_finite: bool = False) -> Run:
        """Train.

        Parameters
        ----------
        X : array (n, ...) or list of array
            Samples. In a list, sequences of unequal length: each ``(time, features)``, or
            ``(time,)`` with token numbers if the model takes whole numbers.
        y : array (n, ...)
            Targets, one row per sample.
        sample_weight : array (n,), optional
            Weights from 0 on of the samples in the loss and in batch statistics.
        epochs : int
            Passes over the samples.
        batch_size : int or None
            Samples per step; None takes all in every step.
        X_val, y_val, sample_weight_val
            Validation data of your own.
        validation_fraction : float
            Otherwise, the share of samples held out at random.
        stratify : bool
            Whether each label has that share of the held-out part, to within one sample.
        shuffle : bool
            Whether the order of samples changes from epoch to epoch. Sequences of unequal length
            are grouped by length in any case.
        callbacks : Callback or sequence of Callback
            What happens at the ends of epochs.
        verbose : int
            1 shows a progress bar on the error stream.
        first_epoch : int
            Number of the first epoch, which decides the order of samples.
        balanced : bool
            Whether an epoch draws every class number in ``y`` equally often. Needs mini-batches.
        max_time : float or str, optional
            Training ends after so many seconds, or ``"10m"``, ``"1.5h"``; the epoch under way is
            closed with the samples it has seen.
        check_finite : bool
            Whether a loss that is not finite is looked into at once: if weights are not finite
            either, `NonFiniteError` says which op made the first NaN or infinity, in which layer,
            from which samples and at which line.

        Returns
        -------
        Run
            With ``history``, ``best_epoch`` and ``interrupted``. Ctrl-C ends training after the
            step that is under way (of short steps, after about 0.05 s), and what has been learned
            stays.

        Raises
        ------
        DataError, ShapeError
            If the data cannot be used or do not fit the model.
        NonFiniteError
            With ``check_finite``, if training diverged.
        """
        check_fit(self, epochs, batch_size, X_val, y_val)
        callbacks = callbacks_of(callbacks)
        join = self.strategy.joined
        X, y, sample_weight = join(self._samples(X), self.ends.targets(y, self.dtype),
                                   sample_weight)
        if X_val is None and validation_fraction:
            (X, y, sample_weight), (X_val, y_val, sample_weight_val) = split(
                X, y, sample_weight, validation_fraction, self.seed, y if stratify else None)
        if X_val is not None:
            X_val, y_val, sample_weight_val = join(self._samples(X_val), y_val, sample_weight_val)
        self.prepare(X)
        run = Run(self, int(epochs))
        run.check_finite = bool(check_finite)
        if max_time is not None:
            run.deadline = perf_counter() + seconds("max_time", max_time)
        self.history = run.history
        try:
            source = self._batches(X, y, sample_weight, batch_size, shuffle, balanced)
        except KeyboardInterrupt:                   # while the step is compiled
            run.interrupted = True
            return run
        validation = None if X_val is None else self._in_order(X_val, y_val, sample_weight_val,
                                                               self.strategy)
        fit_loop(run, source, validation, callbacks, verbose, first_epoch)
        return run

    def plan(self, X, y, sample_weight=None, *, batch_size: int | None = 32) -> PlanReport:
        """What a step of `fit` takes, before any is made.

        Parameters
        ----------
        X, y, sample_weight, batch_size
            As in `fit`.

        Returns
        -------
        PlanReport
            Its ``notes`` say into how many parts a batch is cut if it does not fit in memory: their
            gradients are added up, so that the step is the same.

        Raises
        ------
        MemoryLimitError
            If a step fits in no way.
        DataError, ShapeError
            If the data cannot be used or do not fit the model.

        Examples
        --------
        >>> import numpy as np, gradatim as gt
        >>> trainer = gt.Trainer(gt.Sequential([gt.layers.Dense(1)]))
        >>> trainer.plan(np.ones((64, 5)), np.ones((64, 1)), batch_size=8).input_bytes
        224
        """
        X, y = self._samples(X), self.ends.targets(y, self.dtype)
        self.prepare(X)
        return planned(self, self._batches(X, y, sample_weight, batch_size))

    def evaluate(self, X, y, sample_weight=None) -> dict[str, float]:
        """Loss and metrics over all samples, counted exactly, by each process for itself.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        dict of str to float
            ``loss``, and the metrics by name.

        Raises
        ------
        DataError, ShapeError
            If the data cannot be used or do not fit the model.
        """
        X = self._samples(X)
        self.prepare(X)
        alone = self.strategy.alone()
        return self.count(self._in_order(X, y, sample_weight, alone), alone)

    def predict(self, X, head: Callable[[Tensor], Tensor] = lambda x: x) -> np.ndarray:
        """The model's output for every sample.

        Parameters
        ----------
        X : array (n, ...) or list of array
            As in `fit`; there may be none.
        head : callable ``Tensor -> Tensor``, optional
            Graph put on top of the model's output, such as a softmax.

        Returns
        -------
        array (n, ...), or list of array
            A list for sequences of unequal length if the model keeps their steps.

        Raises
        ------
        DataError, ShapeError
            If the samples cannot be used or do not fit the model.
        """
        X = self._samples(X)
        self.prepare(X)
        return self.ends.predictions(predicted(self, X, head))

    # ---- for the loop --------------------------------------------------------------------------

    @property
    def schedule(self):
        """How the learning rate changes over a fit; it may be changed between fits."""
        return self._schedule

    @schedule.setter
    def schedule(self, value) -> None:
        self._schedule = find_schedule(value)
        self._schedule_text = repr(self._schedule)     # part of the key of every step: made once

    @property
    def x_dtype(self) -> str:
        """Whole numbers stay whole only for models that take them (Embedding first)."""
        whole = self.model.takes_integers and self.ends.inputs is None
        return "int64" if whole else self.dtype

    def prepare(self, X) -> None:
        """Build the model for the samples' shape and draw its first weights, once."""
        if self._sample is not None:
            return
        if not isinstance(X, list) and X.ndim < 2 and not len(X):
            raise DataError("the model is not built yet, and no sample says for which shape",
                            fix="fit it first, or start with Input(shape)")
        sample = X[0].shape if isinstance(X, list) else X.shape[1:]
        x = placeholder((2, *sample), self.x_dtype, "x")
        out = self.ends.run(Flow(x, dtype=self.dtype), training=False).x
        new = [v for v in self.model.variables().values() if not v.drawn]
        check_memory(sum(v.spec.nbytes for v in new), new, "the weights")
        for v in new:
            v.initialize(self.seed)
        trained = self.model.trainable_variables()
        self.slots = self.optimizer.state_for(trained)
        if self.ema is not None:
            self.slots["ema"] = ema_slots(trained)
        if self.swa is not None:
            self.slots["swa"] = swa_slots(self.model)
        self._sample, self._outputs = sample, out.shape[-1]

    def training_function(self, batch: Batch):
        """The compiled step for a batch's shape, and the names of what it returns."""
        return training_program(self, batch)

    def count(self, source: Source, strategy=None) -> dict[str, float]:
        """Loss and metrics over the batches of a source."""
        totals: list = []
        compiled = partial(evaluation_program, self, strategy=strategy or self.strategy)
        for names, sums in stepped(source, 0, compiled, Pace()):
            totals = added_up(totals, sums)
        return self.logs(names, totals)

    def logs(self, names: list[tuple], totals: list) -> dict[str, float]:
        """Numbers to show from added-up sums, named (metric, part)."""
        sums: dict[str, dict] = {}
        for (name, part), total in zip(names, totals):
            sums.setdefault(name, {})[part] = total
        weight = float(sums["loss"]["weight"])
        found = {"loss": float(sums["loss"]["sum"]) / weight if weight else float("nan")}
        return found | {m.name: m.result(sums[m.name]) for m in self.metrics}

    def variables(self) -> dict:
        """Everything training changes, by name: weights, optimizer slots, step and rate."""
        slots = {v.name: v for group in self.slots.values() for v in group.values()}
        return {**self.model.variables(), **slots, **self.keys.variables(),
                **self.loss_scale.variables()}

    def _samples(self, X) -> np.ndarray | list:
        X = self.ends.samples(X, self.dtype)
        return as_samples(X, self.x_dtype, None if self._sample is None else len(self._sample))

    def _source(self, X, y, sample_weight, batch_size, shuffle: bool, strategy,
                rounds: int = 1, balanced: bool = False) -> Source:
        y = targets_for(self.loss, self.ends.targets(y, self.dtype), self.dtype, self._outputs)
        kind = ShardedSource if isinstance(X, ShardedRows) else Source
        return kind(X, y, sample_weight, batch_size=batch_size, dtype=self.dtype,
                    x_dtype=self.x_dtype, seed=self.seed, shuffle=shuffle, parts=strategy.parts,
                    own=strategy.own, rounds=rounds, balanced=balanced)

    def _batches(self, X, y, sample_weight, batch_size, shuffle=True, balanced=False) -> Source:
        """The samples of a fit."""
        rows = None if batch_size is None else batch_size * self.accumulate
        return training_source(self, lambda rounds: self._source(
            X, y, sample_weight, rows, shuffle, self.strategy, rounds, balanced))

    def _in_order(self, X, y, sample_weight, strategy) -> Source:
        """Samples to be evaluated, in chunks that fit in memory."""
        X = self._samples(X)
        return evaluation_source(self, len(X), lambda rows: self._source(
            X, y, sample_weight, rows, False, strategy), strategy)
