"""Triangles made to turn the same way round wherever that is possible.

Two triangles that share an edge agree when they run along it in opposite directions. The decision spreads over edges
that exactly two triangles share, across the flattest first (a spanning tree of least turning, as Hoppe et al. 1992,
"Surface reconstruction from unorganized points", section 3.3, turn the normals of points). On a one-sided piece, a
Möbius strip or a sheet that some tear has twisted, it meets itself where the surface is most bent, and neighbours are
left in disagreement there. Each piece as a whole is turned to look away from its own centre.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64
from scipy.sparse import coo_array
from scipy.sparse.csgraph import minimum_spanning_tree

from rilievo.geometry.mesh import TriMesh
from rilievo.ops.threading import kernel


def consistently_turned(vertices: Float64[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]) -> Int[np.ndarray, "f 3"]:
    """The same triangles, some with two corners exchanged."""
    if not len(faces):
        return faces
    beside, same_way = _neighbours(faces)
    flipped, piece = _spread(_flattest(TriMesh(vertices, faces), beside, same_way), same_way)
    turned = np.where(flipped[:, None], faces[:, ::-1], faces)
    mesh = TriMesh(vertices, turned)
    areas, centres = mesh.areas, mesh.corners.mean(axis=1)
    total = np.maximum(np.bincount(piece, weights=areas), np.finfo(np.float64).tiny)
    middle = np.stack([np.bincount(piece, weights=areas * c) for c in centres.T], axis=-1) / total[:, None]
    outward = np.bincount(piece, weights=areas * (mesh.face_normals * (centres - middle[piece])).sum(axis=1))
    return np.where((outward < 0)[piece, None], turned[:, ::-1], turned)


def _neighbours(faces: Int[np.ndarray, "f 3"]) -> tuple[Int64[np.ndarray, "f 3"], Bool[np.ndarray, "f 3"]]:
    """Across each side of each face the face there, -1 for none or several, and whether both run along it the same
    way."""
    start, end = faces.ravel(), np.roll(faces, -1, axis=1).ravel()
    key = np.minimum(start, end).astype(np.int64) * (int(faces.max()) + 1) + np.maximum(start, end)
    order = np.argsort(key, kind="stable")
    _, first, count = np.unique(key[order], return_index=True, return_counts=True)
    a, b = order[first[count == 2]], order[first[count == 2] + 1]
    beside, same_way = np.full(len(key), -1, dtype=np.int64), np.zeros(len(key), dtype=bool)
    beside[a], beside[b] = b // 3, a // 3
    same_way[a] = same_way[b] = start[a] == start[b]
    return beside.reshape(-1, 3), same_way.reshape(-1, 3)


def _flattest(
    mesh: TriMesh, beside: Int64[np.ndarray, "f 3"], same_way: Bool[np.ndarray, "f 3"]
) -> Int64[np.ndarray, "f 3"]:
    """The same neighbours, but -1 where the way from one to the other leads over flatter edges, too."""
    face, side = np.nonzero(beside >= 0)
    other = beside[face, side]
    normals = mesh.face_normals
    cosine = (normals[face] * normals[other]).sum(axis=1) * np.where(same_way[face, side], -1, 1)
    count = len(beside)
    bent = coo_array((2 - cosine, (face, other)), shape=(count, count)).tocsr()  # 1 and more: none is taken for missing
    tree = minimum_spanning_tree(bent).tocoo()
    kept = np.concatenate([tree.row, tree.col]).astype(np.int64) * count + np.concatenate([tree.col, tree.row])
    beside = beside.copy()
    beside[face, side] = np.where(np.isin(face * count + other, kept), other, -1)
    return beside


@kernel(parallel=False)
def _spread(beside, same_way):
    """Whether each face is to be flipped, and the piece it belongs to."""
    count = len(beside)
    flipped = np.zeros(count, dtype=np.bool_)
    piece = np.full(count, -1, dtype=np.int64)
    waiting = np.empty(count, dtype=np.int64)
    pieces = 0
    for seed in range(count):
        if piece[seed] >= 0:
            continue
        piece[seed] = pieces
        waiting[0] = seed
        head, tail = 0, 1
        while head < tail:
            face = waiting[head]
            head += 1
            for side in range(3):
                other = beside[face, side]
                if other >= 0 and piece[other] < 0:
                    piece[other] = pieces
                    flipped[other] = flipped[face] != same_way[face, side]
                    waiting[tail] = other
                    tail += 1
        pieces += 1
    return flipped, piece
