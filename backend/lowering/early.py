"""Early: what replicas exchange is computed first, so that the rest runs during the exchange."""
from __future__ import annotations

from ..graph import COLLECTIVES
from .clusters import Cluster


def collectives_early(order: list[Cluster]) -> list[Cluster]:
    """The clusters with each collective, and what it needs, as soon as it can be.

    What the shortest way leads to comes first: of gradients, the last layer's. What no collective
    needs, such as the optimizer, comes last.
    """
    maker = {t: cluster for cluster in order for t in cluster.written}
    needs: dict[Cluster, list[Cluster]] = {}
    way: dict[Cluster, int] = {}
    for cluster in order:
        needs[cluster] = [maker[t] for n in cluster.nodes for t in n.inputs
                          if maker.get(t, cluster) is not cluster]
        way[cluster] = 1 + max((way[c] for c in needs[cluster]), default=0)
    wanted = {c for c in order if c.nodes[0].op.name in COLLECTIVES}
    for cluster in reversed(order):
        if cluster in wanted:
            wanted.update(needs[cluster])
    last = len(order)
    return sorted(order, key=lambda c: way[c] if c in wanted else last)
