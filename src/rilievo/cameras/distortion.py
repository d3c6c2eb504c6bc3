"""Lens distortion, both ways, and how far out it can be undone.

Symbols: (x, y) on the plane z = 1 of an ideal pinhole, r² = x² + y²; (x', y') on the same plane after the lens.

OpenCV's rational model, coefficients in the order (k1, k2, k3, k4, k5, k6, p1, p2):

    x' = x·q(r²) + 2 p1 x y + p2 (r² + 2x²)          q(s) = (1 + k1 s + k2 s² + k3 s³) / (1 + k4 s + k5 s² + k6 s³)
    y' = y·q(r²) + p1 (r² + 2y²) + 2 p2 x y

and its fisheye model (Kannala & Brandt 2006, equidistant): a direction at angle θ from the axis lands at radius
θ' = θ (1 + k1 θ² + k2 θ⁴ + k3 θ⁶ + k4 θ⁸), 0 <= θ <= π.

Either radial map grows only up to some radius. Beyond this fold two directions share a pixel and the polynomial
describes no lens, so the inverse looks inside the fold alone and says for each point whether the answer is a true one.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

CONVERGED = 1e-10
"""Largest distance on the plane z = 1, relative to 1 + radius, at which an inverse counts as found (float64)."""


def distort(xy: Float[Tensor, "*b 2"], k: Float[Tensor, "*#b 8"]) -> Float[Tensor, "*b 2"]:
    """Where the rational model moves points of the plane z = 1."""
    return _rational(xy, k)[0]


def undistort(
    xy: Float[Tensor, "p 2"], k: Float[Tensor, "p 8"], fold: Float[Tensor, "p"]
) -> tuple[Float[Tensor, "p 2"], Bool[Tensor, "p"]]:
    """Inverse of `distort` by Newton's method; `fold` is `fold_radius` of each point's lens.

    Returns the points and whether each is a true inverse: within `CONVERGED` and on the near side of the fold. The
    others are finite, at or inside the fold.
    """
    found, ok = _newton(xy, k, fold, start=xy)
    lost = ~ok
    if lost.any():
        start = _radial_inverse(xy[lost], k[lost], fold[lost])
        found, ok = found.clone(), ok.clone()
        found[lost], ok[lost] = _newton(xy[lost], k[lost], fold[lost], start)
    return found, ok


def fold_radius(k: Float64[Tensor, "n 8"]) -> Float64[Tensor, "n"]:
    """Radius r on the plane z = 1 at which r·q(r²) stops growing; inf where it never does.

    With s = r², q = N/D: the smallest s > 0 at which D or the derivative's numerator (N + 2sN')D − 2sND' vanishes.
    """
    radii = np.full(len(k), np.inf)
    for i, c in enumerate(k.detach().cpu().numpy()):
        if c[:6].any():
            s = np.polynomial.Polynomial([0, 1])
            top, bottom = np.polynomial.Polynomial([1, *c[:3]]), np.polynomial.Polynomial([1, *c[3:6]])
            slope = (top + 2 * s * top.deriv()) * bottom - 2 * s * top * bottom.deriv()
            radii[i] = math.sqrt(min(_first_root(slope), _first_root(bottom)))
    return torch.as_tensor(radii, dtype=k.dtype, device=k.device)


def fisheye_distort(points: Float[Tensor, "*b 3"], k: Float[Tensor, "*#b 4"]) -> Float[Tensor, "*b 2"]:
    """Where the equidistant lens images points or directions given in camera axes, also behind the plane z = 0."""
    across = torch.linalg.vector_norm(points[..., :2], dim=-1)
    theta = torch.atan2(across, points[..., 2])
    bent = _odd(theta, k)[0]
    # On the axis θ'/|xy| is 0/0; its limit there is 1/z.
    ratio = torch.where(across > 0, bent / across.clamp_min(torch.finfo(across.dtype).tiny), 1 / points[..., 2])
    return points[..., :2] * ratio[..., None]


def fisheye_undistort(
    xy: Float[Tensor, "p 2"], k: Float[Tensor, "p 4"], fold: Float[Tensor, "p"]
) -> tuple[Float[Tensor, "p 3"], Bool[Tensor, "p"]]:
    """Unit directions seen at `xy` through an equidistant lens; `fold` is `fisheye_fold_angle` of each point's lens.

    Returns the directions and whether each is a true inverse; the others are finite, at or inside the fold.
    """
    radius = torch.linalg.vector_norm(xy, dim=-1)
    low, high = torch.zeros_like(radius), fold.clone()
    theta = torch.minimum(radius, fold)
    for _ in range(60):
        value, slope = _odd(theta, k)
        error = value - radius
        if bool((error.abs() <= 1e-15 * (1 + radius)).all()):
            break
        low, high = torch.where(error < 0, theta, low), torch.where(error > 0, theta, high)
        newton = theta - error / slope.clamp_min(1e-9)
        theta = torch.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
    ok = (_odd(theta, k)[0] - radius).abs() <= CONVERGED * (1 + radius)
    across = torch.sin(theta) / radius.clamp_min(torch.finfo(radius.dtype).tiny)
    return torch.cat((xy * torch.where(radius > 0, across, 1)[:, None], torch.cos(theta)[:, None]), dim=-1), ok


def fisheye_fold_angle(k: Float64[Tensor, "n 4"]) -> Float64[Tensor, "n"]:
    """Angle from the axis at which θ' stops growing with θ; π, straight backwards, where it never does."""
    angles = np.full(len(k), math.pi)
    for i, c in enumerate(k.detach().cpu().numpy()):
        slope = np.polynomial.Polynomial([1, 3 * c[0], 5 * c[1], 7 * c[2], 9 * c[3]])
        angles[i] = min(math.pi, math.sqrt(_first_root(slope)))
    return torch.as_tensor(angles, dtype=k.dtype, device=k.device)


def _rational(xy: Tensor, k: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Distorted points and the Jacobian's ∂x'/∂x, ∂x'/∂y = ∂y'/∂x, ∂y'/∂y."""
    x, y = xy.unbind(-1)
    k1, k2, k3, k4, k5, k6, p1, p2 = k.unbind(-1)
    s = x * x + y * y
    top, bottom = 1 + s * (k1 + s * (k2 + s * k3)), 1 + s * (k4 + s * (k5 + s * k6))
    q = top / bottom
    dq = ((k1 + s * (2 * k2 + s * 3 * k3)) - q * (k4 + s * (2 * k5 + s * 3 * k6))) / bottom  # dq/ds
    bent = torch.stack(
        (x * q + 2 * p1 * x * y + p2 * (s + 2 * x * x), y * q + p1 * (s + 2 * y * y) + 2 * p2 * x * y), -1
    )
    xx = q + 2 * x * x * dq + 2 * p1 * y + 6 * p2 * x
    xy_ = 2 * x * y * dq + 2 * p1 * x + 2 * p2 * y
    yy = q + 2 * y * y * dq + 6 * p1 * y + 2 * p2 * x
    return bent, (xx, xy_, yy)


def _newton(target: Tensor, k: Tensor, fold: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Where Newton's method leads from `start` without leaving the fold, and whether that is a true inverse."""
    scale = 1 + torch.linalg.vector_norm(target, dim=-1)
    limit = fold * (1 - 1e-12)
    folds = bool(limit.isfinite().any())
    found = _within(start, limit) if folds else start
    for steps_left in reversed(range(20)):
        bent, (xx, xy, yy) = _rational(found, k)
        ex, ey = (bent - target).unbind(-1)
        error, det = (ex.abs() + ey.abs()) / scale, xx * yy - xy * xy
        # The last step squared the error: 1e-12 left by it is rounding.
        if steps_left == 0 or bool((error <= 1e-12).all()):
            break
        safe = torch.where(det.abs() > 1e-12, det, 1e-12)
        found = found - torch.stack((yy * ex - xy * ey, xx * ey - xy * ex), -1) / safe[:, None]
        found = _within(found, limit) if folds else found
    return found, (error <= CONVERGED) & (det > 0)


def _within(xy: Tensor, limit: Tensor) -> Tensor:
    radius = torch.linalg.vector_norm(xy, dim=-1)
    return xy * (limit / radius.clamp_min(torch.finfo(xy.dtype).tiny)).clamp_max(1)[:, None]


def _radial_inverse(target: Tensor, k: Tensor, fold: Tensor) -> Tensor:
    """Bisection of r·q(r²) = |target|: a start for Newton's method where plain Newton got lost."""
    goal = torch.linalg.vector_norm(target, dim=-1)
    radial = torch.cat((k[:, :6], torch.zeros_like(k[:, 6:])), dim=-1)
    low, high = torch.zeros_like(goal), fold.clamp_max(1e6)
    for _ in range(60):
        middle = (low + high) / 2
        short = _rational(torch.stack((middle, torch.zeros_like(middle)), -1), radial)[0][:, 0] < goal
        low, high = torch.where(short, middle, low), torch.where(short, high, middle)
    return target * (low / goal.clamp_min(torch.finfo(goal.dtype).tiny))[:, None]


def _odd(theta: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """θ' and dθ'/dθ of the equidistant model."""
    k1, k2, k3, k4 = k.unbind(-1)
    s = theta * theta
    value = theta * (1 + s * (k1 + s * (k2 + s * (k3 + s * k4))))
    return value, 1 + s * (3 * k1 + s * (5 * k2 + s * (7 * k3 + s * 9 * k4)))


def _first_root(polynomial: np.polynomial.Polynomial) -> float:
    """Smallest positive real root s of a polynomial whose value at 0 is 1; inf where there is none.

    It is the largest root u = 1/s of the coefficients read backwards, whose leading one is that 1: nothing overflows.
    """
    u = np.polynomial.Polynomial(polynomial.coef[::-1]).roots()
    largest = max(u[np.abs(u.imag) <= 1e-9 * np.abs(u)].real, default=0.0)
    return 1 / float(largest) if largest > 1e-12 else math.inf
