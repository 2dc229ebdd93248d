"""Running graphs: `function` compiles once and runs often, `run` runs once, `eager` at once."""
from __future__ import annotations

import os
from collections import OrderedDict
from contextlib import contextmanager
from threading import Lock
from typing import Mapping, Sequence

import numpy as np

from .base import Backend
from .context import surroundings
from .errors import DTypeError, GraphError, NonFiniteError, ShapeError
from .graph import Graph
from .memory import check_elements, check_run
from .passes import DEFAULT, PASSES, in_precision, optimize
from .registry import get_backend
from .spec import converted
from .tensor import LEAVES, Tensor, Variable, placeholder_op

_programs: OrderedDict = OrderedDict()
_optimized: OrderedDict = OrderedDict()
_programs_lock = Lock()
KEPT_PROGRAMS = 256
if hasattr(os, "register_at_fork"):      # a child must not find it taken by a thread it has not got
    os.register_at_fork(before=_programs_lock.acquire, after_in_parent=_programs_lock.release,
                        after_in_child=_programs_lock.release)


def compile_graph(graph: Graph, backend: Backend, communicator=None):
    """The program of an optimised graph, shared by all equal graphs of the process."""
    if communicator is not None:
        return backend.compile(graph, "", communicator)
    ops = tuple(n.op for n in graph.steps)      # a name alone may be defined anew in a notebook
    key = (backend, graph.fingerprint, ops, bool(graph.buffers))
    with _programs_lock:
        if key in _programs:
            _programs.move_to_end(key)
            return _programs[key]
    check_elements(graph)
    program = backend.compile(graph.detached())
    check_run(graph, 0 if program.device_bytes else program.peak_bytes)
    with _programs_lock:
        program = _programs.setdefault(key, program)
        while len(_programs) > KEPT_PROGRAMS:
            _programs.popitem(last=False)
    return program


def optimized_graph(graph: Graph, passes: Sequence[str]) -> Graph:
    """The graph after the passes, which run once for all equal graphs of the process.

    Of another graph with the same text, as every fit of a search makes it, only inputs and
    variables are put in the places of those before.
    """
    if any(t.node.op is not placeholder_op for t in graph.inputs):
        return optimize(graph, passes)[0]
    key = (tuple((name, PASSES.get(name)) for name in passes), graph.fingerprint,
           tuple(v.trainable for v in graph.variables),
           tuple((n.op, n.where, n.layer) for n in graph.nodes))
    with _programs_lock:
        known = _optimized.get(key)
        if known:
            _optimized.move_to_end(key)
    if known:
        shared, places = known
        found = shared.of(graph.inputs, [graph.variables[i] for i in places])
        found.fingerprint = shared.fingerprint
        return found
    found = optimize(graph, passes)[0]
    place = {v: i for i, v in enumerate(graph.variables)}
    shared = found.detached(), [place[v] for v in found.variables]
    with _programs_lock:
        _optimized[key] = shared
        while len(_optimized) > KEPT_PROGRAMS:
            _optimized.popitem(last=False)
    return found


class Function:
    """A compiled computation: call it with arrays for its inputs."""

    def __init__(self, graph: Graph, backend="auto", passes=DEFAULT, single=False,
                 communicator=None, precision: str | None = None):
        self.backend, self.precision = get_backend(backend), precision
        self.backend.check_precision(precision)
        self.backend = self.backend.in_precision(precision)
        for node in graph.nodes:
            if node.device:
                self.backend.check_device(node.device, node.line)
        self._given = graph, in_precision(passes, precision)
        self.graph = optimized_graph(*self._given)
        self.program = compile_graph(self.graph, self.backend, communicator)
        self.single = single

    @property
    def functions(self) -> list[Function]:
        """What a call computes; a step of several programs names all of them."""
        return [self]

    @property
    def reports(self) -> list:
        """What each pass did to the graph."""
        return optimize(*self._given)[1]

    def __call__(self, *arrays):
        results, state = self.compute(*arrays)
        self.commit(state)
        return results[0] if self.single else results

    def compute(self, *arrays):
        """The outputs, and the variables' values afterwards, which are not stored yet."""
        graph = self.graph
        if len(arrays) != len(graph.inputs):
            wanted = f"{len(graph.inputs)} array{'s' * (len(graph.inputs) != 1)}"
            raise GraphError(f"the function takes {wanted}, not {len(arrays)}",
                             fix="pass one array for each of its inputs, in their order")
        feeds = [_feed(t, a) for t, a in zip(graph.inputs, arrays)]
        state = [v.memory() if graph.updates else v.snapshot() for v in graph.variables]
        results = self.program.run(state, feeds)
        return [np.asarray(r) for r in results], state

    def steps(self, tables: Sequence[np.ndarray], rows: np.ndarray) -> list[np.ndarray]:
        """Several calls in one, as a training loop makes them: the same updates, the same bits.

        Parameters
        ----------
        tables : sequence of array (n, ...)
            For each input the samples of which every step takes some.
        rows : array (steps, batch) of int64
            Which rows of every table each step is fed.

        Returns
        -------
        list of array (steps, ...)
            Each output of all steps. If a step raises, the updates of those before it stay.

        Raises
        ------
        ShapeError, DTypeError
            If rows of a table do not fit its input.

        Examples
        --------
        >>> import numpy as np, gradatim as gt
        >>> total, x = gt.variable(0.0), gt.placeholder((2,))
        >>> f = gt.function([x], [total + 0.0], updates={total: total + x.sum()})
        >>> f.steps([np.float32([1, 2, 3, 4])], np.array([[0, 1], [3, 2]]))
        [array([0., 3.], dtype=float32)]
        >>> float(total.numpy())
        10.0
        """
        for t, table in zip(self.graph.inputs, tables, strict=True):
            _check(t, (rows.shape[1], *table.shape[1:]), table.dtype, False)
            if rows.size and not 0 <= rows.min() <= rows.max() < len(table):
                raise ShapeError("a step is to take a row that its table has not",
                                 got=f"rows {rows.min()} to {rows.max()} of {len(table)}")
        state = [v.memory() for v in self.graph.variables]
        try:
            return [np.asarray(r) for r in self.program.run_steps(state, tables, rows)]
        finally:
            self.commit(state)

    def holds(self, tables) -> bool:
        """Whether a device has copies of tables, so that `steps` reads no file for them."""
        return self.program.holds(tables)

    def commit(self, state) -> None:
        """Make the updated values of a `compute` those of the variables."""
        if self.graph.updates:
            for v, value in zip(self.graph.variables, state):
                v.keep(value)

    def plan(self):
        """What one call takes: steps, FLOPs, peak bytes, fall-backs."""
        report = self.graph.plan()
        return report._replace(fall_backs=self.program.fall_backs, notes=self.program.notes,
                               device_bytes=self.program.device_bytes,
                               precision=self.precision or "")


def function(inputs: Sequence[Tensor], outputs, updates: Mapping[Variable, Tensor] = {}, *,
             backend="auto", passes: Sequence[str] = DEFAULT,
             precision: str | None = None) -> Function:
    """Compile a computation once, to be run many times.

    Parameters
    ----------
    inputs : sequence of Tensor
        What each call feeds, in this order.
    outputs : Tensor or sequence of Tensor
        What each call returns: an array, or a list of arrays.
    updates : mapping of Variable to Tensor
        New values of variables, assigned together after the outputs are computed.
    backend : str or Backend
        Where it runs.
    passes : sequence of str
        The graph passes to apply; see ``backend/passes``.
    precision : str, optional
        ``"tf32"``, on a GPU: products of float32 read their factors with ten bits after the
        point. ``"bfloat16"``: what is float32 stays float32, but matrix products and convolutions
        read their factors rounded to bfloat16. Otherwise all is computed as the element types say.

    Returns
    -------
    Function
        Callable with one array per input.

    Raises
    ------
    GraphError
        If a placeholder is needed and not among the inputs.
    BackendError
        If the backend does not have the precision.

    Examples
    --------
    >>> import gradatim as gt
    >>> w = gt.variable(1.0)
    >>> step = gt.function([], w * 10.0, updates={w: w + 1.0})
    >>> float(step()), float(step())
    (10.0, 20.0)
    """
    single = isinstance(outputs, Tensor)
    for v, value in updates.items():
        if not isinstance(v, Variable):
            raise GraphError("only variables can be updated", got=repr(v)[:80],
                             fix="make it with gt.variable")
        if not isinstance(value, Tensor):
            raise GraphError(f'the update of "{v.name}" is not a tensor', got=repr(value)[:80],
                             fix="gt.constant makes one of numbers")
        if v.spec != value.spec:
            raise ShapeError(f'the update of "{v.name}" has another shape or dtype',
                             got=f"{value.spec}, not {v.spec}", at=value.node.line)
    graph = Graph([outputs] if single else outputs, updates, inputs)
    return Function(graph, backend, passes, single, precision=precision)


def run(fetches, feeds: Mapping[Tensor, object] = {}, *, backend="auto"):
    """Compute tensors now; only what they need is computed.

    Parameters
    ----------
    fetches : Tensor or sequence of Tensor
        Any tensors of a graph.
    feeds : mapping of Tensor to array
        Values for placeholders, or for any other tensor: what lies behind it is not computed.
    backend : str or Backend
        Where it runs.

    Returns
    -------
    array or list of array

    Examples
    --------
    >>> import gradatim as gt
    >>> x = gt.placeholder((2,))
    >>> y = x * 2.0
    >>> gt.run(y + 1.0, {y: [10.0, 20.0]})
    array([11., 21.], dtype=float32)
    """
    return function(list(feeds), fetches, backend=backend)(*feeds.values())


def graph(*outputs: Tensor) -> Graph:
    """The graph of some tensors: print it, or ask for its ``plan()`` or ``dot()``.

    Parameters
    ----------
    *outputs : Tensor
        The tensors; everything they need is in the graph.

    Returns
    -------
    Graph

    Examples
    --------
    >>> import gradatim as gt
    >>> gt.graph(gt.placeholder((4, 4)) @ gt.constant([[1.0]] * 4)).plan().flops
    32
    """
    return Graph(outputs)


@contextmanager
def eager(backend="auto", check_finite: bool = True):
    """Run ops as they are made; the first NaN or infinity made from finite numbers raises.

    Parameters
    ----------
    backend : str or Backend
        Where they run.
    check_finite : bool
        Whether to look for NaN and infinity after every op.

    Raises
    ------
    NonFiniteError
        Naming the op and the user's line.

    Examples
    --------
    >>> import gradatim as gt
    >>> with gt.eager():
    ...     print((gt.constant([1.0, 2.0]) * 3.0).numpy())
    [3. 6.]
    """
    where = get_backend(backend)

    def runner(node, arrays):
        if node.device:
            where.check_device(node.device, node.line)
        with np.errstate(all="ignore"):
            result = where.run(node.op, *arrays, **node.settings)
        values = result if len(node.specs) > 1 else (result,)
        if check_finite and node.op not in LEAVES and _finite(arrays) and not _finite(values):
            raise NonFiniteError(f"{node.op.name}: NaN or infinity from finite numbers",
                                 got="  ".join(str(t.spec) for t in node.inputs), at=node.line)
        return values

    with surroundings(runner=runner):
        yield


def _finite(arrays) -> bool:
    return all(np.isfinite(a).all() for a in map(np.asarray, arrays) if a.dtype.kind == "f")


def _feed(tensor: Tensor, value) -> np.ndarray:
    """The value as an array of the tensor's spec; lists and Python numbers are converted."""
    spec = tensor.spec
    name = tensor.node.settings.get("name") or tensor.node.op.name
    try:
        array = np.asarray(value)
    except ValueError:
        raise ShapeError(f'"{name}" is fed rows of unequal length', at=tensor.node.line,
                         fix="pad them to one length") from None
    exact = not isinstance(value, (np.ndarray, np.generic)) and array.dtype.kind != "f"
    _check(tensor, array.shape, array.dtype, exact)
    if array.dtype == spec.dtype:
        return array
    try:
        return converted(array, spec.dtype)
    except DTypeError as error:
        raise DTypeError(f'"{name}": {error.what}', at=tensor.node.line, **error.facts) from None


def _check(tensor: Tensor, shape, dtype, exact: bool) -> None:
    """Refuse what cannot be fed; ``exact``: numbers without a dtype of their own to lose."""
    spec = tensor.spec
    name = tensor.node.settings.get("name") or tensor.node.op.name
    if tuple(shape) != spec.shape:
        raise ShapeError(f'"{name}" is fed another shape',
                         got=f"{dtype}{list(shape)}, not {spec}", at=tensor.node.line)
    if dtype != spec.dtype and (dtype.kind not in "biuf" or not exact and
                                not np.can_cast(dtype, spec.dtype, "same_kind")):
        raise DTypeError(f'"{name}" is fed another element type',
                         got=f"{dtype}, not {spec.dtype}", at=tensor.node.line)
