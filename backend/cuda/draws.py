"""Random ops as expressions: each element is a function of its own number, inside any chain."""
from __future__ import annotations

import math

from ..tensor import Node
from .expression import FLOATS, TYPES, number

_WORD = "random_word({seed}, {step}, {offset}, {stream}u, int64(i), {row}LL"


def draws(node: Node) -> bool:
    """Whether a chain can draw a node's numbers, one for each of its elements."""
    name, spec = node.op.name, node.specs[0]
    if name not in DRAWS or spec.dtype.name not in (("uint32",) if name == "random_bits" else
                                                    FLOATS):
        return False
    return name != "dropout_mask" or not any(node.inputs[0].shape[a] > 1 for a in
                                             node.settings["shared_axes"])


def drawn(node: Node, counters: list[str], shape=None) -> str:
    """The text of element ``i``, of a shape of its own; ``counters`` are seed, step and offset."""
    spec, given = node.specs[0], node.settings
    shape = spec.shape if shape is None else shape
    word = _WORD.format(seed=counters[0], step=counters[1], offset=counters[2],
                        stream=given["stream"] % 2 ** 32, row=math.prod(shape[1:]))
    return DRAWS[node.op.name](word, spec.dtype.name, given)


def _uniform(word: str, dtype: str, given) -> str:
    low, high = given["low"], given["high"]
    numbers = (number(float(x), dtype) for x in (low, high - low, high))
    return f"random_uniform<{TYPES[dtype]}>({word}), {', '.join(numbers)})"


def _normal(word: str, dtype: str, given) -> str:
    kind = TYPES[dtype]
    numbers = ", ".join(number(float(x), dtype) for x in (given.get("mean", 0.0), given["stddev"]))
    return f"normal_element<{kind}>({word.removeprefix('random_word(')}, {numbers})"


def _mask(word: str, dtype: str, given) -> str:
    rate = given["rate"]
    if rate == 0.0:
        return number(1.0, dtype)
    least = min(round(rate * 2.0 ** 32), 2 ** 32 - 1)
    return (f"({word}) >= {least}u ? {number(1.0 / (1.0 - rate), dtype)} : {number(0.0, dtype)})")


DRAWS = {"random_bits": lambda word, dtype, given: f"{word})", "random_uniform": _uniform,
         "random_normal": _normal, "normal_like": _normal, "dropout_mask": _mask}
