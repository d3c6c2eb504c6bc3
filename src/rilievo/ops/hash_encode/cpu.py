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
passes take long chunks of points and visit the levels one by one within each. And what is fetched is waited for: each
pass goes by blocks of points, whose rows are found first (eight points at a time, in vector registers), then asked for
all at once, then used. Points come as [3, n]. `lanes` is a tuple with one zero per feature; its length is part of its
type, so the loops over features unroll at compile time.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from rilievo.ops.prefetch import request_to_read, request_to_write
from rilievo.ops.threading import inlined, kernel

CONTRACT = {"contract"}
"""Fused multiply-add is welcome: it rounds once instead of twice."""

BLOCK = 64
"""Points whose rows are under way at a time; their cache lines fit a core's first cache."""
P1, P2 = np.uint32(2654435761), np.uint32(805459861)
ONE = np.uint32(1)


@inlined
def _scratch(x):
    """Room for the rows of a block's corners, corner by corner, and for where in its cell each point lies."""
    return np.empty(8 * BLOCK, np.uint32), np.empty(3 * BLOCK, x.dtype)


@inlined
def _locate(x, start, count, s, resolution, entries, hashed, rows, within):
    """Cells in which `count` points from `start` on lie at a level of scale s: the rows of their corners within the
    level, bit d of the corner adding one along axis d, and the points' positions in them."""
    half = x.dtype.type(0.5)
    n, top = np.int32(resolution), np.int32(entries)
    mask = np.uint32(entries - 1)
    for i in range(count):
        p = start + i
        px, py, pz = x[0, p] * s + half, x[1, p] * s + half, x[2, p] * s + half
        fx, fy, fz = np.floor(px), np.floor(py), np.floor(pz)
        within[i], within[BLOCK + i], within[2 * BLOCK + i] = px - fx, py - fy, pz - fz
        cx, cy, cz = np.int32(fx), np.int32(fy), np.int32(fz)
        if hashed:
            x0, y0, z0 = np.uint32(cx), np.uint32(np.uint32(cy) * P1), np.uint32(np.uint32(cz) * P2)
            x1, y1, z1 = np.uint32(x0 + ONE), np.uint32(y0 + P1), np.uint32(z0 + P2)
            a, b, c, d = y0 ^ z0, y1 ^ z0, y0 ^ z1, y1 ^ z1
            rows[i], rows[BLOCK + i] = (x0 ^ a) & mask, (x1 ^ a) & mask
            rows[2 * BLOCK + i], rows[3 * BLOCK + i] = (x0 ^ b) & mask, (x1 ^ b) & mask
            rows[4 * BLOCK + i], rows[5 * BLOCK + i] = (x0 ^ c) & mask, (x1 ^ c) & mask
            rows[6 * BLOCK + i], rows[7 * BLOCK + i] = (x0 ^ d) & mask, (x1 ^ d) & mask
        else:
            r0 = np.int32(cx + cy * n + cz * n * n)
            r2, r4, r6 = r0 + n, r0 + n * n, r0 + n * n + n
            rows[i], rows[BLOCK + i] = r0, r0 + 1
            rows[2 * BLOCK + i], rows[3 * BLOCK + i] = r2, r2 + 1
            rows[4 * BLOCK + i], rows[5 * BLOCK + i] = r4, r4 + 1
            rows[6 * BLOCK + i], rows[7 * BLOCK + i] = r6, r6 + 1
    if not hashed:
        for i in range(count):
            if rows[i] >= np.uint32(top) or rows[7 * BLOCK + i] >= np.uint32(top):  # on the far faces, outside the cube
                for corner in range(i, 8 * BLOCK, BLOCK):
                    rows[corner] = np.int32(rows[corner]) % top


@inlined
def _corners(rows, i):
    return (
        rows[i],
        rows[BLOCK + i],
        rows[2 * BLOCK + i],
        rows[3 * BLOCK + i],
        rows[4 * BLOCK + i],
        rows[5 * BLOCK + i],
        rows[6 * BLOCK + i],
        rows[7 * BLOCK + i],
    )


@inlined
def _read_soon(level_table, rows, count):
    for corner in range(8):
        for i in range(corner * BLOCK, corner * BLOCK + count):
            request_to_read(level_table, rows[i])


@inlined
def _write_soon(level_table, rows, count):
    for corner in range(8):
        for i in range(corner * BLOCK, corner * BLOCK + count):
            request_to_write(level_table, rows[i])


@kernel(fastmath=CONTRACT)
def encode(x, table, scales, resolutions, entries, hashed, offsets, active_levels, chunk, lanes, out):
    n, features = x.shape[1], len(lanes)
    for task in prange((n + chunk - 1) // chunk):
        first, last = task * chunk, min(n, (task + 1) * chunk)
        rows, within = _scratch(x)
        for level in range(active_levels):
            s, column = scales[level], level * features
            level_table = table[offsets[level] : offsets[level + 1]]
            for start in range(first, last, BLOCK):
                count = min(BLOCK, last - start)
                _locate(x, start, count, s, resolutions[level], entries[level], hashed[level], rows, within)
                _read_soon(level_table, rows, count)
                for i in range(count):
                    p, r = start + i, _corners(rows, i)
                    ux, uy, uz = within[i], within[BLOCK + i], within[2 * BLOCK + i]
                    for f in range(features):
                        # Interpolate along x, then y, then z.
                        a0 = level_table[r[0], f] + ux * (level_table[r[1], f] - level_table[r[0], f])
                        a1 = level_table[r[2], f] + ux * (level_table[r[3], f] - level_table[r[2], f])
                        a2 = level_table[r[4], f] + ux * (level_table[r[5], f] - level_table[r[4], f])
                        a3 = level_table[r[6], f] + ux * (level_table[r[7], f] - level_table[r[6], f])
                        b0, b1 = a0 + uy * (a1 - a0), a2 + uy * (a3 - a2)
                        out[p, column + f] = b0 + uz * (b1 - b0)
        for p in range(first, last):
            for column in range(active_levels * features, out.shape[1]):
                out[p, column] = 0


@kernel(fastmath=CONTRACT)
def scatter(g, x, scales, resolutions, entries, hashed, offsets, active_levels, order, lanes, out):
    """Sum w_c(x) g into rows of `out`; `order` is the order in which all levels are handed to threads."""
    n, features = x.shape[1], len(lanes)
    one = x.dtype.type(1)
    for task in prange(order.shape[0]):
        level = order[task]
        level_out = out[offsets[level] : offsets[level + 1]]
        level_out[:] = 0
        if level >= active_levels:
            continue
        s, column = scales[level], level * features
        rows, within = _scratch(x)
        for start in range(0, n, BLOCK):
            count = min(BLOCK, n - start)
            _locate(x, start, count, s, resolutions[level], entries[level], hashed[level], rows, within)
            _write_soon(level_out, rows, count)
            for i in range(count):
                p, r = start + i, _corners(rows, i)
                ux, uy, uz = within[i], within[BLOCK + i], within[2 * BLOCK + i]
                vx, vy, vz = one - ux, one - uy, one - uz
                a, b, c, d = vy * vz, uy * vz, vy * uz, uy * uz
                for f in range(features):
                    gf = g[p, column + f]
                    level_out[r[0], f] += vx * a * gf
                    level_out[r[1], f] += ux * a * gf
                    level_out[r[2], f] += vx * b * gf
                    level_out[r[3], f] += ux * b * gf
                    level_out[r[4], f] += vx * c * gf
                    level_out[r[5], f] += ux * c * gf
                    level_out[r[6], f] += vx * d * gf
                    level_out[r[7], f] += ux * d * gf


@inlined
def _dots(g, level_table, p, column, features, r):
    """⟨T_c, g⟩ of the eight corners."""
    t0 = t1 = t2 = t3 = t4 = t5 = t6 = t7 = g.dtype.type(0)
    for f in range(features):
        gf = g[p, column + f]
        t0 += level_table[r[0], f] * gf
        t1 += level_table[r[1], f] * gf
        t2 += level_table[r[2], f] * gf
        t3 += level_table[r[3], f] * gf
        t4 += level_table[r[4], f] * gf
        t5 += level_table[r[5], f] * gf
        t6 += level_table[r[6], f] * gf
        t7 += level_table[r[7], f] * gf
    return t0, t1, t2, t3, t4, t5, t6, t7


@kernel(fastmath=CONTRACT)
def pullback(g, x, table, scales, resolutions, entries, hashed, offsets, active_levels, chunk, lanes, out):
    n, features = x.shape[1], len(lanes)
    for task in prange((n + chunk - 1) // chunk):
        first, last = task * chunk, min(n, (task + 1) * chunk)
        rows, within = _scratch(x)
        for p in range(first, last):
            out[p, 0] = 0
            out[p, 1] = 0
            out[p, 2] = 0
        for level in range(active_levels):
            s, column = scales[level], level * features
            level_table = table[offsets[level] : offsets[level + 1]]
            for start in range(first, last, BLOCK):
                count = min(BLOCK, last - start)
                _locate(x, start, count, s, resolutions[level], entries[level], hashed[level], rows, within)
                _read_soon(level_table, rows, count)
                for i in range(count):
                    p, r = start + i, _corners(rows, i)
                    ux, uy, uz = within[i], within[BLOCK + i], within[2 * BLOCK + i]
                    t0, t1, t2, t3, t4, t5, t6, t7 = _dots(g, level_table, p, column, features, r)
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
    n, features = x.shape[1], len(lanes)
    for task in prange((n + chunk - 1) // chunk):
        first, last = task * chunk, min(n, (task + 1) * chunk)
        rows, within = _scratch(x)
        for level in range(active_levels):
            s, column = scales[level], level * features
            level_table = table[offsets[level] : offsets[level + 1]]
            for start in range(first, last, BLOCK):
                count = min(BLOCK, last - start)
                _locate(x, start, count, s, resolutions[level], entries[level], hashed[level], rows, within)
                _read_soon(level_table, rows, count)
                for i in range(count):
                    p, r = start + i, _corners(rows, i)
                    ux, uy, uz = within[i], within[BLOCK + i], within[2 * BLOCK + i]
                    sx, sy, sz = s * v[p, 0], s * v[p, 1], s * v[p, 2]
                    for f in range(features):
                        t0, t2, t4, t6 = (
                            level_table[r[0], f],
                            level_table[r[2], f],
                            level_table[r[4], f],
                            level_table[r[6], f],
                        )
                        dx0, dx1 = level_table[r[1], f] - t0, level_table[r[3], f] - t2
                        dx2, dx3 = level_table[r[5], f] - t4, level_table[r[7], f] - t6
                        a0, a1, a2, a3 = t0 + ux * dx0, t2 + ux * dx1, t4 + ux * dx2, t6 + ux * dx3
                        b0, b1 = a0 + uy * (a1 - a0), a2 + uy * (a3 - a2)
                        e0, e1 = dx0 + uy * (dx1 - dx0), dx2 + uy * (dx3 - dx2)
                        h0, h1 = a1 - a0, a3 - a2
                        out[p, column + f] = sx * (e0 + uz * (e1 - e0)) + sy * (h0 + uz * (h1 - h0)) + sz * (b1 - b0)
        for p in range(first, last):
            for column in range(active_levels * features, out.shape[1]):
                out[p, column] = 0


@kernel(fastmath=CONTRACT)
def pullback_to_table(v, g, x, scales, resolutions, entries, hashed, offsets, active_levels, order, lanes, out):
    """∂⟨pullback, v⟩/∂T, summed into `out`: rows receive (∇w_c · v) g."""
    n, features = x.shape[1], len(lanes)
    one = x.dtype.type(1)
    for task in prange(order.shape[0]):
        level = order[task]
        level_out = out[offsets[level] : offsets[level + 1]]
        level_out[:] = 0
        if level >= active_levels:
            continue
        s, column = scales[level], level * features
        rows, within = _scratch(x)
        for start in range(0, n, BLOCK):
            count = min(BLOCK, n - start)
            _locate(x, start, count, s, resolutions[level], entries[level], hashed[level], rows, within)
            _write_soon(level_out, rows, count)
            for i in range(count):
                p, r = start + i, _corners(rows, i)
                ux, uy, uz = within[i], within[BLOCK + i], within[2 * BLOCK + i]
                wx, wy, wz = one - ux, one - uy, one - uz
                sx, sy, sz = s * v[p, 0], s * v[p, 1], s * v[p, 2]
                a, b, c, d = wy * wz, uy * wz, wy * uz, uy * uz
                # ∇(wx·q)·v for the four (y, z) corner pairs q: qv is the derivative of q along v.
                av, bv = -sy * wz - sz * wy, sy * wz - sz * uy
                cv, dv = -sy * uz + sz * wy, sy * uz + sz * uy
                for f in range(features):
                    gf = g[p, column + f]
                    level_out[r[0], f] += (wx * av - sx * a) * gf
                    level_out[r[1], f] += (ux * av + sx * a) * gf
                    level_out[r[2], f] += (wx * bv - sx * b) * gf
                    level_out[r[3], f] += (ux * bv + sx * b) * gf
                    level_out[r[4], f] += (wx * cv - sx * c) * gf
                    level_out[r[5], f] += (ux * cv + sx * c) * gf
                    level_out[r[6], f] += (wx * dv - sx * d) * gf
                    level_out[r[7], f] += (ux * dv + sx * d) * gf


@kernel(fastmath=CONTRACT)
def pullback_to_position(
    v, g, x, table, scales, resolutions, entries, hashed, offsets, active_levels, chunk, lanes, out
):
    """∂⟨pullback, v⟩/∂x: the encoding's Hessian, contracted with g, times v. Only mixed terms: w is linear along each
    axis."""
    n, features = x.shape[1], len(lanes)
    for task in prange((n + chunk - 1) // chunk):
        first, last = task * chunk, min(n, (task + 1) * chunk)
        rows, within = _scratch(x)
        for p in range(first, last):
            out[p, 0] = 0
            out[p, 1] = 0
            out[p, 2] = 0
        for level in range(active_levels):
            s, column = scales[level], level * features
            level_table = table[offsets[level] : offsets[level + 1]]
            for start in range(first, last, BLOCK):
                count = min(BLOCK, last - start)
                _locate(x, start, count, s, resolutions[level], entries[level], hashed[level], rows, within)
                _read_soon(level_table, rows, count)
                for i in range(count):
                    p, r = start + i, _corners(rows, i)
                    ux, uy, uz = within[i], within[BLOCK + i], within[2 * BLOCK + i]
                    t0, t1, t2, t3, t4, t5, t6, t7 = _dots(g, level_table, p, column, features, r)
                    # Second differences over the faces of the cell.
                    xy0, xy1 = t0 - t1 - t2 + t3, t4 - t5 - t6 + t7
                    xz0, xz1 = t0 - t1 - t4 + t5, t2 - t3 - t6 + t7
                    yz0, yz1 = t0 - t2 - t4 + t6, t1 - t3 - t5 + t7
                    xy, xz, yz = xy0 + uz * (xy1 - xy0), xz0 + uy * (xz1 - xz0), yz0 + ux * (yz1 - yz0)
                    s2 = s * s
                    out[p, 0] += s2 * (xy * v[p, 1] + xz * v[p, 2])
                    out[p, 1] += s2 * (xy * v[p, 0] + yz * v[p, 2])
                    out[p, 2] += s2 * (xz * v[p, 0] + yz * v[p, 1])
