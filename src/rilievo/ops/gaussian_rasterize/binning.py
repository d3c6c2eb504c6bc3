"""Which Gaussian can be seen in which tile, front to back, on the processor.

A pair (tile, Gaussian) is listed where the ellipse ½ dᵀ A d ≤ ln(o / MIN_ALPHA), outside of which the Gaussian counts
for nothing, meets the tile: for each row of tiles, the ellipse's extent along x within the row is known in closed
form. Pairs are numbered Gaussian by Gaussian (their `slot`, where gradients are left for the sum over tiles) and then
dealt to their tiles in the order of depth; both are counting sorts, so equal depths keep the order of the list.
"""

import numpy as np
import torch
from numba import prange
from torch import Tensor

from rilievo.ops.gaussian_rasterize.reference import MIN_ALPHA
from rilievo.ops.threading import array, inlined, kernel

TILE = 16
"""Pixels along the side of a tile."""

RADIX_BITS = 11  # three passes over the 32 bits of a depth


def tiles_across(size: int) -> int:
    return -(-size // TILE)


def bin_gaussians(
    means2d: Tensor,
    conics: Tensor,
    depths: Tensor,
    radii: Tensor,
    opacities: Tensor,
    pixel_offsets: Tensor,
    width: int,
    height: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Pairs sorted by tile and depth: their Gaussian and slot, where each tile's begin, where each Gaussian's slots
    begin; and the level of each Gaussian: where dᵀ A d is larger, it counts for nothing.

    Tiles without pixels (`pixel_offsets` equal at both ends) are given no pairs.
    """
    columns, rows = tiles_across(width), tiles_across(height)
    wanted = np.diff(array(pixel_offsets)) > 0
    shapes = [array(t) for t in (means2d, conics, radii, opacities)]
    first_slot = np.zeros(len(means2d) + 1, np.int64)
    levels = np.zeros(len(means2d))
    _list_tiles(*shapes, wanted, columns, rows, first_slot, levels, np.empty(0, np.int32), True)
    first_slot = np.cumsum(first_slot)
    tile_of_slot = np.empty(first_slot[-1], np.int32)
    _list_tiles(*shapes, wanted, columns, rows, first_slot, levels, tile_of_slot, False)

    listed = np.flatnonzero(np.diff(first_slot)).astype(np.int32)
    order = _front_to_back(array(depths.detach().float()).view(np.uint32), listed)
    tile_offsets = np.zeros(columns * rows + 1, np.int64)
    gaussian, slot = np.empty(len(tile_of_slot), np.int32), np.empty(len(tile_of_slot), np.int32)
    _deal(order, first_slot, tile_of_slot, tile_offsets, gaussian, slot)
    pairs = torch.from_numpy(gaussian), torch.from_numpy(slot)
    return *pairs, torch.from_numpy(tile_offsets), torch.from_numpy(first_slot), torch.from_numpy(levels).to(means2d)


@kernel()
def _list_tiles(means2d, conics, radii, opacities, wanted, columns, rows, first_slot, levels, tile_of_slot, counting):
    """Count each Gaussian's tiles into the entry after its own of `first_slot`, or write them from there on."""
    for g in prange(len(means2d)):
        if radii[g, 0] <= 0 or radii[g, 1] <= 0 or not opacities[g] >= MIN_ALPHA:
            continue
        x, y = float(means2d[g, 0]), float(means2d[g, 1])
        A, B, C = float(conics[g, 0]), float(conics[g, 1]), float(conics[g, 2])
        det = A * C - B * B
        level = 2 * np.log(float(opacities[g]) / MIN_ALPHA)
        level *= 1.0001 + 2e-6 * A * C / det  # rounding of the form, which is evaluated in float32
        level += 1e-6
        if not (det > 0 and A > 0 and C > 0):  # a needle whose conic has lost its sign: take the whole box
            level = np.inf
        half_height = np.sqrt(level * A / det) if level < np.inf else float(radii[g, 1])
        levels[g] = level
        here = first_slot[g]
        for row in range(max(0, int((y - half_height) // TILE)), min(rows, int((y + half_height) // TILE) + 1)):
            left, right = x - radii[g, 0], x + radii[g, 0]
            if level < np.inf:
                left, right = _extent_in_row(x, y, A, B, C, det, level, row * TILE, (row + 1) * TILE)
            for column in range(max(0, int(left // TILE)), min(columns, int(right // TILE) + 1)):
                if wanted[row * columns + column]:
                    if counting:
                        first_slot[g + 1] += 1
                    else:
                        tile_of_slot[here] = row * columns + column
                        here += 1


@inlined
def _extent_in_row(x, y, A, B, C, det, level, top, bottom):
    """Between which x the ellipse A dx² + 2 B dx dy + C dy² = level lies where top ≤ y ≤ bottom."""
    furthest = np.sqrt(level * C / det)
    dy_right = min(max(-B / C * furthest, top - y), bottom - y)
    dy_left = min(max(B / C * furthest, top - y), bottom - y)
    right = (-B * dy_right + np.sqrt(max(A * level - det * dy_right * dy_right, 0.0))) / A
    left = (-B * dy_left - np.sqrt(max(A * level - det * dy_left * dy_left, 0.0))) / A
    return x + left, x + right


@kernel(parallel=False)
def _front_to_back(bits, listed):
    """The listed Gaussians by depth, equal ones in their order: a radix sort of the bits of positive float32."""
    order, other = listed.copy(), np.empty_like(listed)
    for shift in range(0, 32, RADIX_BITS):
        begin = np.zeros((1 << RADIX_BITS) + 1, np.int64)
        mask = np.uint32((1 << RADIX_BITS) - 1)
        for g in order:
            begin[1 + ((bits[g] >> np.uint32(shift)) & mask)] += 1
        begin = np.cumsum(begin)
        for g in order:
            digit = (bits[g] >> np.uint32(shift)) & mask
            other[begin[digit]] = g
            begin[digit] += 1
        order, other = other, order
    return order


@kernel(parallel=False)
def _deal(order, first_slot, tile_of_slot, tile_offsets, gaussian, slot):
    for tile in tile_of_slot:
        tile_offsets[tile + 1] += 1
    for tile in range(len(tile_offsets) - 1):
        tile_offsets[tile + 1] += tile_offsets[tile]
    next_place = tile_offsets.copy()
    for g in order:
        for s in range(first_slot[g], first_slot[g + 1]):
            place = next_place[tile_of_slot[s]]
            next_place[tile_of_slot[s]] += 1
            gaussian[place], slot[place] = g, s
