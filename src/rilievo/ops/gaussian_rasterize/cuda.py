"""Gaussians on a screen, on the GPU: compositing in Triton, a program per tile; projection and binning in plain torch.

A program holds up to LANES pixels of its tile, one per lane, and walks the tile's Gaussians as `cpu` does, with the
same formulas. What a Gaussian learns in a tile goes into a slot that no other program writes to, and slots are summed
Gaussian by Gaussian: the sums do not depend on which program came first.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from rilievo.ops.gaussian_rasterize import reference
from rilievo.ops.gaussian_rasterize.binning import TILE, tiles_across
from rilievo.ops.gaussian_rasterize.cuda_projection import project_gaussians_backward
from rilievo.ops.gaussian_rasterize.reference import project_gaussians
from rilievo.ops.gpu import jit

__all__ = ["bin_gaussians", "composite", "composite_backward", "project_gaussians", "project_gaussians_backward"]

LANES = 256
SHAPE, LEARNT = tl.constexpr(6), tl.constexpr(6)
MAX_ALPHA, MIN_ALPHA = tl.constexpr(reference.MAX_ALPHA), tl.constexpr(reference.MIN_ALPHA)
MIN_TRANSMITTANCE = tl.constexpr(reference.MIN_TRANSMITTANCE)


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
    """As in `binning`, by the box around each Gaussian's radii, and with levels that rule nothing out."""
    n, columns, rows = len(means2d), tiles_across(width), tiles_across(height)
    limit = radii.new_tensor([columns, rows])
    low = torch.floor((means2d - radii) / TILE).clamp_min(0).long()
    high = torch.minimum(torch.floor((means2d + radii) / TILE).long() + 1, limit)
    seen = (radii > 0).all(dim=1) & (opacities >= reference.MIN_ALPHA)
    across = ((high - low).clamp_min(0) * seen[:, None]).unbind(dim=1)
    counts = across[0] * across[1]
    owner = torch.arange(n, device=means2d.device).repeat_interleave(counts)
    within = torch.arange(len(owner), device=means2d.device) - (counts.cumsum(0) - counts)[owner]
    step = across[0][owner].clamp_min(1)
    tile = (low[owner, 1] + within // step) * columns + low[owner, 0] + within % step
    wanted = pixel_offsets.diff()[tile] > 0
    owner, tile = owner[wanted], tile[wanted]

    rank = owner.new_empty(n)
    rank[depths.detach().float().argsort(stable=True)] = torch.arange(n, device=means2d.device)
    slot = (tile * max(n, 1) + rank[owner]).argsort(stable=True)
    tile_offsets, first_slot = torch.zeros_like(pixel_offsets), pixel_offsets.new_zeros(n + 1)
    tile_offsets[1:] = torch.bincount(tile, minlength=columns * rows).cumsum(0)
    first_slot[1:] = torch.bincount(owner, minlength=n).cumsum(0)
    return owner[slot].int(), slot.int(), tile_offsets, first_slot, torch.full_like(opacities, torch.inf)


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
    pixels, channels = len(pixels_px), values.shape[1]
    table = torch.cat((means2d, conics, opacities[:, None], values), dim=1)
    out, alpha, remaining = values.new_empty(pixels, channels), values.new_empty(pixels), values.new_empty(pixels)
    last, median = (torch.empty(pixels, dtype=torch.int32, device=values.device) for _ in range(2))
    if pixels:
        _composite[(len(tile_offsets) - 1,)](
            *(table, gaussian, tile_offsets, pixels_px, pixel_offsets, place),
            *(out, alpha, remaining, last, median),
            *(channels, triton.next_power_of_2(channels), LANES),
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
    channels, n = values.shape[1], len(values)
    table = torch.cat((means2d, conics, opacities[:, None], values), dim=1)
    slots = values.new_zeros(len(slot), LEARNT.value + channels)
    if len(pixels_px):
        _composite_backward[(len(tile_offsets) - 1,)](
            *(grad_out.contiguous(), grad_remaining.contiguous(), remaining, last),
            *(table, gaussian, slot, tile_offsets, pixels_px, pixel_offsets, place, slots),
            *(channels, triton.next_power_of_2(channels), LANES),
        )
    learnt = values.new_zeros(n, slots.shape[1])
    if n:
        _sum_slots[(n,)](slots, first_slot, learnt, slots.shape[1], triton.next_power_of_2(slots.shape[1]))
    parts = learnt.split([2, 3, 1, channels], dim=1)
    to_means2d, to_conics, to_opacities, to_values = (p.clone(memory_format=torch.contiguous_format) for p in parts)
    return to_means2d, to_conics, to_opacities.squeeze_(1), to_values


@jit
def _alpha(row, x, y):
    """Distances, and o exp(-σ) before it is clamped; 0 where the conic is not one."""
    dx, dy = x - tl.load(row), y - tl.load(row + 1)
    a, b, c = tl.load(row + 2), tl.load(row + 3), tl.load(row + 4)
    sigma = (a * dx * dx + c * dy * dy) * 0.5 + b * dx * dy
    return dx, dy, tl.where(sigma >= 0, tl.load(row + 5) * tl.exp(-sigma), 0.0)


@jit
def _composite(
    table,
    gaussian,
    tile_offsets,
    pixels_px,
    pixel_offsets,
    place,
    out,
    alpha_out,
    remaining,
    last_out,
    median_out,
    channels: tl.constexpr,
    padded: tl.constexpr,
    lanes: tl.constexpr,
):
    tile = tl.program_id(0)
    near, end = tl.load(tile_offsets + tile), tl.load(tile_offsets + tile + 1)
    stop = tl.load(pixel_offsets + tile + 1)
    channel = tl.arange(0, padded)
    number = out.dtype.element_ty
    for begin in range(tl.load(pixel_offsets + tile), stop, lanes):
        lane = begin + tl.arange(0, lanes)
        inside = lane < stop
        x = tl.load(pixels_px + 2 * lane, mask=inside, other=0).to(number) + 0.5
        y = tl.load(pixels_px + 2 * lane + 1, mask=inside, other=0).to(number) + 0.5
        light, opacity = tl.full([lanes], 1, number), tl.zeros([lanes], number)
        last, middle = tl.zeros([lanes], tl.int32), tl.zeros([lanes], tl.int32)
        colour = tl.zeros([lanes, padded], number)
        opened = inside.to(tl.int32)
        k = near
        while (k < end) & (tl.max(opened, axis=0) > 0):
            row = table + tl.load(gaussian + k) * (SHAPE + channels)
            _, _, free = _alpha(row, x, y)
            alpha = tl.minimum(free, MAX_ALPHA)
            after = light * (1 - alpha)
            counts = (alpha >= MIN_ALPHA) & (opened > 0)
            adds = counts & (after > MIN_TRANSMITTANCE)
            opened = tl.where(counts & (after <= MIN_TRANSMITTANCE), 0, opened)
            weight = tl.where(adds, alpha * light, 0.0)
            value = tl.load(row + SHAPE + channel, mask=channel < channels, other=0)
            colour += weight[:, None] * value[None, :]
            opacity += weight
            rank = (k - near + 1).to(tl.int32)
            last = tl.where(adds, rank, last)
            middle = tl.where(adds & (light > 0.5), rank, middle)
            light = tl.where(adds, after, light)
            k += 1
        pixel = tl.load(place + lane, mask=inside, other=0)
        found = tl.load(gaussian + near + middle - 1, mask=inside & (middle > 0), other=-1)
        within = inside[:, None] & (channel < channels)[None, :]
        tl.store(out + pixel[:, None] * channels + channel[None, :], colour, mask=within)
        tl.store(alpha_out + pixel, opacity, mask=inside)
        tl.store(remaining + pixel, light, mask=inside)
        tl.store(last_out + pixel, last, mask=inside)
        tl.store(median_out + pixel, found, mask=inside)


@jit
def _composite_backward(
    grad_out,
    grad_remaining,
    remaining,
    last_in,
    table,
    gaussian,
    slot,
    tile_offsets,
    pixels_px,
    pixel_offsets,
    place,
    slots,
    channels: tl.constexpr,
    padded: tl.constexpr,
    lanes: tl.constexpr,
):
    tile = tl.program_id(0)
    near = tl.load(tile_offsets + tile)
    stop = tl.load(pixel_offsets + tile + 1)
    channel = tl.arange(0, padded)
    number = slots.dtype.element_ty
    for begin in range(tl.load(pixel_offsets + tile), stop, lanes):
        lane = begin + tl.arange(0, lanes)
        inside = lane < stop
        x = tl.load(pixels_px + 2 * lane, mask=inside, other=0).to(number) + 0.5
        y = tl.load(pixels_px + 2 * lane + 1, mask=inside, other=0).to(number) + 0.5
        pixel = tl.load(place + lane, mask=inside, other=0)
        within = inside[:, None] & (channel < channels)[None, :]
        grad = tl.load(grad_out + pixel[:, None] * channels + channel[None, :], mask=within, other=0)
        light = tl.load(remaining + pixel, mask=inside, other=1)
        behind = light * tl.load(grad_remaining + pixel, mask=inside, other=0)
        last = tl.load(last_in + pixel, mask=inside, other=0)
        rank = tl.max(last, axis=0)
        while rank > 0:
            k = near + rank - 1
            row = table + tl.load(gaussian + k) * (SHAPE + channels)
            dx, dy, free = _alpha(row, x, y)
            alpha = tl.minimum(free, MAX_ALPHA)
            alpha = tl.where((alpha >= MIN_ALPHA) & (rank <= last), alpha, 0.0)
            passing = 1 / (1 - alpha)
            light *= passing
            weight = alpha * light
            value = tl.load(row + SHAPE + channel, mask=channel < channels, other=0)
            wanted = tl.sum(grad * value[None, :], axis=1)
            to_sigma = tl.where(free <= MAX_ALPHA, -alpha * (light * wanted - behind * passing), 0.0)
            behind += weight * wanted
            a, b, c = tl.load(row + 2), tl.load(row + 3), tl.load(row + 4)
            sx, sy = tl.sum(to_sigma * dx, axis=0), tl.sum(to_sigma * dy, axis=0)
            learnt = slots + tl.load(slot + k).to(tl.int64) * (LEARNT + channels)
            tl.atomic_add(learnt, -(a * sx + b * sy))
            tl.atomic_add(learnt + 1, -(b * sx + c * sy))
            tl.atomic_add(learnt + 2, tl.sum(to_sigma * dx * dx, axis=0) * 0.5)
            tl.atomic_add(learnt + 3, tl.sum(to_sigma * dx * dy, axis=0))
            tl.atomic_add(learnt + 4, tl.sum(to_sigma * dy * dy, axis=0) * 0.5)
            tl.atomic_add(learnt + 5, -tl.sum(to_sigma, axis=0) / tl.load(row + 5))
            tl.atomic_add(learnt + LEARNT + channel, tl.sum(weight[:, None] * grad, axis=0), mask=channel < channels)
            rank -= 1


@jit
def _sum_slots(slots, first_slot, learnt, columns, padded: tl.constexpr):
    g = tl.program_id(0)
    column = tl.arange(0, padded)
    total = tl.zeros([padded], slots.dtype.element_ty)
    for s in range(tl.load(first_slot + g), tl.load(first_slot + g + 1)):
        total += tl.load(slots + s * columns + column, mask=column < columns, other=0)
    tl.store(learnt + g.to(tl.int64) * columns + column, total, mask=column < columns)
