"""Arena: where each value of a program lies in one piece of memory, for as long as it is needed."""
from __future__ import annotations

ALIGNMENT = 256


def aligned(nbytes: int) -> int:
    """Bytes rounded up to the alignment; at least one unit."""
    return max(-(-nbytes // ALIGNMENT), 1) * ALIGNMENT


def plan(sizes: dict[int, int], first: dict[int, int], last: dict[int, int]
         ) -> tuple[dict[int, int], int]:
    """Offsets of values so that those alive at once do not overlap, and the bytes in all.

    The largest are placed first, each at the lowest offset that is free while it lives.

    Parameters
    ----------
    sizes : dict
        Bytes by value.
    first, last : dict
        The steps that write it first and read it last.

    Examples
    --------
    >>> plan({0: 256, 1: 256, 2: 256}, {0: 0, 1: 1, 2: 2}, {0: 1, 1: 2, 2: 3})
    ({0: 0, 1: 256, 2: 0}, 512)
    """
    placed: list[tuple[int, int, int, int]] = []          # offset, end, first, last
    offsets, total = {}, 0
    for value in sorted(sizes, key=lambda v: (-sizes[v], first[v], v)):
        size, at = aligned(sizes[value]), 0
        alive = sorted(p for p in placed if p[2] <= last[value] and p[3] >= first[value])
        for offset, end, *_ in alive:
            if offset - at >= size:
                break
            at = max(at, end)
        offsets[value] = at
        placed.append((at, at + size, first[value], last[value]))
        total = max(total, at + size)
    return offsets, total
