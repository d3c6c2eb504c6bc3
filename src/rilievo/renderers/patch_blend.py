"""Colours taken from other photographs: a plane's patch seen from elsewhere, and the mean of those who see it
(NeuralWarp, Darmon et al. 2022, arXiv:2112.09648; SparseNeuS, arXiv:2206.05737, section 3.3).

A sample x with normal n is a little plane. In the frame of the camera the ray belongs to (the *target*) the plane is
nᵀX = d, and a point of it at the target's pixel p lies in a *source* at

    p' ~ H p,   H = K_s (R + t nᵀ / d) K⁻¹                      (Hartley & Zisserman, eq. 13.2)

with R, t taking target to source coordinates. Planes seen edge-on, through a camera's centre or with the source behind
them have no such H; they are taken parallel to the target's image plane.

Pixels have their centres at +0.5 and images are [views, 3, h, w]; the published code counts from the centres of the
corner pixels, which samples the same places.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

THIN = 1e-3
"""World units between a plane and a camera's centre below which their homography is not trusted."""

NEAREST = 1e-3
"""Depth behind which nothing is projected."""


@dataclass(frozen=True)
class SourceViews:
    """Photographs to take colours from, and their cameras."""

    images: Float[Tensor, "views c h w"]
    K: Float[Tensor, "views 3 3"]
    cam_from_world: Float[Tensor, "views 4 4"]

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height."""
        return self.images.shape[3], self.images.shape[2]

    def to(self, device: torch.device | str) -> SourceViews:
        return SourceViews(*(t.to(device) for t in (self.images, self.K, self.cam_from_world)))


def patch_offsets(half: int) -> Int64[Tensor, "patch 2"]:
    """Pixel offsets (x, y) of a patch of 2 half + 1 pixels a side, row by row."""
    side = torch.arange(-half, half + 1)
    y, x = torch.meshgrid(side, side, indexing="ij")
    return torch.stack([x, y], dim=-1).reshape(-1, 2)


def nearest_views(
    centers: Float[Tensor, "n 3"], forwards: Float[Tensor, "n 3"], view: int, count: int
) -> Int64[Tensor, "count"]:
    """The `count` views to take colours from: those that look most nearly the same way, the closer first."""
    angle = torch.acos((forwards @ forwards[view]).clamp(-1, 1))
    away = (centers - centers[view]).norm(dim=-1)
    cost = angle + 1e-3 * away / away.max().clamp_min(torch.finfo(away.dtype).tiny)
    cost[view] = torch.inf
    return cost.argsort()[: min(count, len(cost) - 1)]


def plane_homographies(
    points: Float[Tensor, "n 3"],
    normals: Float[Tensor, "n 3"],
    K: Float[Tensor, "3 3"],
    cam_from_world: Float[Tensor, "4 4"],
    sources: SourceViews,
) -> Float[Tensor, "views n 3 3"]:
    """H of the plane through each point, from pixels of the target camera to pixels of each source. No gradient."""
    with torch.no_grad():
        R_target, t_target = cam_from_world[:3, :3], cam_from_world[:3, 3]
        source_from_target = sources.cam_from_world @ torch.linalg.inv(cam_from_world)
        R, t = source_from_target[:, :3, :3], source_from_target[:, :3, 3]
        n = normals @ R_target.T
        x = points @ R_target.T + t_target
        d = (n * x).sum(-1)  # of the plane from the target's centre
        d_source = n @ (-torch.einsum("vij,vi->vj", R, t)).T  # nᵀ(centre of the source), [n, views]
        seen = (d.abs() > THIN)[:, None] & ((d[:, None] - d_source).abs() > THIN) & (d_source / d[:, None] < 1)
        safe = torch.where(d < 0, -1.0, 1.0) * d.abs().clamp_min(1e-8)
        facing = torch.zeros_like(n)
        facing[:, 2] = 1 / x.norm(dim=-1)
        by_distance = torch.where(seen.T[..., None], n / safe[:, None], facing)  # [views, n, 3]
        inner = R[:, None] + t[:, None, :, None] * by_distance[:, :, None, :]
        return sources.K[:, None] @ inner @ torch.linalg.inv(K)


def warped_patches(
    H: Float[Tensor, "views n 3 3"], pixels: Float[Tensor, "n 2"], half: int, sources: SourceViews
) -> tuple[Float[Tensor, "n views patch c"], Bool[Tensor, "n views patch"]]:
    """Colours of the patch round each pixel as the sources see its plane, and where that is within a source.

    A pixel counts when it falls in front of the camera and at least `half` pixels inside the picture.
    """
    width, height = sources.size_px
    around = pixels[:, None] + patch_offsets(half).to(pixels)
    homogeneous = torch.cat([around, torch.ones_like(around[..., :1])], dim=-1)
    moved = torch.einsum("vnij,npj->vnpi", H, homogeneous)
    at = moved[..., :2] / moved[..., 2:].clamp_min(1e-8)
    corner = at - 0.5
    far = torch.tensor([width - half, height - half], dtype=at.dtype, device=at.device)
    valid = (moved[..., 2] > 0) & (corner >= half).all(-1) & (corner < far).all(-1)
    return _sampled(sources.images, at).permute(1, 0, 2, 3), valid.permute(1, 0, 2)


def projected_colors(
    points: Float[Tensor, "n 3"], sources: SourceViews
) -> tuple[Float[Tensor, "n views 3"], Bool[Tensor, "n views"]]:
    """Colours of the pixels that points fall on, and whether they fall between the outermost pixels' centres."""
    width, height = sources.size_px
    in_camera = points @ sources.cam_from_world[:, :3, :3].mT + sources.cam_from_world[:, None, :3, 3]
    projected = in_camera @ sources.K.mT
    at = projected[..., :2] / projected[..., 2:].clamp_min(NEAREST)
    far = torch.tensor([width - 0.5, height - 0.5], dtype=at.dtype, device=at.device)
    valid = ((at > 0.5) & (at < far)).all(-1)
    colors = _sampled(sources.images, at[:, :, None])[:, :, 0]
    return torch.where(valid[..., None], colors, 0).transpose(0, 1), valid.T


def plane_patches(
    pixels: Float[Tensor, "n 2"],
    normals: Float[Tensor, "n 3"],
    distance: Float[Tensor, "n"],
    half: int,
    K: Float[Tensor, "3 3"],
    cam_from_world: Float[Tensor, "4 4"],
    sources: SourceViews,
) -> tuple[Float[Tensor, "views n patch c"], Bool[Tensor, "views n"]]:
    """What sources show of planes that a target sees, with a gradient by the planes; and whether all of a patch is in
    front of a source and inside its picture.

    `pixels` are the patches' middles in the target, whose planes are n·x + d = 0 in its camera's frame, with normals
    towards the eye and d > 0. Images of `sources` may have any number of channels.
    """
    width, height = sources.size_px
    around = pixels[:, None] + patch_offsets(half).to(pixels)
    rays = torch.cat([(around - K[:2, 2]) / torch.stack([K[0, 0], K[1, 1]]), torch.ones_like(around[..., :1])], dim=-1)
    towards = -(rays * normals[:, None]).sum(-1)
    depth = distance[:, None] / towards.clamp_min(THIN)
    source_from_target = sources.cam_from_world @ torch.linalg.inv(cam_from_world)
    R, t = source_from_target[:, None, :3, :3], source_from_target[:, None, None, :3, 3]
    there = (depth[..., None] * rays) @ R.mT + t  # [views, n, patch, 3]
    projected = there @ sources.K[:, None].mT
    at = projected[..., :2] / projected[..., 2:].clamp_min(NEAREST)
    limit = torch.tensor([width - 0.5, height - 0.5], dtype=at.dtype, device=at.device)
    inside = ((at > 0.5) & (at < limit)).all(-1) & (there[..., 2] > NEAREST) & (towards > THIN)
    return _sampled(sources.images, at), inside.all(-1)


def blended(
    logits: Float[Tensor, "n views"], colors: Float[Tensor, "n views *patch 3"], valid: Bool[Tensor, "n views"]
) -> tuple[Float[Tensor, "n *patch 3"], Bool[Tensor, "n"]]:
    """Mean of the views' colours, weighted by softmax(logits) among those that are valid, and whether any is."""
    weight = logits.softmax(dim=-1) * valid
    weight = weight / (weight.sum(dim=-1, keepdim=True) + 1e-8)
    gap = (slice(None), slice(None), *(None for _ in colors.shape[2:]))
    return (colors * weight[gap]).sum(dim=1), valid.any(dim=-1)


def _sampled(
    images: Float[Tensor, "views c h w"], at: Float[Tensor, "views n patch 2"]
) -> Float[Tensor, "views n patch c"]:
    """Bilinear interpolation at pixels, black outside."""
    size = torch.tensor([images.shape[3], images.shape[2]], dtype=at.dtype, device=at.device)
    grid = (2 * at / size - 1).clamp(-10, 10)
    return F.grid_sample(images, grid, align_corners=False).permute(0, 2, 3, 1)
