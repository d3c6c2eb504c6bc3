"""Triangles turn alike where a surface has two sides, and disagree where it is bent most where it has one."""

import numpy as np
import pytest

from rilievo.geometry.mesh import TriMesh
from rilievo.meshing.orientation import consistently_turned

AROUND = 60


def band(twisted_at=None):
    """A ring of 60 quads, two triangles each, which looks outwards; joined upside down, which twists a quad there."""
    angle = 2 * np.pi * np.arange(AROUND) / AROUND
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    vertices = np.concatenate([np.c_[ring, np.zeros(AROUND)], np.c_[ring, np.full(AROUND, 0.1)]])
    faces = []
    for i in range(AROUND):
        low, high = [i, (i + 1) % AROUND], [i + AROUND, (i + 1) % AROUND + AROUND]
        if i == twisted_at:
            low[1], high[1] = high[1], low[1]
        faces += [[low[0], low[1], high[1]], [low[0], high[1], high[0]]]
    return vertices, np.array(faces)


def outward(vertices, faces):
    mesh = TriMesh(vertices, faces)
    return (mesh.face_normals * mesh.corners.mean(axis=1) * [1, 1, 0]).sum(axis=1) > 0


def test_faces_turned_at_random_are_turned_alike():
    vertices, faces = band()
    flip = np.random.default_rng(0).random(len(faces)) < 0.5
    assert outward(vertices, consistently_turned(vertices, np.where(flip[:, None], faces[:, ::-1], faces))).all()


@pytest.mark.parametrize("twisted_at", [0, 7, 30, 59])
def test_a_twisted_band_disagrees_with_itself_where_it_is_twisted_and_nowhere_else(twisted_at):
    vertices, faces = band(twisted_at)
    turned = consistently_turned(vertices, faces)
    smooth = np.repeat(np.arange(AROUND) != twisted_at, 2)
    sides = outward(vertices, turned)[smooth]
    assert sides.all() or not sides.any()


def test_no_faces_are_turned_to_none():
    assert consistently_turned(np.zeros((3, 3)), np.zeros((0, 3), dtype=np.int64)).shape == (0, 3)
