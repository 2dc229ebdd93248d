"""The replication pass: a graph becomes one replica's graph, with collectives."""
from __future__ import annotations

import numpy as np

from ..graph import Graph
from ..op import OPS
from ..tensor import Tensor, constant


def replicate(graph: Graph, rank: int | Tensor) -> Graph:
    """The graph that replica ``rank`` runs on its share of the rows.

    Every ``batch_sum`` is completed over all replicas, and random ops learn where this replica's
    rows stand in the global batch. Parameter gradients carry their ``all_reduce`` already, put
    there by `gradients`; nothing else needs one.

    Parameters
    ----------
    graph : Graph
        Built for one replica's number of rows.
    rank : int or Tensor
        Which replica, from 0; or an int64 tensor that says so when the graph runs.

    Examples
    --------
    >>> import gradatim as gt
    >>> from gradatim.backend.distribute import replicate
    >>> x = gt.placeholder((4, 2))
    >>> print([n.op.name for n in replicate(gt.graph(gt.batch_sum(x)), rank=1).steps])
    ['batch_sum', 'all_reduce']
    """
    def rule(node, inputs):
        if node.op.name == "batch_sum":
            return (OPS["all_reduce"](node.with_inputs(inputs).outputs[0]),)
        if node.op.name == "row_offset":
            rows = inputs[0].shape[0]
            return (rank * rows if isinstance(rank, Tensor) else
                    constant(np.asarray(rank * rows, node.specs[0].dtype)),)
        return None

    return graph.rewrite(rule)
