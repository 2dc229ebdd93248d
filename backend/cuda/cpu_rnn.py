"""Recurrent layers as cuDNN has them, computed by NumPy for the device that stands in for a GPU."""
from __future__ import annotations

import numpy as np

from ..array_module import numpy_module
from ..op import OPS
from .cpu_calls import rounded_to_tf32, view
from .cudnn_rnn import CELLS, FORWARD, GRADIENT
from .device import Needs

WORKSPACE = 128
OPS_OF = {"lstm": ("lstm", {}), "gru": ("gru", {"reset_after": True}),
          "tanh": ("simple_rnn", {"activation": "tanh"}),
          "relu": ("simple_rnn", {"activation": "relu"})}


def needs(settings: dict) -> Needs:
    """Matrices gate by gate, for the input and then for the state, and behind them the biases."""
    features, units, size = (settings["features"], settings["units"],
                             np.dtype(settings["dtype"]).itemsize)
    gates = len(CELLS[settings["cell"]].gates)
    widths = [features] * gates + [units] * gates
    matrices = [size * units * sum(widths[:i]) for i in range(2 * gates + 1)]
    places = tuple((matrix, matrices[-1] + size * units * i)
                   for i, matrix in enumerate(matrices[:-1]))
    rows = settings["batch"] * settings["steps"] * units * size
    return Needs(WORKSPACE, (gates + 1) * rows if settings["training"] else 0,
                 matrices[-1] + size * units * 2 * gates, places)


class _Layer:
    """Arrays at the addresses of a call."""

    def __init__(self, names, addresses, settings: dict):
        self.settings, self.at = settings, dict(zip(names, map(int, addresses)))
        self.op, self.more = OPS_OF[settings["cell"]]
        batch, steps, features, units = (settings[n] for n in
                                         ("batch", "steps", "features", "units"))
        self.shapes = {"x": (batch, steps, features), "y": (batch, steps, units)}
        self.state, self.needs = (batch, units), needs(settings)
        view(self.at["workspace"], (WORKSPACE,), "uint8")[...] = 0xFF

    def array(self, name: str) -> np.ndarray | None:
        """What lies at an address; None if there is none."""
        shape = self.shapes.get(name.removeprefix("d"), self.state)
        return view(self.at[name], shape, self.settings["dtype"]) if self.at[name] else None

    def parts(self, name: str):
        """Of every gate of ours: its number, and the matrix and bias for the input, or the state.
        """
        dtype, units = self.settings["dtype"], self.settings["units"]
        gates = CELLS[self.settings["cell"]].gates
        for i, (matrix, bias) in enumerate(self.needs.places):
            width = self.settings["features"] if i < len(gates) else units
            yield (i // len(gates), slice(gates[i % len(gates)] * units,
                                          (gates[i % len(gates)] + 1) * units),
                   view(self.at[name] + matrix, (units, width), dtype),
                   view(self.at[name] + bias, (units,), dtype))

    def weights(self) -> list[np.ndarray]:
        """Kernel, recurrent kernel and bias as ops have them."""
        features, units, dtype = (self.settings[n] for n in ("features", "units", "dtype"))
        width = units * len(CELLS[self.settings["cell"]].gates)
        found = [np.empty((features, width), dtype), np.empty((units, width), dtype)]
        biases = np.empty((2, width), dtype)
        for row, columns, matrix, bias in self.parts("weights"):
            found[row][:, columns], biases[row, columns] = matrix.T, bias
        if self.settings["tf32"] and dtype == "float32":
            found = [*map(rounded_to_tf32, found)]
        return [*found, biases if self.op == "gru" else biases.sum(axis=0)]

    def inputs(self) -> list:
        """What the op is given."""
        states = [self.array("hx"), self.array("cx")][:2 if self.op == "lstm" else 1]
        return [self.array("x"), *self.weights(), None, *states]

    def saved(self) -> list[np.ndarray]:
        """What the reserve holds: gates, and cells or inner states."""
        (batch, steps, units), gates = self.shapes["y"], len(CELLS[self.settings["cell"]].gates)
        whole = view(self.at["reserve"], (batch, steps, (gates + 1) * units),
                     self.settings["dtype"])
        return [whole[..., :gates * units], whole[..., gates * units:]] if self.op != "simple_rnn" \
            else []


def rnn_forward(*addresses: int, **settings) -> None:
    """Outputs, last states, and in training what the gradient reads."""
    layer = _Layer(FORWARD, addresses, settings)
    made = OPS[layer.op].forward(numpy_module, *layer.inputs(), **layer.more)
    for name, array in zip(("y", "hy", "cy" if layer.op == "lstm" else ""), made):
        if name:
            layer.array(name)[...] = array
    if settings["training"]:
        saved = layer.saved()
        for place, array in zip(saved, made[len(made) - len(saved):]):
            place[...] = array


def rnn_gradient(*addresses: int, **settings) -> None:
    """Gradients of the input and the states; those of the weights are added to what is there."""
    layer = _Layer(GRADIENT, addresses, settings)
    seeds = [layer.array(n) for n in ("dy", "dhy", "dcy")[:3 if layer.op == "lstm" else 2]]
    dx, dkernel, drecurrent, dbias, *states = OPS[f"{layer.op}_gradient"].forward(
        numpy_module, *seeds, layer.array("y"), *layer.saved(), *layer.inputs(), **layer.more)
    layer.array("dx")[...] = dx
    for name, array in zip(("dhx", "dcx"), states):
        layer.array(name)[...] = array
    for row, columns, matrix, bias in layer.parts("dweights"):
        matrix += (dkernel, drecurrent)[row][:, columns].T
        bias += dbias[row, columns] if layer.op == "gru" else dbias[columns]


CALLS = {"rnn_forward": rnn_forward, "rnn_gradient": rnn_gradient}
