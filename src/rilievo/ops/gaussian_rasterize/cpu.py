"""Compositing on the processor: the pixels of a group side by side, its Gaussians four at a time.

A tile's pixels are split into groups of GROUP, in a whole picture the quarters of the tile. Everything about a group
lies in one piece of scratch memory, a plane of GROUP numbers per quantity, so that a loop over pixels is a loop over
vectors: a threshold is a factor of 0 or 1, never a branch. Of the tile's Gaussians a group visits those whose ellipse
meets the box around its pixels, LAYERS of them in one loop, between which what a pixel knows stays in registers; a
pixel that is finished has its light negated. Backward, Gaussians are visited from the last one that counted to the
first; with D = Σ_c ∂L/∂out_c f_c and, carried along, R_i = Σ_{j>i} w_j D_j + T_end ∂L/∂T_end,

    T_i = T_{i+1} / (1 - α_i),    ∂L/∂f_i = w_i ∂L/∂out,    ∂L/∂α_i = T_i D_i - R_i / (1 - α_i).

What a Gaussian learns in each of its tiles goes into a slot of its own, and slots are summed in order: no atomics, and
the same sums for any number of threads.
"""

import inspect
from collections.abc import Callable

import numba
import numpy as np
import torch
from numba import prange
from torch import Tensor

from rilievo.ops.gaussian_rasterize.reference import MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE
from rilievo.ops.threading import array, kernel

FUSED = {"contract"}
"""A product and a sum may be rounded once. Where that is done, is settled when the code is compiled."""
ANY_ORDER = FUSED | {"reassoc"}
"""So may sums over pixels be taken in any order."""

GROUP = 64  # pixels that are composited together
LAYERS = 4  # Gaussians that are

# The same, and where planes begin. Unsigned: Numba then leaves out the check for negative indices, and loops vectorise.
PIXELS = np.uint64(GROUP)
X, Y, T, LAST = (np.uint64(GROUP * k) for k in range(4))
W = tuple(np.uint64(GROUP * k) for k in range(4, 8))
ALPHA, MEDIAN = (np.uint64(GROUP * k) for k in range(8, 10))  # forward only
R = np.uint64(GROUP * 8)  # backward only, as D and V = ∂L/∂σ, which take turns in one plane
D = tuple(np.uint64(GROUP * k) for k in range(9, 13))
PLANES = 13  # then what is composited, or its gradient, a plane per channel

SHAPE = 9  # a row of the table: mean x, y, conic xx, xy, yy, opacity, level, -B/A, -B/C, then the values
LEARNT = 6  # a row of gradients: the first six of them, then the values


def pixelwise(function: Callable) -> Callable:
    """Compile a function of one pixel, copied into the loops that call it so that they stay loops over vectors."""
    return numba.njit(nogil=True, error_model="numpy", fastmath=FUSED, forceinline=True)(inspect.unwrap(function))


def summing(function: Callable) -> Callable:
    """The same for sums over pixels."""
    return numba.njit(nogil=True, error_model="numpy", fastmath=ANY_ORDER, forceinline=True)(inspect.unwrap(function))


def composite(
    means2d: Tensor,
    conics: Tensor,
    opacities: Tensor,
    values: Tensor,
    levels: Tensor,
    gaussian: Tensor,
    slot: Tensor,
    tile_offsets: Tensor,
    first_slot: Tensor,
    pixels_px: Tensor,
    pixel_offsets: Tensor,
    place: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Σ w f, Σ w, what light is left, how far down its tile's list each pixel's last Gaussian is, the median Gaussian.

    Σ w is 1 less what is left, but exact where that is nearly 1. Pixels are sorted by tile; pixel i fills row
    `place[i]` of every output.
    """
    table = _table(means2d, conics, opacities, values, levels)
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
    levels: Tensor,
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
    table = _table(means2d, conics, opacities, values, levels)
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


def _table(means2d: Tensor, conics: Tensor, opacities: Tensor, values: Tensor, levels: Tensor) -> np.ndarray:
    """One row per Gaussian, so that a tile finds all of it in one place."""
    leaning = -conics[:, 1:2] / conics[:, ::2]
    return array(torch.cat((means2d, conics, opacities[:, None], levels[:, None], leaning, values), dim=1))


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
    thresholds = (MAX_ALPHA, MIN_ALPHA, MIN_TRANSMITTANCE, 0.0, 0.5, 1.0, 0.75)
    return tuple(dtype.type(n) for n in thresholds), tuple(dtype.type(c) for c in powers)


@kernel(fastmath=FUSED)
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
    channels = table.shape[1] - SHAPE
    for task in prange(len(tiles)):
        tile = tiles[task]
        near, end = tile_offsets[tile], tile_offsets[tile + 1]
        scratch = np.empty((PLANES + channels) * GROUP, table.dtype)
        chosen = np.empty(LAYERS, np.int64)
        for begin in range(pixel_offsets[tile], pixel_offsets[tile + 1], GROUP):
            count = min(GROUP, pixel_offsets[tile + 1] - begin)
            box = _place_pixels(pixels_px, begin, count, scratch)
            scratch[3 * GROUP :] = 0
            scratch[2 * GROUP : 3 * GROUP] = -1
            scratch[2 * GROUP : 2 * GROUP + count] = 1
            k = near
            while k < end and _any_open(scratch):
                found = 0
                while k < end and found < LAYERS:
                    chosen[found] = k
                    found += _touches(table[gaussian[k]], box)
                    k += 1
                if found == 0:
                    break
                _weigh(scratch, _layers(table, gaussian, near, chosen, found), numbers, series)
                for c in range(channels):
                    _add_weighted(scratch, np.uint64((PLANES + c) * GROUP), _shown(table, gaussian, chosen, found, c))
            for i in range(count):
                pixel = place[begin + i]
                remaining[pixel], alpha[pixel] = abs(scratch[2 * GROUP + i]), scratch[8 * GROUP + i]
                last[pixel] = int(scratch[3 * GROUP + i])
                middle = int(scratch[9 * GROUP + i])
                median[pixel] = gaussian[near + middle - 1] if middle > 0 else -1
                for c in range(channels):
                    out[pixel, c] = scratch[(PLANES + c) * GROUP + i]


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
    channels = table.shape[1] - SHAPE
    quads = (channels + 3) // 4  # of channels that are summed side by side, the last filled up with zeros
    for task in prange(len(tiles)):
        tile = tiles[task]
        near = tile_offsets[tile]
        scratch = np.empty((PLANES + 4 * quads) * GROUP, table.dtype)
        met = np.empty(tile_offsets[tile + 1] - near, np.int64)
        chosen = np.empty(LAYERS, np.int64)
        f = np.zeros(4 * quads, table.dtype)
        for begin in range(pixel_offsets[tile], pixel_offsets[tile + 1], GROUP):
            count = min(GROUP, pixel_offsets[tile + 1] - begin)
            box = _place_pixels(pixels_px, begin, count, scratch)
            scratch[2 * GROUP :] = 0
            scratch[2 * GROUP : 3 * GROUP] = 1
            furthest = 0
            for i in range(count):
                pixel = place[begin + i]
                furthest = max(furthest, last[pixel])
                scratch[2 * GROUP + i], scratch[3 * GROUP + i] = remaining[pixel], last[pixel]
                scratch[8 * GROUP + i] = remaining[pixel] * grad_remaining[pixel]
                for c in range(channels):
                    scratch[(PLANES + c) * GROUP + i] = grad_out[pixel, c]
            layers = 0
            for k in range(near, near + furthest):
                met[layers] = k
                layers += _touches(table[gaussian[k]], box)
            for behind in range(layers, 0, -LAYERS):
                found = min(LAYERS, behind)
                for j in range(found):
                    chosen[j] = met[behind - 1 - j]
                for j in range(found):
                    f[:channels] = table[gaussian[chosen[j]], SHAPE:]
                    for q in range(quads):
                        _along(scratch, D[j], np.uint64((PLANES + 4 * q) * GROUP), f[4 * q : 4 * q + 4], q == 0)
                _unweigh(scratch, _layers(table, gaussian, near, chosen, found), numbers, series)
                for j in range(found):
                    row, learnt = table[gaussian[chosen[j]]], slots[slot[chosen[j]]]
                    s, sx, sy, sxx, sxy, syy = _moments(scratch, D[j], row[0], row[1])
                    learnt[0] -= row[2] * sx + row[3] * sy
                    learnt[1] -= row[3] * sx + row[4] * sy
                    learnt[2] += sxx / 2
                    learnt[3] += sxy
                    learnt[4] += syy / 2
                    learnt[5] -= s / row[5]
                    for q in range(quads):
                        f[4 * q], f[4 * q + 1], f[4 * q + 2], f[4 * q + 3] = _weighted(
                            scratch, W[j], np.uint64((PLANES + 4 * q) * GROUP)
                        )
                    for c in range(channels):
                        learnt[LEARNT + c] += f[c]


@kernel()
def _sum_slots(slots, first_slot, learnt):
    for g in prange(len(learnt)):
        learnt[g] = 0
        for s in range(first_slot[g], first_slot[g + 1]):
            for c in range(learnt.shape[1]):
                learnt[g, c] += slots[s, c]


@pixelwise
def _place_pixels(pixels_px, begin, count, scratch):
    """Fill X and Y with pixel centres, places beyond the last with the first; the box around them."""
    half = scratch.dtype.type(0.5)
    left = right = pixels_px[begin, 0]
    top = bottom = pixels_px[begin, 1]
    for i in range(GROUP):
        here = begin + (i if i < count else 0)
        x, y = pixels_px[here, 0], pixels_px[here, 1]
        scratch[X + i], scratch[Y + i] = scratch.dtype.type(x) + half, scratch.dtype.type(y) + half
        left, right, top, bottom = min(left, x), max(right, x), min(top, y), max(bottom, y)
    return left + 0.5, right + 0.5, top + 0.5, bottom + 0.5


@pixelwise
def _touches(row, box):
    """Whether the ellipse A dx² + 2 B dx dy + C dy² ≤ level meets the box.

    The least of the form within the box is at the mean, or on a side that faces it.
    """
    x, y, A, B, C = float(row[0]), float(row[1]), float(row[2]), float(row[3]), float(row[4])
    left, right, top, bottom = box[0] - x, box[1] - x, box[2] - y, box[3] - y
    dx, dy = min(max(0.0, left), right), min(max(0.0, top), bottom)
    beside, above = min(max(row[8] * dx, top), bottom), min(max(row[7] * dy, left), right)
    on_side = A * dx * dx + (2 * B * dx + C * beside) * beside
    on_top = C * dy * dy + (2 * B * dy + A * above) * above
    return not min(on_side, on_top) > row[6]


@pixelwise
def _layers(table, gaussian, near, chosen, found):
    """What of each chosen Gaussian weighs pixels, and its place in the tile's list; nothing beyond those found."""
    return (
        _layer(table[gaussian[chosen[0]]], chosen[0] - near + 1, True),
        _layer(table[gaussian[chosen[min(1, found - 1)]]], chosen[min(1, found - 1)] - near + 1, found > 1),
        _layer(table[gaussian[chosen[min(2, found - 1)]]], chosen[min(2, found - 1)] - near + 1, found > 2),
        _layer(table[gaussian[chosen[found - 1]]], chosen[found - 1] - near + 1, found > 3),
    )


@pixelwise
def _layer(row, place, real):
    number = row.dtype.type
    half, eighth = number(0.5), number(0.125)
    opacity = row[5] if real else number(0)
    return row[0], row[1], row[2] * half * eighth, row[3] * eighth, row[4] * half * eighth, opacity, number(place)


@pixelwise
def _shown(table, gaussian, chosen, found, c):
    """Channel c of each chosen Gaussian."""
    column = SHAPE + c
    first, second = table[gaussian[chosen[0]], column], table[gaussian[chosen[min(1, found - 1)]], column]
    return first, second, table[gaussian[chosen[min(2, found - 1)]], column], table[gaussian[chosen[found - 1]], column]


@summing
def _any_open(scratch):
    total = zero = scratch.dtype.type(0)
    for i in range(PIXELS):
        light = scratch[T + i]
        total += light if light > zero else zero
    return total > zero


@pixelwise
def _alpha(x, y, layer, numbers, series):
    """o exp(-σ), without the clamp and with it; both 0 where they do not count."""
    max_alpha, min_alpha, _, zero, _, _, far = numbers
    mean_x, mean_y, a, b, c, opacity, _ = layer
    dx, dy = x - mean_x, y - mean_y
    u = (a * dx + b * dy) * dx + c * dy * dy
    u = u if u < far else far
    e = _horner(u if u >= zero else far, series)
    e *= e
    e *= e
    free = opacity * (e * e)
    free = free if free >= min_alpha else zero
    return free, free if free < max_alpha else max_alpha


@pixelwise
def _horner(u, c):
    if len(c) == 7:
        return (((((c[0] * u + c[1]) * u + c[2]) * u + c[3]) * u + c[4]) * u + c[5]) * u + c[6]
    high = ((((c[0] * u + c[1]) * u + c[2]) * u + c[3]) * u + c[4]) * u + c[5]
    return (((((high * u + c[6]) * u + c[7]) * u + c[8]) * u + c[9]) * u + c[10]) * u + c[11]


@pixelwise
def _pass(x, y, state, layer, numbers, series):
    """The weight of a Gaussian at a pixel, and the pixel's light (negated once it is finished), Σ w, last and median
    behind it.
    """
    _, _, min_transmittance, zero, half, one, _ = numbers
    light, total, last, median = state
    _, alpha = _alpha(x, y, layer, numbers, series)
    before = light if light > zero else zero
    after = before * (one - alpha)
    stays = after > min_transmittance
    weight = alpha * before if stays else zero
    last = layer[6] if weight > zero else last
    middle = layer[6] if before > half else median
    median = middle if weight > zero else median
    return weight, (after if stays else -abs(light), total + weight, last, median)


@pixelwise
def _back(at, wanted, state, layer, numbers, series):
    """The weight of a Gaussian at a pixel, ∂L/∂σ, and T and R in front of it. A clamped opacity passes no gradient."""
    max_alpha, _, _, zero, _, one, _ = numbers
    (x, y, last), (light, behind) = at, state
    free, alpha = _alpha(x, y, layer, numbers, series)
    alpha = alpha if layer[6] <= last else zero
    passing = one / (one - alpha)
    before = light * passing
    weight = alpha * before
    to_alpha = before * wanted - behind * passing
    to_sigma = -alpha * to_alpha if free <= max_alpha else zero
    return weight, to_sigma, (before, behind + weight * wanted)


@pixelwise
def _weigh(scratch, layers, numbers, series):
    """Fill the planes W with the Gaussians' weights and move what pixels know on."""
    for i in range(PIXELS):
        x, y = scratch[X + i], scratch[Y + i]
        state = scratch[T + i], scratch[ALPHA + i], scratch[LAST + i], scratch[MEDIAN + i]
        scratch[W[0] + i], state = _pass(x, y, state, layers[0], numbers, series)
        scratch[W[1] + i], state = _pass(x, y, state, layers[1], numbers, series)
        scratch[W[2] + i], state = _pass(x, y, state, layers[2], numbers, series)
        scratch[W[3] + i], state = _pass(x, y, state, layers[3], numbers, series)
        scratch[T + i], scratch[ALPHA + i], scratch[LAST + i], scratch[MEDIAN + i] = state


@pixelwise
def _unweigh(scratch, layers, numbers, series):
    """Fill the planes W with the Gaussians' weights, the planes D with ∂L/∂σ, and move T and R to before them."""
    for i in range(PIXELS):
        at = scratch[X + i], scratch[Y + i], scratch[LAST + i]
        state = scratch[T + i], scratch[R + i]
        scratch[W[0] + i], scratch[D[0] + i], state = _back(at, scratch[D[0] + i], state, layers[0], numbers, series)
        scratch[W[1] + i], scratch[D[1] + i], state = _back(at, scratch[D[1] + i], state, layers[1], numbers, series)
        scratch[W[2] + i], scratch[D[2] + i], state = _back(at, scratch[D[2] + i], state, layers[2], numbers, series)
        scratch[W[3] + i], scratch[D[3] + i], state = _back(at, scratch[D[3] + i], state, layers[3], numbers, series)
        scratch[T + i], scratch[R + i] = state


@pixelwise
def _add_weighted(scratch, plane, shown):
    for i in range(PIXELS):
        total = scratch[plane + i] + shown[0] * scratch[W[0] + i]
        total = total + shown[1] * scratch[W[1] + i]
        total = total + shown[2] * scratch[W[2] + i]
        scratch[plane + i] = total + shown[3] * scratch[W[3] + i]


@pixelwise
def _along(scratch, plane, base, f, first):
    """Fill a plane with D, or add to it what four channels contribute."""
    a, b, c, d = f[0], f[1], f[2], f[3]
    keep = scratch.dtype.type(0 if first else 1)
    for i in range(PIXELS):
        total = a * scratch[base + i] + b * scratch[base + PIXELS + i]
        total += c * scratch[base + np.uint64(2) * PIXELS + i] + d * scratch[base + np.uint64(3) * PIXELS + i]
        scratch[plane + i] = keep * scratch[plane + i] + total


@summing
def _moments(scratch, plane, x, y):
    """Σ v, Σ v dx, Σ v dy, Σ v dx², Σ v dx dy, Σ v dy² of a plane v."""
    s = sx = sy = sxx = sxy = syy = scratch.dtype.type(0)
    for i in range(PIXELS):
        v, dx, dy = scratch[plane + i], scratch[X + i] - x, scratch[Y + i] - y
        vx, vy = v * dx, v * dy
        s += v
        sx += vx
        sy += vy
        sxx += vx * dx
        sxy += vx * dy
        syy += vy * dy
    return s, sx, sy, sxx, sxy, syy


@summing
def _weighted(scratch, weights, base):
    """Σ w g of four channels."""
    a = b = c = d = scratch.dtype.type(0)
    for i in range(PIXELS):
        w = scratch[weights + i]
        a += w * scratch[base + i]
        b += w * scratch[base + PIXELS + i]
        c += w * scratch[base + np.uint64(2) * PIXELS + i]
        d += w * scratch[base + np.uint64(3) * PIXELS + i]
    return a, b, c, d
