"""The triangles of every way a surface can cross a cube."""

from collections import Counter

import numpy as np
import pytest

from rilievo.meshing.cube_table import CORNERS, EDGES, FACES, contour_loops, triangle_table

MIDDLES = np.array([(CORNERS[a] + CORNERS[b]) / 2 for a, b in EDGES])


def triangles(case):
    count, edges = triangle_table()
    return edges[case, : count[case]]


def test_every_cut_edge_lies_on_exactly_one_loop():
    for case in range(256):
        cut = [e for e, (a, b) in enumerate(EDGES) if (case >> a & 1) != (case >> b & 1)]
        assert sorted(e for loop in contour_loops(case) for e in loop) == cut


def test_triangles_fill_the_loops_and_leave_only_the_contour_open():
    for case in range(256):
        sides = Counter((int(t[k]), int(t[(k + 1) % 3])) for t in triangles(case) for k in range(3))
        open_sides = {side for side in sides if side[::-1] not in sides}
        assert open_sides == {(loop[k - 1], loop[k]) for loop in contour_loops(case) for k in range(len(loop))}
        assert set(sides.values()) <= {1}


def test_no_diagonal_lies_in_a_face_where_the_neighbour_could_draw_it_too():
    for case in range(256):
        contour = {frozenset((loop[k - 1], loop[k])) for loop in contour_loops(case) for k in range(len(loop))}
        for t in triangles(case):
            for k in range(3):
                side = frozenset((int(t[k]), int(t[(k + 1) % 3])))
                shares_face = any(all(set(EDGES[e]) <= set(face) for e in side) for face in FACES)
                assert side in contour or not shares_face


@pytest.mark.parametrize("corner", range(8))
def test_the_triangle_round_a_single_inside_corner_faces_away_from_it(corner):
    (t,) = triangles(1 << corner)
    a, b, c = MIDDLES[t]
    assert np.cross(b - a, c - a) @ (a - CORNERS[corner]) > 0
