"""Backend and Program: what a place that runs graphs must offer, and how it does by default."""
from __future__ import annotations

from functools import partial
from typing import Any, Iterator, Sequence

import numpy as np

from .errors import BackendError
from .graph import COLLECTIVES, Graph
from .op import Op, ufunc
from .spec import converted
from .tensor import constant_op

API = 1                                                    # raised when this file's surface changes


class Backend:
    """A place to run graphs. A new one needs ``name`` and ``xp``; speed comes by overriding.

    Attributes
    ----------
    name : str
        What users write in ``backend="..."``.
    api : int
        The version of this surface it was written for.
    xp : array module
        See ``backend/array_module.py``.
    in_place : bool
        Whether ``run`` takes ``out=`` for ops whose forward is a `ufunc`.
    automatic : bool
        Whether ``backend="auto"`` may take it.
    kinds : tuple of str
        Kinds of devices of which it takes any number.
    precisions : tuple of str
        In which it computes. Roundings to halves are ops of the graph, so it need do nothing.

    Examples
    --------
    >>> import numpy as np, gradatim as gt
    >>> from gradatim.backend import Backend
    >>> from gradatim.backend.array_module import ArrayModule
    >>> class Plain(Backend):
    ...     name, xp = "plain", ArrayModule(np)
    >>> x = gt.placeholder((2,))
    >>> gt.function([x], x + 1.0, backend=Plain())(np.float32([1, 2]))
    array([2., 3.], dtype=float32)
    """
    name: str
    api = API
    xp: Any
    in_place = False
    automatic = True
    kinds = ("cpu",)
    precisions = ("float32", "float64", "bfloat16", "float16")

    def run(self, op: Op, *arrays, **settings):
        """Run one op: an array, or a tuple for several outputs."""
        return op.forward(self.xp, *arrays, **settings)

    def compile(self, graph: Graph, device: str = "", communicator=None) -> Program:
        """A program for the graph; by default node by node through `run`."""
        return Program(self, graph, communicator)

    def join(self, team):
        """How this backend's arrays meet those of other processes, which ``team`` joins."""
        return team

    def devices(self) -> list[str]:
        """Devices it can use here."""
        return ["cpu:0"]

    def free_bytes(self) -> int | None:
        """Bytes of a device's memory that programs can still get; None where they take the host's.
        """
        return None

    def check_device(self, name: str, line: str = "") -> None:
        """Refuse a device that it does not have."""
        if name.partition(":")[0] not in self.kinds and name not in self.devices():
            any_number = [f"{kind}:N for any N" for kind in self.kinds]
            raise BackendError(f'the backend "{self.name}" has no device "{name}"',
                               found=", ".join([*self.devices(), *any_number]), at=line,
                               fix=f'use gt.device("{self.devices()[0]}"), or another backend')

    def check_precision(self, name: str | None) -> None:
        """Refuse a precision that it does not have; None is that of the element types."""
        if name is not None and name not in self.precisions:
            raise BackendError(f'the backend "{self.name}" has no precision "{name}"',
                               found=", ".join(self.precisions),
                               fix='use precision="float32", or "bfloat16" for faster products')

    def in_precision(self, name: str | None) -> Backend:
        """The backend that computes in one of its precisions; itself where the graph says it."""
        return self

    def __deepcopy__(self, memo) -> Backend:
        return self                            # a place: estimators are cloned with it

    def asarray(self, value):
        """The array in this backend's memory."""
        return self.xp.asarray(value)


class Program:
    """A compiled graph: immutable and shareable, so threads may run it at once.

    The weights are bound at the call: ``state`` is a list of arrays in the order of
    ``graph.variables``, and `run` replaces the entries that are updated.

    Parameters
    ----------
    backend : Backend
        What runs the ops.
    graph : Graph
        What to compute, after the graph passes.
    communicator : object, optional
        How this replica meets the others; see ``backend/distribute``.

    Attributes
    ----------
    fall_backs : tuple of str
        Ops that are left to the reference.
    peak_bytes : int
        Memory that a run takes beside weights and feeds.
    device_bytes : int
        Memory of a device such as a GPU that a run takes, weights and feeds included; 0 where it
        takes the host's.
    missing_bytes : int
        Those of them that the next run has to take first.
    notes : tuple of str
        What is done otherwise than asked, with the same meaning.

    Examples
    --------
    >>> import gradatim as gt
    >>> w = gt.variable([1.0, 2.0])
    >>> program = gt.get_backend("reference").compile(gt.Graph([w * 10.0], {w: w + 1.0}))
    >>> state = [w.numpy()]
    >>> program.run(state, [])
    [array([10., 20.], dtype=float32)]
    >>> state
    [array([2., 3.], dtype=float32)]
    """

    notes: tuple[str, ...] = ()
    communicator = None
    device_bytes = 0
    missing_bytes = 0

    def __init__(self, backend: Backend, graph: Graph, communicator=None):
        self.backend, self.graph, self.communicator = backend, graph, communicator
        self.fall_backs: tuple[str, ...] = ()
        self.peak_bytes = graph.plan().peak_bytes
        slot = {t: i for i, t in enumerate(t for n in graph.nodes for t in n.outputs)}
        for v in graph.variables:
            slot.setdefault(v, len(slot))
        self._size = len(slot)
        self._constants = [(slot[n.outputs[0]], backend.asarray(n.settings["value"]))
                           for n in graph.nodes if n.op is constant_op]
        self._inputs = [slot[t] for t in graph.inputs]
        self._variables = [slot[v] for v in graph.variables]
        borrowed = iter(_borrowed(graph))
        self._outputs = [(slot[t], next(borrowed)) for t in graph.outputs]
        where = {v: i for i, v in enumerate(graph.variables)}
        self._updates = [(where[v], slot[t], next(borrowed)) for v, t in graph.updates.items()]
        fed, last = set(graph.inputs), _last_reads(graph)
        self._stretches: list[tuple[list, tuple | None]] = [([], None)]    # steps, and a meeting
        for node in graph.steps:
            call = _call(backend, node)
            donor = -1
            if backend.in_place and isinstance(node.op.forward, ufunc):
                donor = next((slot[t] for t in node.inputs if t in graph.buffers and
                              graph.buffers[t] == graph.buffers.get(node.outputs[0])), -1)
            outs = tuple(-1 if t in fed else slot[t] for t in node.outputs)
            reads = tuple(slot[t] for t in node.inputs)
            dead = tuple(slot[t] for t in last.get(node, ()))
            if communicator is not None and node.op.name in COLLECTIVES:
                self._stretches[-1] = self._stretches[-1][0], (node, reads[0], outs[0], dead)
                self._stretches.append(([], None))
            else:
                self._stretches[-1][0].append((call, reads, outs, dead, donor))

    def run(self, state: list, feeds: Sequence) -> list:
        """Compute the outputs; replace the entries of ``state`` that are updated.

        A program without updates may keep what it makes of an array that owns its memory and is
        read-only: such an array must never change. Writable ones are read anew at each call.
        """
        return finished(self.stretches(state, feeds), self.communicator)

    def stretches(self, state: list, feeds: Sequence) -> Iterator:
        """A run that stops where it meets other replicas.

        There the generator yields the collective's node, its array, which is lent until the result
        is sent, and where the result is to lie, or None if that may be anywhere. What it returns
        are the outputs. Without a communicator it stops nowhere.
        """
        env: list = [None] * self._size
        for slot, value in self._constants:
            env[slot] = value
        for slot, value in zip(self._variables, state):      # another backend may have kept it
            env[slot] = self.backend.asarray(value)
        for slot, value in zip(self._inputs, feeds):
            env[slot] = value
        for steps, meeting in self._stretches:
            with np.errstate(all="ignore"):      # infinities and NaN are values; eager finds them
                _run_through(steps, env)
            if meeting is not None:
                node, read, out, dead = meeting
                env[out] = yield node, env[read], None
                for slot in dead:
                    env[slot] = None
        copy = self.backend.xp.array
        results = [copy(env[slot]) if borrowed else env[slot] for slot, borrowed in self._outputs]
        for variable, slot, borrowed in self._updates:
            state[variable] = copy(env[slot]) if borrowed else env[slot]
        return results

    def holds(self, tables: Sequence) -> bool:
        """Whether a device has copies of tables, so that steps need not read files for them."""
        return False

    def run_steps(self, state: list, tables: Sequence, rows: np.ndarray) -> list:
        """Several runs, one after another, as if `run` were called for each.

        Parameters
        ----------
        state : list of array
            As in `run`. If a step fails, it holds what the steps before it made.
        tables : sequence of array (n, ...)
            For each input the samples of which a step takes some.
        rows : array (steps, batch) of int64
            Which rows of every table each step is fed.

        Returns
        -------
        list of array (steps, ...)
            Each output of all steps.
        """
        found = []
        for which in rows:
            found.append(self.run(state, [converted(table[which], t.dtype)
                                          for t, table in zip(self.graph.inputs, tables)]))
            if self.communicator is not None:
                self.communicator.step += 1
        return [np.stack(column) for column in zip(*found)]


def finished(stretches: Iterator, communicator):
    """The outputs of a run in stretches that meets others through a communicator."""
    result = None
    try:
        while True:
            node, array, out = stretches.send(result)
            result = getattr(communicator, node.op.name)(array, out=out, **node.settings)
    except StopIteration as end:
        return end.value


def _run_through(steps: Sequence, env: list) -> None:
    """Some steps of a program, one after another; what is read for the last time goes."""
    for call, inputs, outputs, dead, donor in steps:
        arrays = [env[i] for i in inputs]
        result = call(*arrays) if donor < 0 else call(*arrays, out=env[donor])
        if len(outputs) == 1:
            env[outputs[0]] = result
        else:
            for slot, value in zip(outputs, result):
                if slot >= 0:
                    env[slot] = value
        for slot in dead:
            env[slot] = None


def _call(backend: Backend, node):
    """What computes a node: `Backend.run`, or what it comes to where it is not overridden."""
    op = node.op
    if type(backend).run is not Backend.run:
        return partial(backend.run, op, **node.settings)
    if isinstance(op.forward, ufunc):
        return getattr(backend.xp, op.forward.name)
    return partial(op.forward, backend.xp, **node.settings)


def _borrowed(graph: Graph) -> list[bool]:
    """Which results may share memory with a feed, a weight, a constant or another result.

    Whoever gets a result may write to it, so `Program.run` hands out copies of these.
    """
    results = (*graph.outputs, *graph.updates.values())
    fresh = {n.outputs[0] for n in graph.steps if isinstance(n.op.forward, ufunc)}
    return [t not in fresh or t in results[:i] for i, t in enumerate(results)]


def _last_reads(graph: Graph) -> dict:
    """Which tensors each node is the last to read, so that their memory can go."""
    last, kept = {}, {*graph.outputs, *graph.updates.values(), *graph.variables}
    for node in graph.steps:
        for t in (*node.inputs, *node.outputs):
            last[t] = node
    result: dict = {}
    for t, node in last.items():
        if t not in kept:
            result.setdefault(node, []).append(t)
    return result


def check_api(backend: Backend, package: str = "") -> Backend:
    """Refuse what is no backend, and a backend written for another version of this surface."""
    name = getattr(backend, "name", "")
    if getattr(backend, "api", None) != API:
        raise BackendError(
            f'the backend "{name}" was written for another version of gradatim',
            got=f"api {getattr(backend, 'api', None)}, and gradatim has {API}",
            fix=f"update the package {package or name}")
    if not isinstance(backend, Backend) or not name or not hasattr(backend, "xp"):
        raise BackendError(f"{type(backend).__name__} is not a backend",
                           fix="derive it from gradatim.backend.Backend; set name and xp")
    return backend
