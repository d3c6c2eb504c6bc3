"""The kinematic tree: which camera's pose is told relative to which.

`scores[i, j]` says how well photos i and j matched, symmetric, 0 where they did not meet. The tree is either the
maximum spanning tree of the scores, or a tree through the merges of a hierarchical clustering (Ward 1963): clusters
join from the most alike on, each through the member that stands for it (MASt3R-SfM, Duisterhof et al. 2024,
arXiv:2409.19152, §3.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

import numpy as np
from jaxtyping import Float
from scipy.cluster.hierarchy import linkage
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree
from scipy.spatial.distance import squareform

from rilievo.errors import clear

MATCHES_PER_ANCHOR = 3
"""As many matches per anchor make two photos wholly alike."""


class TreeKind(StrEnum):
    """How the kinematic tree is chosen."""

    CLUSTERS = "clusters"
    SPANNING = "spanning"


@dataclass(frozen=True)
class KinematicTree:
    """A rooted tree over the views."""

    root: int
    edges: tuple[tuple[int, int], ...]
    """(parent, child), parents first."""

    @property
    def views(self) -> int:
        return len(self.edges) + 1

    @cached_property
    def parent(self) -> tuple[int, ...]:
        """Parent of each view; -1 at the root."""
        of = {child: parent for parent, child in self.edges}
        return tuple(of.get(view, -1) for view in range(self.views))

    def rerooted(self, root: int) -> KinematicTree:
        """The same links, told from another view."""
        joined: dict[int, list[int]] = {view: [] for view in range(self.views)}
        for a, b in self.edges:
            joined[a].append(b)
            joined[b].append(a)
        edges, reached = [], [root]
        for view in reached:
            for child in joined[view]:
                if child not in reached:
                    edges.append((view, child))
                    reached.append(child)
        return KinematicTree(root, tuple(edges))


def kinematic_tree(
    scores: Float[np.ndarray, "n n"], kind: TreeKind, anchors: Float[np.ndarray, "n"] | None = None
) -> KinematicTree:
    """The tree over the views; `anchors`, the number in each view, is what clusters measure matches against.

    Raises `UserError` naming the views that no chain of matches joins to the others.
    """
    check_connected(scores)
    if kind is TreeKind.CLUSTERS and len(scores) > 2:
        assert anchors is not None, "clusters need the number of anchors"
        return maximum_spanning_tree(cluster_links(scores, anchors))
    return maximum_spanning_tree(scores)


def connected_groups(scores: Float[np.ndarray, "n n"]) -> list[list[int]]:
    """Views joined by chains of matches, the largest group first."""
    count, label = connected_components(csr_array(scores > 0), directed=False)
    return sorted((np.flatnonzero(label == g).tolist() for g in range(count)), key=len, reverse=True)


def check_connected(scores: Float[np.ndarray, "n n"]) -> None:
    """Raise `UserError` where matches do not join all views."""
    largest, *others = connected_groups(scores)
    if others:
        raise clear(
            "photos",
            expected="all joined to each other by matches",
            got=f"{len(largest)} that are, and apart from them " + ", ".join(str(group) for group in others),
            do="leave these out, add photos in between, or check that their masks are not empty",
        )


def maximum_spanning_tree(scores: Float[np.ndarray, "n n"]) -> KinematicTree:
    """Maximum spanning tree, rooted where it is far from every leaf.

    Far by rank in a breadth-first walk, as in the published code, which looks once from either end of the longest walk.
    """
    joined = scores != 0
    graph = coo_array((-scores[joined].astype(np.float64), np.nonzero(joined)), shape=scores.shape)
    tree = minimum_spanning_tree(csr_array(graph))

    def ranks(start: int) -> np.ndarray:
        order = breadth_first_order(tree, start, directed=False, return_predecessors=False)
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        return rank

    one_end = int(ranks(0).argmax())
    from_one_end = ranks(one_end)
    from_other_end = ranks(int(from_one_end.argmax()))
    root = int(np.minimum(from_one_end, from_other_end).argmax())
    order, before = breadth_first_order(tree, root, directed=False)
    return KinematicTree(root, tuple((int(before[view]), int(view)) for view in order[1:]))


def cluster_links(scores: Float[np.ndarray, "n n"], anchors: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n n"]:
    """1 between views through which two clusters were joined, 0 elsewhere: the links are a tree."""
    most = MATCHES_PER_ANCHOR * np.minimum(anchors[:, None], anchors[None, :])
    alike = np.minimum(scores / most, 1).astype(np.float32)
    np.fill_diagonal(alike, 1)
    distance = np.where(alike > 0, 1 - alike, 2)
    n = len(scores)
    links, stands_for = np.zeros((n, n)), list(range(n))
    for one, other in linkage(squareform(distance, checks=False), method="ward")[:, :2].astype(int):
        a, b = stands_for[one], stands_for[other]
        links[a, b] = links[b, a] = 1
        best = a if alike[a].sum() > alike[b].sum() else b
        alike[best] = np.maximum(alike[a], alike[b])
        stands_for.append(best)
    return links
