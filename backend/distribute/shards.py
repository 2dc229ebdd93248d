"""Shards: a step computed part by part, its sums added along one tree."""
from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import Callable, Iterable, Iterator, NamedTuple, Sequence

import numpy as np

from ..base import Backend
from ..context import surroundings
from ..errors import ShapeError
from ..function import Function
from ..graph import COLLECTIVES, Graph
from ..leaves import placeholder
from ..passes import REPLICATED, in_precision, optimize
from ..spec import converted
from ..tensor import Tensor, placeholder_op, variable_op
from .local import local_communicators
from .replicate import replicate
from .tree import Tree

LATE = ("buckets", "placement", "memory")            # passes after which a graph is not cut


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
        self._cut = found = cut(optimize(graph, early)[0], number)
        (stops,) = local_communicators(1)        # where the program stops, the tree is asked
        self._ahead = Function(found.ahead, backend, LATE) if found.ahead.outputs else None
        self._shard = Function(found.shard, backend, LATE, communicator=stops)
        self._whole = Function(found.whole, backend, LATE)
        self._stops = sum(n.op.name in COLLECTIVES for n in self._shard.graph.steps)
        self._pool: tuple = None, None

    @property
    def functions(self) -> list[Function]:
        """What a call computes."""
        return [*[f for f in (self._ahead, self._shard) if f] * len(self.own), self._whole]

    def __call__(self, *arrays) -> list:
        arrays = [converted(np.asarray(a), t.dtype) for t, a in zip(self._inputs, arrays)]
        size = len(self.own)
        for a, t, split in zip(arrays, self._inputs, self._split):
            if split and a.shape[:1] != (t.shape[0] * size,):
                raise ShapeError(f'"{t.node.settings["name"]}" is fed another number of rows',
                                 got=f"{a.dtype}{list(a.shape)}, not {t.shape[0] * size} rows for "
                                     f"{size} replicas", at=t.node.line)
        feeds = [[np.asarray(shard), *(a[i * t.shape[0]:(i + 1) * t.shape[0]] if split else a
                                       for t, a, split in zip(self._inputs, arrays, self._split))]
                 for i, shard in enumerate(self.own)]
        ahead = self._tree.sums((self._ahead.program.run([], given) for given in feeds),
                                self._cut.first) if self._ahead else []
        state = [v.memory() for v in self._shard.graph.variables]
        runs = [self._shard.program.stretches(list(state), [*given, *ahead]) for given in feeds]
        total = None
        for _ in range(self._stops):
            found = list(self._everywhere(lambda run, given=total: run.send(given), runs))
            total = self._tree.sum([array for _, array, _ in found],
                                   found[0][0].settings["operation"])
        way, end = self._cut.way, self._cut.way + len(self._cut.last)
        known, rows = [], []

        def last() -> Iterator[list]:
            """What is still to be added up, of one shard after another."""
            for outputs in self._everywhere(lambda run: _outputs(run, total), runs):
                known[:] = outputs[:way]
                rows.append(outputs[end:])
                yield outputs[way:end]

        late = self._tree.sums(last(), self._cut.last)
        common = [a for a, split in zip(arrays, self._split) if not split]
        results, joined = iter(self._whole(*ahead, *known, *late, *common)), \
            map(np.concatenate, zip(*rows))
        return [next(joined if has_rows else results) for has_rows in self._cut.rows]

    def steps(self, tables: Sequence[np.ndarray], rows: np.ndarray) -> list[np.ndarray]:
        """As `Function.steps`."""
        found = []
        for which in rows:
            found.append(self(*(table[which] for table in tables)))
            if self._team is not None:
                self._team.step += 1
        return [np.stack(column) for column in zip(*found)]

    def holds(self, tables) -> bool:
        """As `Function.holds`: no device has."""
        return False

    def _everywhere(self, work: Callable, runs: list) -> Iterable:
        """What ``work`` makes of one shard after another, or of several at a time."""
        granted = getattr(self._backend, "threads", lambda: 1)()
        each = self._each or max(granted // len(runs), 1)

        def one(run):
            with surroundings(n_jobs=each):
                return work(run)

        threads = min(granted, len(runs))
        if threads == 1:
            return map(one, runs)
        key = os.getpid(), threads                   # a forked process has not got the threads
        if self._pool[0] != key:
            self._pool = key, ThreadPoolExecutor(threads)
        return self._pool[1].map(one, runs)


def _outputs(run: Iterator, given) -> list:
    """What a shard returns at its end, which comes after its last stop."""
    try:
        run.send(given)
    except StopIteration as end:
        return end.value


class Cut(NamedTuple):
    """A step in three: ``ahead`` and ``shard`` for every shard, ``whole`` of the shards' sums.

    ``whole`` is fed the sums of what ``ahead`` returns, what the first ``way`` outputs of ``shard``
    are, on which all shards agree, and the sums of those that follow. Beyond them ``shard`` returns
    rows of samples: the outputs of the step that ``rows`` marks. ``first`` and ``last`` name the
    operations of the sums. ``shard`` is fed the first sums, too, after what ``ahead`` is.
    """
    ahead: Graph
    shard: Graph
    whole: Graph
    first: list[str]
    way: int
    last: list[str]
    rows: list[bool]


def cut(graph: Graph, number: Tensor) -> Cut:
    """A step cut at its collectives, of which shards wait for as few as can be.

    What they need to know of each other from what is fed alone, such as the sum of the weights, is
    computed ahead, so that shards come one after another and use the same memory.
    """
    local: set = set()                                # what differs from shard to shard
    fed: set = set()                                  # what no parameter and no sum is needed for
    for node in graph.nodes:
        given, inputs = node.op is placeholder_op, [t.node for t in node.inputs]
        joins = node.op.name in COLLECTIVES
        if given and (node.settings["batch"] or node is number.node) or \
                not given and not joins and not local.isdisjoint(inputs):
            local.add(node)
        if node.op is not variable_op and not joins and fed.issuperset(inputs):
            fed.add(node)
    early: set = set()                                # what shards need of each other on the way
    for node in reversed(graph.nodes):
        if node in local or node in early:
            early.update(t.node for t in node.inputs)
    kinds: tuple[list, list, list] = [], [], []
    for node in graph.nodes:
        if node.op.name in COLLECTIVES:
            known = node.inputs[0].node in fed
            kinds[2 if node not in early else 0 if known else 1].append(node)
    ahead, way, last = kinds
    sums = [[n.outputs[0] for n in kind] for kind in kinds]
    common = [t for t in graph.inputs if t.node not in local]
    rows = [t.node in local for t in graph.outputs]
    apart = [[t for t, has_rows in zip(graph.outputs, rows) if has_rows is kind]
             for kind in (False, True)]
    return Cut(Graph([n.inputs[0] for n in ahead], {}, graph.inputs),
               Graph([*sums[1], *(n.inputs[0] for n in last), *apart[True]], {},
                     [*graph.inputs, *sums[0]]),
               Graph(apart[False], graph.updates, [*sums[0], *sums[1], *sums[2], *common]),
               [n.settings["operation"] for n in ahead], len(way),
               [n.settings["operation"] for n in last], rows)
