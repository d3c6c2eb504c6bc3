"""The demo's object: a stoppered amphora of blended balls and rings, fluted and grooved, painted by a solid texture.

The signed distance f(x, y, z) is negative inside and changes by less than `LIPSCHITZ` per unit of length outside, a
little more than a true distance, since blending and relief bend it. z is up; the object stays within the ball of radius
`RADIUS` around the origin. Formulas are written for one point and compiled; the public functions take many.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.ops.threading import array, inlined, kernel

RADIUS = 0.88
LIPSCHITZ = 1.12

STEP = 1e-3
"""Between the points whose differences give a normal."""
HIT = 5e-4
MOST_STEPS = 128

LAMP = (0.492, -0.590, 0.640)
"""Unit direction to the lamp."""


def sdf(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
    """Signed distance to the amphora, nearly."""
    out = torch.empty(len(points))
    _sdf_kernel(array(points.float()), out.numpy())
    return out.to(points)


def normals(points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Unit outward normals."""
    out = torch.empty(len(points), 3)
    _normal_kernel(array(points.float()), out.numpy())
    return out.to(points)


def look(
    origins: Float[Tensor, "r 3"], directions: Float[Tensor, "r 3"]
) -> tuple[Float[Tensor, "r"], Float[Tensor, "r 3"]]:
    """Follow unit rays to the amphora (sphere tracing, Hart 1996).

    Returns the distance along each ray, infinite where it misses, and the linear RGB that comes back along it: a sky,
    brighter above, dimmed in creases by probes along the normal (Evans 2006), and one lamp, on a Lambertian surface.
    """
    t, rgb = torch.empty(len(origins)), torch.empty(len(origins), 3)
    _look_kernel(array(origins.float()), array(directions.float()), t.numpy(), rgb.numpy())
    return t, rgb


@inlined
def _ring(radial, axial, radius, thickness):
    return math.sqrt((radial - radius) ** 2 + axial**2) - thickness


@inlined
def _union(a, b, blend):
    """Smooth minimum, rounded within `blend` of where the two are equal (Quilez's polynomial)."""
    near = max(blend - abs(a - b), 0.0) / blend
    return min(a, b) - near * near * blend / 4


@inlined
def _carve(a, b, blend):
    """`a` without `b`, the edges rounded."""
    return -_union(-a, b, blend)


@inlined
def _distance(x, y, z):
    rho = math.sqrt(x * x + y * y)
    belly = math.sqrt(rho**2 + (z + 0.12) ** 2) - 0.60
    neck = _ring(rho, z - 0.46, 0.10, 0.10)
    stopper = math.sqrt(rho**2 + (z - 0.68) ** 2) - 0.17
    foot = _ring(rho, z + 0.72, 0.22, 0.09)
    handle = _ring(math.sqrt((abs(x) - 0.44) ** 2 + (z - 0.24) ** 2), y, 0.26, 0.075)
    body = _union(_union(_union(belly, neck, 0.16), foot, 0.10), handle, 0.06)
    relief = math.exp(-((z + 0.42) ** 2) / 0.02) * rho / (rho + 0.1)
    fluted = body + 0.018 * relief * math.sin(math.atan2(y, x) * 10 + z * 7) if relief > 1e-4 else body
    grooved = _carve(fluted, _ring(rho, z + 0.20, 0.60, 0.035), 0.03)
    return _union(grooved, stopper, 0.03)


@inlined
def _normal(x, y, z):
    """The gradient by differences at the corners of a small tetrahedron, made unit."""
    a = _distance(x + STEP, y - STEP, z - STEP)
    b = _distance(x - STEP, y - STEP, z + STEP)
    c = _distance(x - STEP, y + STEP, z - STEP)
    d = _distance(x + STEP, y + STEP, z + STEP)
    gx, gy, gz = a - b - c + d, -a - b + c + d, -a + b - c + d
    length = max(math.sqrt(gx * gx + gy * gy + gz * gz), 1e-12)
    return gx / length, gy / length, gz / length


@inlined
def _albedo(x, y, z):
    """Linear reflectance: bands of ivory and clay, veined with ink."""
    bands = _sigmoid(6 * math.sin(9 * z + 0.9 * math.sin(5 * x) + 0.9 * math.sin(5 * y + 1)))
    veins = math.sin(7 * x + 2 * math.sin(6 * y)) * math.sin(7 * y + 2 * math.sin(6 * z)) * math.sin(7 * z + 2 * x)
    ink = _sigmoid(18 * (veins - 0.30))
    r, g, b = 0.55 + 0.25 * bands, 0.21 + 0.49 * bands, 0.10 + 0.40 * bands
    return r + (0.05 - r) * ink, g + (0.09 - g) * ink, b + (0.20 - b) * ink


@inlined
def _sigmoid(u):
    return 1 / (1 + math.exp(-u))


@inlined
def _light(x, y, z):
    nx, ny, nz = _normal(x, y, z)
    open_sky = 0.0
    for probe in (0.04, 0.10, 0.20):
        free = _distance(x + probe * nx, y + probe * ny, z + probe * nz) / probe
        open_sky += min(max(free, 0.0), 1.0) / 3
    lamp = max(nx * LAMP[0] + ny * LAMP[1] + nz * LAMP[2], 0.0)
    light = (0.50 + 0.25 * nz) * open_sky + 0.75 * lamp * math.sqrt(open_sky)
    r, g, b = _albedo(x, y, z)
    return light * r, light * g, light * b


@inlined
def _march(ox, oy, oz, dx, dy, dz):
    """Distance to the surface, infinite when the ray leaves the ball without meeting it."""
    middle = -(ox * dx + oy * dy + oz * dz)
    reach = RADIUS**2 - ((ox + middle * dx) ** 2 + (oy + middle * dy) ** 2 + (oz + middle * dz) ** 2)
    if reach <= 0:
        return math.inf
    t, far = middle - math.sqrt(reach), middle + math.sqrt(reach)
    for _ in range(MOST_STEPS):
        distance = _distance(ox + t * dx, oy + t * dy, oz + t * dz)
        if distance < HIT:
            return t
        t += distance / LIPSCHITZ
        if t > far:
            break
    return math.inf


@kernel()
def _sdf_kernel(points: np.ndarray, out: np.ndarray) -> None:
    for i in numba.prange(len(points)):
        out[i] = _distance(points[i, 0], points[i, 1], points[i, 2])


@kernel()
def _normal_kernel(points: np.ndarray, out: np.ndarray) -> None:
    for i in numba.prange(len(points)):
        out[i, 0], out[i, 1], out[i, 2] = _normal(float(points[i, 0]), float(points[i, 1]), float(points[i, 2]))


@kernel()
def _look_kernel(origins: np.ndarray, directions: np.ndarray, t: np.ndarray, rgb: np.ndarray) -> None:
    for i in numba.prange(len(origins)):
        ox, oy, oz = float(origins[i, 0]), float(origins[i, 1]), float(origins[i, 2])
        dx, dy, dz = float(directions[i, 0]), float(directions[i, 1]), float(directions[i, 2])
        met = _march(ox, oy, oz, dx, dy, dz)
        t[i] = met
        if met < math.inf:
            rgb[i, 0], rgb[i, 1], rgb[i, 2] = _light(ox + met * dx, oy + met * dy, oz + met * dz)
        else:
            rgb[i, 0], rgb[i, 1], rgb[i, 2] = 0.0, 0.0, 0.0
