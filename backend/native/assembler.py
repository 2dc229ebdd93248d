"""Assembler: expressions written as instructions of the core's fixed set, on few registers."""
from __future__ import annotations

from collections import Counter

from ..errors import GraphError
from ..lowering.expression import COMPARISONS, LOGIC, Node, parse, read_inputs

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
        kinds = {inputs[i][1] for i in read_inputs(node)} - {"bool"} or {"bool"}
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


def _common(registers) -> str:
    kinds = {r[1] for r in registers}
    if len(kinds) != 1:
        raise GraphError(f"an expression mixes {' and '.join(sorted(kinds))}")
    return kinds.pop()
