"""Bundle adjustment: finds what made the observations, and knows how well."""

from dataclasses import replace

import numpy as np
import torch

from rilievo.geometry.alignment import camera_errors
from rilievo.sfm.bundle import adjust
from rilievo.sfm.lens import CAMERA, belief

from .conftest import SIZE, observe, walk

TRUE = np.array([700.0, 1.0, 326.0, 236.0, -0.05, 0.0, 0.0, 0.0])


def poses(motion):
    T = np.tile(np.eye(4), (len(motion.R), 1, 1))
    T[:, :3, :3], T[:, :3, 3] = motion.R, motion.t
    return torch.from_numpy(np.linalg.inv(T))


def disturbed(world, seed=1):
    generator = np.random.default_rng(seed)
    structure = world.structure
    start = belief(SIZE, 720.0).mean
    motion = structure.motion.moved(generator.normal(0, 0.01, structure.motion.tangent().shape[1]))
    points = structure.points + generator.normal(0, 0.02, structure.points.shape)
    return replace(structure, motion=motion, points=points, lenses=start[None].copy())


def test_many_exact_views_reveal_lens_and_poses(ball_points):
    world = observe(walk(12, 0), ball_points, TRUE, 0.1, 0)
    found = adjust(disturbed(world), world.tracks, [belief(SIZE, None)])
    errors = camera_errors(poses(found.structure.motion), poses(world.structure.motion))
    assert errors.rotation_deg < 0.06
    assert errors.center_percent < 0.05
    assert abs(found.structure.lenses[0, 2] - 326) < 1.0
    assert 0.08 < found.noise_px < 0.12


def test_a_principal_point_that_the_photos_do_not_determine_stays_where_it_was_expected(ball_points):
    strong = observe(walk(12, 0), ball_points, TRUE, 0.1, 0)
    weak = observe(walk(3, 0), 0.3 * ball_points[:15], TRUE, 1.0, 0)
    sure, unsure = (adjust(disturbed(w), w.tracks, [belief(SIZE, None)]) for w in (strong, weak))
    center, prior = np.array([320.0, 240.0]), CAMERA.center * 640
    assert np.linalg.norm(unsure.structure.lenses[0, 2:4] - center) < 2 * prior
    assert (unsure.deviation[0, 2:4] > 0.9 * prior).all()
    assert (sure.deviation[0, 2:4] < 0.3 * prior).all()


def test_outliers_hardly_matter(ball_points):
    world = observe(walk(8, 2), ball_points, TRUE, 0.2, 3)
    xy = world.tracks.xy.copy()
    generator = np.random.default_rng(0)
    wrong = generator.random(len(xy)) < 0.05
    xy[wrong] += generator.normal(0, 30, (int(wrong.sum()), 2))
    found = adjust(disturbed(world), replace(world.tracks, xy=xy), [belief(SIZE, None)])
    assert camera_errors(poses(found.structure.motion), poses(world.structure.motion)).rotation_deg < 0.1


def test_a_known_lens_is_not_touched(ball_points):
    world = observe(walk(6, 1), ball_points, TRUE, 0.1, 0)
    b = replace(belief(SIZE, None), mean=TRUE, deviation=np.zeros(8))
    found = adjust(replace(disturbed(world), lenses=TRUE[None].copy()), world.tracks, [b])
    np.testing.assert_array_equal(found.structure.lenses[0], TRUE)
    assert not found.deviation.any()
