"""Docstrings of subclasses: what a base says of a parameter is not written again below it."""
from __future__ import annotations

import inspect
import re
from functools import cache

SECTION = re.compile(r"^(\w+)\n-{3,}\n", re.MULTILINE)
ROW = re.compile(r"^(?=\S)", re.MULTILINE)
ORDER = ("", "Parameters", "Attributes", "Raises")         # numpydoc's; other sections follow


def complete(cls: type) -> None:
    """Give a class's docstring the rows of its bases for parameters that have none in it.

    Rows of parameters that a base does not take itself are for the classes below it. What a base
    raises, a class with parameters raises too, unless it says what.
    """
    if not cls.__dict__.get("__doc__"):                    # none is written, or python -OO runs
        return
    bases = [sections(base.__doc__) for base in cls.__mro__[:-1] if base.__doc__]
    tables = [rows(parts.get("Parameters", "")) for parts in bases]
    table: dict[str, list[str]] = {}                       # names by what is said of them
    taken = inspect.signature(cls).parameters
    for name in dict.fromkeys([*taken, *tables[0]]):
        for said in (known[name] for known in tables if name in known):
            table.setdefault(said, []).append(name)
            break
    own = dict(bases[0])
    if table:
        own["Parameters"] = "\n".join(", ".join(names) + said for said, names in table.items())
    if taken:
        own |= next(({"Raises": parts["Raises"]} for parts in bases if "Raises" in parts), {})
    titles = sorted(own, key=lambda title: ORDER.index(title) if title in ORDER else len(ORDER))
    cls.__doc__ = "\n\n".join(f"{title}\n{'-' * len(title)}\n{own[title]}" if title else own[title]
                              for title in titles)


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
