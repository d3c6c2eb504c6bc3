"""A scene may be moved and cut without a pixel noticing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rilievo.data.scene import Region, Scene

from .captures import BALL, ball_scene, same_rays


def moved_points(A: torch.Tensor, points: np.ndarray) -> np.ndarray:
    return points @ A[:3, :3].numpy().T + A[:3, 3].numpy()


def test_the_normalised_region_is_the_unit_ball():
    scene = ball_scene().normalised()
    assert scene.is_normalised
    assert scene.region.radius == 1
    np.testing.assert_array_equal(scene.region.center, 0)
    assert scene.normalised() is scene


def test_points_come_home_through_capture_from_world():
    scene = ball_scene()
    unit = scene.normalised()
    np.testing.assert_allclose(moved_points(unit.capture_from_world, unit.points.xyz), scene.points.xyz, atol=1e-12)
    np.testing.assert_allclose(moved_points(unit.capture_from_world, np.zeros((1, 3))), BALL[None], atol=1e-12)


def test_moving_scene_and_cameras_together_moves_no_pixel():
    scene = ball_scene()
    unit = scene.normalised()
    for i in range(len(scene)):
        before, depth = scene.cameras.project(i, torch.from_numpy(scene.points.xyz))
        after, unit_depth = unit.cameras.project(i, torch.from_numpy(unit.points.xyz))
        torch.testing.assert_close(after, before, rtol=0, atol=1e-9)
        torch.testing.assert_close(unit_depth * scene.region.radius, depth)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 100), st.integers(0, 1000))
def test_any_similarity_is_undone_in_the_capture_frame(scale, seed):
    rng = np.random.default_rng(seed)
    Q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    new_from_world = np.eye(4)
    new_from_world[:3, :3] = scale * Q * np.linalg.det(Q)
    new_from_world[:3, 3] = rng.normal(size=3) * 10
    scene = ball_scene(n=3, width=6, height=5)
    back = scene.transformed(new_from_world).normalised().in_capture_frame()
    assert same_rays(back.cameras, scene.cameras, atol=1e-9)
    np.testing.assert_allclose(back.points.xyz, scene.points.xyz, atol=1e-9)
    np.testing.assert_allclose(back.region.center, scene.region.center, atol=1e-9)
    assert back.region.radius == pytest.approx(scene.region.radius)


def test_a_subset_keeps_photos_cameras_and_held_out_views_together():
    scene = ball_scene()
    views = [9, 8, 0, 3]
    part = scene.subset(views)
    assert part.names == tuple(scene.names[i] for i in views)
    assert part.test_views == (1, 2)
    assert part.train_views == (0, 3)
    assert same_rays(part.cameras, scene.cameras[views])
    for new, old in enumerate(views):
        np.testing.assert_array_equal(part.images[new], scene.images[old])
        np.testing.assert_array_equal(part.coverage[new], scene.coverage[old])


def test_a_scene_without_points_moves_too():
    scene = ball_scene()
    bare = Scene(
        scene.name,
        scene.cameras,
        scene.names,
        scene.images,
        None,
        None,
        (),
        Region(np.array([1.0, 2.0, 3.0]), 4.0, "known"),
    )
    assert bare.normalised().points is None
