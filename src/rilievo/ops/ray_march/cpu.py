"""Ray marching on the processor: each thread walks whole rays, once to count their samples and once to write them.

Both walks are one function. In a box it skips what is empty: the distance to the far side of an empty cell, or of an
empty block of 8 × 8 × 8 cells, is divided by the step, and the walk goes on from the lattice point before that. Where a
sample lies, and whether it counts, is only ever decided by the arithmetic of `reference`; the skipping is in double
precision and errs towards too short.
"""

import math

import numpy as np
import torch
from numba import prange
from torch import Tensor
from torch.nn import functional

from rilievo.ops.threading import array, inlined, kernel

OFFSET = torch.int64
BLOCK = 8  # cells along the side of a block; a word of eight booleans

ROUNDING = 2.0**-20  # generous bound on the relative error of a float32 position: eight roundings


def march_rays(
    origins: Tensor,
    directions: Tensor,
    start: Tensor,
    t_max: Tensor,
    occupied: Tensor,
    radius: float,
    unbounded: bool,
    step: float,
    cone_angle: float,
    max_step: float,
    max_samples: int,
) -> tuple[Tensor, Tensor, Tensor]:
    rays = [array(t) for t in (origins, directions, start, t_max)]
    number = rays[0].dtype.type
    constants = [number(c) for c in (radius, step, cone_angle, max_step)]
    limit = max_samples if max_samples >= 0 else torch.iinfo(OFFSET).max
    walk = (*rays, array(occupied), array(_occupied_blocks(occupied)), unbounded, *constants, limit)

    offsets = torch.zeros(len(start) + 1, dtype=OFFSET)
    nothing = array(start[:0])
    _walk_rays(*walk, array(offsets), nothing, nothing, True)
    offsets = offsets.cumsum(0)
    samples = int(offsets[-1])
    t_starts = torch.empty(samples, dtype=start.dtype)
    t_ends = torch.empty(samples, dtype=start.dtype)
    _walk_rays(*walk, array(offsets), array(t_starts), array(t_ends), False)
    return offsets, t_starts, t_ends


def _occupied_blocks(occupied: Tensor) -> Tensor:
    """Which blocks of cells hold an occupied one. Eight booleans in a row are read as one word."""
    ragged = -len(occupied) % BLOCK
    padded = functional.pad(occupied, (0, ragged) * 3) if ragged else occupied.contiguous()
    blocks = torch.empty([n // BLOCK for n in padded.shape], dtype=torch.bool)
    _fill_blocks(padded.numpy().view(np.int64), array(blocks))
    return blocks


@kernel()
def _fill_blocks(words, blocks):
    for bx in prange(blocks.shape[0]):
        for by in range(blocks.shape[1]):
            for bz in range(blocks.shape[2]):
                any_occupied = False
                for x in range(BLOCK * bx, BLOCK * bx + BLOCK):
                    for y in range(BLOCK * by, BLOCK * by + BLOCK):
                        any_occupied |= words[x, y, bz] != 0
                blocks[bx, by, bz] = any_occupied


@kernel()
def _walk_rays(
    origins,
    directions,
    start,
    t_max,
    occupied,
    blocks,
    unbounded,
    radius,
    step,
    cone_angle,
    max_step,
    limit,
    offsets,
    t_starts,
    t_ends,
    counting,
):
    number = start.dtype.type
    half = number(0.5)
    for ray in prange(len(start)):
        o, d, first, last = origins[ray], directions[ray], start[ray], t_max[ray]
        empty_before, empty_after = -np.inf, np.inf
        if not unbounded:
            empty_before, empty_after = _crossing_of_box(o, d, float(radius))
        write = offsets[ray]
        wanted = limit if counting else offsets[ray + 1] - write
        taken = 0
        k = _skip(0, empty_before, float(first), float(last), float(step), cone_angle)
        t = first
        while taken < wanted:
            if cone_angle > 0:
                t_next = t + min(max(t * cone_angle, step), max_step)
            else:
                t, t_next = first + number(k) * step, first + number(k + 1) * step
            middle = (t + t_next) * half
            if not (middle < last and middle <= empty_after):
                break
            if middle >= empty_before:
                x, y, z = o[0] + d[0] * middle, o[1] + d[1] * middle, o[2] + d[2] * middle
                x, y, z = _grid_position(x, y, z, radius, half, unbounded)
                if x >= 0 and x < 1 and y >= 0 and y < 1 and z >= 0 and z < 1:
                    resolution = number(len(occupied))
                    i, j, l = int(x * resolution), int(y * resolution), int(z * resolution)
                    if occupied[i, j, l]:
                        if not counting:
                            t_starts[write + taken], t_ends[write + taken] = t, t_next
                        taken += 1
                    elif not unbounded:
                        size = 1 if blocks[i // BLOCK, j // BLOCK, l // BLOCK] else BLOCK
                        side = 2 * float(radius) * size / len(occupied)
                        empty_before = _far_side(o, d, float(radius), i // size, j // size, l // size, side)
            k = _skip(k + 1, empty_before, float(first), float(last), float(step), cone_angle)
            t = t_next
        if counting:
            offsets[ray + 1] = taken


@inlined
def _grid_position(x, y, z, radius, half, unbounded):
    """`geometry.contraction`, operation for operation; 1 and 2 are made of `half` to stay in the rays' precision."""
    one = half + half
    if unbounded:
        x, y, z = x / radius, y / radius, z / radius
        norm = math.sqrt(max((x * x + y * y) + z * z, one))
        factor = (one + one - one / norm) / norm
        quarter = half * half
        return x * factor * quarter + half, y * factor * quarter + half, z * factor * quarter + half
    size = radius + radius
    return (x + radius) / size, (y + radius) / size, (z + radius) / size


@inlined
def _skip(k, empty_before, first, last, step, cone_angle):
    """The lattice point to look at next: at least k, and two before the one whose midpoint passes `empty_before`."""
    if cone_angle > 0 or not empty_before > first:
        return k
    return max(k, int((min(empty_before, last) - first) / step - 0.5) - 1)


@inlined
def _blur(origin, radius):
    """How far from the truth a coordinate inside the box may have been computed, for a ray from this origin."""
    return ROUNDING * 2 * (abs(origin) + radius)


@inlined
def _crossing_of_box(o, d, radius):
    """Distances before and after which the ray is surely outside of the box."""
    before, after = -np.inf, np.inf
    for axis in range(3):
        origin, direction = float(o[axis]), float(d[axis])
        reach = radius + _blur(origin, radius)
        if direction == 0:
            if abs(origin) > reach:
                after = -np.inf
        else:
            one_side, other_side = (-reach - origin) / direction, (reach - origin) / direction
            before = max(before, min(one_side, other_side))
            after = min(after, max(one_side, other_side))
    return before, after


@inlined
def _far_side(o, d, radius, i, j, l, side):
    """A distance before which the ray, now in cell (i, j, l) of cells this large, is surely still in it."""
    nearest = np.inf
    for axis, cell in enumerate((i, j, l)):
        origin, direction = float(o[axis]), float(d[axis])
        if direction > 0:
            nearest = min(nearest, (side * (cell + 1) - radius - _blur(origin, radius) - origin) / direction)
        elif direction < 0:
            nearest = min(nearest, (side * cell - radius + _blur(origin, radius) - origin) / direction)
    return nearest
