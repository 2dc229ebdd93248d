"""Graph passes: each a function from graph to graph that leaves every result equal."""
from __future__ import annotations

from typing import Sequence

from ..errors import unknown_name
from ..graph import Graph
from .algebra import algebra
from .batch_statistics import batch_statistics
from .buckets import buckets
from .common import common
from .dead import dead
from .fold import fold
from .fold_batch_norm import fold_batch_norm
from .fold_scale import fold_scale
from .fuse import fuse
from .halves import HALVES
from .memory import memory
from .open_batch_norm import open_batch_norm
from .placement import placement
from .relu_in_pool import relu_in_pool
from .report import Report
from .shapes import shapes
from .single_device import single_device

PASSES = {"single_device": single_device, "shapes": shapes, "dead": dead, "common": common,
          "algebra": algebra, "fuse": fuse, "batch_statistics": batch_statistics,
          "relu_in_pool": relu_in_pool, "fold_batch_norm": fold_batch_norm,
          "fold_scale": fold_scale, "fold": fold, "placement": placement, "memory": memory,
          "open_batch_norm": open_batch_norm, "buckets": buckets, **HALVES}
# For every backend; those that fuse elementwise chains apply `open_batch_norm` while compiling.
# Equations are found where equal nodes are one node; what they and folding make may be equal anew.
DEFAULT = ("single_device", "shapes", "dead", "common", "algebra", "fuse", "algebra",
           "batch_statistics", "relu_in_pool", "fold_batch_norm", "fold_scale", "fold",
           "common", "placement", "memory")
# For a graph that is replicated: its collectives stay, few and large.
REPLICATED = (*DEFAULT[1:DEFAULT.index("placement")], "buckets", "placement", "memory")


def in_precision(passes: Sequence[str], precision: str | None) -> tuple[str, ...]:
    """The passes with the one that brings a graph to a precision, where its roundings are found.

    A kernel that is a product of others is rounded as it is read; what is constant folds after.

    Examples
    --------
    >>> from gradatim.backend.passes import in_precision
    >>> in_precision(("algebra", "fold", "memory"), "bfloat16")
    ('algebra', 'bfloat16', 'fold', 'memory')
    """
    if precision not in HALVES or precision in passes:
        return tuple(passes)
    at = next((i for i, name in enumerate(passes) if name in ("fold", "placement", "memory")),
              len(passes))
    return (*passes[:at], precision, *passes[at:])


def optimize(graph: Graph, passes: Sequence[str] = DEFAULT) -> tuple[Graph, list[Report]]:
    """The graph after the named passes, in the given order, and what each of them did.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.backend.passes import optimize
    >>> graph, reports = optimize(gt.graph(gt.constant(2.0) * 3.0 + gt.placeholder((2,))))
    >>> print(reports[11])
    fold: 5 nodes -> 3
      constant  2 -> 1
      multiply  1 -> 0
      bytes     12 -> 8
    """
    reports = []
    for name in passes:
        if name not in PASSES:
            raise unknown_name("graph pass", name, PASSES)
        before, graph = graph, PASSES[name](graph)
        reports.append(Report(name, before, graph))
    return graph, reports
