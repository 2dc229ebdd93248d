"""Value: an object that is its constructor arguments, such as an initializer or a regularizer."""
from __future__ import annotations

import inspect
from abc import ABC
from functools import cache
from typing import Mapping

import numpy as np

from .documentation import complete


class Value(ABC):
    """Base of objects that are their constructor arguments: initializers, regularizers, losses.

    A subclass stores each argument under its own name and adds no other state. Equality, hash,
    text and files then follow from the arguments: two values are equal when their classes and
    arguments are, arrays among them compared entry by entry.

    Examples
    --------
    >>> from gradatim import layers
    >>> layers.L2(0.1) == layers.L2(0.1), layers.L2(0.1) == layers.L2(0.2)
    (True, False)
    >>> layers.HeNormal(), layers.RandomNormal(stddev=0.1)
    (HeNormal(), RandomNormal(stddev=0.1))
    """

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        complete(cls)

    def config(self) -> dict:
        """Constructor arguments that differ from their defaults, by name."""
        return arguments_of(self)

    def __eq__(self, other) -> bool:
        return type(self) is type(other) and same_argument(self.config(), other.config())

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.config().items())})"


def arguments_of(thing) -> dict:
    """The constructor arguments of an object that stores them by name, without the defaults."""
    values = {p.name: (getattr(thing, p.name), p.default) for p in _parameters(type(thing))
              if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    return {name: value for name, (value, default) in values.items()
            if not same_argument(value, default)}


@cache
def _parameters(kind: type) -> tuple[inspect.Parameter, ...]:
    return tuple(inspect.signature(kind).parameters.values())


def same_argument(a, b) -> bool:
    """Whether two arguments are equal; arrays, also inside lists and dicts, by their entries."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, (list, tuple)) and type(a) is type(b):
        return len(a) == len(b) and all(map(same_argument, a, b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(same_argument(a[k], b[k]) for k in a)
    return a is b or bool(a == b)
