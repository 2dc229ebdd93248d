"""Docstrings of subclasses: what a base says of a parameter is not written again below it."""
from __future__ import annotations

import inspect
import re
from functools import cache
from typing import Iterable

SECTION = re.compile(r"^(\w+)\n-{3,}\n", re.MULTILINE)
ROW = re.compile(r"^(?=\S)", re.MULTILINE)
ORDER = ("", "Parameters", "Attributes", "Raises")         # numpydoc's; other sections follow


def complete(cls: type, parameters: Iterable[str] | None = None) -> None:
    """Give a class's docstring the rows and sections that its bases have, and it has not.

    ``parameters`` are those of its constructor, or will be. Rows of others are for the classes
    below it. What a base raises, a class with parameters raises too, unless it says what.
    """
    if not cls.__dict__.get("__doc__"):                    # none is written, or python -OO runs
        return
    bases = [sections(base.__doc__) for base in cls.__mro__[:-1] if base.__doc__]
    own, taken = dict(bases[0]), list(parameters or arguments(cls.__init__))
    for title in ("Parameters", "Attributes"):
        tables = [rows(parts.get(title, "")) for parts in bases]
        names = [*taken, *tables[0]] if title == "Parameters" else \
            [name for table in tables for name in table]
        joined: dict[str, list[str]] = {}                  # names by what is said of them
        for name in dict.fromkeys(names):
            for said in [table[name] for table in tables if name in table][:1]:
                joined.setdefault(said, []).append(name)
        if joined:
            own[title] = "\n".join(", ".join(names) + said for said, names in joined.items())
    if taken:
        own |= next(({"Raises": parts["Raises"]} for parts in bases if "Raises" in parts), {})
    titles = sorted(own, key=lambda title: ORDER.index(title) if title in ORDER else len(ORDER))
    cls.__doc__ = "\n\n".join(f"{title}\n{'-' * len(title)}\n{own[title]}" if title else own[title]
                              for title in titles)


def arguments(function) -> tuple[str, ...]:
    """Names of what a function takes beside self: at import, `inspect.signature` takes too long."""
    code = getattr(function, "__code__", None)             # what C defines has none
    return code.co_varnames[1:code.co_argcount + code.co_kwonlyargcount] if code else ()


@cache
def sections(text: str) -> dict[str, str]:
    """A numpydoc text by its sections; what stands before the first is called ""."""
    first, *parts = SECTION.split(inspect.cleandoc(text))
    return {"": first.strip(), **{title: part.rstrip()
                                  for title, part in zip(parts[::2], parts[1::2])}}


@cache
def rows(table: str) -> dict[str, str]:
    """What a table says of each name: its type and description."""
    found = {}
    for row in filter(None, ROW.split(table)):
        names, colon, said = row.partition("\n")[0].partition(" : ")
        said = row.rstrip()[len(names):]
        found |= {name.strip(): said for name in names.split(",")}
    return found
