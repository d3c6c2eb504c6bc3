"""Hash encoding on the CPU, in Numba.

Three passes make a closed family (w_c are the trilinear weights of the corners c, T their table rows, g a cotangent
of the output, v a direction in x):

    encode            y   = Σ_c w_c(x) T_c                      linear in T
    scatter           ∂T += w_c(x) g                            its transpose
    pullback          ∂x  = Σ_c ∇w_c(x) ⟨T_c, g⟩                the normal of a distance field needs it ...
    pullback_backward      derivatives of ⟨pullback, v⟩         ... and training through that normal needs this

Forward passes are parallel over points. Passes that add into the table are parallel over levels, whose rows are
disjoint, and visit the points in order: no atomics, and the same sum whatever the number of threads.

A level's table is larger than a core's own cache, so what counts is how often it is fetched again: point-parallel
passes take long chunks of points and visit the levels one by one within each. `lanes` is a tuple with one zero per
feature; its length is part of its type, so the loops over features unroll at compile time.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from rilievo.ops.threading import inlined, kernel

CONTRACT = {"contract"}
"""Fused multiply-add is welcome: it rounds once instead of twice."""

P1, P2 = np.uint64(2654435761), np.uint64(805459861)
ONE = np.uint64(1)


@inlined
def _corners(px, py, pz, resolution, entries, hashed, offset):
    """Rows of the eight corners of the cell at (px, py, pz), bit d of the corner adding one along axis d."""
    x0, y0, z0 = np.uint64(np.int64(px)), np.uint64(np.int64(py)), np.uint64(np.int64(pz))
    x1, y1, z1 = x0 + ONE, y0 + ONE, z0 + ONE
    if hashed:
        mask = np.uint64(entries - 1)
        y0, y1 = y0 * P1, y1 * P1
        z0, z1 = z0 * P2, z1 * P2
        a, b, c, d = y0 ^ z0, y1 ^ z0, y0 ^ z1, y1 ^ z1
        i0, i1, i2, i3 = (x0 ^ a) & mask, (x1 ^ a) & mask, (x0 ^ b) & mask, (x1 ^ b) & mask
        i4, i5, i6, i7 = (x0 ^ c) & mask, (x1 ^ c) & mask, (x0 ^ d) & mask, (x1 ^ d) & mask
    else:
        n = np.uint64(resolution)
        m = np.uint64(entries)
        y0, y1 = y0 * n, y1 * n
        z0, z1 = z0 * n * n, z1 * n * n
        a, b, c, d = y0 + z0, y1 + z0, y0 + z1, y1 + z1
        i0, i1, i2, i3 = x0 + a, x1 + a, x0 + b, x1 + b
        i4, i5, i6, i7 = x0 + c, x1 + c, x0 + d, x1 + d
        if i7 >= m or i0 >= m:  # on the far faces, and outside the cube, where negative numbers wrap to large ones
            i0, i1, i2, i3, i4, i5, i6, i7 = i0 % m, i1 % m, i2 % m, i3 % m, i4 % m, i5 % m, i6 % m, i7 % m
    o = np.uint64(offset)
    return i0 + o, i1 + o, i2 + o, i3 + o, i4 + o, i5 + o, i6 + o, i7 + o


@inlined
def _cell(x, p, s, resolution, entries, hashed, offset):
    """Rows of the corners of the cell in which point p lies at a level of scale s, and where in the cell it lies."""
    half = x.dtype.type(0.5)
    px, py, pz = x[p, 0] * s + half, x[p, 1] * s + half, x[p, 2] * s + half
    fx, fy, fz = np.floor(px), np.floor(py), np.floor(pz)
    return _corners(fx, fy, fz, resolution, entries, hashed, offset), (px - fx, py - fy, pz - fz)


@kernel(fastmath=CONTRACT)
def encode(x, table, scales, resolutions, entries, hashed, offsets, active_levels, chunk, lanes, out):
    n, features = x.shape[0], len(lanes)
    for task in prange((n + chunk - 1) // chunk):
        first, last = task * chunk, min(n, (task + 1) * chunk)
        for level in range(active_levels):
            s = scales[level]
            resolution, size, is_hashed, offset = resolutions[level], entries[level], hashed[level], offsets[level]
            column = level * features
            for p in range(first, last):
                rows, (ux, uy, uz) = _cell(x, p, s, resolution, size, is_hashed, offset)
                for f in range(features):
                    # Interpolate along x, then y, then z.
                    a0 = table[rows[0], f] + ux * (table[rows[1], f] - table[rows[0], f])
                    a1 = table[rows[2], f] + ux * (table[rows[3], f] - table[rows[2], f])
                    a2 = table[rows[4], f] + ux * (table[rows[5], f] - table[rows[4], f])
                    a3 = table[rows[6], f] + ux * (table[rows[7], f] - table[rows[6], f])
                    b0, b1 = a0 + uy * (a1 - a0), a2 + uy * (a3 - a2)
                    out[p, column + f] = b0 + uz * (b1 - b0)
        for p in range(first, last):
            for column in range(active_levels * features, out.shape[1]):
                out[p, column] = 0


@kernel(fastmath=CONTRACT)
def scatter(g, x, scales, resolutions, entries, hashed, offsets, order, lanes, out):
    """Add w_c(x) g into `out`, which holds zeros; `order` is the order in which levels are handed to threads."""
    features = len(lanes)
    one = x.dtype.type(1)
    for task in prange(order.shape[0]):
        level = order[task]
        s = scales[level]
        resolution, size, is_hashed, offset = resolutions[level], entries[level], hashed[level], offsets[level]
        column = level * features
        for p in range(x.shape[0]):
            rows, (ux, uy, uz) = _cell(x, p, s, resolution, size, is_hashed, offset)
            vx, vy, vz = one - ux, one - uy, one - uz
            a, b, c, d = vy * vz, uy * vz, vy * uz, uy * uz
            for f in range(features):
                gf = g[p, column + f]
                out[rows[0], f] += vx * a * gf
                out[rows[1], f] += ux * a * gf
                out[rows[2], f] += vx * b * gf
                out[rows[3], f] += ux * b * gf
                out[rows[4], f] += vx * c * gf
                out[rows[5], f] += ux * c * gf
                out[rows[6], f] += vx * d * gf
                out[rows[7], f] += ux * d * gf


@inlined
def _dots(g, table, p, column, features, rows):
    """⟨T_c, g⟩ of the eight corners."""
    t0 = t1 = t2 = t3 = t4 = t5 = t6 = t7 = g.dtype.type(0)
    for f in range(features):
        gf = g[p, column + f]
        t0 += table[rows[0], f] * gf
        t1 += table[rows[1], f] * gf
        t2 += table[rows[2], f] * gf
        t3 += table[rows[3], f] * gf
        t4 += table[rows[4], f] * gf
        t5 += table[rows[5], f] * gf
        t6 += table[rows[6], f] * gf
        t7 += table[rows[7], f] * gf
    return t0, t1, t2, t3, t4, t5, t6, t7


@kernel(fastmath=CONTRACT)
def pullback(g, x, table, scales, resolutions, entries, hashed, offsets, active_levels, chunk, lanes, out):
    n, features = x.shape[0], len(lanes)
    for task in prange((n + chunk - 1) // chunk):
        first, last = task * chunk, min(n, (task + 1) * chunk)
        for p in range(first, last):
            out[p, 0] = 0
            out[p, 1] = 0
            out[p, 2] = 0
        for level in range(active_levels):
            s = scales[level]
            resolution, size, is_hashed, offset = resolutions[level], entries[level], hashed[level], offsets[level]
            column = level * features
            for p in range(first, last):
                rows, (ux, uy, uz) = _cell(x, p, s, resolution, size, is_hashed, offset)
                t0, t1, t2, t3, t4, t5, t6, t7 = _dots(g, table, p, column, features, rows)
                # Differences along x on the four x-edges, and values interpolated along x.
                dx0, dx1, dx2, dx3 = t1 - t0, t3 - t2, t5 - t4, t7 - t6
                a0, a1, a2, a3 = t0 + ux * dx0, t2 + ux * dx1, t4 + ux * dx2, t6 + ux * dx3
                b0, b1 = a0 + uy * (a1 - a0), a2 + uy * (a3 - a2)
                e0, e1 = dx0 + uy * (dx1 - dx0), dx2 + uy * (dx3 - dx2)
                h0, h1 = a1 - a0, a3 - a2
                out[p, 0] += s * (e0 + uz * (e1 - e0))
                out[p, 1] += s * (h0 + uz * (h1 - h0))
                out[p, 2] += s * (b1 - b0)


@kernel(fastmath=CONTRACT)
def pullback_to_cotangent(v, x, table, scales, resolutions, entries, hashed, offsets, active_levels, chunk, lanes, out):
    """∂⟨pullback, v⟩/∂g: the directional derivative of the encoding along v."""
    n, features = x.shape[0], len(lanes)
    for task in prange((n + chunk - 1) // chunk):
        first, last = task * chunk, min(n, (task + 1) * chunk)
        for level in range(active_levels):
            s = scales[level]
            resolution, size, is_hashed, offset = resolutions[level], entries[level], hashed[level], offsets[level]
            column = level * features
            for p in range(first, last):
                rows, (ux, uy, uz) = _cell(x, p, s, resolution, size, is_hashed, offset)
                sx, sy, sz = s * v[p, 0], s * v[p, 1], s * v[p, 2]
                for f in range(features):
                    t0, t2, t4, t6 = table[rows[0], f], table[rows[2], f], table[rows[4], f], table[rows[6], f]
                    dx0, dx1 = table[rows[1], f] - t0, table[rows[3], f] - t2
                    dx2, dx3 = table[rows[5], f] - t4, table[rows[7], f] - t6
                    a0, a1, a2, a3 = t0 + ux * dx0, t2 + ux * dx1, t4 + ux * dx2, t6 + ux * dx3
                    b0, b1 = a0 + uy * (a1 - a0), a2 + uy * (a3 - a2)
                    e0, e1 = dx0 + uy * (dx1 - dx0), dx2 + uy * (dx3 - dx2)
                    h0, h1 = a1 - a0, a3 - a2
                    out[p, column + f] = sx * (e0 + uz * (e1 - e0)) + sy * (h0 + uz * (h1 - h0)) + sz * (b1 - b0)
        for p in range(first, last):
            for column in range(active_levels * features, out.shape[1]):
                out[p, column] = 0


@kernel(fastmath=CONTRACT)
def pullback_to_table(v, g, x, scales, resolutions, entries, hashed, offsets, order, lanes, out):
    """∂⟨pullback, v⟩/∂T, added into `out`, which holds zeros: rows receive (∇w_c · v) g."""
    features = len(lanes)
    one = x.dtype.type(1)
    for task in prange(order.shape[0]):
        level = order[task]
        s = scales[level]
        resolution, size, is_hashed, offset = resolutions[level], entries[level], hashed[level], offsets[level]
        column = level * features
        for p in range(x.shape[0]):
            rows, (ux, uy, uz) = _cell(x, p, s, resolution, size, is_hashed, offset)
            wx, wy, wz = one - ux, one - uy, one - uz
            sx, sy, sz = s * v[p, 0], s * v[p, 1], s * v[p, 2]
            a, b, c, d = wy * wz, uy * wz, wy * uz, uy * uz
            # ∇(wx·q)·v for the four (y, z) corner pairs q: qv is the derivative of q along v.
            av, bv = -sy * wz - sz * wy, sy * wz - sz * uy
            cv, dv = -sy * uz + sz * wy, sy * uz + sz * uy
            for f in range(features):
                gf = g[p, column + f]
                out[rows[0], f] += (wx * av - sx * a) * gf
                out[rows[1], f] += (ux * av + sx * a) * gf
                out[rows[2], f] += (wx * bv - sx * b) * gf
                out[rows[3], f] += (ux * bv + sx * b) * gf
                out[rows[4], f] += (wx * cv - sx * c) * gf
                out[rows[5], f] += (ux * cv + sx * c) * gf
                out[rows[6], f] += (wx * dv - sx * d) * gf
                out[rows[7], f] += (ux * dv + sx * d) * gf


@kernel(fastmath=CONTRACT)
def pullback_to_position(
    v, g, x, table, scales, resolutions, entries, hashed, offsets, active_levels, chunk, lanes, out
):
    """∂⟨pullback, v⟩/∂x: the encoding's Hessian, contracted with g, times v. Only mixed terms: w is linear along each
    axis."""
    n, features = x.shape[0], len(lanes)
    for task in prange((n + chunk - 1) // chunk):
        first, last = task * chunk, min(n, (task + 1) * chunk)
        for p in range(first, last):
            out[p, 0] = 0
            out[p, 1] = 0
            out[p, 2] = 0
        for level in range(active_levels):
            s = scales[level]
            resolution, size, is_hashed, offset = resolutions[level], entries[level], hashed[level], offsets[level]
            column = level * features
            for p in range(first, last):
                rows, (ux, uy, uz) = _cell(x, p, s, resolution, size, is_hashed, offset)
                t0, t1, t2, t3, t4, t5, t6, t7 = _dots(g, table, p, column, features, rows)
                # Second differences over the faces of the cell.
                xy0, xy1 = t0 - t1 - t2 + t3, t4 - t5 - t6 + t7
                xz0, xz1 = t0 - t1 - t4 + t5, t2 - t3 - t6 + t7
                yz0, yz1 = t0 - t2 - t4 + t6, t1 - t3 - t5 + t7
                xy, xz, yz = xy0 + uz * (xy1 - xy0), xz0 + uy * (xz1 - xz0), yz0 + ux * (yz1 - yz0)
                s2 = s * s
                out[p, 0] += s2 * (xy * v[p, 1] + xz * v[p, 2])
                out[p, 1] += s2 * (xy * v[p, 0] + yz * v[p, 2])
                out[p, 2] += s2 * (xz * v[p, 0] + yz * v[p, 1])
