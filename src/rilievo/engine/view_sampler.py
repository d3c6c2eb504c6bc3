"""Whole training pictures: every batch is a pure function of (seed, step), whoever asks and however often.

Photographs are straightened once, at the size they have, so that what is learned from them is seen through pinholes;
pixels that the straightened picture has and the photo has not say nothing. Each epoch shows every view once, in an
order of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.cameras.undistort import pinhole_cameras, undistort_image
from rilievo.data.scene import MaskMeaning, Scene
from rilievo.engine.ray_sampler import step_seed
from rilievo.errors import clear


@dataclass(frozen=True)
class Picture:
    """One straightened training photo."""

    view: int
    """Its index in the scene."""
    camera: Cameras
    """The pinhole it belongs to, alone in its batch."""
    rgb: UInt8[Tensor, "h w 3"]
    coverage: UInt8[Tensor, "h w"]
    """255 on the object; everywhere where the scene has no object masks."""
    supervised: Bool[Tensor, "h w"]
    """Where the photo says something and no mask says to ignore it."""


@dataclass(frozen=True)
class ViewBatch:
    """One training picture at the resolution of the step. Colours are sRGB in [0, 1], as stored."""

    view: int
    camera: Cameras
    rgb: Float[Tensor, "h w 3"]
    """Over `background` where an object mask cuts the object out."""
    coverage: Float[Tensor, "h w"]
    supervised: Bool[Tensor, "h w"]
    background: Float[Tensor, "3"]
    time: float | None = None
    """In [0, 1] where the capture is a video."""


class ViewSampler:
    """The training views, held as bytes on the CPU.

    Views without a supervised pixel are left out. Raises `UserError` when none is left, and when object masks cover
    nothing at all.
    """

    def __init__(self, scene: Scene, *, random_background: bool, seed: int) -> None:
        self.seed, self.random_background, self.times = seed, random_background, scene.times
        self.object_masks = scene.coverage is not None and scene.mask_meaning is MaskMeaning.OBJECT
        pictures = (straightened(scene, view) for view in scene.train_views)
        self.pictures = tuple(p for p in pictures if bool(p.supervised.any()))
        if not any(bool((p.coverage * p.supervised).any()) for p in self.pictures):
            raise clear(
                scene.name,
                expected="at least one training pixel that shows the object and that no mask ignores",
                got=f"none in {len(scene.train_views)} views",
                do="check the masks, or their meaning with --mask-meaning",
            )

    def batch(self, step: int, factor: float = 1.0, *, device: torch.device | str = "cpu") -> ViewBatch:
        """The picture of a step, shrunk to `factor` of its size by averaging."""
        count = len(self.pictures)
        epoch = torch.Generator().manual_seed(step_seed(self.seed, step // count))
        order = torch.randperm(count, generator=epoch)
        draws = torch.Generator().manual_seed(step_seed(self.seed + 1, step))
        background = torch.rand(3, generator=draws) if self.random_background else torch.ones(3)
        picture = self.pictures[int(order[step % count])]
        camera, rgb, coverage, supervised = shrunk(picture, factor)
        if self.object_masks:
            rgb = rgb * coverage[..., None] + background * (1 - coverage[..., None])
        return ViewBatch(
            view=picture.view,
            camera=camera,
            rgb=rgb.to(device),
            coverage=coverage.to(device),
            supervised=supervised.to(device),
            background=background.to(device),
            time=None if self.times is None else float(self.times[picture.view]),
        )


def straightened(scene: Scene, view: int) -> Picture:
    """A photo of the scene as the pinhole that covers all of it would have taken it."""
    rgb = torch.tensor(scene.images[view])
    coverage = torch.full(rgb.shape[:2], 255, dtype=torch.uint8)
    supervised = torch.ones(rgb.shape[:2], dtype=torch.bool)
    if scene.coverage is not None:
        mask = torch.tensor(scene.coverage[view])
        if scene.mask_meaning is MaskMeaning.OBJECT:
            coverage = mask
        else:
            supervised = mask >= 128
    camera = scene.cameras[view]
    pinhole = pinhole_cameras(camera, alpha=1.0)
    if torch.equal(pinhole.K, camera.K):
        return Picture(view, pinhole, rgb, coverage, supervised)
    told = torch.stack((coverage, supervised * torch.tensor(255, dtype=torch.uint8)), dim=-1)
    straight, valid = undistort_image(torch.cat((rgb, told), dim=-1), camera, pinhole)
    return Picture(view, pinhole, straight[..., :3], straight[..., 3], valid & (straight[..., 4] == 255))


def shrunk(
    picture: Picture, factor: float
) -> tuple[Cameras, Float[Tensor, "h w 3"], Float[Tensor, "h w"], Bool[Tensor, "h w"]]:
    """Camera, colours, coverage and supervision at `factor` of the size; a pixel is supervised if all in it were."""
    rgb, coverage = picture.rgb.float() / 255, picture.coverage.float() / 255
    if factor == 1:
        return picture.camera, rgb, coverage, picture.supervised
    camera = picture.camera.resized(factor=factor)
    width, height = camera.sizes_px[0].tolist()
    planes = torch.cat((rgb, coverage[..., None], picture.supervised[..., None].float()), dim=-1).movedim(-1, 0)
    small = F.interpolate(planes[None], size=(height, width), mode="area")[0].movedim(0, -1)
    return camera, small[..., :3].contiguous(), small[..., 3], small[..., 4] > 0.999
