"""Names in place of objects: a word of a table stands for what a class makes with its defaults."""
from __future__ import annotations

from typing import Callable, Mapping

from .errors import ParameterError, unknown_name


def entry(kind: str, name: str, table: Mapping):
    """What a table has under a name; capitals and underscores do not count.

    So ``"MeanSquaredError"``, ``"mean_squared_error"``, ``"MSE"`` and ``"mse"`` are names for
    Keras's users and ours alike.

    Parameters
    ----------
    kind : str
        What it is, for errors.
    name : str
        What the user passed.
    table : dict
        What there is, by name.

    Raises
    ------
    UnknownNameError
        If there is no such name.

    Examples
    --------
    >>> from gradatim.backend.named import entry
    >>> entry("loss", "Log_Cosh", {"logcosh": 1, "log": 2})
    1
    """
    if name in table:
        return table[name]
    found = [value for known, value in table.items() if _bare(known) == _bare(name)]
    if not found:
        raise unknown_name(kind, name, table)
    return found[0]


def _bare(name: str) -> str:
    """A name without what does not count."""
    return name.replace("_", "").lower()


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
        If `entry` finds no such name.
    ParameterError
        If the object does not fit.
    """
    if isinstance(given, str):
        return entry(kind, given, table)()
    if fits(given):
        return given
    article = "an" if kind[0] in "aeiou" else "a"
    raise ParameterError(f"{article} {kind} is {wanted}, not {given!r}", fix=fix)


def is_function(thing) -> bool:
    """Whether it can be called and is no class that someone forgot to call."""
    return callable(thing) and not isinstance(thing, type)
