"""The losses of `residuals` and their gradient with respect to the geometry, on the processor, in one pass.

Symbols as in `residuals`. With r a residual of length e, weight q and Q the sum of all weights, the pull on the point
is q γ (e + e₀)^(γ − 1) r / (e Q), 0 where e = 0. Pulls on world points X = R x + t are summed point by point first,
then go through x to depth, focal length, principal point and pose. Everything is float64.
"""

from __future__ import annotations

import numpy as np

from rilievo.ops.threading import inlined, kernel


@kernel(parallel=False)
def loss_and_pull(
    focal, pp, bend, R, t, depth,
    view, pixel, anchor, offset,
    first, second, confidence, in_pixels, scale, gamma, gamma_offset, near, low, high,
    weak, frame, target, weight, weak_scale, weak_gamma, weak_gamma_offset,
    X, gX, gf, gp, gb, gR, gt, gD,
):  # fmt: skip
    """Weighted losses; adds to the gradients gf … gD. X and gX are scratch memory, one point per sighting."""
    for s in range(len(view)):
        v = view[s]
        z = depth[anchor[s]] * (1 + (offset[s] - 1) * bend[v])
        x, y = z * (pixel[s, 0] - pp[v, 0]) / focal[v], z * (pixel[s, 1] - pp[v, 1]) / focal[v]
        for a in range(3):
            X[s, a] = R[v, a, 0] * x + R[v, a, 1] * y + R[v, a, 2] * z + t[v, a]
            gX[s, a] = 0.0
    loss = 0.0
    for m in range(len(first)):
        q = scale * confidence[m]
        if in_pixels:
            for i, j in ((first[m], second[m]), (second[m], first[m])):
                loss += _miss(
                    X, i, j, view[i], pixel, focal, pp, R, t, q, gamma, gamma_offset, near, low, high,
                    gX, gf, gp, gR, gt,
                )  # fmt: skip
        else:
            loss += _gap(X, first[m], second[m], q, gamma, gamma_offset, gX)
    for r in range(len(weak)):
        q = weak_scale * weight[r]
        loss += _regression(X, weak[r], frame[r], target, r, R, t, q, weak_gamma, weak_gamma_offset, gX, gR, gt)
    for s in range(len(view)):
        _through_point(s, view[s], anchor[s], focal, pp, bend, R, depth, pixel, offset, gX, gf, gp, gb, gR, gt, gD)
    return loss


@inlined
def _tamed(e, gamma, offset):
    """γ-loss of a distance, and its derivative over the distance."""
    if gamma == 1.0:
        return e, (1.0 / e if e > 0 else 0.0)
    at = e + offset
    if gamma == 0.5:  # powers are dear, and the usual ones have roots
        grown = np.sqrt(at)
    elif gamma == 1.5:
        grown = at * np.sqrt(at)
    else:
        grown = at**gamma
    return grown - offset**gamma, (gamma * grown / (at * e) if e > 0 else 0.0)


@inlined
def _gap(X, i, j, q, gamma, offset, gX):
    dx, dy, dz = X[i, 0] - X[j, 0], X[i, 1] - X[j, 1], X[i, 2] - X[j, 2]
    value, pull = _tamed(np.sqrt(dx * dx + dy * dy + dz * dz), gamma, offset)
    pull *= q
    gX[i, 0] += pull * dx
    gX[i, 1] += pull * dy
    gX[i, 2] += pull * dz
    gX[j, 0] -= pull * dx
    gX[j, 1] -= pull * dy
    gX[j, 2] -= pull * dz
    return q * value


@inlined
def _miss(X, i, j, v, pixel, focal, pp, R, t, q, gamma, offset, near, low, high, gX, gf, gp, gR, gt):
    """How far point j, seen from the view v of sighting i, is from i's pixel."""
    wx, wy, wz = X[j, 0] - t[v, 0], X[j, 1] - t[v, 1], X[j, 2] - t[v, 2]
    x = R[v, 0, 0] * wx + R[v, 1, 0] * wy + R[v, 2, 0] * wz
    y = R[v, 0, 1] * wx + R[v, 1, 1] * wy + R[v, 2, 1] * wz
    z = R[v, 0, 2] * wx + R[v, 1, 2] * wy + R[v, 2, 2] * wz
    f, cx, cy = focal[v], pp[v, 0], pp[v, 1]
    away = max(z, near)
    px, py = (f * x + cx * z) / away, (f * y + cy * z) / away
    held_x, held_y = min(max(px, low), high), min(max(py, low), high)
    dx, dy = held_x - pixel[i, 0], held_y - pixel[i, 1]
    value, pull = _tamed(np.sqrt(dx * dx + dy * dy), gamma, offset)
    gx = q * pull * dx / away if held_x == px else 0.0
    gy = q * pull * dy / away if held_y == py else 0.0
    gf[v] += gx * x + gy * y
    gp[v, 0] += gx * z
    gp[v, 1] += gy * z
    gz = gx * cx + gy * cy
    if z > near:
        gz -= gx * px + gy * py
    hx, hy = f * gx, f * gy
    for a in range(3):
        w = X[j, a] - t[v, a]
        gR[v, a, 0] += w * hx
        gR[v, a, 1] += w * hy
        gR[v, a, 2] += w * gz
        pulled = R[v, a, 0] * hx + R[v, a, 1] * hy + R[v, a, 2] * gz
        gX[j, a] += pulled
        gt[v, a] -= pulled
    return q * value


@inlined
def _regression(X, s, v, target, r, R, t, q, gamma, offset, gX, gR, gt):
    """How far sighting s is from where the prediction of view v puts it."""
    d0, d1, d2 = X[s, 0] - t[v, 0], X[s, 1] - t[v, 1], X[s, 2] - t[v, 2]
    for b in range(3):
        d0 -= R[v, 0, b] * target[r, b]
        d1 -= R[v, 1, b] * target[r, b]
        d2 -= R[v, 2, b] * target[r, b]
    value, pull = _tamed(np.sqrt(d0 * d0 + d1 * d1 + d2 * d2), gamma, offset)
    for a, d in ((0, d0), (1, d1), (2, d2)):
        g = q * pull * d
        gX[s, a] += g
        gt[v, a] -= g
        for b in range(3):
            gR[v, a, b] -= g * target[r, b]
    return q * value


@inlined
def _through_point(s, v, a, focal, pp, bend, R, depth, pixel, offset, gX, gf, gp, gb, gR, gt, gD):
    """Carry the pull on a point to what the point is made of."""
    stretch = 1 + (offset[s] - 1) * bend[v]
    z = depth[a] * stretch
    u, w = (pixel[s, 0] - pp[v, 0]) / focal[v], (pixel[s, 1] - pp[v, 1]) / focal[v]
    hx = R[v, 0, 0] * gX[s, 0] + R[v, 1, 0] * gX[s, 1] + R[v, 2, 0] * gX[s, 2]
    hy = R[v, 0, 1] * gX[s, 0] + R[v, 1, 1] * gX[s, 1] + R[v, 2, 1] * gX[s, 2]
    hz = R[v, 0, 2] * gX[s, 0] + R[v, 1, 2] * gX[s, 1] + R[v, 2, 2] * gX[s, 2]
    for b in range(3):
        g = gX[s, b]
        gt[v, b] += g
        gR[v, b, 0] += g * z * u
        gR[v, b, 1] += g * z * w
        gR[v, b, 2] += g * z
    gz = hx * u + hy * w + hz
    gf[v] -= z * (hx * u + hy * w) / focal[v]
    gp[v, 0] -= z * hx / focal[v]
    gp[v, 1] -= z * hy / focal[v]
    gD[a] += gz * stretch
    gb[v] += gz * depth[a] * (offset[s] - 1)
