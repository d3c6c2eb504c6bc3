"""Cleaning meshes."""

import numpy as np
import torch

from rilievo.meshing import cleaned, extract_surface

ONE = torch.ones(3)


def two_balls(p):
    return torch.minimum(p.norm(dim=-1) - 0.5, (p - torch.tensor([0.8, 0.0, 0.0])).norm(dim=-1) - 0.1)


def test_a_floater_goes_and_the_object_stays_closed():
    mesh = extract_surface(two_balls, -ONE, ONE, 60, gradient=torch.ones_like)
    assert mesh.components()[0] == 2
    one = cleaned(mesh, min_fraction=0.1)
    assert one.components()[0] == 1
    assert one.is_closed()
    assert np.abs(np.linalg.norm(one.vertices, axis=1) - 0.5).max() < 1e-3
    assert one.normals.shape == one.vertices.shape


def test_nothing_outside_the_ball_remains():
    mesh = cleaned(extract_surface(two_balls, -ONE, ONE, 60), center=np.array([0.8, 0, 0]), radius=0.2)
    assert mesh.components()[0] == 1
    assert np.linalg.norm(mesh.vertices - [0.8, 0, 0], axis=1).max() <= 0.2


def test_unasked_nothing_changes():
    mesh = extract_surface(two_balls, -ONE, ONE, 40)
    assert cleaned(mesh) is mesh
