"""OpLayer: an op used between layers, as a layer, so that models may mix the two."""
from __future__ import annotations

import numpy as np

from ..backend import Tensor, Variable
from ..backend.errors import ParameterError
from ..backend.op import find_op
from ..backend.tensor import apply, constant_op
from .base import Layer
from .flow import Flow, joined_updates


class OpLayer(Layer):
    """One op with its settings; inputs that are constants are kept in it.

    Lengths pass an elementwise op, since it leaves every step where it was; others end them.

    Parameters
    ----------
    op : str
        The op's name.
    settings : dict, optional
        Its settings.
    literals : dict of int to array, optional
        Inputs by position that are constants.
    output : int
        Which of the op's outputs to take.

    Examples
    --------
    >>> import gradatim as gt
    >>> x = gt.Input((4,))
    >>> model = gt.Model(x, gt.relu(x) * 2.0)
    >>> print(model(gt.placeholder((3, 4))).spec)
    float32[3, 4]
    """
    takes_several = True

    def __init__(self, op: str, settings: dict | None = None, literals: dict | None = None,
                 output: int = 0, name: str | None = None):
        super().__init__(name)
        self.op, self.settings, self.literals, self.output = op, settings, literals, output
        self.path = name or find_op(op).name

    @classmethod
    def around(cls, tensor: Tensor) -> tuple[OpLayer, tuple[Tensor, ...]]:
        """The layer that makes a tensor, and the tensors it is called on."""
        node = tensor.node
        literals, sources = {}, []
        for position, t in enumerate(node.inputs):
            if t.node.op is constant_op:
                literals[position] = t.node.settings["value"]
            elif isinstance(t, Variable):
                raise ParameterError("a model cannot hold a variable outside its layers",
                                     got=t.name, at=node.line,
                                     fix="make a Layer with add_weight")
            else:
                sources.append(t)
        if not sources:
            raise ParameterError("the output of a model does not depend on its inputs",
                                 at=node.line)
        layer = cls(node.op.name, dict(node.settings), literals, tensor.index)
        return layer, tuple(sources)

    def forward(self, flow, training: bool) -> Flow:
        sources = iter(f.x for f in flow)
        dtype = next((f.x.dtype for f in flow if f.x.spec.is_float), None)
        literals = {int(k): _fitting(v, dtype) for k, v in (self.literals or {}).items()}
        inputs = [literals[i] if i in literals else next(sources)
                  for i in range(len(literals) + len(flow))]
        out = apply(find_op(self.op), *inputs, **(self.settings or {}))
        out = out[self.output] if isinstance(out, tuple) else out
        return flow[0].to(out, lengths=self.kept_lengths(flow, out), updates=joined_updates(*flow))

    def kept_lengths(self, flow: list[Flow], out: Tensor) -> Tensor | None:
        """The first lengths of an input whose time axis is the output's."""
        if find_op(self.op).code is None or out.ndim < 2:
            return None
        return next((f.lengths for f in flow if f.lengths is not None and f.x.ndim == out.ndim
                     and f.x.shape[1] == out.shape[1]), None)


def _fitting(value, dtype):
    """A floating-point constant in the precision the model is built in."""
    value = np.asarray(value)
    return value.astype(dtype) if value.dtype.kind == "f" and dtype is not None else value
