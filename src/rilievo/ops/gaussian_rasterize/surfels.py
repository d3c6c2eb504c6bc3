"""Surfels: Gaussians without thickness, which have a normal and a depth where a ray meets them.

2-D Gaussian splatting (Huang et al. 2024, arXiv:2403.17888). A surfel with mean μ, unit tangents t_u, t_v and scales
s_u and s_v, all in camera axes, is the plane (u, v) ↦ μ + u s_u t_u + v s_v t_v; M = K [s_u t_u, s_v t_v, μ] takes
(u, v, 1) to homogeneous pixels. The ray through (x, y) is where planes x M₂ - M₀ and y M₂ - M₁ (M_k: row k) meet, so
that (u, v, 1) is proportional to their cross product (eq. 9 and 10). Opacity falls off as exp(-½ min(u² + v², 2 r²)), r
the distance in px to the middle of the surfel's outline: a surfel seen from its edge keeps a pixel's width (eq. 11).
Compositing and its thresholds are those of `reference`, in the order of the means' depths; everything is plain torch,
all surfels against all pixels, and can be differentiated as torch does: right for clouds of hundreds, slow for more.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from rilievo.geometry.so3 import matrix_from_quaternion
from rilievo.ops.gaussian_rasterize.reference import EXTENT, layers_of_alpha, median_rank, pixel_grid

MIN_HALF_PX2 = 1e-4
"""An outline is at least this wide (its half extent, squared), in px²."""

CHUNK = 1 << 21  # surfels times pixels that are held at once


@dataclass(frozen=True)
class SurfelProjection:
    """Surfels on the screen. Those that are not seen are zero throughout; `radii` tells."""

    means2d: Float[Tensor, "n 2"]
    """Middle of the outline u² + v² = 1 in px, which is not where the mean itself is seen."""
    depths: Float[Tensor, "n"]
    """Of the means, along camera z."""
    transforms: Float[Tensor, "n 3 3"]
    """M, from (u, v, 1) to homogeneous pixels."""
    normals: Float[Tensor, "n 3"]
    """Unit, in camera axes, towards the camera."""
    radii: Int[Tensor, "n 2"]
    """Half extent in px, along x and y; 0 where nothing is seen."""


@dataclass(frozen=True)
class SurfelRaster:
    """A picture of surfels; sums over those that a pixel sees, with weights w."""

    features: Float[Tensor, "h w c"]
    alpha: Float[Tensor, "h w"]
    normals: Float[Tensor, "h w 3"]
    """Σ w n, in camera axes, not normalised."""
    depth: Float[Tensor, "h w"]
    """Σ w z, z where the ray meets the surfel, or of its mean where the width of a pixel is what makes it visible."""
    median_depth: Float[Tensor, "h w"]
    """z of the last surfel with more than half of the light before it; 0 where there is none."""
    distortion: Float[Tensor, "h w"]
    """Σ_{j<i} w_i w_j (m_i - m_j)², with depths mapped to m = far/(far - near) (1 - near/z) (paper, eq. 13)."""

    def expected_depth(self) -> Float[Tensor, "h w"]:
        """Σ w z / Σ w, 0 where nothing is seen."""
        return self.depth / self.alpha.clamp_min(1e-10)


def project_surfels(
    means: Float[Tensor, "n 3"],
    quats: Float[Tensor, "n 4"],
    scales: Float[Tensor, "n axes"],
    cam_from_world: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    size_px: tuple[int, int],
    *,
    near: float = 0.01,
    far: float = math.inf,
) -> SurfelProjection:
    """Surfels that lie in the plane of the first two axes of their quaternions wxyz; a third scale is ignored.

    A surfel whose outline reaches behind the camera is left out.
    """
    W, shift = cam_from_world[:3, :3], cam_from_world[:3, 3]
    centres = means @ W.T + shift
    depths = centres[:, 2]
    axes = W @ matrix_from_quaternion(quats)
    M = K @ torch.stack((axes[:, :, 0] * scales[:, :1], axes[:, :, 1] * scales[:, 1:2], centres), dim=-1)
    normals = axes[:, :, 2] * torch.where((axes[:, :, 2] * centres).sum(-1) > 0, -1.0, 1.0)[:, None].to(axes)

    signs = M.new_tensor([1, 1, -1])
    form = (signs * M[:, 2] * M[:, 2]).sum(-1)  # of the outline's dual conic
    share = (signs / form[:, None])[:, None]
    means2d = (share * M[:, :2] * M[:, 2:]).sum(-1)
    half = (means2d**2 - (share * M[:, :2] ** 2).sum(-1)).clamp_min(MIN_HALF_PX2).sqrt()
    with torch.no_grad():
        radii = torch.ceil(EXTENT * half)
        size = means2d.new_tensor(size_px)
        seen = (depths > near) & (depths < far) & (form < 0) & torch.isfinite(radii).all(-1)
        seen &= ((means2d + radii > 0) & (means2d - radii < size)).all(-1)
    chosen = (seen.nonzero()[:, 0],)

    def kept(values: Tensor) -> Tensor:
        return torch.zeros_like(values).index_put(chosen, values[chosen])

    return SurfelProjection(kept(means2d), kept(depths), kept(M), kept(normals), kept(radii).int())


def rasterize_surfels(
    projection: SurfelProjection,
    opacities: Float[Tensor, "n"],
    features: Float[Tensor, "n c"],
    size_px: tuple[int, int],
    background: Float[Tensor, "c"] | None = None,
    *,
    near: float = 0.2,
    far: float = 100.0,
) -> SurfelRaster:
    """The picture, (height, width) pixels, of projected surfels; `near` and `far` scale the distortion alone."""
    width, height = size_px
    background = features.new_zeros(features.shape[1]) if background is None else background
    on_screen = (projection.means2d, projection.depths, projection.transforms, projection.normals, projection.radii)
    pixels_px = pixel_grid(size_px, features.device)
    at_once = max(1, CHUNK // max(1, len(opacities)))
    parts = [
        checkpoint(_composited, *on_screen, opacities, features, background, chunk, near, far, use_reentrant=False)
        for chunk in pixels_px.split(at_once)
    ]
    return SurfelRaster(*(torch.cat(field).unflatten(0, (height, width)) for field in zip(*parts)))


def hits(
    projection_means2d: Tensor, depths: Tensor, transforms: Tensor, pixels_px: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """u, v, the exponent's ρ = min(u² + v², 2 r²) and the depth that counts, of each pixel and surfel."""
    centre = (pixels_px + 0.5).to(depths)[:, None]
    planes_x = centre[..., :1] * transforms[:, 2] - transforms[:, 0]
    planes_y = centre[..., 1:] * transforms[:, 2] - transforms[:, 1]
    point = torch.linalg.cross(planes_x, planes_y)
    parallel = point[..., 2] == 0
    u, v = (point[..., k] / point[..., 2].masked_fill(parallel, 1) for k in range(2))
    in_plane = (u * u + v * v).masked_fill(parallel, torch.inf)
    on_screen = 2 * (centre - projection_means2d).square().sum(-1)
    z = transforms[:, 2, 0] * u + transforms[:, 2, 1] * v + transforms[:, 2, 2]
    depth = torch.where(in_plane <= on_screen, z, depths)
    return u, v, torch.minimum(in_plane, on_screen), depth


def _composited(
    means2d: Tensor,
    depths: Tensor,
    transforms: Tensor,
    normals: Tensor,
    radii: Tensor,
    opacities: Tensor,
    features: Tensor,
    background: Tensor,
    pixels_px: Tensor,
    near: float,
    far: float,
) -> tuple[Tensor, ...]:
    visible = (radii > 0).all(dim=-1).nonzero()[:, 0]
    order = visible[depths[visible].detach().float().argsort(stable=True)]
    _, _, rho, z = hits(means2d[order], depths[order], transforms[order], pixels_px)
    seen = layers_of_alpha((opacities[order] * torch.exp(-rho / 2)).masked_fill(z <= 0, 0), order)
    w = seen.weights
    mapped = torch.where(w > 0, far / (far - near) * (1 - near / z.masked_fill(w == 0, 1)), 0)
    passed, first, second = (_before(w * power) for power in (torch.ones_like(mapped), mapped, mapped * mapped))
    distortion = (w * (mapped * mapped * passed - 2 * mapped * first + second)).sum(dim=1)
    median = torch.cat((z.new_zeros(len(z), 1), z), dim=1).gather(1, median_rank(seen)[:, None])[:, 0]
    colour = w @ features[order] + seen.remaining[:, None] * background
    return colour, w.sum(dim=1), w @ normals[order], (w * z.masked_fill(w == 0, 0)).sum(dim=1), median, distortion


def _before(values: Tensor) -> Tensor:
    """Sums over what lies in front, exclusive."""
    return values.cumsum(dim=1) - values
