"""Graph: what is to be computed, as one immutable directed acyclic graph of nodes."""
from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Callable, Iterable, Mapping

from .context import surroundings
from .errors import GraphError
from .tensor import (LEAVES, Node, Tensor, Variable, constant_op, copy_op, placeholder_op,
                     variable_op)


Rule = Callable[[Node, tuple[Tensor, ...]], tuple[Tensor, ...] | None]
COLLECTIVES = ("all_reduce", "all_gather", "broadcast_from")    # ops in which replicas meet


class Graph:
    """Outputs and updates, and every node they need.

    Parameters
    ----------
    outputs : sequence of Tensor
        What is returned; values before the updates.
    updates : mapping of Variable to Tensor, optional
        New values, all assigned at once after everything is computed.
    inputs : sequence of Tensor, optional
        What is fed, in this order: placeholders, or any other tensors, which cut the graph there.
        By default the placeholders found. In ``nodes`` and in the text they come first.
    buffers : mapping of Tensor to int, optional
        Tensors with one number share memory; set by the memory pass.

    Examples
    --------
    >>> import gradatim as gt
    >>> x = gt.placeholder((2, 3), name="x")
    >>> print(gt.graph(gt.relu(x * 2.0)))
    %0 = placeholder name='x' shape=(2, 3) dtype='float32' batch=True : float32[2, 3]
    %1 = constant value=array('float32', (), [2.0]) : float32[]
    %2 = multiply %0 %1 : float32[2, 3]
    %3 = relu %2 : float32[2, 3]
    return %3
    """

    def __init__(self, outputs: Iterable[Tensor], updates: Mapping[Variable, Tensor] = {},
                 inputs: Iterable[Tensor] | None = None, buffers: Mapping | None = None):
        self.outputs = _tensors(outputs, "an output")
        self.updates = dict(updates)
        given = None if inputs is None else _tensors(inputs, "an input")
        cut = frozenset(given or ())
        reached = topological((*self.outputs, *self.updates.values()), cut)
        found = tuple(n.outputs[0] for n in reached if n.op is placeholder_op)
        self.inputs: tuple[Tensor, ...] = found if given is None else given
        if len(cut) < len(given or ()):
            raise GraphError("a tensor is fed twice", fix="name each input once")
        if given is not None and found:
            names = ", ".join(f'"{t.node.settings["name"]}" {t.spec}' for t in found)
            raise GraphError("a placeholder that is needed is not fed", got=names,
                             at=found[0].node.line, fix="feed it, or feed a tensor after it")
        # A fed tensor's node stands first; the other outputs of it may be computed all the same.
        computed = [n for n in reached if n.op is not placeholder_op]
        again = set(computed)
        fed = (n for n in dict.fromkeys(t.node for t in self.inputs) if n not in again)
        self.nodes: tuple[Node, ...] = (*fed, *computed)
        self.steps: tuple[Node, ...] = tuple(n for n in computed if n.op not in LEAVES)
        used = [n.outputs[0] for n in computed if n.op is variable_op]
        self.variables: tuple[Variable, ...] = tuple(dict.fromkeys((*used, *self.updates)))
        self.buffers = dict(buffers or {})  # Tensor -> number: filled by the memory pass

    @cached_property
    def home(self) -> str:
        """Where what is placed nowhere is: on the first device of the kind that is named first."""
        named = next((n.device for n in self.nodes if n.device), "cpu:0")
        return named.partition(":")[0] + ":0"

    def place(self, node: Node) -> str:
        """The device of a node."""
        return node.device or self.home

    @cached_property
    def devices(self) -> tuple[str, ...]:
        """The devices that hold or compute something, sorted; constants are everywhere."""
        nodes = {*self.nodes, *(v.node for v in self.updates)}
        found = {self.place(n) for n in nodes if n.op is not constant_op}
        return tuple(sorted(found, key=lambda name: (name.partition(":")[0],
                                                     int(name.partition(":")[2]))))

    def moves(self, node: Node) -> bool:
        """Whether a node is a copy from another device."""
        return (node.op is copy_op and node.inputs[0].node.op is not constant_op
                and self.place(node.inputs[0].node) != self.place(node))

    def rewrite(self, rule: Rule) -> Graph:
        """A new graph in which ``rule(node, new_inputs)`` has replaced nodes.

        The rule sees each computed node in order, with its inputs already rewritten; it returns
        the tensors that stand for the node's outputs, or None to keep the node. Nodes it makes are
        placed where the old one is.
        """
        new: dict[Tensor, Tensor] = {t: t for t in self.inputs}
        computed = set(self.steps)
        for node in self.nodes:
            if node not in computed and node.op not in LEAVES:
                continue
            inputs = tuple(new[t] for t in node.inputs)
            with surroundings(device=node.device):
                outputs = rule(node, inputs)
            if outputs is None:
                same = all(a is b for a, b in zip(inputs, node.inputs))
                outputs = node.outputs if same else node.with_inputs(inputs).outputs
            for old, replacement in zip(node.outputs, outputs):
                new.setdefault(old, replacement)
        return Graph([new[t] for t in self.outputs],
                     {v: new[t] for v, t in self.updates.items()}, self.inputs)

    def detached(self) -> Graph:
        """The same graph of other nodes, without the weights' values and the layers behind it.

        Programs are shared and outlive the model they were first compiled for.
        """
        inputs = [Node(placeholder_op, (), placeholder_settings(t), (t.spec,), t.device).outputs[0]
                  for t in self.inputs]
        variables = [Variable(v.spec, None, v.name, v.trainable) for v in self.variables]
        for v, other in zip(self.variables, variables):
            other.node.device = v.device
        return self.of(inputs, variables)

    def of(self, inputs: Iterable[Tensor], variables: Iterable[Variable]) -> Graph:
        """The same graph of other inputs and variables, each in the place of one of its own."""
        new: dict[Tensor, Tensor] = dict(zip(self.inputs, inputs, strict=True))
        others = dict(zip(self.variables, variables, strict=True))
        for v, other in others.items():
            new.setdefault(v, other)
        computed = set(self.steps)
        for node in self.nodes:
            if node.op is not constant_op and node not in computed:
                continue
            made = Node(node.op, tuple(new[t] for t in node.inputs), node.settings, node.specs,
                        node.device, node.where, node.layer)
            for old, other in zip(node.outputs, made.outputs):
                new.setdefault(old, other)
        return Graph([new[t] for t in self.outputs],
                     {others[v]: new[t] for v, t in self.updates.items()},
                     [new[t] for t in self.inputs], {new[t]: n for t, n in self.buffers.items()})

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the graph's text: graphs with equal fingerprints share programs."""
        return hashlib.sha256(str(self).encode()).hexdigest()

    def __str__(self) -> str:
        from .graph_text import write
        return write(self)

    def dot(self) -> str:
        """The graph in Graphviz's DOT language."""
        from .graph_text import dot
        return dot(self)

    @staticmethod
    def parse(text: str) -> Graph:
        """The graph that was written as ``text``."""
        from .graph_text import read
        return read(text)

    def optimized(self) -> Graph:
        """The graph after the passes that `gt.function` applies, which names them in ``reports``.

        Examples
        --------
        >>> import gradatim as gt
        >>> x = gt.placeholder((2, 3), name="x")
        >>> print(gt.graph(-(-x) * 1.0).optimized())
        %0 = placeholder name='x' shape=(2, 3) dtype='float32' batch=True : float32[2, 3]
        return %0
        """
        from .passes import optimize
        return optimize(self)[0]

    def plan(self):
        """What running the graph will take: steps, FLOPs and bytes, before anything runs."""
        from .plan import plan
        return plan(self)


def _tensors(values: Iterable, role: str) -> tuple[Tensor, ...]:
    """The values, which must be tensors."""
    values = tuple(values)
    for value in values:
        if not isinstance(value, Tensor):
            raise GraphError(f"{role} is not a tensor", got=repr(value)[:80],
                             fix="pass tensors of the graph; gt.constant makes one of numbers")
    return values


def placeholder_settings(fed: Tensor) -> dict:
    """The settings of a placeholder that stands for a fed tensor, whatever made that."""
    if fed.node.op is placeholder_op:
        return fed.node.settings
    return {"name": "", "shape": fed.shape, "dtype": fed.dtype.name, "batch": False}


def topological(outputs: Iterable[Tensor],
                cut: frozenset[Tensor] = frozenset()) -> tuple[Node, ...]:
    """Nodes in an order in which inputs come first; nothing behind ``cut`` is visited."""
    order: list[Node] = []
    seen: set[Node] = set()
    for output in outputs:
        stack = [(output, False)]
        while stack:
            tensor, expanded = stack.pop()
            node = tensor.node
            if expanded:
                order.append(node)
            elif tensor not in cut and node not in seen:
                seen.add(node)
                stack.append((tensor, True))
                stack.extend((t, False) for t in reversed(node.inputs))
    return tuple(order)
