"""Ray marching on the GPU: each lane walks one ray, once to count its samples and once to write them.

The same walk as in `cpu`, with the same skipping. Division and root are asked to round correctly and products must not
fuse with sums, so that samples stay those of `reference`.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional

from rilievo.ops.gpu import jit

BLOCK = tl.constexpr(8)
ROUNDING = tl.constexpr(2.0**-20)
LANES = 32  # one warp: its rays wait for the longest of them, so fewer is better


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
    rays = len(start)
    limit = max_samples if max_samples >= 0 else torch.iinfo(torch.int64).max
    occupied = occupied.contiguous()
    inputs = (
        *(t.contiguous() for t in (origins, directions, start, t_max)),
        occupied,
        _occupied_blocks(occupied),
        start.new_tensor([radius, step, cone_angle, max_step]),  # a plain number would arrive as float32
    )

    def walk(offsets: Tensor, t_starts: Tensor, t_ends: Tensor, *, counting: bool) -> None:
        if rays:
            _walk_rays[(triton.cdiv(rays, LANES),)](
                *inputs,
                offsets,
                t_starts,
                t_ends,
                rays,
                len(occupied),
                limit,
                unbounded,
                cone_angle > 0,
                counting,
                LANES,
                num_warps=1,
                enable_fp_fusion=False,
            )

    offsets = torch.zeros(rays + 1, dtype=torch.int64, device=start.device)
    walk(offsets, start, start, counting=True)
    offsets = offsets.cumsum(0)
    t_starts, t_ends = start.new_empty(int(offsets[-1])), start.new_empty(int(offsets[-1]))
    walk(offsets, t_starts, t_ends, counting=False)
    return offsets, t_starts, t_ends


def _occupied_blocks(occupied: Tensor) -> Tensor:
    pooled = functional.max_pool3d(occupied[None, None].float(), BLOCK.value, ceil_mode=True)
    return pooled[0, 0] > 0


@jit
def _divide(a, b):
    if b.dtype == tl.float32:
        return tl.div_rn(a, b)
    else:
        return a / b


@jit
def _root(a):
    if a.dtype == tl.float32:
        return tl.sqrt_rn(a)
    else:
        return tl.sqrt(a)


@jit
def _blur(origin, radius):
    return ROUNDING * 2 * (tl.abs(origin) + radius)


@jit
def _crossing_of_slab(before, after, origin, direction, radius):
    reach = radius + _blur(origin, radius)
    parallel = direction == 0
    safe = tl.where(parallel, 1.0, direction)
    one_side, other_side = (-reach - origin) / safe, (reach - origin) / safe
    before = tl.where(parallel, before, tl.maximum(before, tl.minimum(one_side, other_side)))
    after = tl.where(parallel, after, tl.minimum(after, tl.maximum(one_side, other_side)))
    return before, tl.where(parallel & (tl.abs(origin) > reach), -float("inf"), after)


@jit
def _far_side(nearest, origin, direction, radius, cell, side):
    ahead = tl.where(direction > 0, side * (cell + 1) - _blur(origin, radius), side * cell + _blur(origin, radius))
    distance = (ahead - radius - origin) / tl.where(direction == 0, 1.0, direction)
    return tl.where(direction == 0, nearest, tl.minimum(nearest, distance))


@jit
def _skip(k, empty_before, first, last, step):
    steps = (tl.minimum(empty_before, last) - first) / step - 0.5
    return tl.where(empty_before > first, tl.maximum(k, steps.to(tl.int32) - 1), k)


@jit
def _walk_rays(
    origins,
    directions,
    start,
    t_max,
    occupied,
    blocks,
    constants,
    offsets,
    t_starts,
    t_ends,
    rays,
    resolution,
    limit,
    unbounded: tl.constexpr,
    growing: tl.constexpr,
    counting: tl.constexpr,
    lanes: tl.constexpr,
):
    ray = tl.program_id(0) * lanes + tl.arange(0, lanes)
    walking = ray < rays
    ox = tl.load(origins + 3 * ray, mask=walking, other=0)
    oy = tl.load(origins + 3 * ray + 1, mask=walking, other=0)
    oz = tl.load(origins + 3 * ray + 2, mask=walking, other=0)
    dx = tl.load(directions + 3 * ray, mask=walking, other=0)
    dy = tl.load(directions + 3 * ray + 1, mask=walking, other=0)
    dz = tl.load(directions + 3 * ray + 2, mask=walking, other=0)
    first = tl.load(start + ray, mask=walking, other=0)
    last = tl.load(t_max + ray, mask=walking, other=0)
    radius, step = tl.load(constants), tl.load(constants + 1)
    cone_angle, max_step = tl.load(constants + 2), tl.load(constants + 3)
    size = radius + radius

    empty_before = tl.zeros_like(first) - float("inf")
    empty_after = tl.zeros_like(first) + float("inf")
    if not unbounded:
        empty_before, empty_after = _crossing_of_slab(empty_before, empty_after, ox, dx, radius)
        empty_before, empty_after = _crossing_of_slab(empty_before, empty_after, oy, dy, radius)
        empty_before, empty_after = _crossing_of_slab(empty_before, empty_after, oz, dz, radius)

    write = tl.load(offsets + ray, mask=walking, other=0)
    if counting:
        wanted = tl.zeros_like(write) + limit
    else:
        wanted = tl.load(offsets + ray + 1, mask=walking, other=0) - write
    taken = tl.zeros_like(write)
    k = tl.zeros([lanes], dtype=tl.int32)
    if not growing:
        k = _skip(k, empty_before, first, last, step)
    t = first
    walking = walking & (taken < wanted)
    while tl.max(walking.to(tl.int32), axis=0) > 0:
        if growing:
            t_next = t + tl.minimum(tl.maximum(t * cone_angle, step), max_step)
        else:
            t = first + k.to(first.dtype) * step
            t_next = first + (k + 1).to(first.dtype) * step
        middle = (t + t_next) * 0.5
        walking = walking & (middle < last) & (middle <= empty_after)

        x, y, z = ox + dx * middle, oy + dy * middle, oz + dz * middle
        if unbounded:
            x, y, z = _divide(x, radius), _divide(y, radius), _divide(z, radius)
            norm = _root(tl.maximum((x * x + y * y) + z * z, 1.0))
            factor = _divide(2 - _divide(tl.zeros_like(norm) + 1, norm), norm)
            x, y, z = x * factor * 0.25 + 0.5, y * factor * 0.25 + 0.5, z * factor * 0.25 + 0.5
        else:
            x, y, z = _divide(x + radius, size), _divide(y + radius, size), _divide(z + radius, size)
        inside = (x >= 0) & (x < 1) & (y >= 0) & (y < 1) & (z >= 0) & (z < 1)
        looking = walking & (middle >= empty_before) & inside
        i = tl.where(inside, x * resolution, 0).to(tl.int32)
        j = tl.where(inside, y * resolution, 0).to(tl.int32)
        l = tl.where(inside, z * resolution, 0).to(tl.int32)
        cell = (i * resolution + j) * resolution + l
        keep = looking & (tl.load(occupied + cell, mask=looking, other=0) != 0)
        if not counting:
            tl.store(t_starts + write + taken, t, mask=keep)
            tl.store(t_ends + write + taken, t_next, mask=keep)
        taken += keep.to(tl.int64)
        walking = walking & (taken < wanted)

        if not unbounded:
            n = tl.cdiv(resolution, BLOCK)
            block = (i // BLOCK * n + j // BLOCK) * n + l // BLOCK
            empty = looking & (keep == 0)
            cells = tl.where(tl.load(blocks + block, mask=empty, other=1) != 0, 1, BLOCK)
            side = size * cells / resolution
            nearest = tl.zeros_like(first) + float("inf")
            nearest = _far_side(nearest, ox, dx, radius, i // cells, side)
            nearest = _far_side(nearest, oy, dy, radius, j // cells, side)
            nearest = _far_side(nearest, oz, dz, radius, l // cells, side)
            empty_before = tl.where(empty, nearest, empty_before)
        k += 1
        if not growing:
            k = _skip(k, empty_before, first, last, step)
        t = t_next
    if counting:
        tl.store(offsets + ray + 1, taken, mask=ray < rays)
