"""Which motion photos of an object show: free poses or a circle, decided by the matches and not by the user."""

from dataclasses import replace

import numpy as np
import pycolmap
import pytest

from rilievo.sfm.agreement import explained, share_by_view
from rilievo.sfm.align import Aligned, Known, _simpler, _turned
from rilievo.sfm.bundle import adjust
from rilievo.sfm.features import Database, Matches, read_keypoints, read_matches
from rilievo.sfm.lens import belief
from rilievo.sfm.motion import FreeMotion
from rilievo.sfm.photos import find_photos
from rilievo.sfm.standing_camera import BEGUN, DONE, leave_out_still_matches
from rilievo.sfm.turntable import SPREAD, solve_turntable

from .conftest import SIZE, circle, observe, walk

TRUE = np.array([900.0, 1.0, 320.0, 240.0, 0.0, 0.0, 0.0, 0.0])


def matched(world, count: int, reach: int = 3):
    """Keypoints of each photo, and matches of photos up to `reach` apart, as a perfect matcher would give them."""
    keypoints, index = [], []
    for k in range(count):
        mine = world.tracks.view == k
        keypoints.append(world.tracks.xy[mine])
        index.append({int(p): i for i, p in enumerate(world.tracks.point[mine])})
    matches = []
    for i in range(count):
        for j in range(i + 1, min(count, i + reach + 1)):
            both = sorted(index[i].keys() & index[j].keys())
            if both:
                matches.append(Matches(i, j, np.array([(index[i][p], index[j][p]) for p in both])))
    return keypoints, matches


@pytest.fixture
def turned_world(ball_points):
    return observe(circle(9, 14.0), 0.25 * ball_points, TRUE, 0.15, 3)


def test_the_motion_that_was_explains_nearly_all_and_another_one_little(turned_world):
    structure, tracks = turned_world.structure, turned_world.tracks
    assert explained(structure, range(9), tracks).mean() > 0.99
    other = replace(structure, motion=circle(9, 17.0, tilt_deg=40.0))
    assert explained(other, range(9), tracks).mean() < 0.5


def test_a_photo_without_a_pose_explains_nothing_and_harms_no_other(turned_world):
    structure, tracks = turned_world.structure, turned_world.tracks
    views = (0, 1, 2, 4, 5, 6, 7, 8)
    R, t = structure.motion.R, structure.motion.t
    part = replace(structure, motion=FreeMotion(R[list(views)], t[list(views)]), group=structure.group[list(views)])
    share = share_by_view(explained(part, views, tracks), tracks, 9)
    assert share[3] == 0
    assert (share[list(views)] > 0.95).all()


def test_a_walk_around_things_is_no_turntable(ball_points):
    keypoints, matches = matched(observe(walk(9, 1), ball_points, TRUE, 0.15, 0), 9)
    assert solve_turntable(keypoints, matches, belief(SIZE, 900.0, SPREAD), SIZE) is None


def test_a_photo_that_left_the_circle_is_named(ball_points):
    motion = circle(9, 14.0)
    R, t = motion.R.copy(), motion.t.copy()
    t[4] += [0.12, -0.1, 0.0]  # someone touched the tripod
    keypoints, matches = matched(observe(FreeMotion(R, t), 0.25 * ball_points, TRUE, 0.15, 2), 9)
    turned = solve_turntable(keypoints, matches, belief(SIZE, 900.0, SPREAD), SIZE)
    assert turned is not None
    assert turned.missed == (4,)


def test_a_photo_without_matches_is_not_guessed_where_steps_differ(ball_points):
    steps = circle(9, 14.0)
    uneven = replace(steps, angles=steps.angles + np.deg2rad([0, 2, 6, 1, 9, 3, 8, 2, 7]))
    keypoints, matches = matched(observe(uneven, 0.25 * ball_points, TRUE, 0.15, 2), 9)
    without = [m for m in matches if 4 not in (m.first, m.second)]
    turned = solve_turntable(keypoints, without, belief(SIZE, 900.0, SPREAD), SIZE)
    assert turned is not None
    assert (turned.guessed, turned.missed) == ((), (4,))


def as_free(world, noise: float) -> Aligned:
    """What a mapper gives: free poses, here the true ones disturbed and adjusted."""
    generator = np.random.default_rng(8)
    motion = FreeMotion(world.structure.motion.R, world.structure.motion.t)
    motion = motion.moved(noise * generator.normal(size=6 * len(motion.R)))
    adjusted = adjust(replace(world.structure, motion=motion), world.tracks, [belief(SIZE, None)])
    return Aligned(tuple(range(len(motion.R))), adjusted, world.tracks, (), ())


@pytest.fixture
def photos(tmp_path):
    from PIL import Image

    generator = np.random.default_rng(0)
    for i in range(9):
        pixels = generator.integers(0, 255, (*SIZE[::-1], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{i}.png", compress_level=0)
    return find_photos(tmp_path)


def test_of_two_that_explain_alike_the_circle_is_taken(turned_world, photos):
    keypoints, matches = matched(turned_world, 9)
    turned = _turned(keypoints, matches, photos, Known(), False)
    assert turned is not None
    assert _simpler(as_free(turned_world, 0.001), turned, keypoints, matches) is turned
    assert abs(turned.adjusted.structure.lenses[0, 0] - TRUE[0]) < 3


@pytest.mark.parametrize("wobble", [0.02, 0.0008])
def test_free_poses_stay_where_the_circle_explains_less_or_less_well(ball_points, photos, wobble):
    motion = circle(9, 14.0)
    rng = np.random.default_rng(5)
    wobbly = FreeMotion(motion.R, motion.t).moved(wobble * rng.normal(size=54))  # turned by hand
    world = observe(wobbly, 0.25 * ball_points, TRUE, 0.15, 3)
    keypoints, matches = matched(world, 9)
    free = as_free(world, 0.001)
    assert _simpler(free, _turned(keypoints, matches, photos, Known(), False), keypoints, matches) is free


def test_matches_of_a_standing_background_give_way_to_those_of_what_moves(tmp_path, ball_points):
    count = 5
    world = observe(circle(count, 14.0), 0.25 * ball_points, TRUE, 0.15, 0)
    keypoints, moving = matched(world, count)
    wall = np.random.default_rng(0).uniform((10, 10), (630, 470), (400, 2))
    database = Database(tmp_path)
    names = [f"{i}.png" for i in range(count)]
    pairs = [(m.first, m.second) for m in moving]
    with pycolmap.Database.open(database.path) as db:
        camera = pycolmap.Camera(model="SIMPLE_RADIAL", width=640, height=480, params=[900.0, 320.0, 240.0, 0.0])
        camera.camera_id = db.write_camera(camera)
        ids = []
        for name, own in zip(names, keypoints):
            ids.append(db.write_image(pycolmap.Image(name=name, camera_id=camera.camera_id)))
            db.write_keypoints(ids[-1], np.concatenate([own, wall]).astype(np.float32))
        for m in moving:
            n, k = len(keypoints[m.first]), len(keypoints[m.second])
            still = np.stack([n + np.arange(400), k + np.arange(400)], axis=1)
            together = np.concatenate([m.features, still]).astype(np.uint32)
            db.write_matches(ids[m.first], ids[m.second], together)
            geometry = pycolmap.TwoViewGeometry()
            geometry.config = pycolmap.TwoViewGeometryConfiguration.UNCALIBRATED
            geometry.inlier_matches = still.astype(np.uint32)
            db.write_two_view_geometry(ids[m.first], ids[m.second], geometry)
    stored, before = read_keypoints(database, names), read_matches(database, names, pairs)
    share = leave_out_still_matches(database, names, pairs, stored, before)
    assert share == 1.0
    after = read_matches(database, names, pairs)
    assert [(m.first, m.second) for m in after] == pairs
    for m, true in zip(after, moving):
        assert {tuple(f) for f in m.features.tolist()} <= {tuple(f) for f in true.features.tolist()}
        assert len(m.features) > 0.9 * len(true.features)
    assert leave_out_still_matches(database, names, pairs, stored, after) == 1.0  # once is enough
    (tmp_path / DONE).rename(tmp_path / BEGUN)  # interrupted half way
    with pycolmap.Database.open(database.path) as db:
        db.delete_two_view_geometry(ids[0], ids[1])
    assert leave_out_still_matches(database, names, pairs, stored, after[1:]) == 1.0
    again = read_matches(database, names, pairs)
    assert [len(m.features) for m in again] == [len(m.features) for m in after]
