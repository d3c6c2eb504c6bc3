"""Resection: the pose of a pinhole, and its focal length where wanted, with the least reprojection error, and how sure.

A point X has the camera coordinates x = R X + t and the pixel u = f (x, y)/z + c. With a twist δ = (ρ, ω) that moves
cam_from_world to exp(δ) cam_from_world,

    ∂u/∂x = f/z [1 0 −x/z; 0 1 −y/z],     ∂x/∂δ = [1, −[x]],     ∂u/∂log f = u − c,

and Levenberg-Marquardt minimises Σ w |u − pixel|², where Huber's w = min(1, k/|r|) keeps the outermost from pulling
hardest. At the least, σ² (Jᵀ W J)⁻¹ is the covariance of (δ, log f) with σ² = Σ w r² / (2 points − unknowns)
(Hartley & Zisserman 2004, §5.2, A6).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rilievo.geometry import se3, so3

ROUNDS = 50
HUBER_PX = 1.0
FLAT = 1e-12
"""Ratio of the eigenvalues of the scaled Jᵀ W J below which some direction is not determined at all."""


@dataclass(frozen=True)
class Resection:
    """A camera and the covariance of what was solved for."""

    world_from_cam: Float64[Tensor, "4 4"]
    focal_px: float
    covariance: Float64[Tensor, "unknowns unknowns"]
    """Of (ρ, ω) in camera axes, world units and radians, and of log f where it was solved for."""

    @property
    def center_std(self) -> float:
        """Standard deviation of the camera's centre in world units, over all directions together."""
        return float(self.covariance[:3, :3].trace().sqrt())

    @property
    def rotation_std(self) -> float:
        """Standard deviation of the rotation in radians, over all axes together."""
        return float(self.covariance[3:6, 3:6].trace().sqrt())

    @property
    def focal_std_px(self) -> float:
        """Standard deviation of the focal length, 0 where it was given."""
        return self.focal_px * float(self.covariance[6, 6].sqrt()) if len(self.covariance) > 6 else 0.0


def resect(
    points: Float[Tensor, "points 3"],
    pixels: Float[Tensor, "points 2"],
    world_from_cam: Float[Tensor, "4 4"],
    focal_px: float,
    center_px: Float[Tensor, "2"],
    *,
    solve_focal: bool = False,
    huber_px: float = HUBER_PX,
) -> Resection | None:
    """The best camera near the given one. All points should be right to a few pixels: wrong ones go before.

    None where points lie so that the camera is not determined (too few, all on one line or behind it).
    """
    X, uv, c = points.double(), pixels.double(), center_px.double().to(points.device)
    cam_from_world = se3.inverse(world_from_cam.double())
    log_f = torch.tensor(float(focal_px), dtype=torch.float64, device=X.device).log()
    unknowns = 7 if solve_focal else 6
    if 2 * len(X) <= unknowns:
        return None
    damping = 1e-3
    r, J, w = _linearised(X, uv, cam_from_world, log_f, c, unknowns, huber_px)
    for _ in range(ROUNDS):
        H, g = _normal(J, r, w)
        if not H.isfinite().all():
            return None
        step = torch.linalg.lstsq(H + damping * torch.diag(torch.diagonal(H)), -g[:, None]).solution[:, 0]
        trial = se3.exp(step[:6]) @ cam_from_world
        trial_log_f = log_f + step[6] if solve_focal else log_f
        r_new, J_new, w_new = _linearised(X, uv, trial, trial_log_f, c, unknowns, huber_px)
        if _cost(r_new, huber_px) <= _cost(r, huber_px):
            cam_from_world, log_f, r, J, w = trial, trial_log_f, r_new, J_new, w_new
            damping = max(damping / 10, 1e-12)
            if step.abs().max() < 1e-12:
                break
        else:
            damping *= 10
            if damping > 1e12:
                break
    H, _ = _normal(J, r, w)
    scale = torch.diagonal(H).sqrt()
    spread = torch.linalg.eigvalsh(H / scale[:, None] / scale[None, :]) if (scale > 0).all() else torch.zeros(1)
    if not spread[0] > FLAT * spread[-1]:
        return None
    variance = (w * r.square().sum(-1)).sum() / (2 * len(X) - unknowns)
    rigid = cam_from_world.clone()
    rigid[:3, :3] = so3.nearest(cam_from_world[:3, :3])
    return Resection(se3.inverse(rigid), float(log_f.exp()), variance * torch.linalg.inv(H))


def reprojection_errors(
    points: Float[Tensor, "points 3"],
    pixels: Float[Tensor, "points 2"],
    world_from_cam: Float[Tensor, "4 4"],
    focal_px: float,
    center_px: Float[Tensor, "2"],
) -> Float64[Tensor, "points"]:
    """Distances in px between pixels and the images of points; infinite behind the camera."""
    cam = se3.inverse(world_from_cam.double())
    x = points.double() @ cam[:3, :3].mT + cam[:3, 3]
    ahead = x[:, 2] > 0
    image = focal_px * x[:, :2] / torch.where(ahead, x[:, 2], 1)[:, None] + center_px.double()
    return torch.where(ahead, torch.linalg.vector_norm(image - pixels.double(), dim=-1), torch.inf)


def _linearised(
    X: Tensor, uv: Tensor, cam_from_world: Tensor, log_f: Tensor, c: Tensor, unknowns: int, huber_px: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Residuals [n, 2], their derivatives [n, 2, unknowns], weights [n]; NaN for points behind the camera."""
    x = X @ cam_from_world[:3, :3].mT + cam_from_world[:3, 3]
    z = torch.where(x[:, 2] > 0, x[:, 2], torch.nan)
    image = log_f.exp() * x[:, :2] / z[:, None]
    one, o = torch.ones_like(z), torch.zeros_like(z)
    rows = torch.stack((one, o, -x[:, 0] / z, o, one, -x[:, 1] / z), -1).unflatten(-1, (2, 3))
    by_x = (log_f.exp() / z)[:, None, None] * rows
    J = torch.cat((by_x, -by_x @ so3.hat(x), image[..., None]), dim=-1)[..., :unknowns]
    r = image + c - uv
    return r, J, (huber_px / torch.linalg.vector_norm(r, dim=-1)).clamp_max(1)


def _normal(J: Tensor, r: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    weighted = w[:, None, None] * J
    return torch.einsum("nri,nrj->ij", weighted, J), torch.einsum("nri,nr->i", weighted, r)


def _cost(r: Tensor, huber_px: float) -> float:
    """Huber's cost; infinite where a point is behind the camera."""
    d = torch.linalg.vector_norm(r, dim=-1)
    cost = torch.where(d < huber_px, d.square() / 2, huber_px * (d - huber_px / 2)).sum()
    return float(cost) if cost.isfinite() else float("inf")
