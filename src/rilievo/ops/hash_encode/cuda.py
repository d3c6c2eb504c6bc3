"""Hash encoding on the GPU, in Triton.

Every pass of `cpu` is a sum over the eight corners c of a cell, with a coefficient k_c that is the trilinear weight
w_c, or its derivative ∇w_c · v where a direction v is given (T_c are table rows, g a cotangent of the features):

    gather    y = Σ_c k_c T_c               encode, and the pullback's derivative by its cotangent
    spread    ∂T += k_c g                   its transpose: scatter, and the pullback's derivative by the table
    slope     ∂x = Σ_c ∇k_c ⟨T_c, g⟩        the pullback, and its derivative by the point

One program takes a block of points, and one level where the outputs of levels are apart. Levels follow each other, so
that the table of one stays in the cache. Sums into the table are atomic: the last bits depend on their order.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

from rilievo.ops.gpu import jit

from .spec import PRIMES, HashGridSpec, levels

PRIME_Y, PRIME_Z = tl.constexpr(PRIMES[1]), tl.constexpr(PRIMES[2])
LANES = 128


def encode(x: Tensor, table: Tensor, *settings: Any) -> Tensor:
    return _gathered(None, x, table, *settings)


def scatter(g: Tensor, x: Tensor, *settings: Any) -> Tensor:
    return _spread_over_table(None, g, x, *settings)


def pullback(g: Tensor, x: Tensor, table: Tensor, *settings: Any) -> Tensor:
    return _sloped(None, g, x, table, *settings)


def pullback_backward(
    v: Tensor, g: Tensor, x: Tensor, table: Tensor, needs: list[bool], *settings: Any
) -> tuple[Tensor, Tensor, Tensor]:
    nothing = x.new_empty(0)
    return (
        _gathered(v, x, table, *settings) if needs[0] else nothing,
        _sloped(v, g, x, table, *settings) if needs[1] else nothing.clone(),
        _spread_over_table(v, g, x, *settings) if needs[2] else nothing.clone(),
    )


def _gathered(v: Tensor | None, x: Tensor, table: Tensor, *settings: Any) -> Tensor:
    spec, active = HashGridSpec(*settings[:-1]), settings[-1]
    out = x.new_empty(len(x), spec.output_dim)
    if out.numel():
        rows, features = table.contiguous(), spec.features_per_level
        _gather[triton.cdiv(len(x), LANES), spec.n_levels](
            *_points(v, x), rows, *_tables(spec, x.dtype, x.device), out, len(x), active, v is not None, features, LANES
        )
    return out


def _spread_over_table(v: Tensor | None, g: Tensor, x: Tensor, *settings: Any) -> Tensor:
    spec, active = HashGridSpec(*settings[:-1]), settings[-1]
    out = x.new_zeros(spec.total_entries, spec.features_per_level)
    if len(x) and active:
        tables = _tables(spec, x.dtype, x.device)
        columns, features = spec.output_dim, spec.features_per_level
        _spread[triton.cdiv(len(x), LANES), active](
            *_points(v, x), g.contiguous(), *tables, out, len(x), columns, v is not None, features, LANES
        )
    return out


def _sloped(v: Tensor | None, g: Tensor, x: Tensor, table: Tensor, *settings: Any) -> Tensor:
    spec, active = HashGridSpec(*settings[:-1]), settings[-1]
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    if len(x):
        columns, features = spec.output_dim, spec.features_per_level
        inputs = *_points(v, x), g.contiguous(), table.contiguous(), *_tables(spec, x.dtype, x.device)
        _slope[(triton.cdiv(len(x), LANES),)](*inputs, out, len(x), columns, active, v is not None, features, LANES)
    return out


def _points(v: Tensor | None, x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.contiguous()
    return x if v is None else v.contiguous(), x


@functools.cache
def _tables(spec: HashGridSpec, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Scales, and [resolution, entries, hashed, offset], of all levels."""
    grid = levels(spec)
    shapes = np.stack([grid.resolutions, grid.entries, grid.hashed, grid.offsets[:-1]], axis=1)
    return torch.tensor(grid.scales, dtype=dtype, device=device), torch.tensor(shapes, device=device)


@jit
def _load3(vectors, point, inside):
    at = vectors + 3 * point
    return (
        tl.load(at, mask=inside, other=0),
        tl.load(at + 1, mask=inside, other=0),
        tl.load(at + 2, mask=inside, other=0),
    )


@jit
def _level(scales, shapes, level):
    at = shapes + 4 * level
    resolution, entries = tl.load(at).to(tl.uint32), tl.load(at + 1).to(tl.uint32)
    return tl.load(scales + level), resolution, entries, tl.load(at + 2) != 0, tl.load(at + 3)


@jit
def _cell(x, scale):
    """Lattice coordinate of the cell along one axis, and the fraction of it passed."""
    position = x * scale + 0.5
    cell = tl.floor(position)
    return cell.to(tl.int32).to(tl.uint32, bitcast=True), position - cell


@jit
def _row(corner: tl.constexpr, i, j, k, resolution, entries, hashed, offset):
    """The table row of a corner; bit d of `corner` adds one along axis d."""
    i, j, k = i + (corner & 1), j + (corner >> 1 & 1), k + (corner >> 2)
    if hashed:
        index = (i ^ (j * PRIME_Y) ^ (k * PRIME_Z)) & (entries - 1)
    else:
        index = (i + (j + k * resolution) * resolution) % entries
    return offset + index.to(tl.int64)


@jit
def _weights(corner: tl.constexpr, a, b, c):
    """Weight of the corner along each axis, and the weight's derivative there: 1 or -1."""
    da: tl.constexpr = 2.0 * (corner & 1) - 1
    db: tl.constexpr = 2.0 * (corner >> 1 & 1) - 1
    dc: tl.constexpr = 2.0 * (corner >> 2) - 1
    return (1 - da) / 2 + da * a, (1 - db) / 2 + db * b, (1 - dc) / 2 + dc * c, da, db, dc


@jit
def _coefficient(corner: tl.constexpr, a, b, c, va, vb, vc, along: tl.constexpr):
    """k_c; the direction is in cells."""
    wa, wb, wc, da, db, dc = _weights(corner, a, b, c)
    if along:
        return da * va * wb * wc + wa * (db * vb * wc + wb * dc * vc)
    else:
        return wa * wb * wc


@jit
def _coefficient_slope(corner: tl.constexpr, a, b, c, va, vb, vc, along: tl.constexpr):
    """∇k_c, per cell. Of second derivatives there are only mixed ones: w is linear along each axis."""
    wa, wb, wc, da, db, dc = _weights(corner, a, b, c)
    if along:
        to_a = da * (db * vb * wc + wb * dc * vc)
        to_b = db * (da * va * wc + wa * dc * vc)
        to_c = dc * (da * va * wb + wa * db * vb)
        return to_a, to_b, to_c
    else:
        return da * wb * wc, wa * db * wc, wa * wb * dc


@jit
def _gather(
    direction,
    x,
    table,
    scales,
    shapes,
    out,
    points,
    active_levels,
    along: tl.constexpr,
    features: tl.constexpr,
    lanes: tl.constexpr,
):
    point = tl.program_id(0).to(tl.int64) * lanes + tl.arange(0, lanes)
    inside = point < points
    level = tl.program_id(1)
    columns = tl.num_programs(1) * features
    to = out + point * columns + level * features
    if level < active_levels:
        s, resolution, entries, hashed, offset = _level(scales, shapes, level)
        px, py, pz = _load3(x, point, inside)
        vx, vy, vz = _load3(direction, point, inside)
        i, a = _cell(px, s)
        j, b = _cell(py, s)
        k, c = _cell(pz, s)
        for f in tl.static_range(features):
            total = tl.zeros_like(a)
            for corner in tl.static_range(8):
                row = _row(corner, i, j, k, resolution, entries, hashed, offset)
                entry = tl.load(table + row * features + f, mask=inside, other=0)
                total += _coefficient(corner, a, b, c, s * vx, s * vy, s * vz, along) * entry
            tl.store(to + f, total, mask=inside)
    else:
        for f in tl.static_range(features):
            tl.store(to + f, tl.zeros([lanes], out.dtype.element_ty), mask=inside)


@jit
def _spread(
    direction,
    x,
    g,
    scales,
    shapes,
    out,
    points,
    columns,
    along: tl.constexpr,
    features: tl.constexpr,
    lanes: tl.constexpr,
):
    point = tl.program_id(0).to(tl.int64) * lanes + tl.arange(0, lanes)
    inside = point < points
    level = tl.program_id(1)
    s, resolution, entries, hashed, offset = _level(scales, shapes, level)
    px, py, pz = _load3(x, point, inside)
    vx, vy, vz = _load3(direction, point, inside)
    i, a = _cell(px, s)
    j, b = _cell(py, s)
    k, c = _cell(pz, s)
    for corner in tl.static_range(8):
        row = _row(corner, i, j, k, resolution, entries, hashed, offset)
        coefficient = _coefficient(corner, a, b, c, s * vx, s * vy, s * vz, along)
        for f in tl.static_range(features):
            cotangent = tl.load(g + point * columns + level * features + f, mask=inside, other=0)
            tl.atomic_add(out + row * features + f, coefficient * cotangent, mask=inside, sem="relaxed")


@jit
def _slope(
    direction,
    x,
    g,
    table,
    scales,
    shapes,
    out,
    points,
    columns,
    active_levels,
    along: tl.constexpr,
    features: tl.constexpr,
    lanes: tl.constexpr,
):
    point = tl.program_id(0).to(tl.int64) * lanes + tl.arange(0, lanes)
    inside = point < points
    px, py, pz = _load3(x, point, inside)
    vx, vy, vz = _load3(direction, point, inside)
    to_x, to_y, to_z = tl.zeros_like(px), tl.zeros_like(px), tl.zeros_like(px)
    for level in range(active_levels):
        s, resolution, entries, hashed, offset = _level(scales, shapes, level)
        i, a = _cell(px, s)
        j, b = _cell(py, s)
        k, c = _cell(pz, s)
        for corner in tl.static_range(8):
            row = _row(corner, i, j, k, resolution, entries, hashed, offset)
            t = tl.zeros_like(a)
            for f in tl.static_range(features):
                cotangent = tl.load(g + point * columns + level * features + f, mask=inside, other=0)
                t += tl.load(table + row * features + f, mask=inside, other=0) * cotangent
            ka, kb, kc = _coefficient_slope(corner, a, b, c, s * vx, s * vy, s * vz, along)
            to_x += s * (ka * t)
            to_y += s * (kb * t)
            to_z += s * (kc * t)
    tl.store(out + 3 * point, to_x, mask=inside)
    tl.store(out + 3 * point + 1, to_y, mask=inside)
    tl.store(out + 3 * point + 2, to_z, mask=inside)
