"""Training rays of one photograph at a time, with everything about their pixels that a second witness needs.

Beside rays and colours a batch holds the pixels themselves (x to the right, y down), so that a depth image of the same
view (of Gaussians, say) can be looked up at them; where they lie in [-1, 1]²; the camera-space points at depth 1; and
the patches round them. Half the point of patches is the neighbourhood as it was photographed, so they are read, not
interpolated. Drawing is uniform, or for three rays of four from the object's pixels.

Every batch is a pure function of (seed, step), as in `ray_sampler`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from rilievo.data.scene import MaskMeaning, Scene
from rilievo.engine.ray_sampler import RayBatch, step_seed
from rilievo.renderers.patch_blend import patch_offsets

UNIFORM_SHARE = 4
"""One ray in this many is drawn anywhere when the others are drawn on the object."""


@dataclass(frozen=True)
class PatchBatch(RayBatch):
    """Rays of one view and the neighbourhoods of their pixels. Colours are sRGB in [0, 1], as stored."""

    pixels: Int64[Tensor, "r 2"]
    """Column and row; the pixel's centre is half a pixel further."""
    ndc: Float[Tensor, "r 2"]
    """Pixels with the first at -1 and the last at 1."""
    camera_points: Float[Tensor, "r 3"]
    """In the camera's frame, on the ray at depth 1 (times depth: the point seen)."""
    patches: Float[Tensor, "r patch 3"]
    """Colours round the pixel, row by row, over the batch's background where an object mask cuts out; black where the
    patch is not valid."""
    patch_valid: Bool[Tensor, "r"]
    """Whether the whole patch lies in the photograph."""


def drawn_pixels(
    width: int, height: int, count: int, generator: torch.Generator, on_object: Bool[Tensor, "h w"] | None = None
) -> Int64[Tensor, "count 2"]:
    """`count` pixels (column, row), uniform; with `on_object` a quarter is, and the rest uniform on the object."""
    anywhere = count if on_object is None or not on_object.any() else count // UNIFORM_SHARE
    x = torch.randint(width, (anywhere,), generator=generator)
    y = torch.randint(height, (anywhere,), generator=generator)
    pixels = torch.stack([x, y], dim=-1)
    if anywhere < count and on_object is not None:
        inside = on_object.nonzero().flip(-1)
        chosen = torch.randint(len(inside), (count - anywhere,), generator=generator)
        pixels = torch.cat([pixels, inside[chosen]])
    return pixels


def valid_patches(pixels: Int64[Tensor, "r 2"], width: int, height: int, half: int) -> Bool[Tensor, "r"]:
    """Whether patches of 2 half + 1 pixels a side fit with a pixel to spare on the near sides: half < x < width - half,
    as published."""
    size = torch.tensor([width, height])
    return ((pixels > half) & (pixels < size - half)).all(-1)


def patches_at(
    image: Float[Tensor, "h w 3"], pixels: Int64[Tensor, "r 2"], half: int
) -> tuple[Float[Tensor, "r patch 3"], Bool[Tensor, "r"]]:
    """The patches round pixels and which of them are valid; the others are black."""
    height, width = image.shape[:2]
    valid = valid_patches(pixels, width, height, half)
    around = pixels[:, None] + patch_offsets(half)
    x, y = around[..., 0].clamp(0, width - 1), around[..., 1].clamp(0, height - 1)
    return image[y, x] * valid[:, None, None], valid


class PatchSampler:
    """Batches of rays and patches from a scene's training views, one view per step, shuffled anew each round.

    `half` is the patches' half side in pixels; `importance` draws on the object where the scene has object masks.
    """

    def __init__(
        self, scene: Scene, *, half: int = 3, importance: bool = False, random_background: bool = False, seed: int = 0
    ) -> None:
        self.scene, self.half, self.importance = scene, half, importance
        self.random_background, self.seed = random_background, seed
        self.object_masks = scene.coverage is not None and scene.mask_meaning is MaskMeaning.OBJECT

    def view_at(self, step: int) -> int:
        """The view of a step: every training view once a round."""
        views = self.scene.train_views
        turn, place = divmod(step, len(views))
        order = torch.randperm(len(views), generator=torch.Generator().manual_seed(step_seed(self.seed, turn)))
        return views[int(order[place])]

    def batch(
        self, step: int, n_rays: int, *, part: int = 0, parts: int = 1, device: torch.device | str = "cpu"
    ) -> PatchBatch:
        """The batch of `n_rays` of a step, or every `parts`-th ray of it from `part` on."""
        generator = torch.Generator().manual_seed(step_seed(self.seed + 1, step))
        view = self.view_at(step)
        background = torch.rand(3, generator=generator) if self.random_background else torch.ones(3)
        image = torch.tensor(self.scene.images[view]).float() / 255
        height, width = image.shape[:2]
        coverage = torch.ones(height, width)
        if self.object_masks and self.scene.coverage is not None:
            coverage = torch.tensor(self.scene.coverage[view]).float() / 255
            image = image * coverage[..., None] + background * (1 - coverage[..., None])
        on_object = coverage >= 0.5 if self.importance and self.object_masks else None
        pixels = drawn_pixels(width, height, n_rays, generator, on_object)
        jitter = torch.rand(n_rays, generator=generator)
        pixels, jitter = pixels[part::parts].contiguous(), jitter[part::parts]
        index = torch.full((len(pixels),), view)
        rays = self.scene.cameras.rays(index, pixels + 0.5)
        R = self.scene.cameras.cam_from_world[view, :3, :3].float()
        in_camera = rays.directions @ R.T
        patches, valid = patches_at(image, pixels, self.half)
        x, y = pixels.unbind(-1)
        last = torch.tensor([width - 1, height - 1])
        return PatchBatch(
            rays=rays.to(device),
            rgb=image[y, x].to(device),
            coverage=coverage[y, x].to(device),
            view=index.to(device),
            jitter=jitter.to(device),
            background=background.to(device),
            pixels=pixels.to(device),
            ndc=(2 * pixels / last - 1).to(device),
            camera_points=(in_camera / in_camera[:, 2:]).to(device),
            patches=patches.to(device),
            patch_valid=valid.to(device),
        )
