"""Compositing on the processor: a tile's pixels side by side, its Gaussians one after the other.

Everything about a tile's pixels lies in one piece of scratch memory, a plane of PLANE numbers per quantity, so that a
loop over pixels is a loop over vectors: a threshold is a factor of 0 or 1, never a branch and
never a masked store, which some processors are slow at. A Gaussian visits only the
rows of pixels that it reaches. Backward, Gaussians are visited from the last one that counted to the first; with
D = Σ_c ∂L/∂out_c f_c and, carried along, R_i = Σ_{j>i} w_j D_j + T_end ∂L/∂T_end,

    T_i = T_{i+1} / (1 - α_i),    ∂L/∂f_i = w_i ∂L/∂out,    ∂L/∂α_i = T_i D_i - R_i / (1 - α_i).

What a Gaussian learns in each of its tiles goes into a slot of its own, and slots are summed in order: no atomics, and
the same sums for any number of threads.
"""

import numpy as np
import torch
from numba import prange
from torch import Tensor

from rilievo.ops.gaussian_rasterize.binning import TILE
from rilievo.ops.gaussian_rasterize.reference import MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE
from rilievo.ops.threading import array, inlined, kernel

ANY_ORDER = {"reassoc", "contract"}
"""Sums over pixels may be taken in any order; which one, is settled when the code is compiled."""

PLANE = 256  # pixels that are composited together: a whole tile, or as many chosen ones of it

# Where planes begin. Unsigned, because Numba then leaves out the check for negative indices, and loops vectorise.
X, Y, T, W, LAST = (np.uint64(PLANE * k) for k in range(5))
OPEN, MEDIAN, ALPHA = (np.uint64(PLANE * k) for k in range(5, 8))  # forward only
D, R, V = (np.uint64(PLANE * k) for k in range(5, 8))  # backward only; V = ∂L/∂σ
VALUES = np.uint64(8 * PLANE)  # what is composited, or its gradient, a plane per channel
PLANES = 8

SHAPE = 7  # a row of the table: mean x, y, conic xx, xy, yy, opacity, half height, then the values
LEARNT = 6  # a row of gradients: the same without half height
PATIENCE = 8  # Gaussians between looks whether any pixel of the tile is still open


def composite(
    means2d: Tensor,
    conics: Tensor,
    opacities: Tensor,
    values: Tensor,
    half_height: Tensor,
    gaussian: Tensor,
    slot: Tensor,
    tile_offsets: Tensor,
    first_slot: Tensor,
    pixels_px: Tensor,
    pixel_offsets: Tensor,
    place: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Σ w f, Σ w, what light is left, how far down its tile's list each pixel's last Gaussian is, the median Gaussian.

    Σ w is 1 less what is left, but exact where that is nearly 1. Pixels are sorted by tile, and by row within; pixel i
    fills row `place[i]` of every output.
    """
    table = _table(means2d, conics, opacities, values, half_height)
    pixels = len(pixels_px)
    out, alpha, remaining = (
        values.new_empty(pixels, values.shape[1]),
        values.new_empty(pixels),
        values.new_empty(pixels),
    )
    last, median = (torch.empty(pixels, dtype=torch.int32) for _ in range(2))
    offsets = array(tile_offsets)
    _composite(
        *(table, array(gaussian), offsets, array(pixels_px), array(pixel_offsets), array(place)),
        *(_shared_out(offsets), *_numbers(table.dtype)),
        *(array(t) for t in (out, alpha, remaining, last, median)),
    )
    return out, alpha, remaining, last, median


def composite_backward(
    grad_out: Tensor,
    grad_remaining: Tensor,
    means2d: Tensor,
    conics: Tensor,
    opacities: Tensor,
    values: Tensor,
    half_height: Tensor,
    gaussian: Tensor,
    slot: Tensor,
    tile_offsets: Tensor,
    first_slot: Tensor,
    pixels_px: Tensor,
    pixel_offsets: Tensor,
    place: Tensor,
    remaining: Tensor,
    last: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    table = _table(means2d, conics, opacities, values, half_height)
    offsets = array(tile_offsets)
    slots = np.zeros((len(slot), LEARNT + values.shape[1]), table.dtype)
    _composite_backward(
        *(array(t) for t in (grad_out, grad_remaining, remaining, last)),
        *(table, array(gaussian), array(slot), offsets, array(pixels_px), array(pixel_offsets), array(place)),
        *(_shared_out(offsets), *_numbers(table.dtype), slots),
    )
    learnt = values.new_empty(len(values), slots.shape[1])
    _sum_slots(slots, array(first_slot), array(learnt))
    parts = learnt.split([2, 3, 1, values.shape[1]], dim=1)
    to_means2d, to_conics, to_opacities, to_values = (p.clone(memory_format=torch.contiguous_format) for p in parts)
    return to_means2d, to_conics, to_opacities.squeeze_(1), to_values


def _table(means2d: Tensor, conics: Tensor, opacities: Tensor, values: Tensor, half_height: Tensor) -> np.ndarray:
    """One row per Gaussian, so that a tile finds all of it in one place."""
    return array(torch.cat((means2d, conics, opacities[:, None], half_height[:, None], values), dim=1))


def _shared_out(tile_offsets: np.ndarray) -> np.ndarray:
    """Tiles in an order in which equal stretches are equal work: sorted by length, then dealt like cards."""
    order, threads = np.argsort(-np.diff(tile_offsets), kind="stable"), torch.get_num_threads()
    return np.concatenate([order[k::threads] for k in range(threads)])


def _numbers(dtype: np.dtype) -> tuple[tuple, tuple]:
    """Thresholds, and the coefficients of exp(-u) on [0, 3/4], highest power first, all in one precision.

    exp(-σ) is the eighth power of exp(-σ/8); a σ of 6 is less than MIN_ALPHA already, and further ones never matter.
    """
    degree = 6 if dtype == np.float32 else 11
    series = np.polynomial.Chebyshev.interpolate(lambda u: np.exp(-u), degree, domain=[0, 0.75])
    powers = series.convert(kind=np.polynomial.Polynomial).coef[::-1]
    thresholds = (MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE, 0.0, 0.5, 1.0, 6.0, 0.125)
    return tuple(dtype.type(n) for n in thresholds), tuple(dtype.type(c) for c in powers)


@kernel()
def _composite(
    table,
    gaussian,
    tile_offsets,
    pixels_px,
    pixel_offsets,
    place,
    tiles,
    numbers,
    series,
    out,
    alpha,
    remaining,
    last,
    median,
):
    number = table.dtype.type
    channels = table.shape[1] - SHAPE
    for task in prange(len(tiles)):
        tile = tiles[task]
        near, end = tile_offsets[tile], tile_offsets[tile + 1]
        scratch = np.empty((PLANES + channels) * PLANE, table.dtype)
        rows = np.empty(TILE + 1, np.uint64)
        for begin in range(pixel_offsets[tile], pixel_offsets[tile + 1], PLANE):
            count = min(PLANE, pixel_offsets[tile + 1] - begin)
            top = _place_pixels(pixels_px, begin, count, scratch, rows)
            scratch[2 * PLANE :] = 0
            scratch[2 * PLANE : 2 * PLANE + count] = 1
            scratch[5 * PLANE : 5 * PLANE + count] = 1
            for k in range(near, end):
                if (k - near) % PATIENCE == 0 and not _any_open(scratch, np.uint64(count)):
                    break
                row = table[gaussian[k]]
                first, stop = _reached(row, top, rows)
                _weigh(scratch, row, number(k - near + 1), first, stop, numbers, series)
                for c in range(channels):
                    _add_weighted(scratch, VALUES + np.uint64(c * PLANE), row[SHAPE + c], first, stop)
            for i in range(count):
                pixel = place[begin + i]
                remaining[pixel], alpha[pixel] = scratch[2 * PLANE + i], scratch[7 * PLANE + i]
                last[pixel] = int(scratch[4 * PLANE + i])
                middle = int(scratch[6 * PLANE + i])
                median[pixel] = gaussian[near + middle - 1] if middle > 0 else -1
                for c in range(channels):
                    out[pixel, c] = scratch[(PLANES + c) * PLANE + i]


@kernel(fastmath=ANY_ORDER)
def _composite_backward(
    grad_out,
    grad_remaining,
    remaining,
    last,
    table,
    gaussian,
    slot,
    tile_offsets,
    pixels_px,
    pixel_offsets,
    place,
    tiles,
    numbers,
    series,
    slots,
):
    number = table.dtype.type
    channels = table.shape[1] - SHAPE
    for task in prange(len(tiles)):
        tile = tiles[task]
        near = tile_offsets[tile]
        scratch = np.empty((PLANES + channels) * PLANE, table.dtype)
        rows = np.empty(TILE + 1, np.uint64)
        for begin in range(pixel_offsets[tile], pixel_offsets[tile + 1], PLANE):
            count = min(PLANE, pixel_offsets[tile + 1] - begin)
            top = _place_pixels(pixels_px, begin, count, scratch, rows)
            furthest = 0
            for i in range(count):
                pixel = place[begin + i]
                furthest = max(furthest, last[pixel])
                scratch[2 * PLANE + i], scratch[4 * PLANE + i] = remaining[pixel], last[pixel]
                scratch[6 * PLANE + i] = remaining[pixel] * grad_remaining[pixel]
                for c in range(channels):
                    scratch[(PLANES + c) * PLANE + i] = grad_out[pixel, c]
            for k in range(near + furthest - 1, near - 1, -1):
                row, learnt = table[gaussian[k]], slots[slot[k]]
                first, stop = _reached(row, top, rows)
                if first >= stop:
                    continue
                for i in range(first, stop):
                    scratch[D + i] = row[SHAPE] * scratch[VALUES + i]
                for c in range(1, channels):
                    _add_product(scratch, VALUES + np.uint64(c * PLANE), row[SHAPE + c], first, stop)
                _unweigh(scratch, row, number(k - near + 1), first, stop, numbers, series)
                x, y = row[0], row[1]
                s = sx = sy = sxx = sxy = syy = number(0)
                for i in range(first, stop):
                    v, dx, dy = scratch[V + i], scratch[X + i] - x, scratch[Y + i] - y
                    s += v
                    sx += v * dx
                    sy += v * dy
                    sxx += v * dx * dx
                    sxy += v * dx * dy
                    syy += v * dy * dy
                learnt[0] -= row[2] * sx + row[3] * sy
                learnt[1] -= row[3] * sx + row[4] * sy
                learnt[2] += sxx * number(0.5)
                learnt[3] += sxy
                learnt[4] += syy * number(0.5)
                learnt[5] -= s / row[5]
                for c in range(channels):
                    plane, total = VALUES + np.uint64(c * PLANE), number(0)
                    for i in range(first, stop):
                        total += scratch[W + i] * scratch[plane + i]
                    learnt[LEARNT + c] += total


@kernel()
def _sum_slots(slots, first_slot, learnt):
    for g in prange(len(learnt)):
        learnt[g] = 0
        for s in range(first_slot[g], first_slot[g + 1]):
            for c in range(learnt.shape[1]):
                learnt[g, c] += slots[s, c]


@inlined
def _place_pixels(pixels_px, begin, count, scratch, rows):
    """Fill X and Y with pixel centres, and `rows` with how many pixels lie above each row of the tile; its top."""
    half = scratch.dtype.type(0.5)
    top = pixels_px[begin, 1] // TILE * TILE
    rows[:] = 0
    for i in range(count):
        x, y = pixels_px[begin + i, 0], pixels_px[begin + i, 1]
        scratch[i], scratch[PLANE + i] = scratch.dtype.type(x) + half, scratch.dtype.type(y) + half
        rows[y - top + 1] += np.uint64(1)
    for row in range(TILE):
        rows[row + 1] += rows[row]
    return top


@inlined
def _reached(row, top, rows):
    """Which of the tile's pixels lie in rows that the Gaussian reaches."""
    middle, half = row[1] - top, row[6]
    first = min(max(int(np.floor(middle - half)), 0), TILE)
    stop = min(max(int(np.ceil(middle + half)), first), TILE)
    return rows[first], rows[stop]


@inlined
def _any_open(scratch, count):
    opened = scratch.dtype.type(0)
    for i in range(count):
        opened = max(opened, scratch[OPEN + i])
    return opened > 0


@inlined
def _alpha(dx, dy, A, B, C, opacity, half, far, eighth, series):
    """σ = ½ dᵀ A d, and o exp(-σ)."""
    sigma = (A * dx * dx + C * dy * dy) * half + B * dx * dy
    e = _horner((sigma if sigma < far else far) * eighth, series)
    e *= e
    e *= e
    return sigma, opacity * (e * e)


@inlined
def _horner(u, c):
    if len(c) == 7:
        return (((((c[0] * u + c[1]) * u + c[2]) * u + c[3]) * u + c[4]) * u + c[5]) * u + c[6]
    high = ((((c[0] * u + c[1]) * u + c[2]) * u + c[3]) * u + c[4]) * u + c[5]
    return (((((high * u + c[6]) * u + c[7]) * u + c[8]) * u + c[9]) * u + c[10]) * u + c[11]


@inlined
def _weigh(scratch, row, place, first, stop, numbers, series):
    """Fill W with the Gaussian's weights and move ALPHA, T, OPEN, LAST and MEDIAN on."""
    number = scratch.dtype.type
    max_alpha, min_alpha, min_transmittance, zero, half, one, far, eighth = numbers
    x, y, A, B, C, opacity = row[0], row[1], row[2], row[3], row[4], row[5]
    for i in range(first, stop):
        dx, dy = scratch[X + i] - x, scratch[Y + i] - y
        sigma, free = _alpha(dx, dy, A, B, C, opacity, half, far, eighth, series)
        alpha = free if free < max_alpha else max_alpha
        before, opened = scratch[T + i], scratch[OPEN + i]
        counts = number((sigma >= zero) & (alpha >= min_alpha) & (opened > zero))
        stays = number(before * (one - alpha) > min_transmittance)
        adds = counts * stays
        alpha *= adds
        weight = alpha * before
        scratch[W + i] = weight
        scratch[ALPHA + i] += weight
        scratch[T + i] = before * (one - alpha)
        scratch[LAST + i] += adds * (place - scratch[LAST + i])
        scratch[MEDIAN + i] += adds * number(before > half) * (place - scratch[MEDIAN + i])
        scratch[OPEN + i] = opened * (one - counts * (one - stays))


@inlined
def _unweigh(scratch, row, place, first, stop, numbers, series):
    """Fill W with the Gaussian's weights and V with ∂L/∂σ, and move T and R back in front of it.

    A clamped opacity passes no gradient on.
    """
    number = scratch.dtype.type
    max_alpha, min_alpha, _, zero, half, one, far, eighth = numbers
    x, y, A, B, C, opacity = row[0], row[1], row[2], row[3], row[4], row[5]
    for i in range(first, stop):
        dx, dy = scratch[X + i] - x, scratch[Y + i] - y
        sigma, free = _alpha(dx, dy, A, B, C, opacity, half, far, eighth, series)
        alpha = free if free < max_alpha else max_alpha
        alpha *= number((sigma >= zero) & (alpha >= min_alpha) & (place <= scratch[LAST + i]))
        passing = one / (one - alpha)
        before = scratch[T + i] * passing
        weight = alpha * before
        behind = scratch[R + i]
        to_alpha = before * scratch[D + i] - behind * passing
        scratch[T + i] = before
        scratch[W + i] = weight
        scratch[V + i] = -alpha * to_alpha * number(free <= max_alpha)
        scratch[R + i] = behind + weight * scratch[D + i]


@inlined
def _add_weighted(scratch, plane, value, first, stop):
    for i in range(first, stop):
        scratch[plane + i] += value * scratch[W + i]


@inlined
def _add_product(scratch, plane, value, first, stop):
    for i in range(first, stop):
        scratch[D + i] += value * scratch[plane + i]
