"""The graph as text: written for people and golden files, read back, and drawn as DOT."""
from __future__ import annotations

import ast
import base64
import html
import re

import numpy as np

from .errors import GraphError
from .graph import Graph
from .op import find_op
from .spec import Spec
from .tensor import Node, Tensor, Variable, constant_op, placeholder_op, variable_op

INLINE = 16  # constants up to this many elements are written as numbers, larger ones in base64


def write(graph: Graph) -> str:
    """One line per node: ``%3 = matmul %0 %1 : float32[128, 10]``."""
    names: dict[Tensor, str] = {}
    lines = []
    fed = set(graph.inputs)
    for node in graph.nodes:
        for t in node.outputs:
            names[t] = f"%{len(names)}"
        left = ", ".join(names[t] for t in node.outputs)
        specs = ", ".join(map(str, node.specs))
        if fed.intersection(node.outputs) and node.op is not placeholder_op:
            lines.append(f"{left} = fed : {specs}")
            continue
        words = [node.op.name, *(names[t] for t in node.inputs),
                 *(f"{k}={_setting(v)}" for k, v in node.settings.items())]
        if node.device:
            words.append(f"@{node.device}")
        lines.append(f"{left} = {' '.join(words)} : {specs}")
    lines += [f"update {names.get(v, v.name)} = {names[t]}" for v, t in graph.updates.items()]
    lines.append("return " + " ".join(names[t] for t in graph.outputs))
    order = [t for t in graph.inputs if t in names]
    if order != [n.outputs[0] for n in graph.nodes if n.op is placeholder_op]:
        lines.append("feed " + " ".join(names[t] for t in order))
    return "\n".join(lines)


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
    outputs, updates, feeds = [], {}, None
    for number, line in enumerate(text.strip().splitlines(), 1):
        try:
            word, _, rest = line.partition(" ")
            if word == "return":
                outputs = [tensors[n] for n in rest.split()]
            elif word == "feed":
                feeds = [tensors[n] for n in rest.split()]
            elif word == "update":
                variable, value = rest.split(" = ")
                updates[tensors[variable]] = tensors[value]
            else:
                match = _LINE.fullmatch(line)
                made = _node(match["op"], match["rest"], match["specs"], tensors)
                tensors.update(zip(match["left"].split(", "), made))
        except (KeyError, TypeError, ValueError, SyntaxError) as error:
            raise GraphError(f"line {number} of the graph cannot be read", got=line[:100],
                             why=str(error).splitlines()[0]) from None
    return Graph(outputs, updates, feeds)


def _node(name: str, rest: str, specs: str, tensors: dict[str, Tensor]) -> tuple[Tensor, ...]:
    inputs, settings, device, at = [], {}, "", 0
    while at < len(rest):
        match = _WORD.match(rest, at)
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
    if name == "fed":
        placeholder = {"name": "", "shape": shapes[0].shape, "dtype": shapes[0].dtype.name,
                       "batch": False}
        return Node(placeholder_op, (), placeholder, shapes).outputs
    op = find_op(name)
    if op is variable_op:
        zeros = lambda spec, seed, stream: np.zeros(spec.shape, spec.dtype)
        return (Variable(shapes[0], zeros, settings["name"]),)
    made = op.spec(*(t.spec for t in inputs), **op.settle(settings))
    if (made if type(made) is tuple else (made,)) != shapes:
        raise GraphError("the specs written do not follow from the inputs")
    return Node(op, tuple(inputs), op.settle(settings), shapes, device).outputs


def _end_of_literal(text: str, at: int) -> int:
    """Where the Python literal that starts at ``at`` ends: at a space outside brackets, quotes."""
    depth, quote = 0, ""
    for i in range(at, len(text)):
        c = text[i]
        if quote:
            quote = "" if c == quote and text[i - 1] != "\\" else quote
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
    if not text.startswith("array("):
        names = {"inf": float("inf"), "nan": float("nan"), "-inf": -float("inf")}
        return names[text] if text in names else ast.literal_eval(text)
    dtype, shape, data = ast.literal_eval(text[len("array"):])
    if isinstance(data, str):
        value = np.frombuffer(base64.b64decode(data), dtype).reshape(shape)
    else:
        value = np.array(data, dtype).reshape(shape)
    value.setflags(write=False)
    return value


def dot(graph: Graph) -> str:
    """The graph for Graphviz: one box per node, labelled with its op and specs."""
    number = {node: i for i, node in enumerate(graph.nodes)}
    lines = ["digraph gradatim {", "  rankdir=TB; node [shape=box, fontname=Helvetica];"]
    leaf = {placeholder_op: "lightblue", variable_op: "wheat", constant_op: "gray90"}
    for node, i in number.items():
        title = node.settings.get("name") or node.op.name
        label = html.escape(title) + "<br/>" + "<br/>".join(map(str, node.specs))
        colour = f', style=filled, fillcolor={leaf[node.op]}' if node.op in leaf else ""
        lines.append(f"  n{i} [label=<{label}>{colour}];")
        lines += [f"  n{number[t.node]} -> n{i};" for t in node.inputs if t.node in number]
    for v, t in graph.updates.items():
        lines.append(f'  n{number[t.node]} -> "{v.name}" [style=dashed];')
    return "\n".join([*lines, "}"])
