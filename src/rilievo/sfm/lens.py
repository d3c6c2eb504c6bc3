"""A shared lens: how it images points, the derivatives, and what is believed of lenses before a photo was looked at.

Eight numbers per lens, θ = (f, a, cx, cy, k1, k2, p1, p2): fx = f, fy = a f, principal point (cx, cy) in pixels
(centres at +0.5), then the polynomial part of OpenCV's distortion (`cameras.distortion`). With (x, y) on the plane
z = 1 and s = x² + y², q = 1 + k1 s + k2 s²:

    u = f (q x + 2 p1 x y + p2 (s + 2x²)) + cx          v = a f (q y + p1 (s + 2y²) + 2 p2 x y) + cy

Beliefs are normal distributions. They are what decides between a centred pinhole and a full lens: a parameter that the
photos hardly determine stays where it was expected, one that they determine well moves there, and in between it goes as
far as the evidence carries it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

PARAMETERS = ("f", "aspect", "cx", "cy", "k1", "k2", "p1", "p2")
GUESSED_FOCAL = 1.2
"""Focal length over the longer side where nothing is known: a field of view of 45 degrees, COLMAP's guess as well."""


@dataclass(frozen=True)
class Belief:
    """Mean and standard deviation of θ before the photos; a deviation of 0 holds a parameter where it is."""

    mean: Float64[np.ndarray, "8"]
    deviation: Float64[np.ndarray, "8"]


@dataclass(frozen=True)
class LensSpread:
    """How much lenses vary around a centred pinhole with square pixels; f and the centre relative."""

    focal_known: float = 0.10
    """Of f where EXIF gives it: zoom and focus breathe, and the 35 mm equivalent is rounded."""
    focal_guessed: float = 1.0
    aspect: float = 0.001
    """Pixels are square; scanned lenses and reduced photos are off by about a thousandth."""
    center: float = 0.006
    """Of the longer side: sensors sit within a percent of the axis."""
    k1: float = 0.05
    k2: float = 0.05
    tangential: float = 0.0005


CAMERA = LensSpread()
PINHOLE = LensSpread(aspect=0.0, center=0.0, k1=0.0, k2=0.0, tangential=0.0)


def belief(size_px: tuple[int, int], focal_px: float | None, spread: LensSpread = CAMERA) -> Belief:
    """What is expected of a lens, from the photo's width and height and the focal length that EXIF tells, if any."""
    width, height = size_px
    longer = max(width, height)
    f = focal_px or GUESSED_FOCAL * longer
    mean = np.array([f, 1.0, width / 2, height / 2, 0.0, 0.0, 0.0, 0.0])
    relative = spread.focal_guessed if focal_px is None else spread.focal_known
    center = spread.center * longer
    deviation = np.array(
        [relative * f, spread.aspect, center, center, spread.k1, spread.k2, spread.tangential, spread.tangential]
    )
    return Belief(mean, deviation)


def known(K: Float64[np.ndarray, "3 3"], distortion: Float64[np.ndarray, "8"]) -> Belief:
    """A calibrated lens, which is not to be changed; `distortion` is (k1 … k6, p1, p2) with k3 … k6 zero."""
    assert not distortion[2:6].any(), "the adjustment knows k1, k2, p1, p2"
    fx, fy = K[0, 0], K[1, 1]
    mean = np.array([fx, fy / fx, K[0, 2], K[1, 2], distortion[0], distortion[1], distortion[6], distortion[7]])
    return Belief(mean, np.zeros(8))


def matrix_of(theta: Float64[np.ndarray, "8"]) -> Float64[np.ndarray, "3 3"]:
    """K, in pixels."""
    return np.array([[theta[0], 0.0, theta[2]], [0.0, theta[0] * theta[1], theta[3]], [0.0, 0.0, 1.0]])


def distortion_of(theta: Float64[np.ndarray, "8"]) -> Float64[np.ndarray, "8"]:
    """(k1 … k6, p1, p2), as in `Cameras`."""
    return np.array([theta[4], theta[5], 0.0, 0.0, 0.0, 0.0, theta[6], theta[7]])


def project(
    in_cam: Float64[np.ndarray, "o 3"], theta: Float64[np.ndarray, "o 8"]
) -> tuple[Float64[np.ndarray, "o 2"], Float64[np.ndarray, "o 2 3"], Float64[np.ndarray, "o 2 8"]]:
    """Pixels of points given in camera axes, one lens per point, with derivatives by the point and by the lens."""
    f, a, cx, cy, k1, k2, p1, p2 = theta.T
    z = in_cam[:, 2]
    x, y = in_cam[:, 0] / z, in_cam[:, 1] / z
    s = x * x + y * y
    q, dq = 1 + s * (k1 + s * k2), k1 + 2 * s * k2
    bent_x = q * x + 2 * p1 * x * y + p2 * (s + 2 * x * x)
    bent_y = q * y + p1 * (s + 2 * y * y) + 2 * p2 * x * y
    pixels = np.stack([f * bent_x + cx, a * f * bent_y + cy], axis=1)

    xx = q + 2 * x * x * dq + 2 * p1 * y + 6 * p2 * x
    xy = 2 * x * y * dq + 2 * p1 * x + 2 * p2 * y
    yy = q + 2 * y * y * dq + 6 * p1 * y + 2 * p2 * x
    by_point = np.empty((len(z), 2, 3))
    by_point[:, 0] = (f / z)[:, None] * np.stack([xx, xy, -(xx * x + xy * y)], axis=1)
    by_point[:, 1] = (a * f / z)[:, None] * np.stack([xy, yy, -(xy * x + yy * y)], axis=1)

    one, none = np.ones_like(x), np.zeros_like(x)
    by_lens = np.empty((len(z), 2, 8))
    by_lens[:, 0] = np.stack(
        [bent_x, none, one, none, f * x * s, f * x * s * s, 2 * f * x * y, f * (s + 2 * x * x)], axis=1
    )
    af = a * f
    by_lens[:, 1] = np.stack(
        [a * bent_y, f * bent_y, none, one, af * y * s, af * y * s * s, af * (s + 2 * y * y), 2 * af * x * y], axis=1
    )
    return pixels, by_point, by_lens


def unproject(pixels: Float64[np.ndarray, "o 2"], theta: Float64[np.ndarray, "o 8"]) -> Float64[np.ndarray, "o 2"]:
    """Points of the plane z = 1 imaged at `pixels`, by fixed-point iteration: for mild lenses, inside the photo."""
    f, a, cx, cy, k1, k2, p1, p2 = theta.T
    goal_x, goal_y = (pixels[:, 0] - cx) / f, (pixels[:, 1] - cy) / (a * f)
    x, y = goal_x, goal_y
    for _ in range(12):
        s = x * x + y * y
        q = np.maximum(1 + s * (k1 + s * k2), 0.1)
        aside_x, aside_y = 2 * p1 * x * y + p2 * (s + 2 * x * x), p1 * (s + 2 * y * y) + 2 * p2 * x * y
        x, y = (goal_x - aside_x) / q, (goal_y - aside_y) / q
    return np.stack([x, y], axis=1)


def degrees_of_view(theta: Float64[np.ndarray, "8"], width: int) -> float:
    """Horizontal field of view of the pinhole part."""
    return math.degrees(2 * math.atan(width / 2 / theta[0]))
