"""Input, Sequential and Model: layers put together, in a chain or in any directed acyclic graph."""
from __future__ import annotations

from collections import Counter
from itertools import accumulate
from math import prod
from typing import Sequence

from ..backend import OPS, Spec, Tensor, placeholder
from ..backend.context import current
from ..backend.errors import ParameterError
from ..backend.tensor import placeholder_op
from .base import Layer, snake_case
from .flow import Flow, joined_updates

SYMBOLIC_BATCH = 2   # models are traced at this batch size and built again at any other


def Input(shape, dtype="float32", name: str = "input") -> Tensor:
    """The place where data enter a model.

    Parameters
    ----------
    shape : int or tuple of int
        Shape of one sample, without the batch axis.
    dtype : str
        Element type.
    name : str
        Printed in graphs and errors.

    Returns
    -------
    Tensor
        ``(batch, *shape)``.

    Examples
    --------
    >>> from gradatim import Input, Model, layers
    >>> x = Input((4,))
    >>> model = Model(x, layers.Dense(2)(layers.Dense(8, activation="relu")(x)))
    >>> [v.shape for v in model.variables().values()]
    [(4, 8), (8,), (8, 2), (2,)]
    """
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    return placeholder((SYMBOLIC_BATCH, *shape), dtype, name)


class Network(Layer):
    """A layer made of layers: what Sequential and Model share."""
    root = ""          # its own name is no part of its layers' paths

    def name_children(self, layers: Sequence[Layer]) -> None:
        """Adopt layers under unique names: ``dense``, ``dense_1``, ...

        A network that stands alone adds no prefix, so files hold ``dense_1/kernel``.
        """
        names = [layer.name or snake_case(type(layer).__name__) for layer in layers]
        given = Counter(layer.name for layer in layers if layer.name)
        twice = [n for n, count in given.items() if count > 1]
        if twice:
            raise ParameterError(f'two layers are named "{twice[0]}"', fix="rename one")
        seen: Counter = Counter()
        fresh = [layer for layer in layers if not layer.nested]
        for layer, name in zip(layers, names):
            unique = name
            while unique in self.children or not layer.name and unique in given:
                seen[name] += 1
                unique = f"{name}_{seen[name]}"
            self.children[unique] = layer
            layer.nested = True
            if layer in fresh:
                layer.set_path(unique)

    def name_parts(self) -> None:
        """Give the layers the names they have in this network, where each has its own.

        A layer may stand in several networks; random streams and first values follow the names
        it has in the one that runs.
        """
        for name, child in self.children.items():
            child.set_path(name)

    def run(self, flow, training: bool) -> Flow:
        if not current().layer:             # no other layer is around it
            self.name_parts()
        return super().run(flow, training)

    def initialize(self, seed: int) -> None:
        self.name_parts()
        super().initialize(seed)

    def summary(self) -> str:
        """A table of layers, output shapes and parameters, as text.

        Examples
        --------
        >>> from gradatim import Input, Sequential, layers
        >>> print(Sequential([Input((4,)), layers.Dense(3)]).summary())
        layer            output shape    parameters
        dense (Dense)    (3,)                    15
        total 15 parameters, 15 trainable
        """
        from .summary import summary
        return summary(self)

    def save(self, path) -> None:
        """Write architecture and weights to one file; `gradatim.load` reads it."""
        from .saving import save_network
        save_network(self, path)


class Sequential(Network):
    """A chain of layers.

    Parameters
    ----------
    layers : sequence of Layer
        The first may be an ``Input``: then the weights are made at once.
    name : str, optional
        The model's name.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import layers
    >>> model = gt.Sequential([gt.Input((4,)), layers.Dense(8, activation="relu"), layers.Dense(2)])
    >>> print(model(gt.placeholder((5, 4))).spec)
    float32[5, 2]
    """
    keeps_time = True

    def __init__(self, layers: Sequence = (), name: str | None = None):
        super().__init__(name)
        if isinstance(layers, Layer):
            raise ParameterError(f"a Sequential takes a list, not {type(layers).__name__}",
                                 fix="put brackets around the layers")
        layers = list(layers)
        start = layers.pop(0) if layers and isinstance(layers[0], Tensor) else None
        wrong = [layer for layer in layers if not isinstance(layer, Layer)]
        if wrong:
            raise ParameterError(f"a Sequential holds layers, not {type(wrong[0]).__name__}",
                                 fix="pass instances such as layers.Dense(10)")
        self.layers = layers
        self.name_children(layers)
        if start is not None:
            self.run(Flow(start), training=False)

    @property
    def takes_integers(self) -> bool:
        """As the first layer does."""
        return bool(self.layers) and self.layers[0].takes_integers

    def forward(self, flow: Flow, training: bool) -> Flow:
        for layer in self.layers:
            flow = layer.run(flow, training)
        return flow


class Model(Network):
    """Layers wired in any directed acyclic graph, from inputs to outputs.

    Parameters
    ----------
    inputs : Tensor or list of Tensor
        Made by `Input`.
    outputs : Tensor or list of Tensor
        Computed from them by layers and ops.
    name : str, optional
        The model's name.

    Attributes
    ----------
    input_names, output_names : list of str
        Of the inputs, and of the layers that make the outputs; for data given as dicts.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim import Input, Model, layers
    >>> x = Input((8,))
    >>> h = layers.Dense(8, activation="relu")(x)
    >>> model = Model(x, layers.Dense(2)(layers.Add()([x, h])))
    >>> [layer.path for layer in model.children.values()]
    ['dense', 'add', 'dense_1']

    Called on a tensor, a model of several outputs returns a list.

    >>> both = Model(x, [layers.Dense(1, name="price")(h), layers.Dense(3, name="kind")(h)])
    >>> [y.shape for y in both(gt.placeholder((5, 8)))], both.output_names
    ([(5, 1), (5, 3)], ['price', 'kind'])
    """

    def __init__(self, inputs, outputs, name: str | None = None):
        super().__init__(name)
        self.inputs, self.outputs = inputs, outputs
        self.takes_several = isinstance(inputs, (list, tuple))
        self.entries = tuple(inputs) if self.takes_several else (inputs,)
        self.gives_several = isinstance(outputs, (list, tuple))
        self.exits = tuple(outputs) if self.gives_several else (outputs,)
        wrong = [t for t in self.exits if not isinstance(t, Tensor)]
        if wrong or not self.exits:
            what = type(wrong[0]).__name__ if wrong else "an empty list"
            raise ParameterError(f"a model's output is one tensor or a list of them, not {what}")
        self.wires = wires(self.exits, self.entries)
        layers = list(dict.fromkeys(layer for layer, _, _ in self.wires))
        self.name_children(layers)
        self.input_names = unique([t.node.settings["name"] for t in self.entries])
        made = {target: layer for layer, _, target in self.wires}
        short = {layer: name for name, layer in self.children.items()}
        self.output_names = unique([short[made[t]] if t in made else t.node.settings["name"]
                                    for t in self.exits])
        specs = [Spec(t.shape[1:], t.dtype) for t in self.entries]
        self.built = specs if self.takes_several else specs[0]

    def __repr__(self) -> str:
        inputs = ", ".join(f"{t.dtype}{list(t.shape[1:])}" for t in self.entries)
        layers = ", ".join(map(repr, self.children.values()))
        return f"Model(inputs=[{inputs}], layers=[{layers}])"

    @property
    def takes_integers(self) -> bool:
        """As the first input says."""
        return self.entries[0].dtype.kind in "iu"

    def forward(self, flow, training: bool) -> Flow:
        flows = flow if isinstance(flow, list) else [flow]
        known = dict(zip(self.entries, flows, strict=True))
        for layer, sources, target in self.wires:
            given = [known[t] for t in sources]
            known[target] = layer.run(given if layer.takes_several else given[0], training)
        out, own = known[self.exits[0]], flows[0].own_share      # merging layers keep no share
        if self.gives_several:
            out = out.to(side_by_side([known[t].x for t in self.exits]), lengths=None)
        return out.to(out.x, updates=joined_updates(*known.values()),
                      own_share=own if out.own_share is None else out.own_share)

    def __call__(self, x, training: bool = False):
        y = super().__call__(x, training)
        if not self.gives_several or isinstance(y, Flow):
            return y
        shapes = [t.shape[1:] for t in self.exits]
        return (apart(y[0], shapes), y[1]) if training else apart(y, shapes)


def unique(names: list[str]) -> list[str]:
    """Names of which no two are equal: a number behind those that come again."""
    found: list[str] = []
    for name in names:
        count = sum(other == name or other.startswith(f"{name}_") for other in found)
        found.append(f"{name}_{count}" if name in found else name)
    return found


def side_by_side(tensors: Sequence[Tensor]) -> Tensor:
    """All numbers of each sample in one row, (batch, numbers)."""
    flat = [t if t.ndim == 2 else OPS["reshape"](t, shape=(-1, prod(t.shape[1:])))
            for t in tensors]
    return flat[0] if len(flat) == 1 else OPS["concatenate"](*flat, axis=-1)


def apart(row: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """The tensors whose numbers stand side by side in each row."""
    ends = list(accumulate(map(prod, shapes)))
    parts = [row[:, end - prod(shape):end] for end, shape in zip(ends, shapes)]
    return [part if len(shape) == 1 else OPS["reshape"](part, shape=(-1, *shape))
            for part, shape in zip(parts, shapes)]


def wires(outputs: Sequence[Tensor], entries: Sequence[Tensor]) -> list[tuple]:
    """(layer, input tensors, output tensor) in order; ops between layers become layers."""
    from .functional import OpLayer
    order, seen = [], set(entries)
    stack = [(output, False) for output in reversed(outputs)]
    while stack:
        tensor, expanded = stack.pop()
        if tensor in seen and not expanded:
            continue
        if tensor.origin is not None:
            layer, sources = tensor.origin
        elif tensor.node.op is placeholder_op:
            raise ParameterError("the output depends on an Input that is not among the inputs",
                                 got=f'"{tensor.node.settings["name"]}" {tensor.spec}')
        else:
            layer, sources = OpLayer.around(tensor)
        if expanded:
            order.append((layer, sources, tensor))
        else:
            seen.add(tensor)
            stack.append((tensor, True))
            stack.extend((t, False) for t in reversed(sources))
    return order
