"""Trainer: fits, evaluates and applies any model, with no estimator around it."""
from __future__ import annotations

from typing import Callable

import numpy as np

from ..backend import Tensor, get_backend, placeholder
from ..backend.distribute import strategy as find_strategy
from ..backend.errors import ParameterError
from ..layers.base import Flow, Layer
from ..layers.losses import loss as find_loss
from .callbacks import callbacks_of
from .loop import Run, feeds_of, fit_loop
from .metrics import metric as find_metric
from .optimizers import optimizer as find_optimizer
from .schedules import schedule as find_schedule
from .sources import Batch, Source, as_samples, chunks
from .split import split
from .steps import Keys, Shapes, evaluation_step, prediction_step, training_step

LARGEST_CHUNK = 512     # rows per prediction program


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
    seed : int
        Decides first weights, order of samples and dropout: equal seeds give equal bits.
    backend : str or Backend
        Where it runs.
    strategy : str or Strategy
        Over which devices.

    Attributes
    ----------
    history : list of dict
        The logs of every epoch of the last fit.

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
                 seed: int = 0, backend="auto", strategy="auto"):
        if not isinstance(model, Layer):
            raise ParameterError(f"a model is a Layer, not {type(model).__name__}",
                                 fix="pass a Sequential or a Model")
        self.model, self.loss = model, find_loss(loss)
        self.optimizer, self.schedule = find_optimizer(optimizer), find_schedule(schedule)
        self.metrics = [find_metric(m) for m in metrics]
        self.alpha, self.dtype, self.seed = alpha, dtype, int(seed)
        self.backend, self.strategy = get_backend(backend), find_strategy(strategy)
        rate = self.optimizer.learning_rate if learning_rate is None else learning_rate
        self.keys = Keys(self.seed, rate)
        self.slots: dict = {}
        self.history: list[dict] = []
        self._functions: dict = {}
        self._ready = False

    def fit(self, X, y, sample_weight=None, *, epochs: int = 10, batch_size: int | None = 32,
            X_val=None, y_val=None, sample_weight_val=None, validation_fraction: float = 0.0,
            stratify: bool = False, shuffle: bool = True, callbacks=None, verbose: int = 0,
            first_epoch: int = 0) -> Run:
        """Train.

        Parameters
        ----------
        X : array (n, ...) or list of arrays (time, features)
            Samples.
        y : array (n, ...)
            Targets, one row per sample.
        sample_weight : array (n,), optional
            Weights of the samples in the loss and in batch statistics.
        epochs : int
            Passes over the samples.
        batch_size : int or None
            Samples per step; None takes all in every step.
        X_val, y_val, sample_weight_val
            Validation data of your own.
        validation_fraction : float
            Otherwise, the share of samples held out at random, stratified by label on request.
        stratify : bool
            Whether the held-out part has the labels' proportions.
        shuffle : bool
            Whether the order of samples changes from epoch to epoch.
        callbacks : Callback or sequence of Callback
            What happens at the ends of epochs.
        verbose : int
            1 shows a bar.
        first_epoch : int
            Number of the first epoch, which decides the order of samples.

        Returns
        -------
        Run
            With ``history``, ``best_epoch`` and ``interrupted``.
        """
        X, y = as_samples(X, self.dtype), np.asarray(y)
        callbacks = callbacks_of(callbacks)
        if X_val is None and validation_fraction:
            (X, y, sample_weight), (X_val, y_val, sample_weight_val) = split(
                X, y, sample_weight, validation_fraction, self.seed, y if stratify else None)
        self.prepare(X)
        y = self.targets(y)
        source = Source(X, y, sample_weight, batch_size=batch_size, dtype=self.dtype,
                        seed=self.seed, shuffle=shuffle, multiple=self.strategy.replicas)
        validation = None if X_val is None else self._in_order(X_val, y_val, sample_weight_val)
        run = fit_loop(self, source, validation, epochs, callbacks, verbose, first_epoch)
        self.history = run.history
        return run

    def evaluate(self, X, y, sample_weight=None) -> dict[str, float]:
        """Loss and metrics over all samples, counted exactly.

        Returns
        -------
        dict of str to float
        """
        self.prepare(as_samples(X, self.dtype))
        return self.count(self._in_order(X, y, sample_weight))

    def predict(self, X, head: Callable[[Tensor], Tensor] = lambda x: x) -> np.ndarray:
        """The model's output for every sample.

        Parameters
        ----------
        X : array (n, ...) or list of arrays (time, features)
            Samples.
        head : callable ``Tensor -> Tensor``, optional
            Graph put on top of the model's output, such as a softmax.

        Returns
        -------
        array (n, ...)
        """
        X = as_samples(X, self.dtype)
        self.prepare(X)
        result = None
        for x, lengths, rows in chunks(X, LARGEST_CHUNK, self.dtype):
            key = ("predict", x.shape, lengths is not None, head)
            if key not in self._functions:
                feeds, out = prediction_step(self, x.shape, self._x_dtype(x),
                                             lengths is not None, head)
                from ..backend import function
                self._functions[key] = function(feeds, out, backend=self.backend)
            out = self._functions[key](*(a for a in (x, lengths) if a is not None))
            if result is None:
                result = np.empty((len(X), *out.shape[1:]), out.dtype)
            result[rows] = out[:rows.stop - rows.start]
        return result

    # ---- for the loop --------------------------------------------------------------------------

    def prepare(self, X) -> None:
        """Build the model for the samples' shape and draw its first weights, once."""
        if self._ready:
            return
        x = placeholder((2, *np.shape(X[0])), self._x_dtype(X), "x")
        self.model.run(Flow(x, dtype=self.dtype), training=False)
        for v in self.model.variables().values():
            if not v.drawn:
                v.initialize(self.seed)
        self.slots = self.optimizer.state_for(self.model.trainable())
        self._ready = True

    def training_function(self, batch: Batch):
        """The compiled step for a batch's shape, and the names of what it returns."""
        return self._compiled("train", training_step, batch)

    def count(self, source: Source) -> dict[str, float]:
        """Loss and metrics over the batches of a source."""
        totals, names = None, []
        for batch in source.epoch(0):
            function, names = self._compiled("evaluate", evaluation_step, batch)
            sums = function(*feeds_of(batch))
            totals = sums if totals is None else [a + b for a, b in zip(totals, sums)]
        return self.logs(names, totals)

    def logs(self, names: list[str], totals: list) -> dict[str, float]:
        """Numbers to show from added-up sums."""
        sums: dict[str, dict] = {}
        for name, total in zip(names, totals):
            kind, _, part = name.partition("/")
            sums.setdefault(kind, {})[part] = np.asarray(total, np.float64)
        weight = float(sums["loss"]["weight"])
        found = {"loss": float(sums["loss"]["sum"]) / weight if weight else float("nan")}
        return found | {m.name: m.result(sums[m.name]) for m in self.metrics}

    def targets(self, y) -> np.ndarray:
        """Targets in the element type the loss takes: class numbers stay whole."""
        y = np.asarray(y)
        if getattr(self.loss, "integer_labels", False):
            return y.astype(np.int64)
        return y.astype(self.dtype)

    def variables(self) -> dict:
        """Everything training changes, by name: weights, optimizer slots, step and rate."""
        slots = {v.name: v for group in self.slots.values() for v in group.values()}
        return {**self.model.variables(), **slots, **self.keys.variables()}

    def _compiled(self, kind: str, build: Callable, batch: Batch):
        shapes = Shapes(self.strategy.local(batch.x.shape), self._x_dtype(batch.x),
                        self.strategy.local(batch.y.shape), str(batch.y.dtype),
                        batch.lengths is not None)
        key = (kind, shapes, repr(self.schedule))
        if key not in self._functions:
            feeds, outputs, updates = build(self, shapes)
            function = self.strategy.function(feeds, list(outputs.values()), updates,
                                              self.backend)
            self._functions[key] = function, list(outputs)
        return self._functions[key]

    def _x_dtype(self, x) -> str:
        """Whole numbers stay whole only for models that take them (Embedding first)."""
        return "int64" if self.model.takes_integers else self.dtype

    def _in_order(self, X, y, sample_weight) -> Source:
        X, y = as_samples(X, self.dtype), self.targets(y)
        return Source(X, y, sample_weight, batch_size=LARGEST_CHUNK, dtype=self.dtype,
                      seed=self.seed, shuffle=False, multiple=self.strategy.replicas)
