"""Fitted: the net of an estimator and its trainer; pickled as arrays and names only."""
from __future__ import annotations

from contextlib import ExitStack, contextmanager
from time import perf_counter

import numpy as np

from ..backend import placeholder
from ..backend.errors import NonFiniteError
from ..layers import Layer, network_from_manifest, network_to_manifest
from ..layers.flow import Flow
from ..layers.copies import own_classes
from ..training import Trainer
from ..training.checkpoint import seconds
from ..training.loop import Run

# A trainer is made for these; not every estimator has the last ones.
DECIDING = ("loss", "optimizer", "backend", "strategy", "quantile", "power", "label_smoothing",
            "accumulate", "ema", "swa", "freeze", "horizon", "lookback", "_class_factors",
            "_min_variance")


class Fitted:
    """A fitted net and, while the process lives, its trainer; of an ensemble, the first net.

    Parameters
    ----------
    network : Layer
        Standardisation and the net.
    output : Layer or None
        What brings the net's outputs to the scale of the targets.
    seed : int
        Of the first weights, the order of samples and dropout.
    rate : float
        The learning rate of the first fit.
    dtype : str
        Precision of the weights.
    """

    def __init__(self, network: Layer, output: Layer | None, seed: int, rate: float, dtype: str):
        self.network, self.output = network, output
        self.seed, self.rate, self.dtype = seed, rate, dtype
        self.others: list[Fitted] = []               # the other nets of an ensemble
        self.trainer: Trainer | None = None
        self.frozen: list[Layer] = []                # by the parameter freeze
        self._made_for: tuple = ()
        self._memory: dict[str, np.ndarray] = {}     # optimizer state that came by pickle

    def live(self, estimator) -> Trainer:
        """The trainer; made anew after unpickling, loading, or a change of a parameter."""
        wanted = (*(getattr(estimator, name, None) for name in DECIDING), estimator._rounding,
                  getattr(estimator, "solver", None) == "lbfgs")
        if self.trainer is None or wanted != self._made_for:
            self._made_for = ()                      # until what is made has been checked
            self.trainer = estimator._new_trainer(self.network, self.seed, self.rate, self.dtype)
            if self.network.built is not None:
                estimator._check_member(self)
            self._made_for = wanted
        return self.trainer

    @property
    def outputs(self) -> tuple[int, ...]:
        """The shape of what the net returns for a sample."""
        x = placeholder((2, *self.network.built.shape), self.trainer.x_dtype)
        return self.network.run(Flow(x, dtype=self.dtype), training=False).x.shape[1:]

    @property
    def members(self) -> list[Fitted]:
        """All nets of the ensemble."""
        return [self, *self.others]

    def fit(self, *data, max_time=None, **options) -> Run:
        """Train one net after another; the run of the first. Ctrl-C ends them all.

        Each may take its share of what is left of ``max_time``.
        """
        runs, members = [], self.members
        end = None if max_time is None else perf_counter() + seconds("max_time", max_time)
        for i, member in enumerate(members):
            fresh = not member.trainer.keys.step.numpy()
            left = None if end is None else max(end - perf_counter(), 1e-3) / (len(members) - i)
            runs.append(member.trainer.fit(*data, max_time=left, **options))
            if runs[-1].interrupted:
                # What has never been trained has no say.
                self.others = self.others[:len(runs) - 1] if fresh else self.others
                break
        return runs[0]

    @contextmanager
    def training(self, rate: float):
        """Train all inside, from a learning rate; weights and optimizers go back if that fails."""
        with ExitStack() as stack:
            for member in self.members:
                stack.enter_context(member._training(rate))
            yield

    @contextmanager
    def _training(self, rate: float):
        """The same for one net."""
        variables = self.trainer.variables()
        for name in set(variables) & set(self._memory):
            variables[name].assign(self._memory[name])
        self._memory = {}
        before = {name: v.numpy() for name, v in variables.items()}
        self.trainer.keys.rate.assign(np.float64(rate))
        try:
            yield
            if not all(np.isfinite(v.numpy()).all() for v in self.network.variables().values()):
                raise NonFiniteError("training diverged: weights are no longer finite",
                                     fix="lower learning_rate, or scale the samples and targets")
        except BaseException:
            for name, v in variables.items():
                v.assign(before[name])
            raise

    def __getstate__(self):
        own = own_classes(self.network)
        parts = {name: network_to_manifest(layer) for name, layer in
                 (("network", self.network), ("output", self.output)) if layer is not None}
        memory = self._memory
        if self.trainer is not None and self.trainer.slots and not memory:
            weights = self.network.variables()
            memory = {name: v.numpy() for name, v in self.trainer.variables().items()
                      if name not in weights}
        return {"parts": parts, "custom": own, "seed": self.seed, "rate": self.rate,
                "dtype": self.dtype, "memory": memory, "others": self.others}

    def __setstate__(self, state):
        made = {name: network_from_manifest(manifest, arrays, state["custom"])
                for name, (manifest, arrays) in state["parts"].items()}
        self.__init__(made["network"], made.get("output"), state["seed"], state["rate"],
                      state["dtype"])
        self._memory, self.others = state["memory"], state["others"]


def member_seeds(seed: int, n: int) -> list[int]:
    """The seeds of an ensemble's nets; the first is that of a single net."""
    draws = np.random.Generator(np.random.Philox(key=np.array([seed, 1], np.uint64)))
    return [seed, *draws.integers(2**31 - 1, size=n - 1).tolist()]


def average(outputs: list[np.ndarray]):
    """The mean of the nets' outputs; that of one net as it is."""
    return outputs[0] if len(outputs) == 1 else np.mean(outputs, axis=0)
