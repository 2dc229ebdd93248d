"""DataParallel: the strategy of workers that each take their share of every batch's rows."""
from __future__ import annotations

import numpy as np

from ..context import surroundings
from ..errors import GraphError, ParameterError
from ..function import Function, function
from ..gradients import per_sample
from ..graph import Graph
from ..passes import REPLICATED
from ..tensor import Tensor
from .launched import launched
from .mpi import world
from .replicate import replicate
from .sharded_rows import ShardedRows, joined
from .shards import ShardedFunction
from .strategy import SingleDevice, Strategy
from .tree import dealt


class DataParallel(Strategy):
    """Synchronous data parallelism: each worker takes its share of every batch's rows.

    The result is that of one device with the whole batch: gradients, batch statistics, losses
    and metrics are summed over all rows, and random numbers follow a row's place in the batch.

    Under a launcher such as ``mpiexec -n 4`` each of its processes is a worker. All of them run
    the same script and call ``fit`` with the same data; each gets the same fitted estimator. The
    first one alone draws bars and writes files. Predictions and scores are each process's own.

    Parameters
    ----------
    workers : int, optional
        How many. By default as many as the launcher started, and one without a launcher. With
        a number and no launcher they are threads of this process, which share the threads that
        `n_jobs` grants.
    virtual_shards : int
        With ``deterministic``, into how many shards a batch is cut, however many workers there
        are; at least as many as workers.
    deterministic : bool
        Whether the bits of what is learned are the same for any number of workers: each shard is
        computed on its own, and sums are added along one fixed tree. This holds for one type of
        processor and one build of the libraries.
    batch_norm : {"global", "shard"}
        Whether batch statistics are those of the whole batch, or of each worker's share of it
        (each virtual shard's), which saves exchanges and is another model.
    data : {"replicated", "sharded"}
        Whether every process calls ``fit`` with the same samples, or each with its own part of
        them, of which no other process needs to know. Targets and weights are then exchanged once,
        and the result is that of one process with all samples: classes, scales, held-out samples
        and the number of steps are those of the whole. A batch takes of every part as large a share
        as it is of the whole.
    timeout : float
        Seconds that a process waits for the others before it stops with an error.

    Raises
    ------
    ParameterError
        If a parameter is out of range; at a fit, if the launcher started another number.

    Examples
    --------
    >>> from gradatim.backend.distribute import DataParallel
    >>> DataParallel(2).local((8, 3))
    (4, 3)
    """

    def __init__(self, workers: int | None = None, *, virtual_shards: int = 8,
                 deterministic: bool = False, batch_norm: str = "global",
                 data: str = "replicated", timeout: float = 60.0):
        self.workers = workers if workers is None else _count("workers", workers)
        self.virtual_shards = _count("virtual_shards", virtual_shards)
        for name, value, known in (("batch_norm", batch_norm, ("global", "shard")),
                                   ("data", data, ("replicated", "sharded"))):
            if value not in known:
                raise ParameterError(f'{name} is "{known[0]}" or "{known[1]}", not {value!r}')
        if deterministic and data == "sharded":
            raise ParameterError("who brings which samples decides the bits that are learned",
                                 got='deterministic=True and data="sharded"',
                                 fix='pass data="replicated"')
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0:
            raise ParameterError(f"timeout is a number of seconds, not {timeout!r}")
        self.deterministic, self.batch_norm, self.data = bool(deterministic), batch_norm, data
        self.timeout = float(timeout)

    @property
    def _size(self) -> int:
        """How many workers there are."""
        ranks = launched()
        if ranks > 1 and self.workers not in (None, ranks):
            raise ParameterError(f"workers={self.workers}, but the launcher started {ranks} "
                                 "processes", fix="leave workers out, or start as many")
        return ranks if ranks > 1 else self.workers or 1

    @property
    def parts(self) -> int:
        if not self.deterministic:
            return self._size
        if self._size > self.virtual_shards:
            raise ParameterError(f"{self._size} workers cannot share {self.virtual_shards} virtual "
                                 "shards", fix=f"pass virtual_shards={self._size} or more")
        return self.virtual_shards

    @property
    def own(self) -> range:
        team = self.team()
        return range(self.parts) if team is None else dealt(self.parts, team.rank, team.size)

    @property
    def meaning(self) -> str:
        statistics = "" if self.batch_norm == "global" else f", {self.parts} batch statistics"
        return (f"{self.parts} virtual shards" if self.deterministic else "one device") + statistics

    def team(self):
        if launched() <= 1 or self._size <= 1:
            return None
        found = world()
        found.timeout = self.timeout
        return found

    def joined(self, X, y, weights) -> tuple:
        team = self.team()
        if self.data == "replicated" or team is None or isinstance(X, ShardedRows):
            return X, y, weights
        return joined(X, y, weights, team)

    def alone(self) -> Strategy:
        return self if launched() <= 1 and not self.deterministic else SingleDevice()

    def surroundings(self):
        return surroundings(own_statistics=self.batch_norm == "shard")

    def function(self, inputs, outputs, updates, backend, precision=None):
        graph, team = Graph(outputs, updates, inputs), self.team()
        _require_marked_sums(graph)
        if self.parts == 1:
            return function(inputs, list(outputs), updates, backend=backend, precision=precision)
        if self.deterministic or team is None:
            return ShardedFunction(graph, self.parts, self.own, team, backend, precision,
                                   threads=1 if self.deterministic else None)
        return Function(replicate(graph, team.rank), backend, REPLICATED,
                        communicator=backend.join(team), precision=precision)


def _count(name: str, value) -> int:
    """A whole number from 1 on."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ParameterError(f"{name} must be a whole number from 1 on, not {value!r}",
                             fix="pass the number of devices to use")
    return int(value)


def _require_marked_sums(graph: Graph) -> None:
    """Refuse results that are neither rows of samples nor equal on all replicas."""
    rows = per_sample(graph.nodes)
    batches = {t.shape[0] for t in graph.inputs if t.node in rows}
    for v, t in graph.updates.items():
        if t.node in rows:
            raise _unmarked(t, f'the update of "{v.name}"')
    for t in graph.outputs:
        if t.node in rows and t.shape[:1] not in {(n,) for n in batches}:
            raise _unmarked(t, "an output")


def _unmarked(t: Tensor, what: str) -> GraphError:
    return GraphError(f"{what} is a sum over the samples of one replica", got=str(t.spec),
                      at=t.node.line, fix="sum over samples with gt.batch_sum")
