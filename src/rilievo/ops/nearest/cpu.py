"""Nearest point of a triangle mesh through a tree of bounding boxes.

The faces are halved at the median of their centres along the longest side of the centres' box until at most LEAF
remain. A query descends into the nearer child first and leaves out every box that is farther away than the best face so
far.

The tree is five arrays, [nodes, 6] boxes (low corner, high corner), [nodes] index of the first child (0 in a leaf; the
second child follows it), [nodes, 2] range of faces in `order`, `order` itself [faces], and the corners [faces, 3, 3] in
that order.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from rilievo.ops.threading import inlined, kernel

LEAF = 4
DEPTH = 64
"""Halving at the median, a tree of n faces is log2(n / LEAF) + 1 deep; this stack serves any number of them."""

SLIVER = 1e-16
"""Squared sine of a triangle's angle below which rounding of the normal would cost more than the triangle is wide."""


@kernel(parallel=False)
def build(corners):
    """Tree of the faces with these corners, float64 [faces, 3, 3]."""
    count = corners.shape[0]
    order = np.arange(count)
    centres = np.empty((count, 3))
    for f in range(count):
        for a in range(3):
            centres[f, a] = (corners[f, 0, a] + corners[f, 1, a] + corners[f, 2, a]) / 3
    most = 2 * max(1, (2 * count + LEAF) // LEAF) + 1
    boxes = np.empty((most, 6))
    child = np.zeros(most, dtype=np.int64)
    span = np.zeros((most, 2), dtype=np.int64)
    span[0, 1] = count
    used, node = 1, 0
    while node < used:
        start, end = span[node]
        boxes[node, :3], boxes[node, 3:] = np.inf, -np.inf
        for f in order[start:end]:
            for c in range(3):
                for a in range(3):
                    boxes[node, a] = min(boxes[node, a], corners[f, c, a])
                    boxes[node, 3 + a] = max(boxes[node, 3 + a], corners[f, c, a])
        if end - start > LEAF:
            axis, longest = 0, -1.0
            for a in range(3):
                low, high = np.inf, -np.inf
                for f in order[start:end]:
                    low, high = min(low, centres[f, a]), max(high, centres[f, a])
                if high - low > longest:
                    axis, longest = a, high - low
            middle = (end - start) // 2
            keys = centres[order[start:end], axis]
            order[start:end] = order[start:end][np.argpartition(keys, middle)]
            child[node] = used
            span[used, 0], span[used, 1] = start, start + middle
            span[used + 1, 0], span[used + 1, 1] = start + middle, end
            used += 2
        node += 1
    return boxes[:used].copy(), child[:used].copy(), span[:used].copy(), order, corners[order]


@kernel()
def query(boxes, child, span, order, corners, points):
    """Distance [n], face [n], barycentric coordinates [n, 3] and nearest point [n, 3] for float64 points [n, 3]."""
    count = points.shape[0]
    distance = np.empty(count)
    face = np.empty(count, dtype=np.int64)
    barycentric = np.empty((count, 3))
    nearest = np.empty((count, 3))
    for i in prange(count):
        p = points[i]
        stack = np.empty(DEPTH, dtype=np.int64)
        away = np.empty(DEPTH)
        best, best_face, u, v, w = np.inf, 0, 1.0, 0.0, 0.0
        stack[0], away[0], height = 0, 0.0, 1
        while height:
            height -= 1
            node = stack[height]
            if away[height] >= best:
                continue
            first = child[node]
            if first:
                one, two = _box_distance(boxes[first], p), _box_distance(boxes[first + 1], p)
                nearer = first if one <= two else first + 1
                stack[height], away[height] = 2 * first + 1 - nearer, max(one, two)
                stack[height + 1], away[height + 1] = nearer, min(one, two)
                height += 2
            else:
                for f in range(span[node, 0], span[node, 1]):
                    squared, fu, fv, fw = _face_distance(corners[f, 0], corners[f, 1], corners[f, 2], p)
                    if squared < best:
                        best, best_face, u, v, w = squared, f, fu, fv, fw
        distance[i] = np.sqrt(best)
        face[i] = order[best_face]
        barycentric[i, 0], barycentric[i, 1], barycentric[i, 2] = u, v, w
        for a in range(3):
            nearest[i, a] = u * corners[best_face, 0, a] + v * corners[best_face, 1, a] + w * corners[best_face, 2, a]
    return distance, face, barycentric, nearest


@inlined
def _box_distance(box, p):
    """Squared distance from a point to a box."""
    total = 0.0
    for a in range(3):
        gap = max(box[a] - p[a], 0.0, p[a] - box[3 + a])
        total += gap * gap
    return total


@inlined
def _face_distance(a, b, c, p):
    """Squared distance from a point to a triangle, and the barycentric coordinates of its nearest point.

    With e = b − a, g = c − a, r = p − a and n = e × g the foot of the perpendicular has v = (r × g)·n / n², w = (e ×
    r)·n / n². If it falls outside, the nearest point is on a side; so it is, but for rounding, where the triangle is a
    sliver.
    """
    ex, ey, ez = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    gx, gy, gz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    rx, ry, rz = p[0] - a[0], p[1] - a[1], p[2] - a[2]
    nx, ny, nz = ey * gz - ez * gy, ez * gx - ex * gz, ex * gy - ey * gx
    nn = nx * nx + ny * ny + nz * nz
    ee, gg = ex * ex + ey * ey + ez * ez, gx * gx + gy * gy + gz * gz
    if nn > SLIVER * ee * gg:
        v = ((ry * gz - rz * gy) * nx + (rz * gx - rx * gz) * ny + (rx * gy - ry * gx) * nz) / nn
        w = ((ey * rz - ez * ry) * nx + (ez * rx - ex * rz) * ny + (ex * ry - ey * rx) * nz) / nn
        if v >= 0 and w >= 0 and v + w <= 1:
            return _squared(a, b, c, p, 1 - v - w, v, w), 1 - v - w, v, w
    eg, re, rg = ex * gx + ey * gy + ez * gz, rx * ex + ry * ey + rz * ez, rx * gx + ry * gy + rz * gz
    # a to b, then a to c, then b to c
    s = min(max(re / ee, 0.0), 1.0) if ee > 0 else 0.0
    t = min(max(rg / gg, 0.0), 1.0) if gg > 0 else 0.0
    side = ee - 2 * eg + gg
    h = min(max((rg - re - eg + ee) / side, 0.0), 1.0) if side > 0 else 0.0
    on_ab = _squared(a, b, c, p, 1 - s, s, 0.0)
    on_ac = _squared(a, b, c, p, 1 - t, 0.0, t)
    on_bc = _squared(a, b, c, p, 0.0, 1 - h, h)
    if on_ab <= on_ac and on_ab <= on_bc:
        return on_ab, 1 - s, s, 0.0
    if on_ac <= on_bc:
        return on_ac, 1 - t, 0.0, t
    return on_bc, 0.0, 1 - h, h


@inlined
def _squared(a, b, c, p, u, v, w):
    total = 0.0
    for k in range(3):
        gap = u * a[k] + v * b[k] + w * c[k] - p[k]
        total += gap * gap
    return total
