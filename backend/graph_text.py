"""The graph as text: written for people and golden files, read back, and drawn as DOT."""
from __future__ import annotations

import ast
import base64
import html
import itertools
import math
import re

import numpy as np

from .context import surroundings
from .errors import GraphError
from .graph import Graph, placeholder_settings
from .op import find_op
from .spec import Spec
from .tensor import LEAVES, Node, Tensor, Variable, constant_op, placeholder_op, variable_op

INLINE = 16  # constants up to this many elements are written as numbers, larger ones in base64


def write(graph: Graph) -> str:
    """One line per node: ``%3 = matmul %0 %1 : float32[128, 10]``.

    What is fed comes first, as placeholders: to a program it does not matter whether a tensor fed
    in the middle could have been computed.
    """
    read: dict[Tensor, str] = {}       # the names under which tensors are read
    made: dict[Tensor, str] = {}       # and under which nodes make them, if another is fed
    lines: list[str] = []
    count = itertools.count()

    def line(specs, *words: str) -> list[str]:
        left = [f"%{next(count)}" for _ in specs]
        lines.append(f"{', '.join(left)} = {' '.join(words)} : {', '.join(map(str, specs))}")
        return left

    for t in graph.inputs:
        words = _words(placeholder_settings(t), t.device)
        read[t], = line([t.spec], "placeholder", *words)
    computed = set(graph.steps)
    written = [n for n in graph.nodes
               if n in computed or n.op in LEAVES and n.outputs[0] not in read]
    for node in dict.fromkeys((*written, *(v.node for v in graph.updates))):
        left = line(node.specs, node.op.name, *(read[t] for t in node.inputs),
                    *_words(node.settings, node.device))
        made.update(zip(node.outputs, left))
        for t, name in zip(node.outputs, left):
            read.setdefault(t, name)
    lines += [f"update {made[v]} = {read[t]}" for v, t in graph.updates.items()]
    return "\n".join([*lines, "return " + " ".join(read[t] for t in graph.outputs)])


def _words(settings, device: str) -> list[str]:
    words = [f"{name}={_setting(value)}" for name, value in settings.items()]
    return [*words, f"@{device}"] if device else words


def _setting(value) -> str:
    if not isinstance(value, np.ndarray):
        return repr(value)
    short = value.size <= INLINE and np.isfinite(value).all()
    data = (repr(value.ravel().tolist()) if short else
            repr(base64.b64encode(np.ascontiguousarray(value)).decode()))
    return f"array({value.dtype.name!r}, {value.shape}, {data})"


_LINE = re.compile(r"(?P<left>%\d+(?:, %\d+)*) = (?P<op>\w+)(?P<rest>.*) : (?P<specs>[^:]*)")
_WORD = re.compile(r" (?:(?P<input>%\d+)|@(?P<device>\w+:\d+)|(?P<key>\w+)=)")


def read(text: str) -> Graph:
    """The graph that `write` wrote; variables start from their initial zeros.

    Raises
    ------
    GraphError
        Naming the line that cannot be read.
    """
    tensors: dict[str, Tensor] = {}
    outputs, updates = [], {}
    for number, line in enumerate(text.strip().splitlines(), 1):
        try:
            word, _, rest = line.partition(" ")
            if word == "return":
                outputs = [tensors[n] for n in rest.split()]
            elif word == "update":
                variable, value = rest.split(" = ")
                updates[tensors[variable]] = tensors[value]
            else:
                match = _LINE.fullmatch(line)
                if match is None:
                    raise ValueError("a line is %number = op inputs settings : specs")
                made = _node(match["op"], match["rest"], match["specs"], tensors)
                tensors.update(zip(match["left"].split(", "), made))
        except (KeyError, TypeError, ValueError, SyntaxError) as error:
            raise GraphError(f"line {number} of the graph cannot be read", got=line[:100],
                             why=str(error).splitlines()[0]) from None
    return Graph(outputs, updates, [t for t in tensors.values() if t.node.op is placeholder_op])


def _node(name: str, rest: str, specs: str, tensors: dict[str, Tensor]) -> tuple[Tensor, ...]:
    inputs, settings, device, at = [], {}, "", 0
    while at < len(rest):
        match = _WORD.match(rest, at)
        if match is None:
            raise ValueError(f"{rest[at:at + 40]!r} is neither an input nor a setting")
        at = match.end()
        if match["input"]:
            inputs.append(tensors[match["input"]])
        elif match["device"]:
            device = match["device"]
        else:
            end = _end_of_literal(rest, at)
            settings[match["key"]] = _literal(rest[at:end])
            at = end
    shapes = tuple(Spec.of(tuple(ast.literal_eval(f"[{s}]")), d)
                   for d, s in re.findall(r"(\w+)\[([\d, ]*)\]", specs))
    op = find_op(name)
    if op is variable_op:
        zeros = lambda spec, seed, stream: np.zeros(spec.shape, spec.dtype)
        with surroundings(device=device):
            return (Variable(shapes[0], zeros, settings["name"]),)
    made = op.spec(*(t.spec for t in inputs), **op.settle(settings))
    if (made if type(made) is tuple else (made,)) != shapes:
        raise ValueError("the specs written do not follow from the inputs")
    return Node(op, tuple(inputs), op.settle(settings), shapes, device).outputs


def _end_of_literal(text: str, at: int) -> int:
    """Where the Python literal that starts at ``at`` ends: at a space outside brackets, quotes."""
    depth, quote, escaped = 0, "", False
    for i in range(at, len(text)):
        c = text[i]
        if escaped:
            escaped = False
        elif quote:
            escaped = c == "\\"
            quote = "" if c == quote else quote
        elif c in "'\"":
            quote = c
        elif c in "([{":
            depth += 1
        elif c in ")]}":
            depth -= 1
        elif c == " " and depth == 0:
            return i
    return len(text)


def _literal(text: str):
    return _value(ast.parse(text, mode="eval").body)


def _value(tree: ast.expr):
    """A literal's value, with the numbers inf and nan and ``array(dtype, shape, data)``."""
    if isinstance(tree, ast.Call):
        return _array(*map(_value, tree.args))
    if isinstance(tree, ast.Tuple):
        return tuple(map(_value, tree.elts))
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        return -_value(tree.operand)
    if isinstance(tree, ast.Name):
        return {"inf": math.inf, "nan": math.nan}[tree.id]
    return ast.literal_eval(tree)


def _array(dtype: str, shape: tuple[int, ...], data: list | str) -> np.ndarray:
    if isinstance(data, str):
        value = np.frombuffer(base64.b64decode(data), dtype).reshape(shape)
    else:
        value = np.array(data, dtype).reshape(shape)
    value.setflags(write=False)
    return value


def dot(graph: Graph) -> str:
    """The graph for Graphviz: one box per node, labelled with its op and specs."""
    number = {node: i for i, node in enumerate(dict.fromkeys(
        (*graph.nodes, *(v.node for v in graph.updates))))}
    lines = ["digraph gradatim {", "  rankdir=TB; node [shape=box, fontname=Helvetica];"]
    leaf = {placeholder_op: "lightblue", variable_op: "wheat", constant_op: "gray90"}
    computed = set(graph.steps)
    for node, i in number.items():
        title = node.settings.get("name") or node.op.name
        rows = [html.escape(str(title)), *map(str, node.specs)]
        if len(graph.devices) > 1 and node.op is not constant_op:
            rows.append(graph.place(node))
        if graph.moves(node):
            rows.append(f"{node.specs[0].nbytes:,} bytes moved")
        label = "<br/>".join(rows)
        colour = "salmon" if graph.moves(node) else leaf.get(node.op)
        colour = f", style=filled, fillcolor={colour}" if colour else ""
        lines.append(f"  n{i} [label=<{label}>{colour}];")
        lines += [f"  n{number[t.node]} -> n{i};" for t in node.inputs if node in computed]
    lines += [f"  n{number[t.node]} -> n{number[v.node]} [style=dashed];"
              for v, t in graph.updates.items()]
    return "\n".join([*lines, "}"])
