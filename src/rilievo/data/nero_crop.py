"""Photos that look at the object: NeRO turns and crops its captured photos before it learns from them, and
`rilievo convert --look-at-object` does so to any capture.

A photo is replaced by what a camera in the same place sees that looks at the middle of the object's points, is as wide
as they are, and has one focal length and `side_px`² pixels (the preparation of GlossyReal, Liu et al. 2023,
arXiv:2305.17398). With the points' box in the photo, cut at its borders, and d = c - (cx, cy),

    s = min(longer side of the box, h - 3, w - 3),    f = (fx + fy) / 2,    f' = |(d, f)| side / s
    R = R_x(atan(d_y / f)) R_y(-atan(d_x / f)),    K' = (f', f', side / 2, side / 2)

where c is the box's middle, moved by as much as a square of side s round it would leave the photo. Turning a camera in
its place needs no depth, so the new photo is exact but for resampling. As published the second angle ignores the first,
so that c comes a little above or below the middle, by f' d_y d_x² / 2f³ at most.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor
from torch.nn.functional import grid_sample

from rilievo.cameras.camera import Cameras
from rilievo.data.frame import pinhole
from rilievo.data.scene import Scene
from rilievo.data.stored import Pictures
from rilievo.errors import clear

SIDE_PX = 1024
"""Of the published captures."""
BORDER_PX = 3
"""What a crop leaves of the photo's shorter side, as published."""
FAR_OUTSIDE = 3.0
"""A place where there is no picture, for directions that the old lens does not see."""


@dataclass(frozen=True)
class Crop:
    """A camera that stands where another one does, and looks at something."""

    K: Float64[np.ndarray, "3 3"]
    crop_from_cam: Float64[np.ndarray, "3 3"]
    """Rotation."""
    side_px: int

    def cam_from_world(self, before: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
        """The new camera's pose, given the old one's."""
        after = before.copy()
        after[:3] = self.crop_from_cam @ before[:3]
        return after


def crop_around(
    pixels: Float64[np.ndarray, "p 2"], K: Float64[np.ndarray, "3 3"], size_px: tuple[int, int], side_px: int
) -> Crop:
    """The crop of a photo of `size_px` (width, height) round points seen at `pixels`; at least two of them in it."""
    last = np.array(size_px, dtype=np.float64) - 1
    seen = pixels.clip(0, last)
    low, high = seen.min(0), seen.max(0)
    side = min(float((high - low).max()), *(float(n - BORDER_PX) for n in size_px))
    center = np.array([_middle(low[k], high[k], side, size_px[k]) for k in (0, 1)])
    aside, down = center - K[:2, 2]
    f = (K[0, 0] + K[1, 1]) / 2
    focal = math.hypot(aside, down, f) * side_px / side
    turned = _looking(aside / f, down / f)
    return Crop(pinhole(focal, focal, side_px / 2, side_px / 2), turned, side_px)


def _looking(aside: float, down: float) -> Float64[np.ndarray, "3 3"]:
    """The rotation to a camera that looks at these tangents to the right and down; its x axis stays level."""
    c, s = 1 / math.hypot(1, aside), aside / math.hypot(1, aside)
    yaw = np.array([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]])
    c, s = 1 / math.hypot(1, down), down / math.hypot(1, down)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]]) @ yaw


def _middle(low: float, high: float, side: float, pixels: int) -> float:
    """The middle of an interval, or of where a longer one that holds it can lie within the photo."""
    if side <= high - low:
        return (low + high) / 2
    return (max(side / 2, high - side / 2) + min(low + side / 2, pixels - 2 - side / 2)) / 2


def look_at_object(scene: Scene, side_px: int = SIDE_PX) -> Scene:
    """`look_at_points` with the scene's points in its region of interest.

    Raises `UserError` also where there are no two of them, or no pixel to show them in.
    """
    if side_px < 1:
        raise clear("--side", expected="a number of pixels, at least 1", got=str(side_px), do=f"{SIDE_PX} is usual")
    everywhere = np.zeros((0, 3)) if scene.points is None else scene.points.xyz
    away = np.linalg.norm(everywhere - scene.region.center, axis=1)
    points = everywhere[away <= scene.region.radius]
    if len(points) < 2:
        raise clear(
            scene.name,
            expected="points of the object to look at, in its region of interest",
            got="no points" if scene.points is None else f"{len(points)} of {len(everywhere)} points in it",
            do="write them to points.ply beside transforms.json, or have them found: rilievo align PHOTOS -o SCENE",
        )
    return look_at_points(scene, points, side_px)


def look_at_points(scene: Scene, points: Float[np.ndarray, "p 3"], side_px: int = SIDE_PX) -> Scene:
    """The capture with every photo, mask and what moves turned and cropped to `points`, in its world.

    Photos of lenses that bend come out straight. What is beyond a photo's border is black, and outside its mask. Depth
    and flow beside the photos are left out. Raises `UserError` for a photo in which the points are not seen.
    """
    before = scene.cameras
    crops = [_crop_of(scene, i, points, side_px) for i in range(len(scene))]
    poses = [crop.cam_from_world(pose) for crop, pose in zip(crops, before.cam_from_world.numpy())]
    after = Cameras.pinhole(
        K=torch.from_numpy(np.stack([crop.K for crop in crops])),
        world_from_cam=torch.from_numpy(np.linalg.inv(np.stack(poses))),
        sizes_px=torch.full((len(crops), 2), side_px),
    )

    def turned(pictures: Pictures | None) -> TurnedPictures | None:
        return None if pictures is None else TurnedPictures(pictures, before, after)

    beside = scene.depth_files is not None or scene.flow_files is not None
    said = f"photos turned to the object and cropped to {side_px} x {side_px} pixels"
    return replace(
        scene,
        cameras=after,
        images=TurnedPictures(scene.images, before, after),
        coverage=turned(scene.coverage),
        moving=turned(scene.moving),
        depth_files=None,
        flow_files=None,
        notes=(*scene.notes, said + ("; depth and flow beside them left out" if beside else "")),
    )


def _crop_of(scene: Scene, i: int, points: np.ndarray, side_px: int) -> Crop:
    width, height = scene.cameras.sizes_px[i].tolist()
    pixels, _ = scene.cameras.project(i, torch.from_numpy(points))
    seen = ((pixels >= 0) & (pixels < torch.tensor([width, height]))).all(-1)
    if int(seen.sum()) < 2 or not np.ptp(pixels[seen].numpy(), axis=0).any():
        raise clear(
            scene.names[i],
            expected="a photo in which the object's points are seen",
            got=f"{int(seen.sum())} of {len(points)} points in it",
            do="leave that photo out, or crop the points to the object",
        )
    return crop_around(pixels[pixels.isfinite().all(-1)].numpy(), scene.cameras.K[i].numpy(), (width, height), side_px)


@dataclass(frozen=True)
class TurnedPictures:
    """Pictures as cameras in the same places see them that look elsewhere, resampled when they are asked for."""

    pictures: Pictures
    before: Cameras
    after: Cameras

    def __len__(self) -> int:
        return len(self.pictures)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int, /) -> UInt8[np.ndarray, "..."]:
        picture = np.ascontiguousarray(self.pictures[index])
        rays = self.after.view_rays(index, torch.float64)
        pixels, _ = self.before.project(index, rays.origins + rays.directions)
        place = (pixels / self.before.sizes_px[index] * 2 - 1).nan_to_num(nan=FAR_OUTSIDE)
        width, height = self.after.sizes_px[index].tolist()
        resampled = _resample(torch.tensor(picture), place.view(height, width, 2))
        return resampled.numpy()


def _resample(picture: UInt8[Tensor, "..."], place: Float64[Tensor, "h w 2"]) -> UInt8[Tensor, "..."]:
    """Bilinear, at places in [-1, 1] from border to border; black beyond."""
    channels = picture.reshape(*picture.shape[:2], -1).permute(2, 0, 1)[None]
    seen = grid_sample(channels.double(), place[None], align_corners=False)[0].permute(1, 2, 0)
    return seen.round().to(torch.uint8).view(*place.shape[:2], *picture.shape[2:])
