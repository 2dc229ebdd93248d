"""Shards: a step computed part by part in one process, and along one tree in several."""
from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Sequence

import numpy as np

from ..base import Backend
from ..context import surroundings
from ..errors import ShapeError
from ..function import Function
from ..graph import COLLECTIVES, Graph
from ..leaves import placeholder
from ..passes import REPLICATED, in_precision, optimize
from ..spec import converted
from ..tensor import Tensor, placeholder_op
from .local import local_communicators
from .replicate import replicate

COMBINE = {"sum": np.add, "max": np.maximum, "min": np.minimum}
LATE = ("placement", "memory")                       # passes after which a graph is not cut


class ShardedFunction:
    """A step computed shard by shard, its sums added along one fixed binary tree.

    Every batch is cut into the same number of shards, and each shard is computed by the same
    program. What does not depend on samples, such as the optimizer's update, is computed once, by a
    program of its own. With one thread to a shard the bits are the same for any number of workers.

    Parameters
    ----------
    graph : Graph
        A step for the rows of one shard.
    shards : int
        How many there are.
    own : range
        Which of them this process computes.
    team : Communicator or None
        Where the other processes are.
    backend : Backend
        What runs it.
    precision : str or None
        As `function` takes it.
    threads : int, optional
        How many each shard has; by default those that are granted are shared by all.
    """

    def __init__(self, graph: Graph, shards: int, own: range, team, backend: Backend,
                 precision: str | None = None, threads: int | None = None):
        self.own, self._tree, self._team, self._backend = own, Tree(shards, team), team, backend
        self._inputs, self._each = graph.inputs, threads
        self._split = [t.node.op is placeholder_op and t.node.settings["batch"]
                       for t in self._inputs]
        number = placeholder((), "int64", "shard", batch=False)
        graph = replicate(Graph(graph.outputs, graph.updates, (number, *graph.inputs)), number)
        early = [p for p in in_precision(REPLICATED, precision) if p not in LATE]
        graph = optimize(graph, early)[0]
        shard, whole, self._operations, self._rows = cut(graph, number)
        (stops,) = local_communicators(1)        # where the program stops, the tree is asked
        self._shard = Function(shard, backend, LATE, communicator=stops)
        self._whole = Function(whole, backend, LATE)
        self._pool: tuple = None, None

    @property
    def functions(self) -> list[Function]:
        """What a call computes."""
        return [*[self._shard] * len(self.own), self._whole]

    def __call__(self, *arrays) -> list:
        arrays = [converted(np.asarray(a), t.dtype) for t, a in zip(self._inputs, arrays)]
        state = [v.memory() for v in self._shard.graph.variables]
        runs, size = [], len(self.own)
        for a, t, split in zip(arrays, self._inputs, self._split):
            if split and a.shape[:1] != (t.shape[0] * size,):
                raise ShapeError(f'"{t.node.settings["name"]}" is fed another number of rows',
                                 got=f"{a.dtype}{list(a.shape)}, not {t.shape[0] * size} rows for "
                                     f"{size} replicas", at=t.node.line)
        for i, shard in enumerate(self.own):
            feeds = [a[i * t.shape[0]:(i + 1) * t.shape[0]] if split else a
                     for t, a, split in zip(self._inputs, arrays, self._split)]
            runs.append(self._shard.program.stretches(list(state), [np.asarray(shard), *feeds]))
        given = None
        while True:
            found = self._everywhere(lambda run, given=given: _next(run, given), runs)
            node = found[0][0]
            if node is None:
                break
            given = self._tree.sum([array for _, array, _ in found], node.settings["operation"])
        columns = list(zip(*(outputs for _, outputs in found)))
        sums = [parts[0] if operation is None else self._tree.sum(parts, operation)
                for operation, parts in zip(self._operations, columns)]
        common = [a for a, split in zip(arrays, self._split) if not split]
        results = iter(self._whole(*sums, *common))
        rows = map(np.concatenate, columns[len(sums):])
        return [next(rows) if has_rows else next(results) for has_rows in self._rows]

    def steps(self, tables: Sequence[np.ndarray], rows: np.ndarray) -> list[np.ndarray]:
        """As `Function.steps`."""
        found = []
        for which in rows:
            found.append(self(*(table[which] for table in tables)))
            if self._team is not None:
                self._team.step += 1
        return [np.stack(column) for column in zip(*found)]

    def _everywhere(self, work: Callable, runs: list) -> list:
        """What ``work`` makes of every shard, several at a time."""
        granted = getattr(self._backend, "threads", lambda: 1)()
        each = self._each or max(granted // len(runs), 1)

        def one(run):
            with surroundings(n_jobs=each):
                return work(run)

        threads = min(granted, len(runs))
        if threads == 1:
            return list(map(one, runs))
        key = os.getpid(), threads                   # a forked process has not got the threads
        if self._pool[0] != key:
            self._pool = key, ThreadPoolExecutor(threads)
        return list(self._pool[1].map(one, runs))


def _next(run, given) -> tuple:
    """The next collective of a shard, its array and where to put it; or None and the outputs."""
    try:
        return run.send(given)
    except StopIteration as end:
        return None, end.value


def cut(graph: Graph, number: Tensor) -> tuple[Graph, Graph, list, list]:
    """A step in two: what is computed for each shard, and what is made of the shards' sums.

    The second takes what the first returns, added up where the third result, one for each of
    them, names an operation; where it is None, all shards return the same. What the first returns
    beyond that are rows of samples, the outputs of the step that the fourth result marks.
    """
    local: set = set()
    for node in graph.nodes:
        fed = node.op is placeholder_op
        if fed and (node.settings["batch"] or node is number.node) or \
                not fed and node.op.name not in COLLECTIVES and \
                any(t.node in local for t in node.inputs):
            local.add(node)
    early: set = set()                                # what shards need of each other on the way
    for node in reversed(graph.nodes):
        if node in local or node in early:
            early.update(t.node for t in node.inputs)
    between = [n for n in graph.nodes if n.op.name in COLLECTIVES]
    common = [t for t in graph.inputs if t.node not in local]
    rows = [t.node in local for t in graph.outputs]
    apart = [[t for t, has_rows in zip(graph.outputs, rows) if has_rows is kind]
             for kind in (False, True)]
    whole = Graph(apart[False], graph.updates, [n.outputs[0] for n in between] + common)
    shard = Graph([n.outputs[0] if n in early else n.inputs[0] for n in between] + apart[True], {},
                  graph.inputs)
    operations = [None if n in early else n.settings["operation"] for n in between]
    return shard, whole, operations, rows


class Tree:
    """The fixed tree along which the shards' arrays are combined, over one or more processes.

    Parameters
    ----------
    shards : int
        How many leaves it has.
    team : Communicator or None
        The processes, each with the shards of `dealt`.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.backend.distribute.shards import Tree
    >>> Tree(3, None).sum([np.ones(2), np.ones(2), np.ones(2)])
    array([3., 3.])
    """

    def __init__(self, shards: int, team):
        size = 1 if team is None else team.size
        self._shards, self._team = shards, team
        self._spans = [spans(0, shards, dealt(shards, rank, size)) for rank in range(size)]
        self._own = dealt(shards, 0 if team is None else team.rank, size)
        # Equal subtrees of a balanced tree: partners at doubling distances are its inner nodes.
        self._doubling = size & (size - 1) == 0 and shards & (shards - 1) == 0 \
            and shards % size == 0

    @np.errstate(all="ignore")                      # infinities and NaN are values
    def sum(self, parts: Sequence[np.ndarray], operation: str = "sum") -> np.ndarray:
        """The combination of all shards' arrays, of which ``parts`` are this process's own."""
        add = COMBINE[operation]
        known = {(i, i + 1): np.asarray(part) for i, part in zip(self._own, parts)}
        team = self._team
        if team is None:
            return combined(0, self._shards, known, add)
        own = self._spans[team.rank]
        if self._doubling:
            mine = combined(*own[0], known, add)
            distance = 1
            while distance < team.size:
                other = team.swap(mine, team.rank ^ distance)
                left, right = (mine, other) if team.rank & distance == 0 else (other, mine)
                mine, distance = add(left, right, out=other), 2 * distance
            return mine
        sums = [combined(*span, known, add) for span in own]
        most = max(map(len, self._spans))
        sums += [np.zeros_like(sums[0])] * (most - len(sums))
        gathered = team.all_gather(np.stack(sums))
        known = {span: gathered[rank * most + i] for rank, found in enumerate(self._spans)
                 for i, span in enumerate(found)}
        return combined(0, self._shards, known, add)


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


def combined(first: int, last: int, known: dict, add) -> np.ndarray:
    """The combination of some leaves, of subtrees that are known; those stay as they are."""
    if (first, last) in known:
        return known[first, last]
    left, right = halves(first, last)
    a, b = combined(*left, known, add), combined(*right, known, add)
    return add(a, b, out=np.empty_like(a) if left in known else a)
