"""Ellipsoids to ellipses, on the processor: symbols and formulas as in `reference`, a Gaussian at a time, in float64.

With N = J W R S the covariance on the screen is Σ₂ = N Nᵀ + b 1. Backward, G = ∂L/∂A and V = ∂L/∂Σ₂ being symmetric,

    V = -A G A,    ∂L/∂N = 2 V N,

and the rest is the product rule. The camera's gradient is a sum over all Gaussians: blocks of a fixed number of them
are summed apart and then in order, so that the number of threads changes nothing.
"""

import numpy as np
import torch
from numba import prange
from torch import Tensor

from rilievo.ops.gaussian_rasterize.reference import EXTENT, MARGIN, MIN_ALPHA, MIN_COMPENSATION
from rilievo.ops.threading import array, inlined, kernel

BLOCK = 512  # Gaussians per task, and per partial sum of the camera's gradient


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
    n = len(means)
    means2d, depths, conics = means.new_zeros(n, 2), means.new_zeros(n), means.new_zeros(n, 3)
    radii, compensation = means.new_zeros(n, 2, dtype=torch.int32), means.new_zeros(n)
    known = means.new_full((n,), torch.inf) if opacities is None else opacities
    _project(
        *(array(t) for t in (means, quats, scales, cam_from_world.double(), K.double(), known)),
        (width, height, blur, near, far),
        *(array(t) for t in (means2d, depths, conics, radii, compensation)),
    )
    return means2d, depths, conics, radii, compensation


def project_gaussians_backward(
    grad_means2d: Tensor,
    grad_depths: Tensor,
    grad_conics: Tensor,
    grad_compensation: Tensor,
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    cam_from_world: Tensor,
    K: Tensor,
    radii: Tensor,
    width: int,
    height: int,
    blur: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    to_means, to_quats, to_scales = (t.new_zeros(t.shape) for t in (means, quats, scales))
    to_camera = torch.zeros(-(-len(means) // BLOCK), 4, 4, dtype=torch.float64)
    gradients = (grad_means2d, grad_depths, grad_conics, grad_compensation)
    _project_backward(
        *(array(t) for t in (*gradients, means, quats, scales, cam_from_world.double(), K.double(), radii)),
        (width, height, blur),
        *(array(t) for t in (to_means, to_quats, to_scales, to_camera)),
    )
    return to_means, to_quats, to_scales, to_camera.sum(dim=0).to(means.dtype)


@kernel()
def _project(means, quats, scales, camera, K, opacities, view, means2d, depths, conics, radii, compensation):
    width, height, blur, near, far = view
    for block in prange((len(means) + BLOCK - 1) // BLOCK):
        t, J, M, R, N = np.empty(3), np.zeros((2, 3)), np.empty((2, 3)), np.empty((3, 3)), np.empty((2, 3))
        for g in range(block * BLOCK, min(len(means), (block + 1) * BLOCK)):
            _to_camera(means[g], camera, t)
            opacity = float(opacities[g])
            if not (near < t[2] < far and opacity >= MIN_ALPHA):
                continue
            _shape_on_screen(t, quats[g], scales[g], camera, K, width, height, J, M, R, N)
            xx, xy, yy, sharp_det, det = _covariance(N, blur)
            if not (det > 0 and np.isfinite(det)):
                continue
            x, y = K[0, 0] * t[0] / t[2] + K[0, 2], K[1, 1] * t[1] / t[2] + K[1, 2]
            reach = min(EXTENT, np.sqrt(2 * np.log(opacity / MIN_ALPHA)))
            rx, ry = min(np.ceil(reach * np.sqrt(xx)), 2.0**30), min(np.ceil(reach * np.sqrt(yy)), 2.0**30)
            if not (x + rx > 0 and x - rx < width and y + ry > 0 and y - ry < height and rx > 0 and ry > 0):
                continue
            means2d[g, 0], means2d[g, 1], depths[g] = x, y, t[2]
            conics[g, 0], conics[g, 1], conics[g, 2] = yy / det, -xy / det, xx / det
            radii[g, 0], radii[g, 1] = int(rx), int(ry)
            compensation[g] = np.sqrt(max(sharp_det / det, MIN_COMPENSATION**2))


@kernel()
def _project_backward(
    grad_means2d,
    grad_depths,
    grad_conics,
    grad_compensation,
    means,
    quats,
    scales,
    camera,
    K,
    radii,
    view,
    to_means,
    to_quats,
    to_scales,
    to_camera,
):
    width, height, blur = view
    for block in prange(len(to_camera)):
        t, J, M, R, N = np.empty(3), np.zeros((2, 3)), np.empty((2, 3)), np.empty((3, 3)), np.empty((2, 3))
        to_t, to_J, to_M, to_R, to_N = (
            np.empty(3),
            np.empty((2, 3)),
            np.empty((2, 3)),
            np.empty((3, 3)),
            np.empty((2, 3)),
        )
        to_view = to_camera[block]
        for g in range(block * BLOCK, min(len(means), (block + 1) * BLOCK)):
            if radii[g, 0] <= 0 or radii[g, 1] <= 0:
                continue
            _to_camera(means[g], camera, t)
            length = _shape_on_screen(t, quats[g], scales[g], camera, K, width, height, J, M, R, N)
            a, b, c = _covariance_backward(N, blur, grad_conics[g], float(grad_compensation[g]))
            for k in range(3):
                to_N[0, k] = 2 * (a * N[0, k] + b * N[1, k])
                to_N[1, k] = 2 * (b * N[0, k] + c * N[1, k])
            for k in range(3):  # N = M R S
                stretch = 0.0
                for j in range(3):
                    pulled = M[0, j] * to_N[0, k] + M[1, j] * to_N[1, k]
                    stretch += pulled * R[j, k]
                    to_R[j, k] = pulled * scales[g, k]
                to_scales[g, k] = stretch
            _rotate_backward(quats[g], length, to_R, to_quats[g])
            for i in range(2):
                for j in range(3):
                    to_M[i, j] = 0
                    for k in range(3):
                        to_M[i, j] += to_N[i, k] * R[j, k] * scales[g, k]
            for i in range(2):  # M = J W
                for j in range(3):
                    to_J[i, j] = 0
                    for k in range(3):
                        to_J[i, j] += to_M[i, k] * camera[j, k]
                        to_view[j, k] += J[i, j] * to_M[i, k]
            _point_backward(t, K, width, height, to_J, grad_means2d[g], float(grad_depths[g]), to_t)
            for j in range(3):  # t = W μ + shift
                to_means[g, j] = to_t[0] * camera[0, j] + to_t[1] * camera[1, j] + to_t[2] * camera[2, j]
                for k in range(3):
                    to_view[j, k] += to_t[j] * means[g, k]
                to_view[j, 3] += to_t[j]


@inlined
def _to_camera(mean, camera, t):
    for a in range(3):
        t[a] = camera[a, 0] * mean[0] + camera[a, 1] * mean[1] + camera[a, 2] * mean[2] + camera[a, 3]


@inlined
def _slope_limits(K, axis, size):
    """Between which x/z (or y/z) the Jacobian is the projection's own."""
    f, c = K[axis, axis], K[axis, 2]
    margin = MARGIN * size / (2 * f)
    return -c / f - margin, (size - c) / f + margin


@inlined
def _shape_on_screen(t, q, scale, camera, K, width, height, J, M, R, N):
    """Fill J, M = J W, R and N = M R S; return the quaternion's length."""
    for axis, size in ((0, width), (1, height)):
        low, high = _slope_limits(K, axis, size)
        J[axis, axis] = K[axis, axis] / t[2]
        J[axis, 2] = -K[axis, axis] * min(max(t[axis] / t[2], low), high) / t[2]
    length = _rotate(q, R)
    for i in range(2):
        for j in range(3):
            M[i, j] = J[i, 0] * camera[0, j] + J[i, 1] * camera[1, j] + J[i, 2] * camera[2, j]
        for k in range(3):
            N[i, k] = (M[i, 0] * R[0, k] + M[i, 1] * R[1, k] + M[i, 2] * R[2, k]) * scale[k]
    return length


@inlined
def _covariance(N, blur):
    """Σ₂ as xx, xy, yy, and its determinant without and with the blur."""
    xx = N[0, 0] * N[0, 0] + N[0, 1] * N[0, 1] + N[0, 2] * N[0, 2]
    xy = N[0, 0] * N[1, 0] + N[0, 1] * N[1, 1] + N[0, 2] * N[1, 2]
    yy = N[1, 0] * N[1, 0] + N[1, 1] * N[1, 1] + N[1, 2] * N[1, 2]
    return xx + blur, xy, yy + blur, xx * yy - xy * xy, (xx + blur) * (yy + blur) - xy * xy


@inlined
def _covariance_backward(N, blur, grad_conic, grad_compensation):
    """V = ∂L/∂Σ₂ as a symmetric matrix: xx, xy, yy."""
    xx, xy, yy, sharp_det, det = _covariance(N, blur)
    A, B, C = yy / det, -xy / det, xx / det
    gx, gxy, gy = grad_conic[0], grad_conic[1] / 2, grad_conic[2]
    left_x, left_xy = A * gx + B * gxy, A * gxy + B * gy
    right_xy, right_y = B * gx + C * gxy, B * gxy + C * gy
    to_xx, to_xy, to_yy = -(left_x * A + left_xy * B), -(left_x * B + left_xy * C), -(right_xy * B + right_y * C)
    ratio = sharp_det / det
    if ratio >= MIN_COMPENSATION**2:
        slope = grad_compensation / (2 * np.sqrt(ratio) * det)
        to_xx += slope * (yy - blur - ratio * yy)
        to_yy += slope * (xx - blur - ratio * xx)
        to_xy += slope * (ratio - 1) * xy
    return to_xx, to_xy, to_yy


@inlined
def _point_backward(t, K, width, height, to_J, grad_mean2d, grad_depth, to_t):
    """The gradient of the mean in camera axes, from those of J, of the mean on the screen and of the depth."""
    z = t[2]
    to_t[2] = grad_depth
    for axis, size in ((0, width), (1, height)):
        f, slope = K[axis, axis], t[axis] / z
        low, high = _slope_limits(K, axis, size)
        held = min(max(slope, low), high)
        to_slope = f * grad_mean2d[axis]
        if low <= slope <= high:
            to_slope -= f / z * to_J[axis, 2]
        to_t[axis] = to_slope / z
        to_t[2] += f / (z * z) * (held * to_J[axis, 2] - to_J[axis, axis]) - to_slope * slope / z


@inlined
def _rotate(q, R):
    """Fill R from a quaternion of any length, which is returned."""
    length = np.sqrt(float(q[0]) ** 2 + float(q[1]) ** 2 + float(q[2]) ** 2 + float(q[3]) ** 2)
    w, x, y, z = q[0] / length, q[1] / length, q[2] / length, q[3] / length
    R[0, 0], R[0, 1], R[0, 2] = 1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)
    R[1, 0], R[1, 1], R[1, 2] = 2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)
    R[2, 0], R[2, 1], R[2, 2] = 2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)
    return length


@inlined
def _rotate_backward(q, length, D, to_q):
    """The gradient of a quaternion of any length, from that of its matrix, D."""
    w, x, y, z = q[0] / length, q[1] / length, q[2] / length, q[3] / length
    to_w = 2 * (z * (D[1, 0] - D[0, 1]) + y * (D[0, 2] - D[2, 0]) + x * (D[2, 1] - D[1, 2]))
    to_x = 2 * (y * (D[0, 1] + D[1, 0]) + z * (D[0, 2] + D[2, 0]) + w * (D[2, 1] - D[1, 2]))
    to_y = 2 * (x * (D[0, 1] + D[1, 0]) + z * (D[1, 2] + D[2, 1]) + w * (D[0, 2] - D[2, 0]))
    to_z = 2 * (x * (D[0, 2] + D[2, 0]) + y * (D[1, 2] + D[2, 1]) + w * (D[1, 0] - D[0, 1]))
    to_x -= 4 * x * (D[1, 1] + D[2, 2])
    to_y -= 4 * y * (D[0, 0] + D[2, 2])
    to_z -= 4 * z * (D[0, 0] + D[1, 1])
    along = w * to_w + x * to_x + y * to_y + z * to_z
    to_q[0], to_q[1] = (to_w - w * along) / length, (to_x - x * along) / length
    to_q[2], to_q[3] = (to_y - y * along) / length, (to_z - z * along) / length
