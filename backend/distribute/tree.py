"""Tree: the fixed order in which sums of virtual shards are added, on one process or several."""
from __future__ import annotations

from typing import Iterable, Iterator, Sequence

import numpy as np

from .communicator import COMBINE


class Tree:
    """The fixed binary tree along which the shards' arrays are combined.

    Parameters
    ----------
    shards : int
        How many leaves it has.
    team : Communicator or None
        The processes, each with the shards of `dealt`.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.backend.distribute.tree import Tree
    >>> Tree(3, None).sum([np.ones(2), np.ones(2), np.ones(2)])
    array([3., 3.])
    """

    def __init__(self, shards: int, team):
        size = 1 if team is None else team.size
        self._shards, self._team = shards, team
        self._spans = [spans(0, shards, dealt(shards, rank, size)) for rank in range(size)]
        self._leaves = {(i, i + 1) for i in range(shards)}
        # Equal subtrees of a balanced tree: partners at doubling distances are its inner nodes.
        self._doubling = size & (size - 1) == 0 and shards & (shards - 1) == 0 \
            and shards % size == 0

    def sum(self, parts: Iterable[np.ndarray], operation: str = "sum") -> np.ndarray:
        """The combination of all shards' arrays, of which ``parts`` are this process's own."""
        return self.sums(([np.array(part)] for part in parts), [operation])[0]

    @np.errstate(all="ignore")                      # infinities and NaN are values
    def sums(self, parts: Iterable[Sequence[np.ndarray]], operations: Sequence[str]
             ) -> list[np.ndarray]:
        """The same for several arrays of every shard, each with an operation of its own.

        Parts are asked for one by one, and what can be combined is, in the memory of one of them:
        few live at a time, and none afterwards.
        """
        adds, team = [COMBINE[name] for name in operations], self._team
        rank, parts = 0 if team is None else team.rank, iter(parts)
        own = [combined(*span, self._leaves, parts, adds) for span in self._spans[rank]]
        if team is None:
            return own[0]
        found: list = [None] * len(adds)
        alike: dict[tuple, list[int]] = {}          # what travels as one array
        for i, (name, x) in enumerate(zip(operations, own[0])):
            alike.setdefault((name, x.dtype), []).append(i)
        for (name, _), places in alike.items():
            flat = self._exchanged([joined([part[i] for i in places]) for part in own],
                                   COMBINE[name])
            ends = np.cumsum([own[0][i].size for i in places])
            for i, piece in zip(places, np.split(flat, ends[:-1])):
                found[i] = piece.reshape(own[0][i].shape)
        return found

    def _exchanged(self, mine: list[np.ndarray], add) -> np.ndarray:
        """The root of the tree, of the arrays that this process has for its own subtrees."""
        team = self._team
        if self._doubling:
            (total,), distance = mine, 1
            while distance < team.size:
                other = team.swap(total, team.rank ^ distance)
                left, right = (total, other) if team.rank & distance == 0 else (other, total)
                total, distance = add(left, right, out=other), 2 * distance
            return total
        most = max(map(len, self._spans))
        gathered = team.all_gather(np.stack(mine + [mine[0]] * (most - len(mine))))
        known = ([gathered[rank * most + i]] for rank, found in enumerate(self._spans)
                 for i in range(len(found)))
        ends = {span for found in self._spans for span in found}
        return combined(0, self._shards, ends, known, [add])[0]


def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays one after another, flat."""
    return np.concatenate([x.reshape(-1) for x in arrays])


def dealt(shards: int, rank: int, size: int) -> range:
    """The shards of a process: neighbours, as evenly as can be."""
    return range(rank * shards // size, (rank + 1) * shards // size)


def halves(first: int, last: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """The two subtrees of a tree over the leaves from ``first`` to before ``last``."""
    middle = (first + last + 1) // 2
    return (first, middle), (middle, last)


def spans(first: int, last: int, own: range) -> list[tuple[int, int]]:
    """The largest subtrees whose leaves are all among one's own."""
    if own.start <= first and last <= own.stop:
        return [(first, last)]
    if last <= own.start or own.stop <= first:
        return []
    return [span for half in halves(first, last) for span in spans(*half, own)]


def combined(first: int, last: int, ends: set, parts: Iterator, adds: Sequence) -> list[np.ndarray]:
    """The combination of some leaves, written where parts are: those of ``ends``, in order."""
    if (first, last) in ends:
        return [np.asarray(x) for x in next(parts)]
    a, b = (combined(*half, ends, parts, adds) for half in halves(first, last))
    return [add(x, y, out=x) for add, x, y in zip(adds, a, b)]
