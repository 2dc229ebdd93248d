"""ShardedRows: the samples of all processes as one table, of which each holds its own rows."""
from __future__ import annotations

import numpy as np

from ..errors import DataError, DistributedError


class ShardedRows:
    """A table whose rows are numbered through all ranks, those of rank 0 first.

    Targets and weights, which are small, are known to all ranks in the same order, so that every
    decision on them is that of one process with all samples.

    Parameters
    ----------
    own : array, or rows of a file or of a sparse matrix
        The samples of this rank.
    team : Communicator
        Where the others are.
    counts : sequence of int
        How many samples each rank has.

    Attributes
    ----------
    span : slice
        The numbers of this rank's rows.
    shape : tuple of int
        Of the whole table.

    Raises
    ------
    DataError
        If a rank has no samples.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.backend.distribute import ShardedRows, local_communicators
    >>> rows = ShardedRows(np.ones((2, 3)), local_communicators(2)[1], [3, 2])
    >>> rows.shape, rows.span, rows.turns().tolist()
    ((5, 3), slice(3, 5, None), [0, 1, 0, 1, 0])
    """

    def __init__(self, own, team, counts):
        for rank, count in enumerate(counts):
            if not count:
                raise DataError(f"rank {rank} has no samples", fix="give every process some rows")
        self.own, self.team, self.counts = own, team, counts
        first = sum(counts[:team.rank])
        self.span = slice(first, first + len(own))
        self.shape, self.dtype = (sum(counts), *own.shape[1:]), own.dtype
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows):
        raise DistributedError("the samples lie in several processes, and are asked for in one",
                               fix='pass data="replicated" for a fit that predicts, too')

    def subset(self, rows) -> ShardedRows:
        """Some rows by number, in rising order; each stays where it is."""
        rows = np.asarray(rows)
        where = np.searchsorted(np.cumsum(self.counts), rows, side="right")
        mine = rows[where == self.team.rank] - self.span.start
        own = self.own.subset(mine) if hasattr(self.own, "subset") else self.own[mine]
        counts = np.bincount(where, minlength=len(self.counts)).tolist()
        return ShardedRows(own, self.team, counts)

    def total(self, part):
        """The sum over all ranks of what each has made of its own rows."""
        return self.team.all_reduce(part)

    def min(self):
        """The smallest number of all."""
        return self.team.all_reduce(np.asarray(self.own.min()), "min")[()]

    def max(self):
        """The largest number of all."""
        return self.team.all_reduce(np.asarray(self.own.max()), "max")[()]

    def turns(self) -> np.ndarray:
        """The rank whose row comes next, for every place of an epoch: each rank's evenly spread."""
        places = np.concatenate([(np.arange(n) + 0.5) / n for n in self.counts])
        ranks = np.repeat(np.arange(len(self.counts)), self.counts)
        return ranks[np.argsort(places, kind="stable")]


def joined(X, y, weights, team) -> tuple:
    """The samples of all ranks as one table, with all their targets and weights.

    Raises
    ------
    DistributedError
        If a rank's samples are of another kind than those of rank 0.
    DataError
        If samples are sequences of unequal length, or a rank has none.
    """
    if isinstance(X, list):
        raise DataError("sequences of unequal length cannot be shared out beforehand",
                        fix='pass data="replicated", or pad them')
    y = np.asarray(y)
    weights = None if weights is None else np.asarray(weights)
    kind = {"samples": (*X.shape[1:], str(X.dtype)), "targets": (*y.shape[1:], y.dtype.kind),
            "sample weights": weights is not None}
    found = team.gather((len(X), y, weights, kind))
    for rank, (*_, other) in enumerate(found):
        for name, value in found[0][-1].items():
            if other[name] != value:
                raise DistributedError(f"rank {rank} has other {name} than rank 0",
                                       got=f"{other[name]}, not {value}",
                                       fix="all parts of the data must be of one kind")
    counts, targets, parts, _ = zip(*found)
    return (ShardedRows(X, team, counts), np.concatenate(targets),
            None if weights is None else np.concatenate(parts))
