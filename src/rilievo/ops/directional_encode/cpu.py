"""Spherical harmonics of directions on the processor, a direction at a time, its orders side by side.

With w = exp(-l (l + 1) ρ / 2) Q_l^m, and p = (x + iy)^m, the derivatives are those of a product:

    ∂w/∂ρ   = -l (l + 1) w / 2
    ∂Q_l/∂z = a (Q_{l-1} + z ∂Q_{l-1}/∂z - b ∂Q_{l-2}/∂z)
    ∂p/∂x   = m (x + iy)^{m-1} = ∂p/∂y / i
"""

import numpy as np
from numba import prange
from torch import Tensor

from rilievo.ops.threading import array, inlined, kernel

BLOCK = 128
"""Directions that a thread takes at once."""
DARK = 36.0
"""Bands that are dimmed by e to minus this or more are left out: a double cannot add them to one."""


def feature_count(degree: int) -> int:
    """Two for each order 0 … l of each band."""
    return 2 * (2**degree - 1 + degree)


def directional_encode(
    directions: Tensor, roughness: Tensor, a: Tensor, b: Tensor, start: Tensor, degree: int
) -> Tensor:
    features = directions.new_zeros(len(directions), feature_count(degree))
    _encode(*(array(t) for t in (directions, roughness, a, b, start)), features.numpy())
    return features


def directional_encode_backward(
    grad: Tensor, directions: Tensor, roughness: Tensor, a: Tensor, b: Tensor, start: Tensor, degree: int
) -> tuple[Tensor, Tensor]:
    """Gradients by directions and roughness."""
    to_directions, to_roughness = directions.new_empty(directions.shape), directions.new_empty(len(directions), 1)
    _encode_backward(
        *(array(t) for t in (grad, directions, roughness, a, b, start)),
        to_directions.numpy(),
        to_roughness.numpy(),
    )
    return to_directions, to_roughness


@kernel(fastmath={"contract"})
def _encode(directions, roughness, a, b, start, features):
    count, last = len(directions), len(start) - 1
    number = directions.dtype.type
    half = features.shape[1] // 2
    for block in prange((count + BLOCK - 1) // BLOCK):
        work = np.zeros((5, last + 1), directions.dtype)
        real, imaginary, older, old, new = work[0], work[1], work[2], work[3], work[4]
        for i in range(block * BLOCK, min(count, (block + 1) * BLOCK)):
            z, blur = directions[i, 2], roughness[i, 0]
            _powers(directions[i, 0], directions[i, 1], real, imaginary)
            old[0] = start[0]
            column, band = 0, 1
            for l in range(1, last + 1):
                if 0.5 * band * (band + 1) * blur >= DARK:
                    break
                for m in range(l - 1):
                    new[m] = a[l, m] * (z * old[m] - b[l, m] * older[m])
                new[l - 1] = a[l, l - 1] * z * old[l - 1]
                new[l] = start[l]
                if l == band:
                    dim = np.exp(number(-0.5 * l * (l + 1)) * blur)
                    for m in range(l + 1):
                        value = dim * new[m]
                        features[i, column + m] = value * real[m]
                        features[i, half + column + m] = value * imaginary[m]
                    column += l + 1
                    band *= 2
                older, old, new = old, new, older


@kernel(fastmath={"contract"})
def _encode_backward(grad, directions, roughness, a, b, start, to_directions, to_roughness):
    count, last = len(directions), len(start) - 1
    number = directions.dtype.type
    half = grad.shape[1] // 2
    for block in prange((count + BLOCK - 1) // BLOCK):
        work = np.zeros((10, last + 1), directions.dtype)
        real, imaginary, to_real, to_imaginary = work[0], work[1], work[2], work[3]
        older, old, new = work[4], work[5], work[6]
        d_older, d_old, d_new = work[7], work[8], work[9]
        for i in range(block * BLOCK, min(count, (block + 1) * BLOCK)):
            z, blur = directions[i, 2], roughness[i, 0]
            _powers(directions[i, 0], directions[i, 1], real, imaginary)
            to_real[:] = 0
            to_imaginary[:] = 0
            to_z, to_blur = number(0), number(0)
            old[0], d_old[0] = start[0], number(0)
            column, band = 0, 1
            for l in range(1, last + 1):
                if 0.5 * band * (band + 1) * blur >= DARK:
                    break
                for m in range(l - 1):
                    new[m] = a[l, m] * (z * old[m] - b[l, m] * older[m])
                    d_new[m] = a[l, m] * (old[m] + z * d_old[m] - b[l, m] * d_older[m])
                new[l - 1] = a[l, l - 1] * z * old[l - 1]
                d_new[l - 1] = a[l, l - 1] * (old[l - 1] + z * d_old[l - 1])
                new[l], d_new[l] = start[l], number(0)
                if l == band:
                    fall = number(-0.5 * l * (l + 1))
                    dim = np.exp(fall * blur)
                    by_z, by_w = number(0), number(0)
                    for m in range(l + 1):
                        to_r, to_i = dim * grad[i, column + m], dim * grad[i, half + column + m]
                        to_real[m] += to_r * new[m]
                        to_imaginary[m] += to_i * new[m]
                        both = to_r * real[m] + to_i * imaginary[m]
                        by_z += both * d_new[m]
                        by_w += both * new[m]
                    to_z += by_z
                    to_blur += fall * by_w
                    column += l + 1
                    band *= 2
                older, old, new = old, new, older
                d_older, d_old, d_new = d_old, d_new, d_older
            to_x, to_y = number(0), number(0)
            for m in range(1, last + 1):
                order = number(m)
                to_x += order * (to_real[m] * real[m - 1] + to_imaginary[m] * imaginary[m - 1])
                to_y += order * (to_imaginary[m] * real[m - 1] - to_real[m] * imaginary[m - 1])
            to_directions[i, 0], to_directions[i, 1], to_directions[i, 2] = to_x, to_y, to_z
            to_roughness[i, 0] = to_blur


@inlined
def _powers(x, y, real, imaginary):
    """Parts of (x + iy)^m."""
    real[0], imaginary[0] = 1, 0
    for m in range(1, len(real)):
        r, i = real[m - 1], imaginary[m - 1]
        real[m] = r * x - i * y
        imaginary[m] = r * y + i * x
