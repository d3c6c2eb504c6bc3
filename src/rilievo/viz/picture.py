"""Renderings as pictures: depth in false colour, normals as colours, and labelled grids of both."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

LABEL_PX = 18
"""Height of the strip that holds a label."""

_DARK_TO_LIGHT = np.array(
    [
        [0.09, 0.07, 0.22],
        [0.16, 0.22, 0.45],
        [0.11, 0.41, 0.56],
        [0.13, 0.58, 0.53],
        [0.40, 0.73, 0.40],
        [0.75, 0.82, 0.32],
        [0.99, 0.92, 0.55],
    ]
)
"""Dark blue to pale yellow through green; lightness rises all along, so it survives grey printing."""


def false_color(values: Float[np.ndarray, "*any"]) -> UInt8[np.ndarray, "*any 3"]:
    """Colours for numbers in [0, 1], dark to light; numbers outside are clipped."""
    knots = np.linspace(0, 1, len(_DARK_TO_LIGHT))
    channels = [np.interp(np.clip(values, 0, 1), knots, _DARK_TO_LIGHT[:, c]) for c in range(3)]
    return to_bytes(np.stack(channels, axis=-1))


def depth_picture(
    depth: Float[np.ndarray, "h w"], opacity: Float[np.ndarray, "h w"], span: tuple[float, float] | None = None
) -> UInt8[np.ndarray, "h w 3"]:
    """Near is light, far is dark, black where less than half of the light was stopped.

    `span` is what the lightest and the darkest colour stand for; `depth_span` of the picture itself when None.
    """
    hit = _hit(depth, opacity)
    near, far = (depth_span(depth, opacity) or (0.0, 1.0)) if span is None else span
    shade = 1 - (depth - near) / max(far - near, 1e-9)
    return np.where(hit[..., None], false_color(shade), np.uint8(0))


def depth_span(depth: Float[np.ndarray, "h w"], opacity: Float[np.ndarray, "h w"]) -> tuple[float, float] | None:
    """The 2nd and the 98th percentile of what was hit, so that a few stray pixels do not flatten the rest; None where
    nothing was."""
    hit = _hit(depth, opacity)
    if not hit.any():
        return None
    near, far = np.percentile(depth[hit], [2, 98])
    return float(near), float(far)


def _hit(depth: Float[np.ndarray, "h w"], opacity: Float[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    return (opacity > 0.5) & (depth > 0)


def normal_picture(
    normals: Float[np.ndarray, "h w 3"], opacity: Float[np.ndarray, "h w"]
) -> UInt8[np.ndarray, "h w 3"]:
    """x, y, z in [-1, 1] as red, green, blue, fading to black with the opacity."""
    return to_bytes((normals + 1) / 2 * opacity[..., None])


def to_bytes(values: Float[np.ndarray, "*any"]) -> UInt8[np.ndarray, "*any"]:
    """[0, 1] to 0 … 255, rounded; what lies outside is clipped."""
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def grid(
    rows: Sequence[Sequence[UInt8[np.ndarray, "_h _w 3"]]], labels: Sequence[str] = (), *, gap_px: int = 4
) -> UInt8[np.ndarray, "h w 3"]:
    """Pictures side by side on white, each in a cell as large as the largest; `labels` head the columns."""
    height = max(p.shape[0] for row in rows for p in row)
    width = max(p.shape[1] for row in rows for p in row)
    columns = max(len(row) for row in rows)
    head = LABEL_PX if labels else 0
    canvas = Image.new(
        "RGB", (columns * (width + gap_px) + gap_px, head + len(rows) * (height + gap_px) + gap_px), (255, 255, 255)
    )
    for r, row in enumerate(rows):
        for c, picture in enumerate(row):
            corner = (gap_px + c * (width + gap_px), head + gap_px + r * (height + gap_px))
            canvas.paste(Image.fromarray(np.ascontiguousarray(picture)), corner)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=12)
    for c, label in enumerate(labels):
        pen.text((gap_px + c * (width + gap_px), gap_px), label, fill=(40, 40, 40), font=font)
    return np.asarray(canvas)
