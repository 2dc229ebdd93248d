"""Checks of layers' arguments, so that a mistake is told when it is made."""
from __future__ import annotations

import math

import numpy as np

from ..backend.errors import ParameterError


def whole(name: str, value, at_least: int = 0, fix: str | None = None) -> int:
    """A whole number, not below a least one."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and value >= at_least:
        return int(value)
    raise ParameterError(f"{name} must be a whole number from {at_least} on, not {value!r}",
                         fix=fix)


def positive_int(name: str, value) -> int:
    """A whole number from 1 on."""
    return whole(name, value, 1)


def sizes(name: str, value, rank: int) -> tuple[int, ...]:
    """One positive size per spatial axis, from an int or a sequence."""
    values = (value,) * rank if isinstance(value, (int, np.integer)) else value
    if not isinstance(values, (tuple, list)) or len(values) != rank:
        raise ParameterError(f"{name} must be a whole number or {rank} of them, not {value!r}")
    return tuple(positive_int(name, v) for v in values)


def fraction(name: str, value) -> float:
    """A number from 0 up to but not including 1."""
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool) \
            and 0 <= value < 1:
        return float(value)
    raise ParameterError(f"{name} must be a number in [0, 1), not {value!r}")


def one_of(name: str, value, choices) -> str:
    """One of a few words."""
    if value in choices:
        return value
    raise ParameterError(f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")


def number(name: str, value, at_least: float = -math.inf) -> float:
    """A finite number, perhaps with a least one."""
    if isinstance(value, (int, float, np.number)) and not isinstance(value, bool) \
            and math.isfinite(value) and value >= at_least:
        return float(value)
    bound = f" from {at_least:g} on" if at_least > -math.inf else ""
    raise ParameterError(f"{name} must be a finite number{bound}, not {value!r}")


def flag(name: str, value) -> bool:
    """True or False."""
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    raise ParameterError(f"{name} must be True or False, not {value!r}")
