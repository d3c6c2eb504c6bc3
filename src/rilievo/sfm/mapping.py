"""Poses and points from matches: COLMAP's mappers, tried in turn until every photo has a place.

The incremental mapper (Schönberger & Frahm 2016) grows from one pair, the global one (GLOMAP, Pan et al. 2024) places
all at once. Weakly textured or circular captures fail with the usual thresholds and succeed with gentler ones and an
ideal lens, so that is tried before photos are given up. The bundle adjustment that follows is our own.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from rilievo.sfm.bundle import Structure, Tracks
from rilievo.sfm.colmap import pycolmap
from rilievo.sfm.features import SEED, Database
from rilievo.sfm.lens import Belief
from rilievo.sfm.motion import FixedMotion, FreeMotion


@dataclass(frozen=True)
class Mapped:
    """A reconstruction of some of the photos: `views` are their numbers, in order."""

    views: tuple[int, ...]
    structure: Structure
    tracks: Tracks
    how: str
    others: tuple[int, ...] = ()
    """Sizes of further reconstructions that share no points with this one."""


def map_photos(
    database: Database, names: Sequence[str], groups: Sequence[int], beliefs: Sequence[Belief], mapper: str
) -> Mapped | None:
    """The reconstruction with most photos, None where no mapper found any; stops at the first that has them all.

    `mapper` is "incremental" or "global", which is then tried first.
    """
    best: Mapped | None = None
    for how, run in _attempts(mapper, all(not b.deviation.any() for b in beliefs)):
        output = database.folder / "sparse"
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir()
        pycolmap.set_random_seed(SEED)
        _write_cameras(database, names, groups, beliefs)
        models = sorted(run(database, output).values(), key=lambda model: -model.num_reg_images())
        if models and (best is None or models[0].num_reg_images() > len(best.views)):
            best = _read(models[0], names, groups, beliefs, how)
            best = replace(best, others=tuple(model.num_reg_images() for model in models[1:]))
        if best is not None and len(best.views) == len(names):
            break
    return best


def triangulate(
    database: Database,
    names: Sequence[str],
    groups: Sequence[int],
    beliefs: Sequence[Belief],
    cam_from_world: Float64[np.ndarray, "n 4 4"],
) -> Mapped | None:
    """Points alone, for poses that are known. None where no point is seen twice."""
    _write_cameras(database, names, groups, beliefs)
    model = pycolmap.Reconstruction()
    with pycolmap.Database.open(database.path) as db:
        cache = pycolmap.DatabaseCache.create(db, pycolmap.DatabaseCacheOptions())
    model.load(cache)
    for i, name in enumerate(names):
        image = model.find_image_with_name(name)
        if image is None or image.frame is None:
            continue
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(cam_from_world[i, :3, :3]), cam_from_world[i, :3, 3])
        image.frame.set_cam_from_world(image.camera_id, pose)
        model.register_frame(image.frame_id)
    output = database.folder / "sparse"
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir()
    options = _incremental()
    options.ba_refine_focal_length = options.ba_refine_extra_params = False
    model = pycolmap.triangulate_points(model, database.path, database.images, output, options=options)
    if not model.num_points3D():
        return None
    mapped = _read(model, names, groups, beliefs, "known poses")
    motion = mapped.structure.motion
    return replace(mapped, structure=replace(mapped.structure, motion=FixedMotion(motion.R, motion.t)))


Attempt = Callable[[Database, Any], dict[int, Any]]


def _attempts(mapper: str, calibrated: bool) -> Iterator[tuple[str, Attempt]]:
    def incremental(gentle: bool) -> Attempt:
        def run(database: Database, output: Any) -> dict[int, Any]:
            options = _incremental(gentle)
            if calibrated:
                options.ba_refine_focal_length = options.ba_refine_extra_params = False
                options.mapper.abs_pose_refine_focal_length = options.mapper.abs_pose_refine_extra_params = False
            return pycolmap.incremental_mapping(database.path, database.images, output, options)

        return run

    def global_(database: Database, output: Any) -> dict[int, Any]:
        options = pycolmap.GlobalPipelineOptions()
        options.random_seed, options.num_threads, options.image_path = SEED, 1, database.images
        if calibrated:
            options.mapper.bundle_adjustment.refine_focal_length = False
            options.mapper.bundle_adjustment.refine_extra_params = False
        return pycolmap.global_mapping(database.path, database.images, output, options)

    order = [("incremental", incremental(False)), ("incremental, ideal lens, gentler thresholds", incremental(True))]
    order.insert(0 if mapper == "global" else 2, ("global", global_))
    yield from order


def _incremental(gentle: bool = False) -> Any:
    options = pycolmap.IncrementalPipelineOptions()
    options.random_seed, options.num_threads, options.min_model_size = SEED, 1, 3
    if gentle:
        options.ba_refine_extra_params = options.mapper.abs_pose_refine_extra_params = False
        options.mapper.init_min_tri_angle, options.mapper.init_min_num_inliers = 6.0, 30
        options.mapper.abs_pose_min_num_inliers, options.mapper.abs_pose_min_inlier_ratio = 12, 0.12
        options.mapper.max_reg_trials = 10
    return options


def _write_cameras(database: Database, names: Sequence[str], groups: Sequence[int], beliefs: Sequence[Belief]) -> None:
    """Cameras start at what is believed of them; a focal length that was only guessed says so."""
    with pycolmap.Database.open(database.path) as db:
        for name, group in zip(names, groups):
            image, belief = db.read_image_with_name(name), beliefs[group]
            if image is None:
                continue
            camera = db.read_camera(image.camera_id)
            f, aspect, cx, cy, k1, k2, p1, p2 = belief.mean.tolist()
            calibrated = not belief.deviation.any()
            camera.model = pycolmap.CameraModelId.OPENCV if calibrated else pycolmap.CameraModelId.SIMPLE_RADIAL
            camera.params = [f, f * aspect, cx, cy, k1, k2, p1, p2] if calibrated else [f, cx, cy, k1]
            camera.has_prior_focal_length = bool(belief.deviation[0] < 0.5 * f)
            db.update_camera(camera)


def _read(model: Any, names: Sequence[str], groups: Sequence[int], beliefs: Sequence[Belief], how: str) -> Mapped:
    number = {name: i for i, name in enumerate(names)}
    images = sorted((model.images[i] for i in model.reg_image_ids()), key=lambda image: number[image.name])
    view_of = {image.image_id: k for k, image in enumerate(images)}
    poses = [image.cam_from_world() for image in images]
    motion = FreeMotion(
        np.stack([pose.rotation.matrix() for pose in poses]), np.stack([pose.translation for pose in poses])
    )
    views = tuple(number[image.name] for image in images)
    lenses = np.stack([belief.mean for belief in beliefs])
    for image, i in zip(images, views):
        if beliefs[groups[i]].deviation.any():
            f, cx, cy, k1 = model.cameras[image.camera_id].params
            lenses[groups[i]] = [f, 1.0, cx, cy, k1, 0.0, 0.0, 0.0]
    view: list[int] = []
    point: list[int] = []
    xy: list[Float64[np.ndarray, "2"]] = []
    xyz: list[Float64[np.ndarray, "3"]] = []
    for _, found in sorted(model.points3D.items()):
        for element in found.track.elements:
            view.append(view_of[element.image_id])
            point.append(len(xyz))
            xy.append(model.images[element.image_id].points2D[element.point2D_idx].xy)
        xyz.append(found.xyz)
    group: Int64[np.ndarray, "n"] = np.array([groups[i] for i in views], dtype=np.int64)
    tracks = Tracks(np.array(view, dtype=np.int64), np.array(point, dtype=np.int64), np.array(xy).reshape(-1, 2))
    return Mapped(views, Structure(motion, lenses, group, np.array(xyz).reshape(-1, 3)), tracks, how)
