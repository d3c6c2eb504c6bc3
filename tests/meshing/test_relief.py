"""The fine surface is found from a coarse one, on the side that was meant."""

import numpy as np
import trimesh

from rilievo.geometry.mesh import TriMesh
from rilievo.meshing.relief import Relief


def ball(subdivisions: int) -> TriMesh:
    body = trimesh.creation.icosphere(subdivisions=subdivisions)
    return TriMesh(np.array(body.vertices, np.float32), np.array(body.faces))


def plate() -> TriMesh:
    """Two square centimetres of a thing 2 cm thick, in metres."""
    body = trimesh.creation.box(extents=(2, 2, 0.02))
    return TriMesh(np.array(body.vertices), np.array(body.faces))


def test_a_ball_is_found_along_its_radii_from_inside_and_from_outside():
    fine = ball(4)
    relief = Relief(fine, ball(1))
    directions = np.random.default_rng(0).normal(size=(500, 3))
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    for radius in (0.9, 1.0, 1.1):
        points, normals = relief(radius * directions, directions)
        np.testing.assert_allclose(np.cross(points, directions), 0, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(points, axis=-1), 1, atol=3e-3)  # sagging faces
        assert (normals * directions).sum(-1).min() > np.cos(np.radians(0.5))


def test_neither_side_of_a_thin_plate_is_taken_for_the_other():
    relief = Relief(plate(), plate())
    heights = np.array([0.005, 0.02, -0.005, 0.5])
    up = np.array([[0, 0, 1.0]])
    for side in (1, -1):
        at = side * (heights[:, None] * up) + [0.3, 0.2, 0]
        points, _ = relief(at, np.repeat(side * up, 4, axis=0))
        np.testing.assert_allclose(points, at * [1, 1, 0] + [0, 0, side * 0.01], atol=1e-9)


def test_beyond_a_border_the_nearest_place_is_taken():
    sheet = TriMesh(np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0.0]]), np.array([[0, 1, 2], [0, 2, 3]]))
    points, normals = Relief(sheet, sheet)(np.array([[1.2, 0.5, 0.1]]), np.array([[0, 0, 1.0]]))
    np.testing.assert_allclose(points, [[1, 0.5, 0]], atol=1e-9)
    np.testing.assert_allclose(normals, [[0, 0, 1]], atol=1e-9)
