"""Expressions: an op's ``code`` parsed to a tree, from which a backend writes what it runs."""
from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import GraphError
from ..op import CODE_FUNCTIONS

_TOKEN = re.compile(r"\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)|([A-Za-z_]\w*)|(\{\w+\})"
                    r"|(&&|\|\||<=|>=|==|!=|[-+*/<>!?:(),]))")
_LEVELS = (("||",), ("&&",), ("==", "!="), ("<", "<=", ">", ">="), ("+", "-"), ("*", "/"))
_NAMES = {"||": "or", "&&": "and", "==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt",
          ">=": "ge", "+": "add", "-": "sub", "*": "mul", "/": "div"}


COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
LOGIC = ("and", "or", "not")


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


def read_inputs(node: Node) -> set[int]:
    """Numbers of the inputs a tree reads as values, conditions left out."""
    if node.name == "input":
        return {node.sources[0]}
    if node.name == "number":
        return set()
    sources = node.sources[1:] if node.name == "select" else node.sources
    return set().union(*map(read_inputs, sources)) if sources else set()
