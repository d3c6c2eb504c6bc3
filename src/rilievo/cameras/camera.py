"""A batch of posed, calibrated cameras.

Axes are x right, y down, z forward; the centre of the pixel in column c and row r is at (c + 0.5, r + 0.5). Everything
is float64, because poses are solved and composed here; rays leave as float32 unless asked otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Float64, Int, Int64
from torch import Tensor

from rilievo.cameras import distortion as lens
from rilievo.cameras import validity
from rilievo.cameras.rays import Rays

FLIP_YZ = (1.0, -1.0, -1.0, 1.0)
"""Diagonal between our axes and OpenGL's and Blender's (x right, y up, z backward): its own inverse."""


@dataclass(frozen=True)
class Cameras:
    """n cameras; `cameras[i]`, `cameras[2:5]` and `cameras[[0, 3]]` are again `Cameras`.

    Distortion is OpenCV's: (k1, k2, k3, k4, k5, k6, p1, p2), rational radial terms and tangential ones, in this order.
    Where `fisheye` is true, k1 … k4 are instead the four coefficients of the equidistant model and the rest must be
    zero.

    Raises `UserError` for a pose that is not finite and rigid, a K that is no pinhole, or an empty image.
    """

    world_from_cam: Float64[Tensor, "n 4 4"]
    K: Float64[Tensor, "n 3 3"]
    sizes_px: Int64[Tensor, "n 2"]
    """Width, height."""
    distortion: Float64[Tensor, "n 8"]
    fisheye: Bool[Tensor, "n"]

    def __post_init__(self) -> None:
        validity.check_poses(self.world_from_cam)
        validity.check_intrinsics(self.K, self.sizes_px)
        validity.check_distortion(self.distortion, self.fisheye)

    @staticmethod
    def pinhole(
        world_from_cam: Float64[Tensor, "n 4 4"], K: Float64[Tensor, "n 3 3"], sizes_px: Int64[Tensor, "n 2"]
    ) -> Cameras:
        """Cameras without distortion."""
        none = world_from_cam.new_zeros(len(K), 8)
        return Cameras(world_from_cam, K, sizes_px, none, none.new_zeros(len(K), dtype=torch.bool))

    @staticmethod
    def from_opengl(
        world_from_cam: Float64[Tensor, "n 4 4"],
        K: Float64[Tensor, "n 3 3"],
        sizes_px: Int64[Tensor, "n 2"],
        distortion: Float64[Tensor, "n 8"] | None = None,
        fisheye: Bool[Tensor, "n"] | None = None,
    ) -> Cameras:
        """Cameras whose poses use OpenGL's and Blender's axes: x right, y up, z backward. K, distortion are as ours."""
        plain = Cameras.pinhole(world_from_cam @ _flip(world_from_cam), K, sizes_px)
        return replace(
            plain,
            distortion=plain.distortion if distortion is None else distortion,
            fisheye=plain.fisheye if fisheye is None else fisheye,
        )

    @staticmethod
    def concatenate(batches: Sequence[Cameras]) -> Cameras:
        """The cameras of all batches, in order."""
        return Cameras(
            torch.cat([c.world_from_cam for c in batches]),
            torch.cat([c.K for c in batches]),
            torch.cat([c.sizes_px for c in batches]),
            torch.cat([c.distortion for c in batches]),
            torch.cat([c.fisheye for c in batches]),
        )

    def __len__(self) -> int:
        return self.world_from_cam.shape[0]

    def __getitem__(self, which: int | slice | Sequence[int] | Int[Tensor, "k"] | Bool[Tensor, "n"]) -> Cameras:
        if isinstance(which, int):
            if not -len(self) <= which < len(self):
                raise IndexError(f"camera {which} of {len(self)}")  # what ends `for camera in cameras`
            which = [which]
        elif not isinstance(which, slice | Tensor):
            which = torch.as_tensor(which, dtype=torch.int64)
        return Cameras(
            self.world_from_cam[which], self.K[which], self.sizes_px[which], self.distortion[which], self.fisheye[which]
        )

    def to(self, device: torch.device | str) -> Cameras:
        return Cameras(
            self.world_from_cam.to(device),
            self.K.to(device),
            self.sizes_px.to(device),
            self.distortion.to(device),
            self.fisheye.to(device),
        )

    @property
    def centers(self) -> Float64[Tensor, "n 3"]:
        """Where the cameras stand, in the world."""
        return self.world_from_cam[:, :3, 3]

    @property
    def forwards(self) -> Float64[Tensor, "n 3"]:
        """Unit viewing directions, in the world."""
        return self.world_from_cam[:, :3, 2]

    @property
    def cam_from_world(self) -> Float64[Tensor, "n 4 4"]:
        """Rigid inverses of `world_from_cam`."""
        R_inv = self.world_from_cam[:, :3, :3].mT
        inverse = self.world_from_cam.clone()
        inverse[:, :3, :3], inverse[:, :3, 3:] = R_inv, -R_inv @ self.world_from_cam[:, :3, 3:]
        return inverse

    @property
    def world_from_cam_opengl(self) -> Float64[Tensor, "n 4 4"]:
        """The poses in OpenGL's and Blender's axes: x right, y up, z backward."""
        return self.world_from_cam @ _flip(self.world_from_cam)

    def rays(self, index: Int[Tensor, "r"], pixels: Float[Tensor, "r 2"], dtype: torch.dtype = torch.float32) -> Rays:
        """World rays through `pixels` (column, row in px, centres at +0.5) of the cameras `index`, one camera per ray.

        Computed in float64, returned in `dtype`. A pixel that the lens model cannot reach (see `reachable`) gets a
        direction at the edge of those that it can.
        """
        pose = self.world_from_cam[index]
        in_cam = self._directions(index, pixels)[0]
        in_world = (pose[:, :3, :3] * in_cam[:, None, :]).sum(-1)
        in_world = in_world / torch.linalg.vector_norm(in_world, dim=-1, keepdim=True)
        return Rays(pose[:, :3, 3].to(dtype), in_world.to(dtype))

    def view_rays(self, i: int, dtype: torch.dtype = torch.float32) -> Rays:
        """World rays through the centres of all pixels of camera `i`, row after row."""
        pixels = self.pixel_centers(i)
        return self.rays(torch.full((len(pixels),), i, device=pixels.device), pixels, dtype)

    def pixel_centers(self, i: int) -> Float64[Tensor, "hw 2"]:
        """Centres (column + 0.5, row + 0.5) of all pixels of camera `i`, row after row."""
        width, height = self.sizes_px[i].tolist()
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        return torch.stack((columns, rows), dim=-1).reshape(-1, 2).to(self.K) + 0.5

    def reachable(self, index: Int[Tensor, "r"], pixels: Float[Tensor, "r 2"]) -> Bool[Tensor, "r"]:
        """Whether any direction is imaged at each pixel; strong distortion may leave an image's corners without."""
        return self._directions(index, pixels)[1]

    def project(self, i: int, points: Float[Tensor, "p 3"]) -> tuple[Float[Tensor, "p 2"], Float[Tensor, "p"]]:
        """Pixels (column, row in px) and depths along camera z at which camera `i` sees world points.

        A point that the lens cannot see (behind a pinhole, or past the fold of the distortion) has NaN pixels, so every
        comparison with the image's borders is false.
        """
        pose, K, k = self.world_from_cam[i], self.K[i], self.distortion[i]
        in_cam = (points.to(pose.dtype) - pose[:3, 3]) @ pose[:3, :3]
        depth = in_cam[:, 2]
        if self.fisheye[i]:
            xy = lens.fisheye_distort(in_cam, k[:4])
            angle = torch.atan2(torch.linalg.vector_norm(in_cam[:, :2], dim=-1), depth)
            seen = angle < self._folds[i]
        else:
            seen = depth > 0
            flat = in_cam[:, :2] / torch.where(seen, depth, 1)[:, None]
            seen = seen & (torch.linalg.vector_norm(flat, dim=-1) < self._folds[i])
            xy = lens.distort(flat, k) if self._bends else flat
        pixels = xy @ K[:2, :2].mT + K[:2, 2]
        return torch.where(seen[:, None], pixels, torch.nan).to(points.dtype), depth.to(points.dtype)

    def resized(self, width: int | None = None, height: int | None = None, *, factor: float | None = None) -> Cameras:
        """The same cameras with images of another size: `width` x `height`, one of them (aspect kept), or `factor` x.

        K follows the true ratio of each axis, after sizes were rounded to whole pixels.
        """
        assert (factor is None) != (width is None and height is None), "either a size or a factor"
        old = self.sizes_px.double()
        if factor is not None:
            new = old * factor
        elif width is None or height is None:
            given = old.new_tensor([width or 0, height or 0]).max()
            new = old * (given / old[:, 0 if height is None else 1])[:, None]
        else:
            new = old.new_tensor([width, height]).expand_as(old)
        sizes_px = new.round().clamp_min(1).long()
        K = self.K.clone()
        K[:, :2] *= (sizes_px.double() / old)[:, :, None]
        return replace(self, K=K, sizes_px=sizes_px)

    def transformed(self, new_from_world: Float64[Tensor, "4 4"]) -> Cameras:
        """The cameras in another frame, given the similarity to it: centres turn, scale, move; rotations only turn."""
        scale = torch.linalg.det(new_from_world[:3, :3]) ** (1 / 3)
        moved = new_from_world @ self.world_from_cam
        moved[:, :3, :3] /= scale
        return replace(self, world_from_cam=moved)

    def _directions(self, index: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Directions in camera axes (not unit) and whether each is a true inverse of the lens."""
        K = self.K[index]
        y = (pixels[:, 1] - K[:, 1, 2]) / K[:, 1, 1]
        x = (pixels[:, 0] - K[:, 0, 2] - K[:, 0, 1] * y) / K[:, 0, 0]
        one, ok = torch.ones_like(x), torch.ones_like(x, dtype=torch.bool)
        if not self._bends:
            return torch.stack((x, y, one), dim=-1), ok
        k, fold, xy = self.distortion[index], self._folds[index], torch.stack((x, y), dim=-1)
        if not self._some_fisheye:
            xy, ok = lens.undistort(xy, k, fold)
            return torch.cat((xy, one[:, None]), dim=-1), ok
        out, round_ = torch.stack((x, y, one), dim=-1), self.fisheye[index]
        out[round_], ok[round_] = lens.fisheye_undistort(xy[round_], k[round_, :4], fold[round_])
        out[~round_, :2], ok[~round_] = lens.undistort(xy[~round_], k[~round_], fold[~round_])
        return out, ok

    @cached_property
    def _some_fisheye(self) -> bool:
        return bool(self.fisheye.any())

    @cached_property
    def _bends(self) -> bool:
        """Whether any lens differs from a pinhole."""
        return self._some_fisheye or bool(self.distortion.any())

    @cached_property
    def _folds(self) -> Tensor:
        """Where each lens folds: a radius on the plane z = 1, or an angle for a fisheye."""
        return torch.where(
            self.fisheye,
            lens.fisheye_fold_angle(self.distortion[:, :4]),
            lens.fold_radius(self.distortion * ~self.fisheye[:, None]),
        )


def _flip(like: Tensor) -> Tensor:
    return torch.diag(like.new_tensor(FLIP_YZ))
