"""Straightening photographs: from a lens with distortion to the pinhole camera at the same place.

The pinhole's K decides what is lost. `alpha` has OpenCV's meaning: at 0 every pixel of the result comes from the photo
and its corners are cut off; at 1 every pixel of the photo is in the result, inside a border that saw nothing; between,
K is interpolated.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Bool, Num
from torch import Tensor
from torch.nn.functional import grid_sample

from rilievo.cameras.camera import Cameras
from rilievo.errors import clear

WIDEST = math.tan(math.radians(75))
"""A pinhole image is no use beyond 75° from its axis: a fisheye's margin there is cut off at any `alpha`."""


def pinhole_cameras(cameras: Cameras, alpha: float = 0.0) -> Cameras:
    """The pinhole cameras that straightened images belong to: same poses and sizes, no distortion, no skew.

    Cameras without distortion and skew are returned as they are. Raises `UserError` where no rectangle of the
    straightened image is covered by the photo (`alpha` near 0 and strong distortion).
    """
    K = torch.stack([_pinhole_K(cameras, i, alpha) for i in range(len(cameras))]) if len(cameras) else cameras.K
    return Cameras.pinhole(cameras.world_from_cam, K, cameras.sizes_px)


def undistort_image(
    image: Num[Tensor, "h w *channels"],
    camera: Cameras,
    pinhole: Cameras,
    mode: Literal["bilinear", "nearest"] = "bilinear",
) -> tuple[Num[Tensor, "h2 w2 *channels"], Bool[Tensor, "h2 w2"]]:
    """The image that `pinhole` would have taken, and where the photo says something about it; elsewhere it is 0.

    `camera` and `pinhole` are one camera each, at the same place; `image` has the size of `camera` and keeps its dtype
    (integers are rounded). Labels and depths want `nearest`.
    """
    assert len(camera) == len(pinhole) == 1, "one camera at a time"
    width, height = camera.sizes_px[0].tolist()
    if (width, height) != (image.shape[1], image.shape[0]):
        raise clear(
            "image to undistort",
            expected=f"{width} x {height} pixels as its camera says",
            got=f"{image.shape[1]} x {image.shape[0]}",
            do="resize the image or the camera (`Cameras.resized`)",
        )
    here = torch.eye(4, dtype=camera.K.dtype, device=camera.K.device)[None]
    rays = replace(pinhole, world_from_cam=here).view_rays(0, torch.float64)
    pixels, _ = replace(camera, world_from_cam=here).project(0, rays.directions)
    size = camera.sizes_px[0].to(pixels)
    shape = tuple(pinhole.sizes_px[0].flip(0).tolist())
    valid = ((pixels >= 0) & (pixels <= size)).all(-1).reshape(shape)
    grid = (2 * torch.nan_to_num(pixels) / size - 1).reshape(1, *shape, 2).to(image.device)
    exact = image.dtype if image.is_floating_point() else torch.float32
    planes = image.reshape(height, width, -1).movedim(-1, 0)[None].to(exact)
    found = grid_sample(planes, grid.to(exact), mode=mode, padding_mode="border", align_corners=False)[0].movedim(0, -1)
    found = (found * valid.to(image.device)[..., None]).reshape(*shape, *image.shape[2:])
    return (found if image.is_floating_point() else found.round().to(image.dtype)), valid


def _pinhole_K(cameras: Cameras, i: int, alpha: float) -> Tensor:
    K = cameras.K[i]
    if not cameras.distortion[i].any() and not cameras.fisheye[i] and K[0, 1] == 0:
        return K
    inner, outer = _seen_rectangles(cameras, i)
    if alpha < 1 and not bool((inner[1] > inner[0]).all()):
        raise clear(
            f"undistorting camera {i}",
            expected="a rectangle that the photo fills",
            got="none: the distortion is too strong",
            do="use alpha = 1 and the mask that comes with the image",
        )
    size = cameras.sizes_px[i].to(K)
    if alpha == 1:
        return _fitted(outer, size)
    return (1 - alpha) * _fitted(inner, size) + alpha * _fitted(outer, size)


def _fitted(rectangle: Tensor, size: Tensor) -> Tensor:
    """The K whose picture of `size` shows a rectangle (low, high) of the plane z = 1."""
    low, high = rectangle
    focal = size / (high - low)
    K = torch.diag(torch.cat((focal, focal.new_ones(1))))
    K[:2, 2] = -low * focal
    return K


def _seen_rectangles(cameras: Cameras, i: int) -> tuple[Tensor, Tensor]:
    """Corners (low, high) on the plane z = 1 of the rectangles within and around the photo's straightened border."""
    size = cameras.sizes_px[i].to(cameras.K)
    steps = torch.linspace(0, 1, 257, dtype=size.dtype, device=size.device)
    low, high = torch.zeros_like(steps), torch.ones_like(steps)
    sides = {"left": (low, steps), "right": (high, steps), "top": (steps, low), "bottom": (steps, high)}
    here = torch.eye(4, dtype=size.dtype, device=size.device)
    camera = replace(cameras[i], world_from_cam=here[None])
    index = torch.zeros(len(steps), dtype=torch.int64, device=size.device)
    border = {}
    for name, xy in sides.items():
        pixels = torch.stack(xy, dim=-1) * size
        direction = camera.rays(index, pixels, torch.float64).directions
        ahead = direction[:, 2:].clamp_min(1e-3)
        border[name] = (direction[:, :2] / ahead).clamp(-WIDEST, WIDEST)
    inner = (
        torch.stack((border["left"][:, 0].max(), border["top"][:, 1].max())),
        torch.stack((border["right"][:, 0].min(), border["bottom"][:, 1].min())),
    )
    everywhere = torch.cat(list(border.values()))
    return torch.stack(inner), torch.stack((everywhere.amin(0), everywhere.amax(0)))
