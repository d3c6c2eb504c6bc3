"""The 256 ways a surface can cross a cube, worked out rather than copied.

A cell of a lattice has eight corners, each inside (f < 0) or outside. Marching cubes (Lorensen & Cline 1987) cuts the
twelve edges whose ends differ and spans the cuts with triangles. The table is derived from one rule per cube *face*, so
that two cells sharing a face always agree on the contour drawn there:

    walking round the face counter-clockwise as seen from outside the cube, every run of inside corners is cut off by
    one segment, from the edge where the walk entered the run to the edge where it leaves.

Each cut edge lies on two faces which are walked in opposite directions, hence it starts exactly one segment and ends
exactly one: the segments link into closed loops, without exception, and neighbouring cells traverse a shared segment in
opposite directions. The polygons spanned by the loops therefore form a closed, consistently oriented surface whose
normal points to the outside. On an ambiguous face (inside corners on one diagonal) the rule keeps the inside corners
apart.

Loops are triangulated without any diagonal lying in a face of the cube: such a diagonal could be drawn a second time by
the neighbour and give an edge four triangles. Among the triangulations left, the one with the shortest diagonals (cuts
placed at the middle of their edges) is taken.

Corner c sits at (c & 1, c >> 1 & 1, c >> 2 & 1); bit c of the case number is set when it is inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

Loop = tuple[int, ...]
Triangle = tuple[int, int, int]

CORNERS = np.array([(c & 1, c >> 1 & 1, c >> 2 & 1) for c in range(8)], dtype=np.int64)
EDGES = [(c, c | 1 << axis) for axis in range(3) for c in range(8) if not c >> axis & 1]
"""Corner pairs, lower corner first: four edges along x, four along y, four along z."""
EDGE_AXIS = np.repeat(np.arange(3, dtype=np.int64), 4)
EDGE_CORNERS = np.array(EDGES, dtype=np.int64)
_EDGE_OF = {frozenset(pair): e for e, pair in enumerate(EDGES)}
_MIDDLES = np.array([(CORNERS[a] + CORNERS[b]) / 2 for a, b in EDGES])


def _faces() -> list[tuple[int, int, int, int]]:
    """The corners of the six faces, counter-clockwise as seen from outside."""
    faces = []
    for axis in range(3):
        u, v = 1 << (axis + 1) % 3, 1 << (axis + 2) % 3
        up = 1 << axis
        faces += [(0, v, u | v, u), (up, up | u, up | u | v, up | v)]
    return faces


FACES = _faces()


def contour_loops(case: int) -> list[Loop]:
    """The closed loops of cut edges of one case, each turning counter-clockwise as seen from outside the surface."""
    follows: dict[int, int] = {}
    for face in FACES:
        inside = [case >> c & 1 for c in face]
        edge = [_EDGE_OF[frozenset((face[k], face[(k + 1) % 4]))] for k in range(4)]
        for k in range(4):
            if inside[k] and not inside[(k + 1) % 4]:  # the walk leaves a run of inside corners: find where it entered
                start = k
                while inside[start - 1]:
                    start -= 1
                follows[edge[start - 1]] = edge[k]
    loops = []
    while follows:
        loop = [min(follows)]
        while (after := follows.pop(loop[-1])) != loop[0]:
            loop.append(after)
        loops.append(tuple(loop))
    return loops


def _faces_of_edge(edge: int) -> set[int]:
    return {f for f, face in enumerate(FACES) if set(EDGES[edge]) <= set(face)}


_EDGE_FACES = [_faces_of_edge(e) for e in range(12)]


def _triangulations(loop: Loop) -> Iterator[tuple[float, list[Triangle]]]:
    """Every triangulation of a loop that keeps clear of the cube's faces, with the squared length of its diagonals."""
    if len(loop) < 3:
        yield 0.0, []
        return
    first, last = loop[0], loop[-1]
    for k in range(1, len(loop) - 1):
        apex = loop[k]
        diagonals = [(first, apex)] * (k > 1) + [(apex, last)] * (k < len(loop) - 2)
        if any(_EDGE_FACES[a] & _EDGE_FACES[b] for a, b in diagonals):
            continue
        length = sum(float(((_MIDDLES[a] - _MIDDLES[b]) ** 2).sum()) for a, b in diagonals)
        for left_length, left in _triangulations(loop[: k + 1]):
            for right_length, right in _triangulations(loop[k:]):
                yield length + left_length + right_length, [(first, apex, last), *left, *right]


def triangulate(loop: Loop) -> list[Triangle]:
    """Triangles of one loop, in the loop's own direction."""
    return min(_triangulations(loop), key=lambda cost_and_triangles: cost_and_triangles[0])[1]


@cache
def triangle_table() -> tuple[np.ndarray, np.ndarray]:
    """`count` int64 [256] and `edges` int64 [256, most triangles, 3]: the triangles of every case as cut-edge
    numbers."""
    cases = [[t for loop in contour_loops(case) for t in triangulate(loop)] for case in range(256)]
    count = np.array([len(triangles) for triangles in cases], dtype=np.int64)
    edges = np.full((256, int(count.max()), 3), -1, dtype=np.int64)
    for case, triangles in enumerate(cases):
        if triangles:
            edges[case, : len(triangles)] = triangles
    return count, edges
