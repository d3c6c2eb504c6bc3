"""Dense depth and points: the published ones from the published anchors, and cleaning."""

import dataclasses

import numpy as np
import pytest
import torch

from rilievo.alignment.cleaning import clean_pointcloud
from rilievo.alignment.condense import condense
from rilievo.alignment.config import SparseConfig
from rilievo.alignment.dense import densify
from rilievo.alignment.problem import Fixed
from rilievo.alignment.residuals import points_of


@pytest.mark.golden
@pytest.mark.parametrize("scene", ["main_scene", "mixed_scene"])
def test_dense_points_and_cleaned_confidences_are_the_published_ones(scene, request):
    case = request.getfixturevalue(scene)
    views = condense(case.pairs(), [tuple(d.shape) for d in case.list("gt/depth")], SparseConfig()).views
    names = sorted({name.rsplit("/", 1)[0] for name in case.arrays if name.endswith("dense_pts_0")})
    assert names
    for name in names:
        problem = case.problem(case.tree(name), 5.0)
        geometry = case.geometry(name, problem)
        if f"{name}/sparse_pts_0" in case:
            sparse = torch.cat(case.list(f"{name}/sparse_pts"))
            np.testing.assert_allclose(points_of(geometry, problem.sightings), sparse, rtol=1e-4, atol=1e-4)
        dense = densify(geometry, views)
        for i, view in enumerate(dense):
            points, depth = case[f"{name}/dense_pts_{i}"], case[f"{name}/dense_depth_{i}"]
            np.testing.assert_allclose(view.points.reshape(-1, 3), points, rtol=1e-4, atol=5e-4)
            np.testing.assert_allclose(view.depth.reshape(-1), depth, rtol=1e-4)
        K = torch.diag_embed(torch.stack((geometry.focal, geometry.focal, torch.ones_like(geometry.focal)), -1))
        K[:, :2, 2] = geometry.principal_point + 0.5
        ours = clean_pointcloud(
            [view.confidence for view in dense],
            K,
            geometry.world_from_cam,
            [view.depth for view in dense],
            [view.points for view in dense],
        )
        for i, confidence in enumerate(ours):
            theirs = case[f"{name}/clean_conf_{i}"]
            agree = torch.isclose(confidence, theirs, rtol=1e-4, atol=1e-5)
            assert agree.double().mean() > 0.995  # a point on the border between two pixels may go either way


def wall(depth, size=16):
    """A camera at the origin looking along z at a wall."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    z = torch.full((size, size), depth)
    return torch.stack(((x + 0.5 - size / 2) * z / size, (y + 0.5 - size / 2) * z / size, z), dim=-1)


def test_a_point_before_a_surer_wall_loses_its_confidence_and_no_other_does():
    K = torch.tensor([[16.0, 0, 8], [0, 16, 8], [0, 0, 1]]).expand(2, 3, 3)
    floating = wall(2.0)
    floating[4, 5] *= 0.5  # on the same ray, half way
    depth = [wall(2.0)[..., 2], floating[..., 2]]
    sure = [torch.full((16, 16), 5.0), torch.full((16, 16), 3.0)]
    poses = torch.eye(4).expand(2, 4, 4)
    first, second = clean_pointcloud(sure, K, poses, depth, [wall(2.0), floating])
    assert (first == 5).all()
    assert second[4, 5] == 0
    assert (second == 3).sum() == 255


def test_nothing_fixed_leaves_the_scale_open():
    fixed = Fixed.nothing(torch.zeros(3, 2))
    assert not fixed.scale
    one = dataclasses.replace(fixed, pose=torch.tensor([True, False, False]))
    assert not one.scale
    assert dataclasses.replace(fixed, pose=torch.tensor([True, True, False])).scale
    assert dataclasses.replace(fixed, depth=torch.tensor([False, True, False])).scale
