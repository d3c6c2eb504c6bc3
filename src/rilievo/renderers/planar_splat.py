"""Flat Gaussians that know their planes: pictures of colour, normal and the depth at which a ray meets a plane.

A Gaussian without thickness lies in the plane n·x + d = 0 of its first two axes; in camera axes n is the third one,
turned towards the eye, and d = -n·μ > 0 the plane's distance from it. Composited as features like colours, N = Σ w n
and D = Σ w d make a plane per pixel, which the ray z (x, y, 1) meets at

    z = -D / N·(x, y, 1)

(PGSR, Chen et al. 2024, arXiv:2406.06521, section 4.1). Unlike the mean of the Gaussians' own depths this is exact
where a slanted plane is covered by few of them. The Gaussians are those of `gaussian_rasterize`, with a third axis too
short to be seen, and antialiased: one that is turned edge on fades. Were it drawn half a pixel wide instead,
silhouettes would be as much too wide, and a closed surface that has to fit into them too small.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor

from rilievo.gaussians.cloud import GaussianCloud
from rilievo.geometry.so3 import matrix_from_quaternion
from rilievo.ops.gaussian_rasterize import project_gaussians, rasterize_at_pixels

from .splat import NEAR, SplatRender, render_splats

SLANTED = 0.05
"""Least cosine between a plane's normal and a ray that still says where they meet."""


@dataclass(frozen=True)
class PlanarRender:
    """What a pinhole camera sees of flat Gaussians."""

    rgb: Float[Tensor, "h w 3"]
    alpha: Float[Tensor, "h w"]
    normals: Float[Tensor, "h w 3"]
    """Σ w n in camera axes, towards the eye, not normalised."""
    distance: Float[Tensor, "h w"]
    """Σ w d, in world units."""
    rays: Float[Tensor, "h w 3"]
    """Camera-space points at depth 1 on the rays through the pixels' centres."""
    splats: SplatRender

    @property
    def depth(self) -> Float[Tensor, "h w"]:
        """Along camera z; 0 where nothing is seen, or from the edge."""
        return depth_of_planes(self.normals, self.distance, self.alpha, self.rays)


def flat(cloud: GaussianCloud) -> GaussianCloud:
    """The cloud whose third scales are not learned."""
    free, held = cloud.log_scales[:, :2], cloud.log_scales[:, 2:].detach()
    return replace(cloud, log_scales=torch.cat([free, held], dim=-1))


def facing_normals(
    cloud: GaussianCloud, cam_from_world: Float[Tensor, "4 4"]
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n"]]:
    """Normals in camera axes, turned towards the eye, and distances of the planes from it."""
    R, t = cam_from_world[:3, :3].to(cloud.means), cam_from_world[:3, 3].to(cloud.means)
    normals = matrix_from_quaternion(cloud.quats)[:, :, 2] @ R.T
    height = (normals * (cloud.means @ R.T + t)).sum(-1)
    side = torch.where(height > 0, -1.0, 1.0).to(normals)
    return normals * side[:, None], height.abs()


def render_planes(
    cloud: GaussianCloud,
    rgb: Float[Tensor, "n 3"],
    cam_from_world: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    size_px: tuple[int, int],
    *,
    background: Float[Tensor, "3"] | None = None,
) -> PlanarRender:
    """Draw flat Gaussians of given colours, `size_px` being width and height."""
    normals, distance = facing_normals(cloud, cam_from_world)
    behind = torch.zeros(7).to(rgb)
    if background is not None:
        behind[:3] = background
    features = torch.cat([rgb, normals, distance[:, None]], dim=-1)
    drawn = render_splats(cloud, features, cam_from_world, K, size_px, background=behind, antialiased=True)
    seen = drawn.features
    rays = pixel_rays(K.to(seen), size_px)
    return PlanarRender(seen[..., :3], drawn.alpha, seen[..., 3:6], seen[..., 6], rays, drawn)


@dataclass(frozen=True)
class PixelPlanes:
    """What chosen pixels of a pinhole camera see of flat Gaussians."""

    alpha: Float[Tensor, "m"]
    normals: Float[Tensor, "m 3"]
    """Σ w n in camera axes, towards the eye, not normalised."""
    distance: Float[Tensor, "m"]
    """Σ w d, in world units."""

    def depth(self, rays: Float[Tensor, "m 3"]) -> Float[Tensor, "m"]:
        """Where rays of the pixels, given at depth 1, meet what is seen; 0 where there is nothing, or from the edge."""
        return depth_of_planes(self.normals, self.distance, self.alpha, rays)


def planes_at_pixels(
    cloud: GaussianCloud,
    cam_from_world: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    size_px: tuple[int, int],
    pixels: Int64[Tensor, "m 2"],
) -> PixelPlanes:
    """The planes that flat Gaussians have at the pixels (column, row)."""
    normals, distance = facing_normals(cloud, cam_from_world)
    opacities = cloud.opacities
    projection = project_gaussians(
        cloud.means,
        cloud.quats,
        cloud.scales,
        cam_from_world.to(cloud.means),
        K.to(cloud.means),
        size_px,
        near=NEAR,
        opacities=opacities.detach(),
    )
    seen = rasterize_at_pixels(
        projection.means2d,
        projection.conics,
        projection.depths,
        projection.radii,
        opacities * projection.compensation,
        torch.cat([normals, distance[:, None]], dim=-1),
        size_px,
        pixels,
    )
    return PixelPlanes(seen.alpha, seen.features[:, :3], seen.features[:, 3])


def depth_of_planes(
    normals: Float[Tensor, "*p 3"],
    distance: Float[Tensor, "*p"],
    alpha: Float[Tensor, "*p"],
    rays: Float[Tensor, "*p 3"],
) -> Float[Tensor, "*p"]:
    """Where rays meet the planes composited on them; 0 where there is none, or from its edge."""
    towards = -(normals * rays).sum(-1)
    met = towards > SLANTED * alpha.clamp_min(1e-3) * rays.norm(dim=-1)
    return torch.where(met, distance / torch.where(met, towards, 1), 0)


def pixel_rays(K: Float[Tensor, "3 3"], size_px: tuple[int, int]) -> Float[Tensor, "h w 3"]:
    """Camera-space points at depth 1 on the rays through the centres of all pixels."""
    width, height = size_px
    x = (torch.arange(width).to(K) + 0.5 - K[0, 2]) / K[0, 0]
    y = (torch.arange(height).to(K) + 0.5 - K[1, 2]) / K[1, 1]
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns, rows, torch.ones_like(rows)], dim=-1)


def normals_of_depth(depth: Float[Tensor, "h w"], rays: Float[Tensor, "h w 3"]) -> Float[Tensor, "h w 3"]:
    """Unit normals, towards the eye, of the surface that a depth picture is of, by central differences; 0 on the
    picture's border and beside pixels without depth."""
    points = depth[..., None] * rays
    right, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
    inner = F.normalize(torch.linalg.cross(down, right), dim=-1)
    there = depth > 0
    whole = there[1:-1, 2:] & there[1:-1, :-2] & there[2:, 1:-1] & there[:-2, 1:-1]
    return F.pad(inner * whole[..., None], (0, 0, 1, 1, 1, 1))
