"""Gaussians on a screen, the definition: every Gaussian against every pixel, in plain torch, in any precision.

A Gaussian with mean μ, rotation R (a quaternion q) and scales s has the covariance Σ = R S Sᵀ Rᵀ. With the camera's
rotation W, the mean t in camera axes, and J the Jacobian of the perspective projection at t,

    Σ₂ = J W Σ Wᵀ Jᵀ + b 1,        A = Σ₂⁻¹

on the screen (Zwicker et al. 2001, "EWA splatting"; Kerbl et al. 2023, arXiv:2308.04079, eq. 5 and 6; b is the blur in
px²). What the blur adds in area is told by the compensation √(det(Σ₂ - b 1) / det Σ₂), which anti-aliased rendering
multiplies into the opacity (Yu et al. 2024, Mip-Splatting, arXiv:2311.16493).

With d from the mean to the pixel's centre, Gaussian i has at that pixel, front to back,

    α_i = min(0.99, o_i exp(-½ dᵀ A_i d)),    w_i = α_i T_i,    T_{i+1} = T_i (1 - α_i),    T_0 = 1

and is passed over where α_i < 1/255. A pixel is finished before the Gaussian that would leave T ≤ 1e-4. Three
decisions hold in any precision: the thresholds have their float32 values, Gaussians are sorted by their depth rounded
to float32, and equal depths keep the order of the list.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from rilievo.geometry.so3 import matrix_from_quaternion

MAX_ALPHA = float(np.float32(0.99))
"""So that no single Gaussian ends a pixel, and every one behind it keeps a gradient."""

MIN_ALPHA = float(np.float32(1 / 255))
"""Less than a step of an 8-bit picture."""

MIN_TRANSMITTANCE = float(np.float32(1e-4))

EXTENT = 3.33
"""In deviations: √(2 ln 255), where an opaque Gaussian falls below MIN_ALPHA."""

MARGIN = 0.3
"""Outside the picture, by this share of half its size, the Jacobian is that of the margin: farther out the linear
picture of the projection is worth nothing, and huge."""

MIN_COMPENSATION = 0.005


def covariances(quats: Tensor, scales: Tensor) -> Tensor:
    """R S Sᵀ Rᵀ."""
    stretched = matrix_from_quaternion(quats) * scales[:, None, :]
    return stretched @ stretched.mT


def project_gaussians(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    cam_from_world: Tensor,
    K: Tensor,
    opacities: Tensor | None,
    width: int,
    height: int,
    blur: float,
    near: float,
    far: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Means in px, depths, conics (A_xx, A_xy, A_yy), radii in px, and compensations; zeros where nothing is seen."""
    rotation, shift = cam_from_world[:3, :3], cam_from_world[:3, 3]
    centres = means @ rotation.T + shift
    before = ((centres[:, 2] > near) & (centres[:, 2] < far)).detach()
    chosen = before.nonzero()[:, 0]
    centres = centres[chosen]

    (x, y, depths), (fx, fy, cx, cy) = centres.unbind(-1), (K[0, 0], K[1, 1], K[0, 2], K[1, 2])
    means2d = torch.stack((fx * x / depths + cx, fy * y / depths + cy), dim=-1)
    J = jacobian(centres, fx, fy, cx, cy, width, height)
    M = J @ rotation
    sharp = M @ covariances(quats[chosen], scales[chosen]) @ M.mT
    xx, xy, yy = sharp[:, 0, 0] + blur, sharp[:, 0, 1], sharp[:, 1, 1] + blur
    sharp_det = sharp[:, 0, 0] * sharp[:, 1, 1] - xy * xy
    det = xx * yy - xy * xy
    conics = torch.stack((yy, -xy, xx), dim=-1) / det[:, None]
    compensation = (sharp_det / det).clamp_min(MIN_COMPENSATION**2).sqrt()

    with torch.no_grad():
        reach = _reach(opacities[chosen]) if opacities is not None else torch.full_like(depths, EXTENT)
        radii = torch.ceil(reach[:, None] * torch.stack((xx, yy), dim=-1).sqrt())
        size = means2d.new_tensor([width, height])
        seen = (det > 0) & torch.isfinite(det) & (reach > 0)
        seen &= ((means2d + radii > 0) & (means2d - radii < size)).all(dim=-1)

    def spread(values: Tensor) -> Tensor:
        return values.new_zeros((len(means), *values.shape[1:])).index_put((chosen[seen],), values[seen])

    found = spread(radii.clamp_max(2.0**30).nan_to_num(0).int())
    return spread(means2d), spread(depths), spread(conics), found, spread(compensation)


def jacobian(centres: Tensor, fx: Tensor, fy: Tensor, cx: Tensor, cy: Tensor, width: int, height: int) -> Tensor:
    """Of (x, y, z) ↦ (fx x/z, fy y/z), with x/z and y/z held within the margin around the picture."""
    x, y, z = centres.unbind(-1)
    u, v = (x / z).clamp(*slope_limits(fx, cx, width)), (y / z).clamp(*slope_limits(fy, cy, height))
    o = torch.zeros_like(z)
    return torch.stack((fx / z, o, -fx * u / z, o, fy / z, -fy * v / z), dim=-1).unflatten(-1, (2, 3))


def slope_limits(focal: Tensor, centre: Tensor, size: int | Tensor) -> tuple[Tensor, Tensor]:
    """Between which x/z (or y/z) the Jacobian is the projection's own."""
    margin = MARGIN * size / (2 * focal)
    return -centre / focal - margin, (size - centre) / focal + margin


def _reach(opacities: Tensor) -> Tensor:
    """Deviations within which α can reach MIN_ALPHA; 0 where it nowhere does."""
    visible = opacities >= MIN_ALPHA
    return torch.where(visible, (2 * torch.log(opacities / MIN_ALPHA)).sqrt().clamp_max(EXTENT), 0)


def pixel_grid(size_px: tuple[int, int], device: torch.device) -> Tensor:
    """Column and row of every pixel, row by row."""
    columns, rows = (torch.arange(n, device=device) for n in size_px)
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1).flatten(0, 1)


class Layers(NamedTuple):
    """What a set of pixels sees, Gaussian by Gaussian."""

    order: Tensor  # [seen], front to back
    weights: Tensor  # [pixels, seen]
    transmittance: Tensor  # [pixels, seen], before each Gaussian
    remaining: Tensor  # [pixels], after all of them


def layers(
    means2d: Tensor, conics: Tensor, depths: Tensor, radii: Tensor, opacities: Tensor, pixels_px: Tensor
) -> Layers:
    seen = (radii > 0).all(dim=-1).nonzero()[:, 0]
    order = seen[depths[seen].detach().float().argsort(stable=True)]
    dx, dy = (pixels_px[:, None] + 0.5 - means2d[order]).unbind(-1)
    xx, xy, yy = conics[order].unbind(-1)
    sigma = (xx * dx * dx + yy * dy * dy) / 2 + xy * dx * dy
    return layers_of_alpha((opacities[order] * torch.exp(-sigma)).masked_fill(sigma < 0, 0), order)


def layers_of_alpha(alpha: Tensor, order: Tensor) -> Layers:
    """Compositing of opacities [pixels, seen] that are neither clamped nor thresholded yet."""
    alpha = alpha.clamp_max(MAX_ALPHA)
    alpha = alpha.masked_fill(alpha < MIN_ALPHA, 0)
    alpha = alpha.masked_fill((1 - alpha).cumprod(dim=1) <= MIN_TRANSMITTANCE, 0)
    passing = torch.cat((alpha.new_ones(len(alpha), 1), 1 - alpha), dim=1).cumprod(dim=1)
    return Layers(order, alpha * passing[:, :-1], passing[:, :-1], passing[:, -1])


def rasterize(
    means2d: Tensor,
    conics: Tensor,
    depths: Tensor,
    radii: Tensor,
    opacities: Tensor,
    features: Tensor,
    pixels_px: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Σ w f, Σ w depth and Σ w of each pixel, what light is left, and the median Gaussian (-1 where none is).

    The median is the last Gaussian of weight with more than half of the light before it.
    """
    seen = layers(means2d, conics, depths, radii, opacities, pixels_px)
    weights, order = seen.weights, seen.order
    return (
        weights @ features[order],
        weights @ depths[order],
        weights.sum(dim=1),
        seen.remaining,
        median(seen),
    )


def median(seen: Layers) -> Tensor:
    """The last Gaussian, of those that contribute, before which more than half of the light is left; -1 for none."""
    rank = median_rank(seen)
    return torch.cat((seen.order.new_full((1,), -1), seen.order))[rank]


def median_rank(seen: Layers) -> Tensor:
    """How many Gaussians from the front it is the last of; 0 for none."""
    count = seen.weights.shape[1]
    if not count:
        return torch.zeros(len(seen.weights), dtype=torch.int64, device=seen.weights.device)
    rank = torch.arange(1, count + 1, device=seen.weights.device)
    return (((seen.weights > 0) & (seen.transmittance > 0.5)) * rank).amax(dim=1)
