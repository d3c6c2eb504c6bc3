"""Fewer faces show nearly the same surface."""

import sys

import numpy as np
import pytest

from rilievo.errors import UserError
from rilievo.geometry.mesh import TriMesh
from rilievo.meshing.decimation import decimated

from .rippled_torus import rippled_torus


def test_a_torus_of_a_tenth_of_its_faces_is_closed_and_nearly_as_large():
    fine = rippled_torus(160, 60)
    coarse = decimated(fine, len(fine.faces) // 10)
    assert abs(len(coarse.faces) - len(fine.faces) / 10) < 10
    assert coarse.is_closed()
    assert coarse.components()[0] == 1
    assert coarse.vertices.dtype == fine.vertices.dtype
    assert coarse.volume == pytest.approx(fine.volume, rel=0.01)
    assert coarse.area == pytest.approx(fine.area, rel=0.02)


def test_the_unit_of_length_does_not_matter():
    fine = rippled_torus(60, 24)
    large = TriMesh(4096 * fine.vertices, fine.faces)
    here, there = decimated(fine, 500), decimated(large, 500)
    np.testing.assert_array_equal(here.faces, there.faces)
    np.testing.assert_array_equal(4096 * here.vertices, there.vertices)


def test_the_border_of_an_open_sheet_stays_where_it_is():
    side = 30
    x, y = (a.ravel() for a in np.meshgrid(np.arange(side), np.arange(side), indexing="ij"))
    start = (x * side + y)[(x < side - 1) & (y < side - 1)]
    quads = np.stack([start, start + side, start + side + 1, start + 1], -1)
    sheet = TriMesh(
        np.stack([x, y, 2 * np.sin(x / 6) * np.cos(y / 7)], -1).astype(np.float32),
        np.concatenate([quads[:, :3], quads[:, [0, 2, 3]]]),
    )
    coarse = decimated(sheet, 400)
    assert len(coarse.faces) < 500
    assert coarse.boundary_loops() == 1
    rim = sheet.vertices[(x == 0) | (x == side - 1) | (y == 0) | (y == side - 1)]
    assert {tuple(p) for p in rim} <= {tuple(p) for p in coarse.vertices}


def test_a_mesh_that_has_no_more_faces_is_itself():
    fine = rippled_torus(20, 10)
    assert decimated(fine, 400) is fine
    assert decimated(fine, 4000) is fine


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "fast_simplification", None)
    with pytest.raises(UserError, match="pip install fast-simplification"):
        decimated(rippled_torus(20, 10), 100)
