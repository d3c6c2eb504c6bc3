"""NeRO's photographed objects, GlossyReal, and one's own in the same layout: COLMAP's model and a cropped point cloud.

`colmap/sparse/0` and `images/` are COLMAP's; `object_point_cloud.ply` holds the points of the object alone, cut out by
hand; `meta_info.txt` has two lines, the direction up and a direction forward, in the capture's frame (for the five
published objects they are known by the folder's name). The world becomes: origin in the middle of the cloud's bounding
box, the cloud's farthest point at distance 1, z up, x as far forward as is level.

Without the cloud the folder is read as plain COLMAP, and the region of interest is found.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from rilievo.data.colmap import is_colmap, list_colmap
from rilievo.data.frame import Frame, Listing, Split
from rilievo.data.nero_split import shuffled_split
from rilievo.data.scene import PointCloud, Region
from rilievo.errors import clear
from rilievo.io.colmap_binary import read_binary
from rilievo.io.ply import read_points

CLOUD, DIRECTIONS, MODEL = "object_point_cloud.ply", "meta_info.txt", "colmap/sparse/0"
PUBLISHED = {
    "bear": ((0.0512875, -0.645326, -0.762183), (0.539944, -0.342791, 0.341446)),
    "coral": ((0.0477973, -0.748313, -0.661622), (0.004226, -0.235523, 0.267582)),
    "maneki": ((-0.0117387, -0.738751, -0.673876), (-2.336584, -0.406351, 0.482029)),
    "bunny": ((-0.0693234, -0.644819, -0.761185), (0.437076, -1.672467, 1.436961)),
    "vase": ((-0.01911, -0.738918, -0.673524), (-0.911907, -0.132777, 0.180063)),
}
"""Up and forward of the published captures, by folder name."""


@dataclass(frozen=True)
class ObjectFrame:
    """The similarity x_world = scale · R (x_capture - center)."""

    center: Float64[np.ndarray, "3"]
    scale: float
    R: Float64[np.ndarray, "3 3"]

    @property
    def world_from_capture(self) -> Float64[np.ndarray, "4 4"]:
        matrix = np.eye(4)
        matrix[:3, :3] = self.scale * self.R
        matrix[:3, 3] = -self.scale * self.R @ self.center
        return matrix

    def pose(self, capture_from_cam: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
        """world_from_cam of a camera in the capture: rotated and moved, not scaled."""
        pose = np.eye(4)
        pose[:3, :3] = self.R @ capture_from_cam[:3, :3]
        pose[:3, 3] = self.scale * self.R @ (capture_from_cam[:3, 3] - self.center)
        return pose

    def points(self, xyz: Float64[np.ndarray, "p 3"]) -> Float64[np.ndarray, "p 3"]:
        return self.scale * (xyz - self.center) @ self.R.T


def object_frame(
    cloud: Float64[np.ndarray, "p 3"], up: Float64[np.ndarray, "3"], forward: Float64[np.ndarray, "3"]
) -> ObjectFrame:
    """The frame of an object given its points and two directions, of any length but not parallel."""
    center = (cloud.max(0) + cloud.min(0)) / 2
    side = np.cross(up, forward)
    axes = np.stack([np.cross(side, up), side, up])
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return ObjectFrame(center, 1 / float(np.linalg.norm(cloud - center, axis=1).max()), axes)


def is_nero_real(folder: Path) -> bool:
    return (folder / CLOUD).is_file() and is_colmap(folder)


def list_nero_real(folder: Path) -> Listing:
    """COLMAP's listing in the object's frame. Raises `UserError` for a cloud or directions that give no frame."""
    listing = list_colmap(folder)
    frame = _frame(folder)
    held_out = _test_names(folder)

    def moved(view: Frame) -> Frame:
        split = None if held_out is None else Split.TEST if Path(view.name).name in held_out else Split.TRAIN
        return replace(view, world_from_cam=frame.pose(view.world_from_cam), split=split)

    points = listing.points and PointCloud(frame.points(listing.points.xyz), listing.points.rgb)
    return replace(
        listing,
        layout=f"NeRO GlossyReal ({listing.layout})",
        frames=tuple(moved(view) for view in listing.frames),
        points=points,
        region=Region(np.zeros(3), 1.0, f"{CLOUD} (radius {1 / frame.scale:.4g} in the capture)"),
        capture_from_world=np.linalg.inv(frame.world_from_capture),
    )


def _frame(folder: Path) -> ObjectFrame:
    cloud = read_points(folder / CLOUD).xyz.astype(np.float64)
    if len(cloud) < 2 or not np.isfinite(cloud).all() or not np.ptp(cloud, axis=0).any():
        raise clear(
            str(folder / CLOUD),
            expected="the points of the object, finite and not all in one place",
            got=f"{len(cloud)} points",
            do="crop the object's points again, or remove the file to have the region found",
        )
    up, forward = _directions(folder)
    return object_frame(cloud, up, forward)


def _directions(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Up and forward: from the file, from the published table, or the capture's own z and x."""
    path = folder / DIRECTIONS
    if not path.is_file():
        known_up, known_forward = PUBLISHED.get(folder.resolve().name, ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0)))
        return np.array(known_up), np.array(known_forward)
    try:
        directions = np.array(path.read_text(encoding="utf-8").split(), dtype=np.float64)
    except (OSError, ValueError) as error:
        raise _unclear(path, str(error)) from error
    if directions.shape != (6,) or not np.isfinite(directions).all():
        raise _unclear(path, f"{directions.size} numbers")
    up, forward = directions[:3], directions[3:]
    if np.linalg.norm(np.cross(up, forward)) <= 1e-6 * np.linalg.norm(up) * np.linalg.norm(forward):
        raise _unclear(path, "two parallel directions")
    return up, forward


def _test_names(folder: Path) -> set[str] | None:
    """Bare names of the published test views; None where the model is elsewhere than NeRO looks for it."""
    if not (folder / MODEL / "images.bin").is_file():
        return None
    _, held_out = shuffled_split([image.name for image in read_binary(folder / MODEL).images])
    return {Path(name).name for name in held_out}


def _unclear(path: Path, got: str) -> Exception:
    return clear(
        str(path),
        expected="two lines of three numbers, the directions up and forward",
        got=got,
        do="write them as in '0 -0.7 -0.7' and '0.5 -0.3 0.3'",
    )
