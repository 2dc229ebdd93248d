"""ShardedSource: batches of samples of which every process has brought its own."""
from __future__ import annotations

from typing import Iterator

import numpy as np

from ..backend.errors import ParameterError
from ..datasets.batching import epoch_order
from .sources import Source


class ShardedSource(Source):
    """As `Source`, of `ShardedRows`; the targets and weights are those of all processes.

    Every batch takes of each rank's rows as large a share as they are of all rows, so that an
    epoch sees each row once. The rows of a rank change their order from epoch to epoch.
    """

    def __init__(self, X, y, weights=None, **options):
        super().__init__(X, y, weights, **options)
        if self.balanced:
            raise ParameterError('samples are not drawn by class with data="sharded"',
                                 fix='pass class_weight="balanced"')
        self.shards, mine = X, X.span
        self.X, self.y, self.weights = X.own, self.y[mine], self.weights[mine]
        turns, size = X.turns(), self.batch_size
        self._counts = np.array([np.bincount(turns[i:i + size], minlength=len(X.counts))
                                 for i in range(0, self.n, size)])          # (batches, ranks)
        self.part_rows = -(-int(self._counts.max()) // self.rounds)
        self.own_rows = self.part_rows * self.rounds

    def whole_batches(self) -> Source:
        return self

    def full_batches(self, number: int) -> np.ndarray:
        full = (self._counts == self.own_rows).all(axis=1)
        first = len(full) if full.all() else int(full.argmin())
        return self._order(number)[:first * self.own_rows].reshape(first, self.own_rows)

    def rows(self, number: int, index: int) -> np.ndarray:
        ((rows, _), *_) = self._shares(number, index)
        return self.shards.span.start + rows

    def _order(self, number: int) -> np.ndarray:
        n, changes = len(self.X), self.shuffle and not self.whole
        return epoch_order(n, self.seed, number) if changes else np.arange(n)

    def _shares(self, number: int, start: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        order, counts = self._order(number), self._counts[:, self.shards.team.rank]
        for last, count in zip(np.cumsum(counts)[start:], counts[start:]):
            rows = np.full(self.own_rows, order[0])
            rows[:count] = order[last - count:last]
            yield rows, np.arange(self.own_rows) < count
