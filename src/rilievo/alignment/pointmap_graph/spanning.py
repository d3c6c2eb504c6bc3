"""The order in which photos are placed: a maximum spanning tree over the pairs, grown from the strongest one."""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor


def spanning_edges(edges: Int64[Tensor, "edges 2"], strengths: Float[Tensor, "edges"]) -> list[int]:
    """Numbers of the edges of a maximum spanning tree, in the order that Prim's method adds them (Prim 1957).

    Each but the first has exactly one photo in common with those before. Edges are ordered pairs; of (i, j) and (j, i)
    the stronger can be in the tree. Edges of strength 0 do not connect.
    """
    ends, strong_first = edges.tolist(), strengths.argsort(descending=True, stable=True).tolist()
    usable = [e for e in strong_first if strengths[e] > 0]
    tree = usable[:1]
    placed = set(ends[tree[0]]) if tree else set()
    while crossing := [e for e in usable if len(placed.intersection(ends[e])) == 1 and ends[e][0] != ends[e][1]]:
        tree.append(crossing[0])
        placed.update(ends[crossing[0]])
    return tree
