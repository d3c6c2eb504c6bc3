"""Tangent frames follow the picture, and what is told in them means the direction it came from."""

import numpy as np
import pytest

from rilievo.geometry.mesh import TriMesh
from rilievo.io.material_tangents import in_tangent_space, unit, vertex_tangents

UP = np.array([0, 0, 1.0])


def leaf(uv: np.ndarray) -> tuple[TriMesh, np.ndarray]:
    """A bent kite in a picture: two faces that share a side."""
    vertices = np.array([[0, 0, 0], [1, -0.3, 0.1], [1.2, 0.2, 0.3], [0.4, 1, -0.2]])
    mesh = TriMesh(vertices, np.array([[0, 1, 2], [0, 2, 3]]))
    return TriMesh(mesh.vertices, mesh.faces, mesh.vertex_normals), uv


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_square_laid_in_the_picture_has_u_for_its_tangent(mirrored):
    square = TriMesh(
        np.array([[0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0.0]]), np.array([[0, 1, 2], [0, 2, 3]]), np.tile(UP, (4, 1))
    )
    uv = square.vertices[:, :2] / 2
    turned = np.array([[0, 1], [-1, 0.0]])  # the picture lies on the square by a quarter turn
    tangents = vertex_tangents(square, (uv * [-1 if mirrored else 1, 1]) @ turned.T)
    expected = [0, 1, 0, -1] if mirrored else [0, 1, 0, 1]
    np.testing.assert_allclose(tangents, np.tile(expected, (4, 1)), atol=1e-12)


def test_tangents_do_not_mind_how_a_face_is_cut():
    """Angles round a vertex add up, so two halves of a face weigh as much as the whole."""
    mesh, uv = leaf(np.array([[0.1, 0.1], [0.8, 0.2], [0.9, 0.5], [0.3, 0.9]]))
    middle, place = (mesh.vertices[1] + mesh.vertices[2]) / 2, (uv[1] + uv[2]) / 2
    assert mesh.normals is not None
    cut = TriMesh(
        np.concatenate([mesh.vertices, middle[None]]),
        np.array([[0, 1, 4], [0, 4, 2], [0, 2, 3]]),
        np.concatenate([mesh.normals, UP[None]]),
    )
    whole, halves = vertex_tangents(mesh, uv), vertex_tangents(cut, np.concatenate([uv, place[None]]))
    np.testing.assert_allclose(halves[[0, 3]], whole[[0, 3]], atol=1e-12)
    assert np.abs(whole[0] - whole[2]).max() > 0.01  # or there were nothing to see


def test_tangents_are_unit_and_lie_across_the_normals_even_where_the_picture_has_no_room():
    mesh, uv = leaf(np.array([[0.1, 0.1], [0.8, 0.2], [0.9, 0.5], [0.9, 0.5]]))
    tangents = vertex_tangents(mesh, uv)
    np.testing.assert_allclose(np.linalg.norm(tangents[:, :3], axis=-1), 1)
    np.testing.assert_allclose((tangents[:, :3] * mesh.normals).sum(-1), 0, atol=1e-12)
    assert (np.abs(tangents[:, 3]) == 1).all()


def test_what_is_told_in_a_frame_is_the_direction_it_came_from():
    """Also where interpolation left normal and tangent neither unit nor at right angles."""
    generator = np.random.default_rng(0)
    normals = UP + 0.15 * generator.normal(size=(300, 3))
    tangents = np.array([1.0, 0, 0]) + 0.15 * generator.normal(size=(300, 3))
    sign = np.where(generator.random((300, 1)) < 0.5, 1.0, -1.0)
    directions = unit(unit(normals) + 0.4 * generator.normal(size=(300, 3)))
    told = in_tangent_space(directions, normals, np.concatenate([0.8 * tangents, sign], -1))
    n, t = unit(normals), unit(tangents)
    meant = unit(told[:, :1] * t + told[:, 1:2] * sign * np.cross(n, t) + told[:, 2:] * n)
    above = told[:, 2] > 0.1
    assert above.mean() > 0.9
    np.testing.assert_allclose(meant[above], directions[above], atol=1e-9)
    assert (told[:, 2] > 0).all()


def test_the_normal_itself_is_straight_up():
    told = in_tangent_space(UP[None], UP[None], np.array([[0.6, 0.8, 0, -1.0]]))
    np.testing.assert_allclose(told, UP[None], atol=1e-15)
