"""What colour a Gaussian has from where the camera stands, on the processor: spherical harmonics, a Gaussian at a time.

The colour is 0.5 + Σ_lm c_lm Y_lm(d), cut off at 0, with d the unit direction from the camera's centre to the mean and
the real harmonics of `fields.spherical_harmonics`, here as the polynomials that they are on the unit sphere. With
g the gradient of the colour and h_lm = g · c_lm, the mean learns (1 - d dᵀ) Σ_lm h_lm ∇Y_lm(d) over its distance.
"""

import numpy as np
import torch
from numba import prange
from torch import Tensor

from rilievo.ops.threading import array, inlined, kernel

BLOCK = 512  # Gaussians per task
BANDS = 4

C0 = 0.5 / np.sqrt(np.pi)
C1 = np.sqrt(3 / (4 * np.pi))
C2 = tuple(np.sqrt(n / np.pi) for n in (15 / 4, 5 / 16, 15 / 16))
C3 = tuple(np.sqrt(n / np.pi) for n in (35 / 32, 105 / 4, 21 / 32, 7 / 16, 105 / 16))
"""Norms of the polynomials, by band."""


def view_colors(means: Tensor, eye: Tensor, sh_dc: Tensor, sh_rest: Tensor, degree: int) -> Tensor:
    """sRGB, not below 0, of bands up to `degree`."""
    rgb = torch.empty_like(sh_dc, memory_format=torch.contiguous_format)
    _colors(*(array(t) for t in (means, eye.double(), sh_dc, sh_rest)), degree, array(rgb))
    return rgb


def view_colors_backward(
    grad: Tensor, rgb: Tensor, means: Tensor, eye: Tensor, sh_dc: Tensor, sh_rest: Tensor, degree: int
) -> tuple[Tensor, Tensor, Tensor]:
    to_means, to_dc, to_rest = (torch.empty(t.shape, dtype=t.dtype) for t in (means, sh_dc, sh_rest))
    _colors_backward(
        *(array(t) for t in (grad, rgb, means, eye.double(), sh_rest)),
        degree,
        *(array(t) for t in (to_means, to_dc, to_rest)),
    )
    return to_means, to_dc, to_rest


@kernel()
def _colors(means, eye, sh_dc, sh_rest, degree, rgb):
    for block in prange((len(means) + BLOCK - 1) // BLOCK):
        Y, d = np.zeros(BANDS * BANDS), np.empty(3)
        for g in range(block * BLOCK, min(len(means), (block + 1) * BLOCK)):
            _towards(means[g], eye, d)
            _harmonics(d, degree, Y)
            for c in range(3):
                total = 0.5 + C0 * sh_dc[g, c]
                for k in range(1, (degree + 1) ** 2):
                    total += Y[k] * sh_rest[g, k - 1, c]
                rgb[g, c] = max(total, 0.0)


@kernel()
def _colors_backward(grad, rgb, means, eye, sh_rest, degree, to_means, to_dc, to_rest):
    for block in prange((len(means) + BLOCK - 1) // BLOCK):
        Y, slopes, d = np.zeros(BANDS * BANDS), np.zeros((BANDS * BANDS, 3)), np.empty(3)
        for g in range(block * BLOCK, min(len(means), (block + 1) * BLOCK)):
            to_rest[g] = 0
            to_means[g] = 0
            red = float(grad[g, 0]) if rgb[g, 0] > 0 else 0.0
            green = float(grad[g, 1]) if rgb[g, 1] > 0 else 0.0
            blue = float(grad[g, 2]) if rgb[g, 2] > 0 else 0.0
            to_dc[g, 0], to_dc[g, 1], to_dc[g, 2] = C0 * red, C0 * green, C0 * blue
            if red == 0 and green == 0 and blue == 0:
                continue
            distance = _towards(means[g], eye, d)
            _harmonics(d, degree, Y)
            _slopes(d, degree, slopes)
            x = y = z = 0.0
            for k in range(1, (degree + 1) ** 2):
                own = sh_rest[g, k - 1]
                to_rest[g, k - 1, 0], to_rest[g, k - 1, 1], to_rest[g, k - 1, 2] = Y[k] * red, Y[k] * green, Y[k] * blue
                pull = red * own[0] + green * own[1] + blue * own[2]
                x, y, z = x + pull * slopes[k, 0], y + pull * slopes[k, 1], z + pull * slopes[k, 2]
            along = x * d[0] + y * d[1] + z * d[2]
            to_means[g, 0] = (x - along * d[0]) / distance
            to_means[g, 1] = (y - along * d[1]) / distance
            to_means[g, 2] = (z - along * d[2]) / distance


@inlined
def _towards(mean, eye, d):
    """Fill d with the unit direction from the eye to a mean; their distance, or a tiny one where they are together."""
    x, y, z = mean[0] - eye[0], mean[1] - eye[1], mean[2] - eye[2]
    distance = max(np.sqrt(x * x + y * y + z * z), 1e-12)
    d[0], d[1], d[2] = x / distance, y / distance, z / distance
    return distance


@inlined
def _harmonics(d, degree, Y):
    x, y, z = d[0], d[1], d[2]
    if degree > 0:
        Y[1], Y[2], Y[3] = -C1 * y, C1 * z, -C1 * x
    if degree > 1:
        xx, yy, zz = x * x, y * y, z * z
        Y[4], Y[5], Y[6] = C2[0] * x * y, -C2[0] * y * z, C2[1] * (2 * zz - xx - yy)
        Y[7], Y[8] = -C2[0] * x * z, C2[2] * (xx - yy)
    if degree > 2:
        Y[9], Y[10], Y[11] = -C3[0] * y * (3 * xx - yy), C3[1] * x * y * z, -C3[2] * y * (4 * zz - xx - yy)
        Y[12], Y[13] = C3[3] * z * (2 * zz - 3 * xx - 3 * yy), -C3[2] * x * (4 * zz - xx - yy)
        Y[14], Y[15] = C3[4] * z * (xx - yy), -C3[0] * x * (xx - 3 * yy)


@inlined
def _slopes(d, degree, D):
    """The derivatives of the polynomials by x, y and z."""
    x, y, z = d[0], d[1], d[2]
    if degree > 0:
        D[1, 1], D[2, 2], D[3, 0] = -C1, C1, -C1
    if degree > 1:
        a, b, c = C2
        D[4, 0], D[4, 1] = a * y, a * x
        D[5, 1], D[5, 2] = -a * z, -a * y
        D[6, 0], D[6, 1], D[6, 2] = -2 * b * x, -2 * b * y, 4 * b * z
        D[7, 0], D[7, 2] = -a * z, -a * x
        D[8, 0], D[8, 1] = 2 * c * x, -2 * c * y
    if degree > 2:
        a, b, c, e, f = C3
        xx, yy, zz = x * x, y * y, z * z
        D[9, 0], D[9, 1] = -6 * a * x * y, -3 * a * (xx - yy)
        D[10, 0], D[10, 1], D[10, 2] = b * y * z, b * x * z, b * x * y
        D[11, 0], D[11, 1], D[11, 2] = 2 * c * x * y, -c * (4 * zz - xx - 3 * yy), -8 * c * y * z
        D[12, 0], D[12, 1], D[12, 2] = -6 * e * x * z, -6 * e * y * z, e * (6 * zz - 3 * xx - 3 * yy)
        D[13, 0], D[13, 1], D[13, 2] = -c * (4 * zz - 3 * xx - yy), 2 * c * x * y, -8 * c * x * z
        D[14, 0], D[14, 1], D[14, 2] = 2 * f * x * z, -2 * f * y * z, f * (xx - yy)
        D[15, 0], D[15, 1] = -3 * a * (xx - yy), 6 * a * x * y
