"""What the ONNX half of an op's record is written with: nodes, constants and named tensors."""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

OPSET = 17      # the operator set that names and attributes are of

# Element types by their number in ONNX's TensorProto.
TYPES = {"float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7,
         "bool": 9, "float16": 10, "float64": 11, "uint32": 12, "uint64": 13}


class Edge(NamedTuple):
    """A tensor that goes into an op: its name in the ONNX graph, its shape and element type."""
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype


class OnnxNode(NamedTuple):
    """One ONNX node; attributes are numbers, words, sequences of them, or arrays."""
    op_type: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict


class Emitter:
    """Collects ONNX nodes and constants, and makes up names; needs no onnx package.

    Attributes
    ----------
    nodes : list of OnnxNode
        In the order of computation.
    constants : dict of str to numpy.ndarray
        By name.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.backend import OPS
    >>> from gradatim.backend.ops.emission import Edge, Emitter, emit_op
    >>> emit = Emitter()
    >>> emit_op(emit, OPS["sum"], [Edge("x", (2, 3), np.dtype("float32"))], {"axis": 1})
    ('t1',)
    >>> for node in emit.nodes:
    ...     print(node.op_type, node.inputs, node.attributes)
    ReduceSum ('x', 't0') {'keepdims': 0, 'noop_with_empty_axes': 1}
    >>> emit.constants
    {'t0': array([1])}
    """

    def __init__(self):
        self.nodes: list[OnnxNode] = []
        self.constants: dict[str, np.ndarray] = {}
        self._count = 0

    def _name(self) -> str:
        """A name that was not there before."""
        self._count += 1
        return f"t{self._count - 1}"

    def __call__(self, op_type: str, *inputs, outputs: int = 1, **attributes):
        """Add a node.

        Parameters
        ----------
        op_type : str
            ONNX's name of the operator.
        *inputs : Edge, str or None
            None is an input that is left out.
        outputs : int
            How many outputs the node has.
        **attributes
            ONNX's attributes.

        Returns
        -------
        str or tuple of str
            The output's name, or the outputs'.
        """
        names = ["" if t is None else t if isinstance(t, str) else t.name for t in inputs]
        while names and not names[-1]:
            names.pop()
        results = tuple(self._name() for _ in range(outputs))
        self.nodes.append(OnnxNode(op_type, tuple(names), results, attributes))
        return results if outputs > 1 else results[0]

    def constant(self, value, dtype="int64") -> str:
        """The name of a constant."""
        name = self._name()
        self.constants[name] = np.asarray(value, dtype)
        return name


def emit_op(emit: Emitter, op, inputs: list[Edge], settings: dict) -> tuple | None:
    """Emit the nodes of one op; None where ONNX has no operator for it.

    Parameters
    ----------
    emit : Emitter
        Takes the nodes.
    op : Op
        What to emit.
    inputs : list of Edge
        Its data.
    settings : dict
        Its settings; defaults are filled in.

    Returns
    -------
    tuple or None
        A name per output; None for one that only gradients use and ONNX does not give.
    """
    settings = op.settle(settings)
    if op.onnx is None:
        return None
    if isinstance(op.onnx, str):
        return (emit(op.onnx, *inputs, **settings),)
    results = op.onnx(emit, *inputs, **settings)
    return results if results is None or isinstance(results, tuple) else (results,)


# ---- shared by several families ----------------------------------------------------------------

def as_type(emit: Emitter, x, dtype) -> str:
    """A conversion."""
    return emit("Cast", x, to=TYPES[np.dtype(dtype).name])


def along(emit: Emitter, op_type: str, x, *axes: int) -> str:
    """Unsqueeze or Squeeze at axes, which are an input since operator set 13."""
    return emit(op_type, x, emit.constant(axes))


def channels_first(emit: Emitter, x: Edge) -> str:
    """(batch, ..., channels) to (batch, channels, ...), which ONNX's convolutions take."""
    rank = len(x.shape) - 2
    return emit("Transpose", x, perm=(0, rank + 1, *range(1, rank + 1))) if rank else x


def channels_last(emit: Emitter, x: str, ndim: int) -> str:
    """And back."""
    return emit("Transpose", x, perm=(0, *range(2, ndim), 1)) if ndim > 2 else x


def recurrent(emit: Emitter, op_type: str, x: Edge, kernel, recurrent_kernel: Edge, bias: str,
              lengths, states, *, reverse: bool, order=None, outputs: int = 2, **attributes):
    """LSTM, GRU or RNN: outputs (batch, time, units) and the last states (batch, units).

    ``bias`` is a vector of both biases; ``order`` says where ONNX's gates stand among ours.
    """
    units = recurrent_kernel.shape[0]

    def gates_first(matrix):
        parts = emit("Split", matrix, outputs=len(order), axis=1) if order else ()
        joined = emit("Concat", *(parts[i] for i in order), axis=1) if order else matrix
        return along(emit, "Unsqueeze", emit("Transpose", joined, perm=(1, 0)), 0)

    lengths = None if lengths is None else as_type(emit, emit(
        "Min", as_type(emit, lengths, "int64"), emit.constant(x.shape[1])), "int32")
    first = [None if s is None else along(emit, "Unsqueeze", s, 0) for s in states]
    y, *last = emit(op_type, emit("Transpose", x, perm=(1, 0, 2)), gates_first(kernel),
                    gates_first(recurrent_kernel), along(emit, "Unsqueeze", bias, 0), lengths,
                    *first, outputs=outputs, hidden_size=units,
                    direction="reverse" if reverse else "forward", **attributes)
    y = emit("Transpose", along(emit, "Squeeze", y, 1), perm=(1, 0, 2))
    last = [along(emit, "Squeeze", s, 0) for s in last]
    if lengths is not None:        # ONNX leaves open what the state is after no step at all
        moved = emit("Greater", lengths, emit.constant(0, "int32"))
        moved = along(emit, "Unsqueeze", moved, 1)
        last = [s if given is None else emit("Where", moved, s, given)
                for s, given in zip(last, states)]
    return y, *last


def identity(emit: Emitter, x, **settings) -> str:
    """The same tensor: what collectives are on one device."""
    return emit("Identity", x)
