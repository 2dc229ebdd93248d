"""Expressions of ops written as CUDA C++, every intermediate result in its element type."""
from __future__ import annotations

import math

import numpy as np

from ..errors import Error, GraphError
from ..lowering.expression import COMPARISONS, LOGIC, Node as Tree, parse, read_inputs
from ..tensor import Node

TYPES = {"float32": "float", "float64": "double", "int64": "int64", "int32": "int",
         "uint8": "uint8", "uint32": "uint32", "bool": "bool"}
FLOATS = ("float32", "float64")
HALVES = ("bfloat16", "float16")                   # how factors of products may be stored
STORED = {**TYPES, **{name: name for name in HALVES}}
SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "eq": "==", "ne": "!=", "lt": "<",
         "le": "<=", "gt": ">", "ge": ">=", "and": "&&", "or": "||"}
FUNCTIONS = {name: f"round_to_{name}" for name in HALVES}    # others have one name in CUDA and here

Typed = tuple[str, str]                            # C++ text and element type


def number(value: float, dtype: str) -> str:
    """A number as a literal of an element type."""
    if dtype in FLOATS and not math.isfinite(value):
        text = f"{'nan' if math.isnan(value) else 'infinity'}_of({TYPES[dtype]}(0))"
        return f"(-{text})" if value < 0 else text
    if dtype in FLOATS:
        return f"{float(value)!r}f" if dtype == "float32" else repr(float(value))
    return f"{TYPES[dtype]}({int(value)}{'LL' if dtype == 'int64' else ''})"


def itemsize(dtype: str) -> int:
    """Bytes of an element, however it is stored."""
    return 2 if dtype in HALVES else np.dtype(dtype).itemsize


def written(node: Node, inputs: list[Typed]) -> Typed:
    """What an op's ``code`` is of inputs that are C++ expressions; bare numbers take its dtype.

    Raises
    ------
    GraphError
        If it has no meaning in these element types.
    """
    dtype = node.specs[0].dtype.name
    kinds = [t.dtype.name for t in node.inputs if t.dtype != bool]
    for kind in (dtype, *(t.dtype.name for t in node.inputs)):
        if kind not in TYPES:
            raise GraphError(f"kernels have no element type {kind}")
    tree = parse(node.op.code, node.settings)
    text, found = _tree(tree, inputs, kinds[0] if kinds and node.op.name != "cast" else dtype)
    if found == dtype:
        return text, dtype
    if node.op.name not in ("cast", "zeros_like", "ones_like"):
        raise GraphError(f"{node.op.name} gives {found}, not {dtype}")
    return converted(text, found, dtype), dtype


def converted(text: str, source: str, to: str) -> str:
    """A number in another element type, as NumPy converts it."""
    return f"({text} != {number(0.0, source)})" if to == "bool" else f"{TYPES[to]}({text})"


def fits(node: Node) -> bool:
    """Whether an op can be written so."""
    if node.op.code is None or len(node.specs) > 1:
        return False
    try:
        written(node, [(f"x{i}", t.dtype.name) for i, t in enumerate(node.inputs)])
    except Error:
        return False
    return True


def _tree(node: Tree, inputs: list[Typed], dtype: str) -> Typed:
    """A tree's text and element type; bare numbers take ``dtype``."""
    if node.name == "input":
        return inputs[node.sources[0]]
    if node.name == "number":
        return number(node.sources[0], dtype), dtype
    if node.name in LOGIC:
        parts = [_tree(s, inputs, "bool")[0] for s in node.sources]
        return (f"(!{parts[0]})" if node.name == "not" else
                f"({parts[0]} {SIGNS[node.name]} {parts[1]})"), "bool"
    if node.name == "select":
        condition = _tree(node.sources[0], inputs, "bool")[0]
        branches = [_tree(s, inputs, dtype) for s in node.sources[1:]]
        return f"({condition} ? {branches[0][0]} : {branches[1][0]})", _common(branches)
    kinds = {inputs[i][1] for i in read_inputs(node)} - {"bool"} or {"bool"}
    sources = [_tree(s, inputs, kinds.copy().pop() if len(kinds) == 1 else dtype)
               for s in node.sources]
    return _operation(node.name, [text for text, _ in sources], _common(sources))


def _operation(name: str, parts: list[str], dtype: str) -> Typed:
    """One operation on values of one element type."""
    if name in COMPARISONS:
        return f"({parts[0]} {SIGNS[name]} {parts[1]})", "bool"
    if dtype == "bool" or dtype not in FLOATS and name not in ("add", "sub", "mul", "neg", "abs"):
        raise GraphError(f"no kernel computes {name} of {dtype}")
    if name in SIGNS:
        text = f"({parts[0]} {SIGNS[name]} {parts[1]})"
    elif name == "neg":
        text = f"(-{parts[0]})"
    elif name == "abs" and dtype not in FLOATS:
        text = f"({parts[0]} < 0 ? -{parts[0]} : {parts[0]})"
    else:
        text = f"{FUNCTIONS.get(name, name)}({', '.join(parts)})"
    return (text if dtype in FLOATS else f"{TYPES[dtype]}({text})"), dtype


def _common(sources: list[Typed]) -> str:
    kinds = {kind for _, kind in sources}
    if len(kinds) != 1:
        raise GraphError(f"an expression mixes {' and '.join(sorted(kinds))}")
    return kinds.pop()
