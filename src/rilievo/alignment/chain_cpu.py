"""`scene_state.Parametrisation.geometry` and its adjoint on the processor: from unknowns to cameras and back.

`rotations` and `rotations_adjoint` are the part of it that the point-map graph needs too.

Symbols as in `scene_state`. Views come in `order`, parents first. Everything is float64. The adjoint takes the gradient
with respect to focal lengths, principal points (px), bends, poses and normalised or world depths, and adds up that of
the unknowns; where several sizes are the smallest, they share the gradient of the world's scale g.
"""

from __future__ import annotations

import numpy as np

from rilievo.ops.threading import inlined, kernel


@inlined
def _rotation(q, R):
    w, x, y, z = q / np.sqrt((q * q).sum())
    R[0, 0], R[0, 1], R[0, 2] = 1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)
    R[1, 0], R[1, 1], R[1, 2] = 2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)
    R[2, 0], R[2, 1], R[2, 2] = 2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)


@inlined
def _rotation_adjoint(q, G, gq):
    length = np.sqrt((q * q).sum())
    w, x, y, z = q / length
    g = np.empty(4)
    g[0] = x * (G[2, 1] - G[1, 2]) + y * (G[0, 2] - G[2, 0]) + z * (G[1, 0] - G[0, 1])
    g[1] = y * (G[0, 1] + G[1, 0]) + z * (G[0, 2] + G[2, 0]) + w * (G[2, 1] - G[1, 2]) - 2 * x * (G[1, 1] + G[2, 2])
    g[2] = x * (G[0, 1] + G[1, 0]) + z * (G[1, 2] + G[2, 1]) + w * (G[0, 2] - G[2, 0]) - 2 * y * (G[0, 0] + G[2, 2])
    g[3] = x * (G[0, 2] + G[2, 0]) + y * (G[1, 2] + G[2, 1]) + w * (G[1, 0] - G[0, 1]) - 2 * z * (G[0, 0] + G[1, 1])
    along = (w * g[0] + x * g[1] + y * g[2] + z * g[3]) / length
    for a in range(4):
        gq[a] = 2 * (g[a] - q[a] * along) / length


@kernel(parallel=False)
def rotations(q):
    """Matrices [n, 3, 3] of quaternions [n, 4] of any length."""
    R = np.empty((len(q), 3, 3))
    for v in range(len(q)):
        _rotation(q[v], R[v])
    return R


@kernel(parallel=False)
def rotations_adjoint(q, G):
    """The gradient [n, 4] with respect to the quaternions, of the gradient G with respect to their matrices."""
    g = np.empty_like(q)
    for v in range(len(q)):
        _rotation_adjoint(q[v], G[v], g[v])
    return g


@kernel(parallel=False)
def forward(
    unknown_pp, log_focal, rotation, translation, log_size, d,
    camera, parent, order, sizes, base, median, least, most, anchor_view, multiply,
    fixed_scale, fixed_pose, fixed_depth, known_R, known_t, known_depth,
    focal, pp, bend, R, t, depth, R_chain, t_chain,
):  # fmt: skip
    """Fill the geometry (focal … depth), and the poses of the places in front of the cameras, which the adjoint
    needs."""
    scale = 1.0 if fixed_scale else np.exp(-log_size.min())
    turn = np.empty((3, 3))
    for v in order:
        c, p = camera[v], parent[v]
        _rotation(rotation[v], turn)
        for a in range(3):
            for b in range(3):
                R_chain[v, a, b] = turn[a, b]
            t_chain[v, a] = translation[v, a]
        if p >= 0:
            for a in range(3):
                t_chain[v, a] = t_chain[p, a]
                for b in range(3):
                    t_chain[v, a] += R_chain[p, a, b] * translation[v, b]
                    R_chain[v, a, b] = 0.0
                    for k in range(3):
                        R_chain[v, a, b] += R_chain[p, a, k] * turn[k, b]
        focal[v] = min(max(np.exp(log_focal[c]), least[v]), most[v])
        pp[v, 0], pp[v, 1] = unknown_pp[c, 0] * sizes[v, 0], unknown_pp[c, 1] * sizes[v, 1]
        bend[v] = 1.0 if fixed_depth[v] else base[v] / focal[v]
        reach = np.exp(log_size[v]) * median[v] / base[v]
        x, y = reach * sizes[v, 0] * (0.5 - unknown_pp[c, 0]), reach * sizes[v, 1] * (0.5 - unknown_pp[c, 1])
        z = reach * focal[v]
        for a in range(3):
            front = R_chain[v, a, 0] * x + R_chain[v, a, 1] * y + R_chain[v, a, 2] * z
            t[v, a] = known_t[v, a] if fixed_pose[v] else scale * (t_chain[v, a] - front)
            for b in range(3):
                R[v, a, b] = known_R[v, a, b] if fixed_pose[v] else R_chain[v, a, b]
    reach = np.exp(log_size) * median
    for i in range(len(anchor_view)):
        v = anchor_view[i]
        ratio = focal[v] / base[v]
        if fixed_depth[v]:
            depth[i] = known_depth[i]
        elif multiply:
            depth[i] = scale * reach[v] * ratio * d[i]
        else:
            depth[i] = scale * reach[v] * (ratio - 1 + d[i])


@kernel(parallel=False)
def backward(
    unknown_pp, log_focal, rotation, translation, log_size, d,
    camera, parent, order, sizes, base, median, least, most, anchor_view, multiply,
    fixed_scale, fixed_pose, fixed_depth, focal, R_chain, t_chain,
    gf, gp, gb, gR, gt, gD,
    g_pp, g_log_focal, g_rotation, g_translation, g_log_size, g_d,
):  # fmt: skip
    """Gradient of the unknowns (g_pp … g_d, zero at first) from that of the geometry (gf … gD, used up)."""
    n = len(log_size)
    smallest = log_size.min()
    scale = 1.0 if fixed_scale else np.exp(-smallest)
    g_scale = 0.0
    g_reach, g_ratio = np.zeros(n), np.zeros(n)
    reach = np.exp(log_size) * median
    for i in range(len(anchor_view)):
        v = anchor_view[i]
        if fixed_depth[v]:
            continue
        ratio = focal[v] / base[v]
        shape = ratio * d[i] if multiply else ratio - 1 + d[i]
        g_scale += gD[i] * reach[v] * shape
        g_reach[v] += gD[i] * scale * shape
        g_ratio[v] += gD[i] * scale * reach[v] * (d[i] if multiply else 1.0)
        g_d[i] = gD[i] * scale * reach[v] * (ratio if multiply else 1.0)
    up_R, up_t = np.zeros((n, 3, 3)), np.zeros((n, 3))  # what children pull on the place of their parent
    turn, g_turn, place, g_place = np.empty((3, 3)), np.empty((3, 3)), np.empty(3), np.empty(3)
    for k in range(n - 1, -1, -1):
        v = order[k]
        c, p, ratio = camera[v], parent[v], focal[v] / base[v]
        wide, high = sizes[v, 0] / base[v], sizes[v, 1] / base[v]
        place[0], place[1] = reach[v] * wide * (0.5 - unknown_pp[c, 0]), reach[v] * high * (0.5 - unknown_pp[c, 1])
        place[2] = reach[v] * ratio
        if fixed_pose[v]:
            gR[v], gt[v] = 0.0, 0.0
        for b in range(3):
            g_place[b] = 0.0
            for a in range(3):
                g_place[b] -= scale * R_chain[v, a, b] * gt[v, a]
        for a in range(3):
            at = t_chain[v, a]
            for b in range(3):
                at -= R_chain[v, a, b] * place[b]
                gR[v, a, b] -= scale * gt[v, a] * place[b]
            g_scale += gt[v, a] * at
            gt[v, a] *= scale
        for a in range(3):
            gt[v, a] += up_t[v, a]
            for b in range(3):
                gR[v, a, b] += up_R[v, a, b]
        g_reach[v] += g_place[0] * wide * (0.5 - unknown_pp[c, 0]) + g_place[1] * high * (0.5 - unknown_pp[c, 1])
        g_reach[v] += g_place[2] * ratio
        g_ratio[v] += g_place[2] * reach[v]
        g_pp[c, 0] += gp[v, 0] * sizes[v, 0] - g_place[0] * reach[v] * wide
        g_pp[c, 1] += gp[v, 1] * sizes[v, 1] - g_place[1] * reach[v] * high
        if p >= 0:
            _rotation(rotation[v], turn)
            for a in range(3):
                up_t[p, a] += gt[v, a]
                g_translation[v, a] = 0.0
                for b in range(3):
                    g_translation[v, a] += R_chain[p, b, a] * gt[v, b]
                    up_R[p, a, b] += gt[v, a] * translation[v, b]
                    g_turn[a, b] = 0.0
                    for j in range(3):
                        g_turn[a, b] += R_chain[p, j, a] * gR[v, j, b]
                        up_R[p, a, b] += gR[v, a, j] * turn[b, j]
        else:
            g_translation[v] = gt[v]
            g_turn[:] = gR[v]
        _rotation_adjoint(rotation[v], g_turn, g_rotation[v])
        of_focal = gf[v] + g_ratio[v] / base[v]
        if not fixed_depth[v]:
            of_focal -= gb[v] * base[v] / focal[v] ** 2
        if least[v] < focal[v] < most[v]:
            g_log_focal[c] += of_focal * focal[v]
        g_log_size[v] += g_reach[v] * reach[v]
    if not fixed_scale:
        ties = 0
        for v in range(n):
            ties += log_size[v] == smallest
        for v in range(n):
            if log_size[v] == smallest:
                g_log_size[v] -= g_scale * scale / ties
