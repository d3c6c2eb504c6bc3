"""Marching cubes of values alone."""

from collections import Counter

import numpy as np
import pytest

from rilievo.meshing.marching_cubes import march_bricks, march_volume


def directed_edges(faces):
    return Counter(map(tuple, np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).tolist()))


def surrounded_noise(seed, shape, zeros=0.0):
    """Random values within a shell of positive ones, a share of them exactly zero."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=shape)
    values[rng.random(shape) < zeros] = 0.0
    for axis in range(3):
        values.swapaxes(0, axis)[[0, -1]] = 1.0
    return values


@pytest.mark.parametrize("zeros", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(5))
def test_surface_of_noise_is_closed_and_oriented(seed, zeros):
    """Noise meets every ambiguous case; each side of a triangle must be met once, in the other direction."""
    cuts = march_volume(surrounded_noise(seed, (13, 17, 11), zeros))
    edges = directed_edges(cuts.faces)
    assert set(edges.values()) == {1}
    assert all((b, a) in edges for a, b in edges)


def test_no_triangle_has_zero_area_even_where_values_are_exactly_zero():
    cuts = march_volume(surrounded_noise(7, (12, 12, 12), zeros=0.5))
    a, b, c = cuts.positions(cuts.fractions())[cuts.faces].transpose(1, 0, 2)
    assert np.linalg.norm(np.cross(b - a, c - a), axis=1).min() > 1e-7


def test_a_linear_field_is_cut_exactly():
    x, y, z = np.meshgrid(np.arange(6.0), np.arange(5.0), np.arange(4.0), indexing="ij")
    normal, offset = np.array([1.0, 0.7, -0.3]), 3.1
    cuts = march_volume(normal[0] * x + normal[1] * y + normal[2] * z - offset)
    at = cuts.positions(cuts.fractions())
    np.testing.assert_allclose(at @ normal, offset, atol=2e-3)  # cuts keep a thousandth of a voxel from the vertices
    a, b, c = at[cuts.faces].transpose(1, 0, 2)
    assert (np.cross(b - a, c - a) @ normal > 0).all()


def test_division_into_bricks_does_not_change_the_surface():
    values = surrounded_noise(3, (11, 8, 9))
    whole = march_volume(values)
    corners = [(x, y, z) for x in (0, 5) for y in (0, 5) for z in (0, 5)]
    padded = np.pad(values, [(0, 6)] * 3, constant_values=np.nan)
    bricks = np.stack([padded[x : x + 6, y : y + 6, z : z + 6] for x, y, z in corners])
    parts = march_bricks(bricks, np.array(corners), (10, 7, 8))
    np.testing.assert_array_equal(parts.lower, whole.lower)
    np.testing.assert_array_equal(parts.ends, whole.ends)
    assert {tuple(f) for f in parts.faces.tolist()} == {tuple(f) for f in whole.faces.tolist()}
