"""Fitted: the net of an estimator and its trainer; pickled as arrays and names only."""
from __future__ import annotations

from contextlib import contextmanager

import numpy as np

from ..backend import placeholder
from ..backend.errors import NonFiniteError
from ..layers import Layer, network_from_manifest, network_to_manifest
from ..layers.base import Flow
from ..layers.registry import classes
from ..training import Trainer

DECIDING = ("loss", "optimizer", "alpha", "backend", "strategy",
            "accumulate", "ema", "freeze")     # a trainer is made for these


class Fitted:
    """A fitted net and, while the process lives, its trainer.

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
        self.trainer: Trainer | None = None
        self.frozen: list[Layer] = []                # by the parameter freeze
        self._made_for: tuple = ()
        self._memory: dict[str, np.ndarray] = {}     # optimizer state that came by pickle

    def live(self, estimator) -> Trainer:
        """The trainer; made anew after unpickling, loading, or a change of a parameter."""
        wanted = (*(getattr(estimator, name) for name in DECIDING), estimator._rounding)
        trainer = self.trainer
        if trainer is None or wanted != self._made_for:
            trainer = estimator._new_trainer(self.network, self.seed, self.rate, self.dtype)
            self.trainer, self._made_for = trainer, wanted
        return trainer

    @property
    def outputs(self) -> tuple[int, ...]:
        """The shape of what the net returns for a sample."""
        x = placeholder((2, *self.network.built.shape), self.trainer.x_dtype)
        return self.network.run(Flow(x, dtype=self.dtype), training=False).x.shape[1:]

    @contextmanager
    def training(self, rate: float):
        """Train inside, from a learning rate; weights and optimizer go back if that fails."""
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
        own = {type(layer).__name__: type(layer) for layer in _tree(self.network)
               if type(layer) not in classes().values()}
        parts = {name: network_to_manifest(layer) for name, layer in
                 (("network", self.network), ("output", self.output)) if layer is not None}
        memory = self._memory
        if self.trainer is not None and self.trainer.slots and not memory:
            weights = self.network.variables()
            memory = {name: v.numpy() for name, v in self.trainer.variables().items()
                      if name not in weights}
        return {"parts": parts, "custom": own, "seed": self.seed, "rate": self.rate,
                "dtype": self.dtype, "memory": memory}

    def __setstate__(self, state):
        made = {name: network_from_manifest(manifest, arrays, state["custom"])
                for name, (manifest, arrays) in state["parts"].items()}
        self.__init__(made["network"], made.get("output"), state["seed"], state["rate"],
                      state["dtype"])
        self._memory = state["memory"]


def _tree(layer: Layer):
    """A layer and everything in it."""
    yield layer
    for child in layer.children.values():
        yield from _tree(child)
