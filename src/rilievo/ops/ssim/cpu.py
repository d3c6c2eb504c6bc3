"""Structural similarity on the processor, a row of pixels at a time: means down the columns, then along the row.

With m = x̄, q = mean of x² and p = mean of x y, the derivative of S by the picture is what the three derivatives of S,
spread over the window again, are by the picture:

    ∂L/∂x = ⟨g ∂S/∂m⟩ + 2 x ⟨g ∂S/∂q⟩ + y ⟨g ∂S/∂p⟩,    g = ∂L/∂S, ⟨⟩ the mean over the window.
"""

import numpy as np
from numba import prange
from torch import Tensor

from rilievo.ops.threading import array, inlined, kernel

FUSED = {"contract"}


def similarity(
    image: Tensor, target: Tensor, window: Tensor, c1: float, c2: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """S, and its derivatives by m, q and p."""
    found, to_mean, to_square, to_product = (image.new_empty(image.shape) for _ in range(4))
    number = array(window).dtype.type
    _similarity(
        *(_rows(image), _rows(target), array(window), image.shape[2], number(c1), number(c2)),
        *(_rows(t) for t in (found, to_mean, to_square, to_product)),
    )
    return found, to_mean, to_square, to_product


def similarity_backward(
    grad: Tensor, to_mean: Tensor, to_square: Tensor, to_product: Tensor, image: Tensor, target: Tensor, window: Tensor
) -> Tensor:
    to_image = image.new_empty(image.shape)
    _similarity_backward(
        *(_rows(t) for t in (grad, to_mean, to_square, to_product, image, target)),
        *(array(window), image.shape[2], _rows(to_image)),
    )
    return to_image


def _rows(picture: Tensor) -> np.ndarray:
    """Rows of numbers, in which the same channel of the next pixel is as many numbers on as there are channels."""
    return array(picture).reshape(picture.shape[0], -1)


@kernel(fastmath=FUSED)
def _similarity(x, y, window, step, c1, c2, found, to_mean, to_square, to_product):
    height, width = x.shape
    half, two = len(window) // 2, window.dtype.type(2)
    left, right = half * step, half * step + width  # of the picture within a row that is black on both sides
    for r in prange(height):
        down = np.zeros((5, left + right), x.dtype)
        for t in range(max(0, half - r), min(len(window), height - r + half)):
            a, b, w = x[r + t - half], y[r + t - half], window[t]
            m0, m1, m2 = down[0][left:right], down[1][left:right], down[2][left:right]
            m3, m4 = down[3][left:right], down[4][left:right]
            for i in range(width):
                wa, wb = w * a[i], w * b[i]
                m0[i] += wa
                m1[i] += wb
                m2[i] += wa * a[i]
                m3[i] += wb * b[i]
                m4[i] += wa * b[i]
        around = np.zeros((5, width), x.dtype)
        for k in range(5):
            _along_row(down[k], window, step, around[k])
        x_mean, y_mean, x_square, y_square, product = around[0], around[1], around[2], around[3], around[4]
        s, to_m, to_q, to_p = found[r], to_mean[r], to_square[r], to_product[r]
        for i in range(width):
            m, n = x_mean[i], y_mean[i]
            light, light_norm = two * m * n + c1, m * m + n * n + c1
            detail = two * (product[i] - m * n) + c2
            detail_norm = (x_square[i] - m * m) + (y_square[i] - n * n) + c2
            likeness, structure = light / light_norm, detail / detail_norm
            s[i] = likeness * structure
            to_q[i] = -likeness * structure / detail_norm
            to_p[i] = two * likeness / detail_norm
            by_light = two * (n - m * likeness) / light_norm * structure
            to_m[i] = by_light - n * to_p[i] - two * m * to_q[i]


@kernel(fastmath=FUSED)
def _similarity_backward(grad, to_mean, to_square, to_product, x, y, window, step, to_x):
    height, width = x.shape
    half, two = len(window) // 2, window.dtype.type(2)
    left, right = half * step, half * step + width  # of the picture within a row that is black on both sides
    for r in prange(height):
        down = np.zeros((3, left + right), x.dtype)
        for t in range(max(0, half - r), min(len(window), height - r + half)):
            row, w = r + t - half, window[t]
            g, to_m, to_q, to_p = grad[row], to_mean[row], to_square[row], to_product[row]
            m0, m1, m2 = down[0][left:right], down[1][left:right], down[2][left:right]
            for i in range(width):
                wg = w * g[i]
                m0[i] += wg * to_m[i]
                m1[i] += wg * to_q[i]
                m2[i] += wg * to_p[i]
        around = np.zeros((3, width), x.dtype)
        for k in range(3):
            _along_row(down[k], window, step, around[k])
        by_mean, by_square, by_product = around[0], around[1], around[2]
        a, b, out = x[r], y[r], to_x[r]
        for i in range(width):
            out[i] = by_mean[i] + two * a[i] * by_square[i] + b[i] * by_product[i]


@inlined
def _along_row(padded, window, step, out):
    for t in range(len(window)):
        shifted, w = padded[t * step : t * step + len(out)], window[t]
        for i in range(len(out)):
            out[i] += w * shifted[i]
