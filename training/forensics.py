"""Forensics: where the first NaN or infinity of a fit came from: op, layer, samples, line."""
from __future__ import annotations

import numpy as np

from ..backend import Graph, get_backend
from ..backend.errors import NonFiniteError
from ..backend.spec import converted
from ..backend.tensor import constant_op
from .stepping import feeds_of
from .steps import shapes_of, training_step

SHOWN = 8      # sample numbers that an error lists


def explain(run) -> None:
    """Raise an error that names the first bad value, if the weights of a run are not finite.

    The steps since the last mark are made again, which gives the same bits, up to the first whose
    results are not finite; that step is computed on the reference, op by op.
    """
    if run.best_epoch is not None or _finite(_weights(run)):
        return                                   # early stopping puts finite weights back
    trainer, source = run.trainer, run.source
    whole = source.whole_batches()
    first, start, values = run.mark
    for v, value in values.items():
        v.assign(value)
    for epoch in range(first, run.epoch + 1):
        number, begin = run.first_epoch + epoch, start if epoch == first else 0
        batches = zip(source.epoch(number, begin), whole.epoch(number, begin))
        for i, (batch, everything) in enumerate(batches, begin):
            before = {v: v.numpy() for v in trainer.variables().values()}
            found = trainer.training_function(batch)[0](*feeds_of(batch))
            if not _finite([*found, *_weights(run)]):
                rows = source.rows(number, i)
                if trainer.row_numbers is not None:
                    rows = trainer.row_numbers[rows]
                raise NonFiniteError(
                    f"training diverged in step {i + 1} of epoch {epoch + 1}",
                    **_first_bad(trainer, everything, before, rows),
                    fix="lower learning_rate, or scale the samples and targets")


def _first_bad(trainer, batch, before: dict, rows) -> dict[str, str]:
    """The facts of the first op that makes NaN or infinity of finite numbers."""
    shapes = shapes_of(trainer, batch)
    feeds, outputs, updates = training_step(trainer, shapes)
    graph, reference = Graph(outputs.values(), updates, feeds), get_backend("reference")
    env = {t: converted(np.asarray(a), t.dtype) for t, a in zip(feeds, feeds_of(batch))}
    for t in feeds:
        if not _finite([env[t]]):
            return {"got": f"{t.node.settings['name']} is not finite",
                    "samples": _samples(env[t], rows, len(batch.x))}
    env.update((v, before[v] if v in before else v.numpy()) for v in graph.variables)
    env.update((n.outputs[0], n.settings["value"]) for n in graph.nodes if n.op is constant_op)
    with np.errstate(all="ignore"):
        for node in graph.steps:
            arrays = [env[t] for t in node.inputs]
            result = reference.run(node.op, *arrays, **node.settings)
            values = result if len(node.specs) > 1 else (result,)
            if _finite(arrays) and not _finite(values):
                bad = next(a for a in map(np.asarray, values) if not _finite([a]))
                return {"got": f"{node.op.name}: NaN or infinity from finite numbers, "
                               f"{node.specs[0]}",
                        "at": node.line, "samples": _samples(bad, rows, len(batch.x))}
            env.update(zip(node.outputs, values))
    return {"got": f'finite numbers on the reference, but not on "{trainer.backend.name}"'}


def _samples(values, rows, size: int) -> str:
    """Which samples have a bad value, where there is a row for each."""
    values = np.asarray(values)
    if values.shape[:1] != (size,):
        return ""
    bad = ~np.isfinite(values).reshape(size, -1).all(axis=1)
    found = sorted(int(row) for row, is_bad in zip(rows, bad) if is_bad)
    more = f", ... ({len(found)} in all)" if len(found) > SHOWN else ""
    return ", ".join(map(str, found[:SHOWN])) + more


def _weights(run) -> list:
    """What the model holds."""
    return [v.storage for v in run.trainer.model.variables().values()]


def _finite(arrays) -> bool:
    """Whether all floats are finite."""
    return all(np.isfinite(a).all() for a in map(np.asarray, arrays) if a.dtype.kind == "f")
