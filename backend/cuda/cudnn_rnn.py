"""Recurrent layers by cuDNN: one layer in one direction, forward and back, by what is fastest.

All rows have all steps: of lengths the library reads a copy on the host, which a recorded graph
cannot ask for; `emit_rnn` runs rows that end early to the last step. What the forward call keeps
for the gradient, it keeps in a reserve of its own form.
"""
from __future__ import annotations

import ctypes as c
import math
from functools import cached_property
from typing import NamedTuple

from ..errors import BackendError
from .cudnn import TYPES, Cudnn
from .device import Needs
from .expression import itemsize
from .tune import Tuner

ALGORITHMS = {"standard": 0, "persistent": 1, "persistent, compiled": 2, "persistent, small": 3}
COMPILED = 2                                     # needs a build for the size of the batch
DOUBLE_BIAS, UNIDIRECTIONAL, LINEAR_INPUT, PADDED_IO = 2, 0, 0, 1
BATCH_MAJOR, ADD = 2, 0                          # a layout of sequences, a mode of gradients
TENSOR_OPS, FMA = 1, 3                           # whether float32 may be read with ten bits


class Cell(NamedTuple):
    """A kind of layer: its number, and for each of its gates the place that ours have it at."""
    mode: int
    gates: tuple[int, ...]


CELLS = {"lstm": Cell(2, (0, 1, 2, 3)), "gru": Cell(3, (1, 0, 2)), "tanh": Cell(1, (0,)),
         "relu": Cell(0, (0,))}
# What the calls are given; the states called c are those of an LSTM, and zero for others.
FORWARD = ("x", "hx", "cx", "weights", "y", "hy", "cy", "reserve", "workspace")
GRADIENT = ("x", "hx", "cx", "weights", "y", "dy", "dhy", "dcy", "dx", "dhx", "dcx", "dweights",
            "reserve", "workspace")

_P, _I, _S = c.c_void_p, c.c_int32, c.c_size_t
FUNCTIONS = {
    **{f"cudnn{verb}{kind}": (_P,) for verb in ("Create", "Destroy") for kind in (
        "RNNDescriptor", "RNNDataDescriptor", "TensorDescriptor", "DropoutDescriptor")},
    "cudnnSetDropoutDescriptor": (_P, _P, c.c_float, _P, _S, c.c_ulonglong),
    "cudnnSetTensorNdDescriptor": (_P, c.c_int, c.c_int, _P, _P),
    "cudnnSetRNNDescriptor_v8": (_P, *(c.c_int,) * 8, *(_I,) * 4, _P, c.c_uint32),
    "cudnnSetRNNDataDescriptor": (_P, *(c.c_int,) * 5, _P, _P),
    "cudnnBuildRNNDynamic": (_P, _P, c.c_int),
    "cudnnGetRNNTempSpaceSizes": (_P, _P, c.c_int, _P, _P, _P),
    "cudnnGetRNNWeightSpaceSize": (_P, _P, _P),
    "cudnnGetRNNWeightParams": (_P, _P, _I, _S, _P, _I, _P, _P, _P, _P),
    "cudnnRNNForward": (_P, _P, c.c_int, *(_P,) * 11, *(_S, _P) * 3),
    "cudnnRNNBackwardData_v8": (_P, _P, *(_P,) * 14, *(_S, _P) * 3),
    "cudnnRNNBackwardWeights_v8": (_P, _P, c.c_int, *(_P,) * 7, *(_S, _P) * 3)}


class Handle:
    """One of the library's opaque descriptors; destroyed with it."""

    def __init__(self, cudnn: Cudnn, kind: str):
        self._cudnn, self._kind, self.pointer = cudnn, kind, _P()
        cudnn.call(f"cudnnCreate{kind}", c.byref(self.pointer))

    def __del__(self):
        if self.pointer:
            getattr(self._cudnn.library, f"cudnnDestroy{self._kind}")(self.pointer)


class Layer:
    """A layer with one algorithm; ``training`` is 1 if its gradient is wanted.

    Raises
    ------
    BackendError
        If the algorithm cannot be used for it.
    """

    def __init__(self, cudnn: Cudnn, algorithm: int, *, cell: str, batch: int, steps: int,
                 features: int, units: int, dtype: str, training: bool, tf32: bool):
        self._cudnn, self._algorithm, self.training = cudnn, algorithm, int(training)
        self._batch, self._linear = batch, 2 * len(CELLS[cell].gates)
        cudnn.declare(FUNCTIONS)
        number = TYPES[dtype]
        self._dropout = Handle(cudnn, "DropoutDescriptor")
        self._rnn = Handle(cudnn, "RNNDescriptor")
        # Persistent algorithms take two rows of biases alone; the second may be zero.
        cudnn.call("cudnnSetRNNDescriptor_v8", self._rnn.pointer, algorithm, CELLS[cell].mode,
                   DOUBLE_BIAS, UNIDIRECTIONAL, LINEAR_INPUT, number, number,
                   TENSOR_OPS if tf32 else FMA, features, units, units, 1, self._dropout.pointer,
                   PADDED_IO)
        self._x, self._y = (self._sequences(number, steps, n) for n in (features, units))
        self._state = Handle(cudnn, "TensorDescriptor")
        cudnn.call("cudnnSetTensorNdDescriptor", self._state.pointer, number, 3,
                   (c.c_int * 3)(1, batch, units), (c.c_int * 3)(batch * units, units, 1))

    def _sequences(self, number: int, steps: int, width: int) -> Handle:
        made = Handle(self._cudnn, "RNNDataDescriptor")
        self._cudnn.call("cudnnSetRNNDataDescriptor", made.pointer, number, BATCH_MAJOR, steps,
                         self._batch, width, (c.c_int * self._batch)(*[steps] * self._batch), None)
        return made

    @cached_property
    def needs(self) -> Needs:
        """Bytes, and where in the weights each matrix and each row of biases is."""
        cudnn, handle, rnn = self._cudnn, self._cudnn.handle, self._rnn.pointer
        # Nothing is dropped inside a layer, but the descriptor must have been set.
        cudnn.call("cudnnSetDropoutDescriptor", self._dropout.pointer, handle, 0.0, None, 0, 0)
        if self._algorithm == COMPILED:
            cudnn.call("cudnnBuildRNNDynamic", handle, rnn, self._batch)
        workspace, reserve, weights = c.c_size_t(), c.c_size_t(), c.c_size_t()
        cudnn.call("cudnnGetRNNTempSpaceSizes", handle, rnn, self.training, self._x.pointer,
                   c.byref(workspace), c.byref(reserve))
        cudnn.call("cudnnGetRNNWeightSpaceSize", handle, rnn, c.byref(weights))
        base, places = 1 << 20, []               # an address that is only counted from
        matrix, bias = (Handle(cudnn, "TensorDescriptor") for _ in range(2))
        for linear in range(self._linear):
            found = [_P(), _P()]
            cudnn.call("cudnnGetRNNWeightParams", handle, rnn, 0, weights.value, base, linear,
                       matrix.pointer, c.byref(found[0]), bias.pointer, c.byref(found[1]))
            places.append(tuple(p.value - base for p in found))
        return Needs(workspace.value, reserve.value, weights.value, tuple(places))

    def queue(self, call: str, addresses) -> None:
        """Queue a call."""
        given = dict(zip(FORWARD if call == "rnn_forward" else GRADIENT, addresses))
        cudnn, needs, state = self._cudnn, self.needs, self._state.pointer
        start = cudnn.handle, self._rnn.pointer
        spaces = (needs.workspace, given["workspace"], needs.reserve, given["reserve"])
        x, y = (self._x.pointer, given["x"]), (self._y.pointer, given["y"])
        weights = needs.weights, given["weights"]
        cudnn.use_stream()
        if call == "rnn_forward":
            cudnn.call("cudnnRNNForward", *start, self.training, None, *x, *y, state, given["hx"],
                       given["hy"], state, given["cx"], given["cy"], *weights, *spaces)
            return
        cudnn.call("cudnnRNNBackwardData_v8", *start, None, *y, given["dy"], self._x.pointer,
                   given["dx"], state, given["hx"], given["dhy"], given["dhx"], state, given["cx"],
                   given["dcy"], given["dcx"], *weights, *spaces)
        cudnn.call("cudnnRNNBackwardWeights_v8", *start, ADD, None, *x, state, given["hx"], *y,
                   needs.weights, given["dweights"], *spaces)


class Recurrences:
    """Layers that a device was asked about, each with the algorithm that was measured fastest."""
    calls = ("rnn_forward", "rnn_gradient")

    def __init__(self, cudnn: Cudnn, tuner: Tuner):
        self._cudnn, self._tuner = cudnn, tuner
        self._layers: dict[tuple, Layer | None] = {}

    def needs(self, call: str, settings: dict) -> Needs | None:
        """What a layer's calls want; None if the library has no algorithm for it."""
        layer = self._layer(settings)
        return layer and layer.needs

    def prepare(self, call: str, addresses: list[int], settings: dict):
        """A function that queues a call."""
        layer, addresses = self._layer(settings), [*map(int, addresses)]
        return lambda: layer.queue(call, addresses)

    def _layer(self, settings: dict) -> Layer | None:
        key = tuple(sorted(settings.items()))
        if key not in self._layers:
            self._layers[key] = self._fastest(repr(key), settings)
        return self._layers[key]

    def _fastest(self, what: str, settings: dict) -> Layer | None:
        layers, wanted = {}, []
        for name, number in ALGORITHMS.items():
            try:
                layer = Layer(self._cudnn, number, **settings)
                wanted.append(layer.needs)
                layers[name] = layer
            except BackendError:               # not for these sizes, this type or this GPU
                continue
        nbytes = _nbytes(wanted, settings)
        ways = {name: lambda *given, layer=layer: _trial(layer, dict(zip(nbytes, given)))
                for name, layer in layers.items()}
        return layers.get(self._tuner.fastest(what, ways, [*nbytes.values()]))


def _trial(layer: Layer, memory: dict[str, int]):
    """A function that queues all calls of a step."""
    def run() -> None:
        layer.queue("rnn_forward", [memory[name] for name in FORWARD])
        if layer.training:
            layer.queue("rnn_gradient", [memory[name] for name in GRADIENT])
    return run


def _nbytes(needs: list[Needs], settings: dict) -> dict[str, int]:
    """Bytes of what the calls are given, enough for every algorithm."""
    batch, steps, features, units = (settings[n] for n in ("batch", "steps", "features", "units"))
    shapes = {"x": (batch, steps, features), "y": (batch, steps, units)}
    size, found = itemsize(settings["dtype"]), {}
    for name in dict.fromkeys((*FORWARD, *GRADIENT)):
        kind = name.removeprefix("d")
        found[name] = max((getattr(n, kind) for n in needs), default=0) if kind in Needs._fields \
            else size * math.prod(shapes.get(kind, (batch, units)))
    return found
