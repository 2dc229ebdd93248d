"""Patterns: rewrites written as equations between ops, found in a graph and applied."""
from __future__ import annotations

import ast
import math
from typing import Callable, Iterator, NamedTuple

import numpy as np

from ..errors import Error
from ..graph import Graph
from ..op import OPS, Op
from ..spec import axes_of
from ..tensor import Node, Tensor, constant_op

SIGNS = {ast.Add: "add", ast.Sub: "subtract", ast.Mult: "multiply", ast.Div: "divide"}
COMMUTATIVE = ("add", "multiply")
RESULT = Node(Op("result", forward=lambda xp: None, spec=None), (), {}, ())  # who gets a result
ATTEMPTS = 8          # rewrites of one place: what follows from an equation may fit another


class Equation(NamedTuple):
    """What to find, what to put in its place, and when; both sides are read as Python.

    A name stands for any tensor, a number for a constant full of it, a call for an op, and a
    keyword for a setting, whose value is compared or, when it is a name, remembered. The same
    name stands for the same tensor everywhere, and ``(d := ...)`` names a part. ``when`` gets a
    dict of what the names stand for.
    """
    find: str
    put: str
    when: Callable[[dict], bool] | None = None


class Equations:
    """Equations compiled to be tried on a graph's nodes.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.backend.passes.patterns import Equation, Equations
    >>> x = gt.placeholder((2,), name="x")
    >>> rules = Equations([Equation("exp(log(x))", "x")])
    >>> print(rules.apply(gt.graph(gt.exp(gt.log(x)))))
    %0 = placeholder name='x' shape=(2,) dtype='float32' batch=True : float32[2]
    return %0
    """

    def __init__(self, rows: list[Equation]):
        self.by_op: dict[str, list[tuple]] = {}
        for row in rows:
            find, put = _parsed(row.find), _parsed(row.put)
            self.by_op.setdefault(_op_name(find), []).append((find, put, row.when))

    def apply(self, graph: Graph) -> Graph:
        """The graph with the right sides in place of the left."""
        return graph.rewrite(self.rule(frozenset(graph.inputs)))

    def rule(self, cut: frozenset[Tensor]) -> Callable:
        """A rule for `Graph.rewrite` that never looks behind the tensors in ``cut``."""
        def rule(node: Node, inputs: tuple[Tensor, ...]):
            if node.op.name not in self.by_op:
                return None
            same = all(a is b for a, b in zip(inputs, node.inputs))
            now = node if same else node.with_inputs(inputs)
            for _ in range(ATTEMPTS):
                better = self._better(now, cut)
                if better is None:
                    break
                now = better.node
                if better in cut or len(now.outputs) > 1 or now.op.name not in self.by_op:
                    return (better,)
            return now.outputs
        return rule

    def _better(self, node: Node, cut) -> Tensor | None:
        for find, put, when in self.by_op.get(node.op.name, ()):
            for names in _node_matches(find, node, {}, cut):
                if when is not None and not when(names):
                    continue
                try:
                    result = _built(put, names, node)
                except Error:                    # the shapes do not suit
                    continue
                if result.spec == node.specs[0] and result.device == node.device:
                    return result
        return None


# ---- reading -----------------------------------------------------------------------------------

def _parsed(text: str) -> ast.expr:
    """An expression's tree, in which a number's sign is part of it."""
    class Signed(ast.NodeTransformer):
        def visit_UnaryOp(self, node):
            inner = self.visit(node.operand)
            if isinstance(inner, ast.Constant):
                return ast.Constant(-inner.value)
            return ast.UnaryOp(node.op, inner)
    return Signed().visit(ast.parse(text, mode="eval").body)


def _op_name(tree: ast.expr) -> str:
    if isinstance(tree, ast.Call):
        return tree.func.id
    return "negative" if isinstance(tree, ast.UnaryOp) else SIGNS[type(tree.op)]


def _arguments(tree: ast.expr) -> list[ast.expr]:
    if isinstance(tree, ast.Call):
        return tree.args
    return [tree.operand] if isinstance(tree, ast.UnaryOp) else [tree.left, tree.right]


# ---- finding -----------------------------------------------------------------------------------

def _matches(tree, tensor: Tensor, names: dict, cut) -> Iterator[dict]:
    """Every way in which the names can stand for tensors so that the tree is the tensor."""
    if isinstance(tree, ast.NamedExpr):
        for found in _matches(tree.value, tensor, names, cut):
            yield {**found, tree.target.id: tensor}
    elif isinstance(tree, ast.Name):
        if names.get(tree.id, tensor) is tensor:
            yield {**names, tree.id: tensor}
    elif isinstance(tree, ast.Constant):
        if uniform(tensor, tree.value, cut):
            yield names
    elif tensor not in cut and len(tensor.node.outputs) == 1:
        yield from _node_matches(tree, tensor.node, names, cut)


def _node_matches(tree, node: Node, names: dict, cut) -> Iterator[dict]:
    name = _op_name(tree)
    if node.op is not OPS.get(name):
        return
    names = _settings_match(tree, node, names)
    if names is None:
        return
    arguments, inputs = _arguments(tree), node.inputs
    if len(arguments) != len(inputs):
        return
    yield from _all_match(arguments, inputs, names, cut)
    if name in COMMUTATIVE:
        yield from _all_match(arguments, inputs[::-1], names, cut)


def _all_match(trees, tensors, names: dict, cut) -> Iterator[dict]:
    if not trees:
        yield names
        return
    for found in _matches(trees[0], tensors[0], names, cut):
        yield from _all_match(trees[1:], tensors[1:], found, cut)


def _settings_match(tree, node: Node, names: dict) -> dict | None:
    for keyword in getattr(tree, "keywords", ()):
        value = node.settings[keyword.arg]
        if isinstance(keyword.value, ast.Name):
            wanted = names.get(keyword.value.id, value)
            names = {**names, keyword.value.id: wanted}
        else:
            wanted = ast.literal_eval(keyword.value)
        if keyword.arg == "axis":
            rank = max(node.inputs[0].ndim, len(node.specs[0].shape))
            wanted, value = _axes(wanted, rank), _axes(value, rank)
        if wanted is None or wanted != value:
            return None
    return names


def _axes(axis, rank: int) -> tuple[int, ...] | None:
    """Axes counted from the front; None if there are no such axes."""
    try:
        return axes_of(axis, rank)
    except Error:
        return None


def uniform(tensor: Tensor, number: float, cut=frozenset()) -> bool:
    """Whether a tensor is a constant full of one number; the floats 0.0 and -0.0 differ."""
    while tensor.node.op is OPS["broadcast_to"] and tensor not in cut:
        tensor = tensor.node.inputs[0]
    if tensor.node.op is not constant_op or not tensor.size or tensor in cut:
        return False
    value = tensor.node.settings["value"]
    return value.dtype != bool and bool((value == number).all() and (
        number or not tensor.spec.is_float or
        (np.signbit(value) == (math.copysign(1.0, number) < 0)).all()))


def readers(graph: Graph) -> Callable[[Tensor], list[Node]]:
    """The nodes that read a tensor; for a result of the graph ``RESULT`` is among them."""
    read: dict[Tensor, list] = {}
    for node in graph.steps:
        for t in dict.fromkeys(node.inputs):
            read.setdefault(t, []).append(node)
    for t in (*graph.outputs, *graph.updates.values()):
        read.setdefault(t, []).append(RESULT)
    return lambda t: read.get(t, [])


# ---- making ------------------------------------------------------------------------------------

def made(name: str, *inputs: Tensor, like: Node, **settings) -> Tensor:
    """An op applied where another node stood: at its line, on its device."""
    op = OPS[name]
    settings = op.settle(settings)
    spec = op.spec(*(t.spec for t in inputs), **settings)
    return Node(op, inputs, settings, (spec,), like.device, like.where, like.layer).outputs[0]


def number(value: float, like: Node) -> Tensor:
    """A constant of the type that another node has."""
    value = np.full((), value, like.specs[0].dtype)
    value.setflags(write=False)
    return made("constant", like=like, value=value)


def _built(tree, names: dict, like: Node) -> Tensor:
    """The tensor of a right side."""
    if isinstance(tree, ast.Name):
        return names[tree.id]
    if isinstance(tree, ast.Constant):
        return number(tree.value, like)
    settings = {k.arg: names[k.value.id] if isinstance(k.value, ast.Name) else
                ast.literal_eval(k.value) for k in getattr(tree, "keywords", ())}
    inputs = [_built(t, names, like) for t in _arguments(tree)]
    return made(_op_name(tree), *inputs, like=like, **settings)
