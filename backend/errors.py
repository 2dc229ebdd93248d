"""The errors a user can meet: what is wrong, what was got, and what to do about it."""
from __future__ import annotations


class Error(Exception):
    """Base of every error gradatim raises on purpose.

    The text has up to three parts: the first line says what is wrong, aligned rows say what was
    got and where, and the last row says how to mend it.

    Parameters
    ----------
    what : str
        The first line; it must make sense alone.
    **facts : str or None
        Labelled rows in the order they are printed, usually ``got``, ``at`` and ``fix``.
        Empty ones are left out.

    Examples
    --------
    >>> print(Error("matmul: the inner sizes differ, 4 and 5", got="[8, 4] [5, 3]",
    ...             fix="transpose"))
    matmul: the inner sizes differ, 4 and 5
      got  [8, 4] [5, 3]
      fix  transpose
    """

    def __init__(self, what: str, **facts: str | None):
        self.what = what
        self.facts = {label: str(value) for label, value in facts.items() if value}
        width = max(map(len, self.facts), default=0)
        rows = [f"  {label:<{width}}  {value}" for label, value in self.facts.items()]
        super().__init__("\n".join([what, *rows]))

    def __str__(self) -> str:  # OSError and KeyError print their arguments in a way of their own
        return self.args[0]


class ShapeError(Error, ValueError):
    """Shapes that do not fit together."""


class DTypeError(Error, TypeError):
    """Element types that do not fit together, or that an operation does not take."""


class ParameterError(Error, ValueError):
    """A parameter, setting or argument with a value it cannot have."""


class UnknownNameError(Error, ValueError):
    """A name that is in no table: an activation, a loss, an op, a layer."""


class GradientError(Error, TypeError):
    """A gradient was asked for where there is none."""


class GraphError(Error, RuntimeError):
    """A graph that cannot be built, read or run as asked."""


class BackendError(Error, RuntimeError):
    """A backend that is not there or cannot do what was asked."""


class DistributedError(Error, RuntimeError):
    """Processes that train together and cannot meet, or have lost each other."""


class MemoryLimitError(Error, MemoryError):
    """A computation that needs more memory than is free."""


class NonFiniteError(Error, ArithmeticError):
    """A computation produced NaN or infinity from finite numbers."""


class DataError(Error, ValueError):
    """Data that cannot be used as they are."""


class DataNotFoundError(Error, FileNotFoundError):
    """A data set that is not on this machine."""


class FileAccessError(Error, OSError):
    """A file the operating system does not let us read or write."""


class CorruptFileError(Error, ValueError):
    """A file that is damaged, truncated, hostile or not ours."""


def unknown_name(kind: str, name: object, known) -> UnknownNameError:
    """The error for a name that is in no table, with the nearest names as the cure."""
    import difflib
    known = sorted(map(str, known))
    near = difflib.get_close_matches(str(name), known, n=1)
    fix = f'did you mean "{near[0]}"?' if near else f"use one of {', '.join(known)}"
    return UnknownNameError(f"there is no {kind} {str(name)!r}".replace("'", '"'), fix=fix)
