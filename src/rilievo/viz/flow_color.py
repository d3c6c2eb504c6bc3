"""Optical flow as a picture: the colour circle of Baker et al. 2011 ("A database and evaluation methodology for optical
flow", Middlebury).

The direction gives the hue on a wheel of 55 colours, the length the saturation: no motion is white, length 1 the full
colour; what is longer is darkened. Published scripts clip a flow to [0, max], which also removes everything that moves
left or up; `longest_px` sets the scale instead and keeps all directions.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8

ARCS = (("red to yellow", 15), ("yellow to green", 6), ("green to cyan", 4), ("cyan to blue", 11),
        ("blue to magenta", 13), ("magenta to red", 6))  # fmt: skip
"""Steps between the six pure colours: more where the eye tells more hues apart."""
EPS = 1e-5
BEYOND = 0.75
"""Brightness of what is longer than 1."""


def color_wheel() -> Float[np.ndarray, "55 3"]:
    """The colours of the wheel in [0, 255], from red through yellow, green, cyan, blue and magenta."""
    wheel = []
    for k, (_, steps) in enumerate(ARCS):
        rising = np.floor(255 * np.arange(steps) / steps)
        color = np.zeros((steps, 3))
        held, moving = ((k + 1) // 2 % 3, (1 - k) % 3)
        color[:, held] = 255
        color[:, moving] = rising if k % 2 == 0 else 255 - rising
        wheel.append(color)
    return np.concatenate(wheel)


def flow_picture(flow: Float[np.ndarray, "h w 2"], longest_px: float | None = None) -> UInt8[np.ndarray, "h w 3"]:
    """RGB picture of a flow in pixels, scaled so that `longest_px` (its own longest vector when None) is full colour.

    Frames of a video share one `longest_px`, or each is scaled for itself and speeds cannot be compared.
    """
    longest = float(np.linalg.norm(flow, axis=-1).max()) if longest_px is None else longest_px
    return direction_colors(flow / (longest + EPS))


def direction_colors(flow: Float[np.ndarray, "h w 2"]) -> UInt8[np.ndarray, "h w 3"]:
    """RGB of vectors as they are: length 1 is the full colour, above it the colour is darkened."""
    wheel = color_wheel() / 255
    length = np.linalg.norm(flow, axis=-1)[..., None]
    position = (np.arctan2(-flow[..., 1], -flow[..., 0]) / np.pi + 1) / 2 * (len(wheel) - 1)
    below = np.floor(position).astype(np.int64)
    share = (position - below)[..., None]
    hue = (1 - share) * wheel[below] + share * wheel[(below + 1) % len(wheel)]
    color = np.where(length <= 1, 1 - length * (1 - hue), hue * BEYOND)
    return np.floor(255 * color).astype(np.uint8)
