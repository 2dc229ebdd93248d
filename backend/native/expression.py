"""Expressions: an op's ``code`` parsed and written as instructions of the core's fixed set."""
from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from ..errors import GraphError
from ..op import CODE_FUNCTIONS

_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)|([A-Za-z_]\w*)|(\{\w+\})"
                    r"|(&&|\|\||<=|>=|==|!=|[-+*/<>!?:(),]))")
_LEVELS = (("||",), ("&&",), ("==", "!="), ("<", "<=", ">", ">="), ("+", "-"), ("*", "/"))
_NAMES = {"||": "or", "&&": "and", "==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt",
          ">=": "ge", "+": "add", "-": "sub", "*": "mul", "/": "div"}


class Node(NamedTuple):
    """An operation on sources; ``input`` and ``number`` have one source, which is a constant."""
    name: str
    sources: tuple


def parse(code: str, settings: dict) -> Node:
    """The tree of an expression, settings put in; constant conditions are decided.

    Examples
    --------
    >>> parse("{0} < 0 ? 0 : {0}", {})[0]
    'select'
    """
    return _Parser(code, settings).whole()


class _Parser:
    def __init__(self, code: str, settings: dict):
        self.tokens = [m.groups() for m in _TOKEN.finditer(code)]
        if "".join(t for g in self.tokens for t in g if t) != re.sub(r"\s", "", code):
            raise GraphError(f"the expression {code!r} cannot be read")
        self.settings, self.at = settings, 0

    def peek(self) -> str:
        if self.at == len(self.tokens):
            return ""
        return next(t for t in self.tokens[self.at] if t)

    def take(self, expected: str = "") -> str:
        token = self.peek()
        if expected and token != expected:
            raise GraphError(f"an expression has {token!r} where {expected!r} belongs")
        self.at += 1
        return token

    def whole(self) -> Node:
        tree = self.ternary()
        if self.peek():
            raise GraphError(f"an expression goes on after its end: {self.peek()!r}")
        return tree

    def ternary(self) -> Node:
        condition = self.level(0)
        if self.peek() != "?":
            return condition
        self.take()
        yes = self.ternary()
        self.take(":")
        no = self.ternary()
        if condition.name == "number":
            return yes if condition.sources[0] else no
        return Node("select", (condition, yes, no))

    def level(self, depth: int) -> Node:
        if depth == len(_LEVELS):
            return self.unary()
        left = self.level(depth + 1)
        while self.peek() in _LEVELS[depth]:
            name = _NAMES[self.take()]
            left = Node(name, (left, self.level(depth + 1)))
        return left

    def unary(self) -> Node:
        if self.peek() in ("-", "!"):
            name = {"-": "neg", "!": "not"}[self.take()]
            inner = self.unary()
            if name == "neg" and inner.name == "number":
                return Node("number", (-inner.sources[0],))
            return Node(name, (inner,))
        return self.atom()

    def atom(self) -> Node:
        token = self.take()
        if token == "(":
            inner = self.ternary()
            self.take(")")
            return inner
        if token.startswith("{"):
            name = token[1:-1]
            if name.isdigit():
                return Node("input", (int(name),))
            value = self.settings[name]
            return Node("number", (float("nan") if value is None else float(value),))
        if token in CODE_FUNCTIONS:
            self.take("(")
            sources = [self.ternary()]
            while self.peek() == ",":
                self.take()
                sources.append(self.ternary())
            self.take(")")
            return Node(token, tuple(sources))
        return Node("number", (float(token),))


COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
LOGIC = ("and", "or", "not")
COMPOUND = {                  # one loop for what would be several, each through the cache
    "lerp": "{0} + ({1} - {0}) * {2}",
    "sqrt_add": "sqrt({0}) + {1}",
    "sub_div": "{0} - {1} / {2}",
    "gate": "{0} > 0 ? {1} : 0",
}


class Assembler:
    """Writes trees as instructions on registers; equal subtrees are computed once.

    A register is ``(number, dtype)``. Loads and numbers keep theirs to the end of the chain,
    because a load may point into an input's own memory.
    """

    def __init__(self, loops: frozenset[str]):
        self.loops = loops
        self.lines: list[list] = []          # op, dtype, to, dst, sources, number
        self._known: dict = {}
        self.count = 0

    def load(self, operand: int, dtype: str) -> tuple[int, str]:
        """The register an operand of the chain is read into."""
        return self._line("load", dtype, dtype, (), float(operand))

    def number(self, value: float, dtype: str) -> tuple[int, str]:
        """A register full of one number."""
        return self._line("fill", dtype, dtype, (), value)

    def tree(self, node: Node, inputs: list[tuple[int, str]], dtype: str) -> tuple[int, str]:
        """The register of a tree's result; bare numbers take ``dtype``."""
        if node.name == "input":
            return inputs[node.sources[0]]
        if node.name == "number":
            return self.number(node.sources[0], dtype)
        if node.name in LOGIC:
            return self.operation(node.name, "bool", "bool",
                                  [self.tree(s, inputs, "bool") for s in node.sources])
        if node.name == "select":
            condition = self.tree(node.sources[0], inputs, "bool")
            branches = [self.tree(s, inputs, dtype) for s in node.sources[1:]]
            kind = _common(branches)
            return self.operation("select", kind, kind, [condition, *branches])
        kinds = {inputs[i][1] for i in _inputs(node)} - {"bool"} or {"bool"}
        inner = kinds.pop() if len(kinds) == 1 else dtype
        sources = [self.tree(s, inputs, inner) for s in node.sources]
        kind = _common(sources)
        return self.operation(node.name, kind, "bool" if node.name in COMPARISONS else kind,
                              sources)

    def cast(self, register: tuple[int, str], to: str) -> tuple[int, str]:
        """The register converted to another dtype."""
        if register[1] == to:
            return register
        return self.operation("cast", register[1], to, [register])

    def operation(self, name: str, dtype: str, to: str, sources) -> tuple[int, str]:
        """One instruction; refuses what the core has no loop for."""
        key = f"cast_{dtype}_{to}" if name == "cast" else f"{name}_{dtype}"
        if key not in self.loops:
            raise GraphError(f"the native core has no loop {key}")
        return self._line(name, dtype, to, tuple(s[0] for s in sources), 0.0)

    def _line(self, name, dtype, to, sources, number) -> tuple[int, str]:
        key = (name, dtype, to, sources, repr(number))
        if key not in self._known:
            self._known[key] = (self.count, to)
            self.lines.append([name, dtype, to, self.count, sources, number])
            self.count += 1
        return self._known[key]

    def registers(self, results: list[int]) -> tuple[list[tuple], list[int], int]:
        """Instructions on as few registers as lifetimes allow, the results', and how many."""
        self._compound(results)
        last = {r: len(self.lines) for r in results}
        for i, (*_, sources, _number) in reversed(list(enumerate(self.lines))):
            for s in sources if i in last else ():
                last.setdefault(s, i)
        place: dict[int, int] = {}
        free: list[int] = []
        used, code = 0, []
        for i, (name, dtype, to, dst, sources, number) in enumerate(self.lines):
            fixed = name in ("load", "fill")
            if dst not in last and not fixed:
                continue                             # a part of a compound
            if free and not fixed:
                place[dst] = free.pop()
            else:
                place[dst], used = used, used + 1
            a, b, c = ([place[s] for s in sources] + [place[dst]] * 3)[:3]
            code.append((name, dtype, to, place[dst], a, b, c, number))
            for s in set(sources):
                if last[s] == i and self.lines[s][0] not in ("load", "fill"):
                    free.append(place[s])
        return code, [place[r] for r in results], used

    def _compound(self, results: list[int]) -> None:
        """Write as one instruction what there is one loop for, if nothing else reads its parts."""
        reads = Counter(s for line in self.lines for s in line[4]) + Counter(results)
        for i, line in reversed(list(enumerate(self.lines))):
            for name, pattern in _COMPOUND.items():
                found: dict[int, int] = {}
                if f"{name}_{line[1]}" in self.loops and \
                        self._matches(pattern, i, found, reads, True):
                    line[0], line[4] = name, tuple(found[k] for k in sorted(found))
                    break

    def _matches(self, pattern: Node, line: int, found: dict, reads, top: bool = False) -> bool:
        """Whether a line computes the pattern; ``found`` says from which lines."""
        if pattern.name == "input":
            return found.setdefault(pattern.sources[0], line) == line
        if pattern.name == "number":
            return self.lines[line][0] == "fill" and \
                repr(self.lines[line][5]) == repr(pattern.sources[0])       # -0.0 is not 0.0
        return self.lines[line][0] == pattern.name and (top or reads[line] == 1) and all(
            self._matches(p, s, found, reads) for p, s in zip(pattern.sources, self.lines[line][4]))


_COMPOUND = {name: parse(code, {}) for name, code in COMPOUND.items()}


def _inputs(node: Node) -> set[int]:
    """Numbers of the inputs a tree reads as values, conditions left out."""
    if node.name == "input":
        return {node.sources[0]}
    if node.name == "number":
        return set()
    sources = node.sources[1:] if node.name == "select" else node.sources
    return set().union(*map(_inputs, sources)) if sources else set()


def _common(registers) -> str:
    kinds = {r[1] for r in registers}
    if len(kinds) != 1:
        raise GraphError(f"an expression mixes {' and '.join(sorted(kinds))}")
    return kinds.pop()
