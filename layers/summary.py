"""The table of a network's layers, output shapes and parameters, as text."""
from __future__ import annotations

from ..backend import placeholder
from .base import Layer
from .flow import Flow
from .functional import OpLayer
from .model import SYMBOLIC_BATCH, Model, Network, Sequential
from .saving import entries

GAP = 4


def summary(network: Network) -> str:
    """One row per layer; what `Network.summary` returns.

    Parameters
    ----------
    network : Sequential or Model
        Built.

    Returns
    -------
    str

    Raises
    ------
    ParameterError
        If it has no weights yet.
    """
    network._require_built()
    shapes = _SHAPES[type(network)](network) if type(network) in _SHAPES else {}
    rows = [("layer", "output shape", "parameters")]
    for name, layer in network.children.items():
        kind = layer.op if isinstance(layer, OpLayer) else type(layer).__name__
        rows.append((f"{name} ({kind})", str(shapes.get(layer, "")),
                     f"{parameters(layer.variables().values()):,}"))
    first, second, third = (max(map(len, column)) for column in zip(*rows))
    lines = [f"{a:<{first + GAP}}{b:<{second + GAP}}{c:>{third}}" for a, b, c in rows]
    total = parameters(network.variables().values())
    trainable = parameters(network.trainable_variables().values())
    return "\n".join([*lines, f"total {total:,} parameters, {trainable:,} trainable"])


def parameters(variables) -> int:
    """How many numbers they hold."""
    return sum(v.size for v in variables)


def _chain_shapes(network: Sequential) -> dict[Layer, tuple]:
    """What each layer of a chain gives, without the batch axis."""
    (spec,), dtype = entries(network)
    flow = Flow(placeholder((SYMBOLIC_BATCH, *spec.shape), spec.dtype), dtype=dtype)
    shapes = {}
    for layer in network.layers:
        flow = layer.run(flow, training=False)
        shapes[layer] = flow.x.shape[1:]
    return shapes


def _wired_shapes(network: Model) -> dict[Layer, tuple]:
    """What each layer of a model gives, without the batch axis, where it is called last."""
    return {layer: target.shape[1:] for layer, _, target in network.wires}


_SHAPES = {Sequential: _chain_shapes, Model: _wired_shapes}
