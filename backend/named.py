"""Names in place of objects: a word of a table stands for what a class makes with its defaults."""
from __future__ import annotations

from typing import Callable, Mapping

from .errors import ParameterError, unknown_name


def named(kind: str, given, table: Mapping[str, Callable], wanted: str, fits: Callable,
          fix: str = ""):
    """What a name of the table stands for, or the object itself where it fits.

    Parameters
    ----------
    kind : str
        What it is, for errors.
    given : str or object
        What the user passed.
    table : dict of str to callable
        What makes the object of each name.
    wanted : str
        What is allowed, for errors.
    fits : callable
        Whether an object that is no name is allowed.
    fix : str
        The cure where it is not.

    Raises
    ------
    UnknownNameError
        If there is no such name.
    ParameterError
        If the object does not fit.
    """
    if isinstance(given, str):
        if given not in table:
            raise unknown_name(kind, given, table)
        return table[given]()
    if fits(given):
        return given
    article = "an" if kind[0] in "aeiou" else "a"
    raise ParameterError(f"{article} {kind} is {wanted}, not {given!r}", fix=fix)


def is_function(thing) -> bool:
    """Whether it can be called and is no class that someone forgot to call."""
    return callable(thing) and not isinstance(thing, type)
