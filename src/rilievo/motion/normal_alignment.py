"""Scale and shift of a monocular depth from a map of normals (MoDGS, first preparation step; normals as in GeoWizard,
Fu et al. 2024).

A shift of depth bends a surface: of all s·m + t, the right one has the normals that another estimator saw. Depth is
smoothed by two 3x3 means, back-projected about the middle of the picture, and its normals are the sum of two unit cross
products, one of central differences and one of differences to the pixel itself, each turned towards the camera. The
loss is the mean of 1 - cosine; the given map points the other way, away from the camera's side.

Three habits of the published code stay, since its numbers are compared with: the means count the zeros outside the
picture, which pulls the border nearer, neighbours outside it are at the camera, and pixels are back-projected without
their half. Which way a normal at the border is turned is then left to rounding, so points are computed in the published
order of operations.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from rilievo.flow.sampling import index_grid
from rilievo.motion.depth_alignment import DepthMap

STEPS, RATE = 500, 1e-2
STALL_STEPS, STALL = 40, 1e-5


def smoothed_points(depth: Float[Tensor, "h w"], focal_px: float) -> Float[Tensor, "h w 3"]:
    """Points, in camera axes, of the depth after two 3x3 means."""
    height, width = depth.shape
    mean = F.avg_pool2d(F.avg_pool2d(depth[None, None], 3, 1, 1), 3, 1, 1)[0, 0]
    offset = index_grid(height, width, depth) - depth.new_tensor([width / 2, height / 2])
    return torch.cat((offset * mean[..., None] / focal_px, mean[..., None]), dim=-1)  # to the last bit: see above


def point_normals(points: Float[Tensor, "h w 3"]) -> Float[Tensor, "h w 3"]:
    """Unit normals towards the camera from the four neighbours; points outside the picture count as 0."""
    padded = F.pad(points, (0, 0, 1, 1, 1, 1))
    left, right = padded[1:-1, :-2], padded[1:-1, 2:]
    above, below = padded[:-2, 1:-1], padded[2:, 1:-1]
    inner = torch.linalg.cross(points - right, points - below)
    outer = torch.linalg.cross(left - right, above - below)
    mean = _unit(_facing(inner, points)) + _unit(_facing(outer, points))
    return _facing(_unit(mean), points)


def normal_loss(
    scale_shift: Float[Tensor, "2"],
    estimate: Float[Tensor, "h w"],
    normals: Float[Tensor, "h w 3"],
    focal_px: float,
) -> Float[Tensor, ""]:
    """Mean of 1 - cos between the normals of s·m + t and the given ones, turned round."""
    found = point_normals(smoothed_points(scale_shift[0] * estimate + scale_shift[1], focal_px))
    return (1 - torch.cosine_similarity(found, -normals, dim=-1)).mean()


def fit_to_normals(estimate: Float[Tensor, "h w"], normals: Float[Tensor, "h w 3"], focal_px: float) -> DepthMap:
    """Adam from (1, 0), at most 500 steps of 0.01, until the loss changes by less than 1e-5 from one 40th step to the
    next."""
    parameters = estimate.new_tensor([1.0, 0.0]).requires_grad_()
    optimizer = torch.optim.Adam([parameters], lr=RATE)
    history: list[float] = []
    for step in range(STEPS):
        loss = normal_loss(parameters, estimate, normals, focal_px)
        history.append(float(loss.detach()))
        if step >= STALL_STEPS and step % STALL_STEPS == 0 and abs(history[-1] - history[-1 - STALL_STEPS]) < STALL:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    scale, shift = parameters.tolist()
    return DepthMap(scale, shift)


def _facing(normals: Tensor, points: Tensor) -> Tensor:
    """Turned round where they lead away from the camera at the origin."""
    away = (normals * points).sum(dim=-1, keepdim=True) > 0
    return torch.where(away, -normals, normals)


def _unit(v: Tensor) -> Tensor:
    return v / (v.norm(dim=-1, keepdim=True) + 1e-8)
