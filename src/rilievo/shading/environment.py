"""Light from far away as a picture of all directions: latitude against longitude, looked up, sampled, read and written.

z is up. With azimuth turning clockwise seen from above, u = atan2(x, y) / 2π mod 1 and v = acos(z) / π: columns have
their centres at u = (c + 0.5) / width, from +y over +x. The rows are read in one of two ways:

* `CENTERS`: row r is at v = (r + 0.5) / height, as Blender and most tools take a panorama;
* `POLES`: row r is at v = r / (height - 1), so that the first and last rows are the poles, as Mitsuba does.

Radiance is linear and bilinear between texels. For sampling, each texel owns the band of directions round it and is
drawn by the light in there; within a texel all directions are equally likely, so that the density is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from rilievo.errors import clear
from rilievo.io.exr import read_exr_rgb, write_exr_rgb
from rilievo.io.radiance_hdr import read_hdr, write_hdr

from .directions import polar
from .texture import bilinear

LUMINANCE = (0.2126, 0.7152, 0.0722)
"""Weights of linear red, green and blue (ITU-R BT.709)."""
ASPECT_SLACK = 0.05
"""How far width / height may be from 2: some panoramas repeat a row or a column."""
RINGING = 0.05
"""Share of pixels that may be negative, as resampling leaves them beside bright lights; they are taken as black."""


class Rows(StrEnum):
    """Where the rows of a panorama are."""

    CENTERS = "centers"
    POLES = "poles"


@dataclass(frozen=True)
class Environment:
    """Radiance from every direction, infinitely far away."""

    radiance: Float[Tensor, "h w 3"]
    rows: Rows = Rows.CENTERS
    turn: float = 0.0
    """Radians by which the surroundings are turned about +z, counter-clockwise seen from above."""
    blackened: int = 0
    """Pixels of the file that were negative, and are black here."""

    @staticmethod
    def checked(radiance: Float[np.ndarray, "h w c"], name: str, rows: Rows = Rows.CENTERS) -> Environment:
        """From pixels; a few negative ones become black.

        Raises `UserError` for NaN, many negative values, another shape than 2:1, or no light at all.
        """
        height, width, channels = radiance.shape
        if channels != 3 or abs(width / height - 2) > ASPECT_SLACK or height < 2:
            raise clear(
                f"environment map {name}",
                expected="a latitude-longitude panorama, twice as wide as high, with 3 colours",
                got=f"{width}x{height} pixels with {channels} channels",
                do="convert cube maps and mirror balls to a 2:1 panorama first",
            )
        wrong = _fault(radiance)
        if wrong is not None:
            raise clear(
                f"environment map {name}",
                expected="finite radiance, not negative and somewhere above 0",
                got=wrong,
                do="repair those pixels in an image editor, or export the panorama again",
            )
        pixels = np.maximum(np.ascontiguousarray(radiance, dtype=np.float32), 0)
        return Environment(torch.from_numpy(pixels), rows, blackened=int((radiance < 0).any(-1).sum()))

    def turned(self, radians: float) -> Environment:
        """The same surroundings, turned further about +z."""
        return replace(self, turn=self.turn + radians)

    def to(self, device: torch.device | str) -> Environment:
        return replace(self, radiance=self.radiance.to(device))

    def radiance_towards(self, directions: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """What arrives from unit directions; differentiable by the radiance and by the directions."""
        height, width, _ = self.radiance.shape
        u, v = panorama_place(directions, self.turn)
        y = v * height - 0.5 if self.rows is Rows.CENTERS else v * (height - 1)
        return bilinear(self.radiance.to(directions.dtype), u * width - 0.5, y, periodic_x=True)

    def sample(self, u: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
        """Unit directions with density `pdf`, from three uniform numbers each: which texel, and where in it."""
        height, width, _ = self.radiance.shape
        cumulative = self._cumulative.to(u.device)
        texel = torch.searchsorted(cumulative, u[:, 0].double().contiguous(), right=True).clamp(max=height * width - 1)
        row, column = texel // width, texel % width
        z_edges = self._z_edges.to(u)
        z = z_edges[row] + (z_edges[row + 1] - z_edges[row]) * u[:, 1]
        clockwise = 2 * math.pi * (column + u[:, 2]) / width
        azimuth = math.pi / 2 - clockwise + self.turn
        return torch.cat([polar((1 - z * z).clamp_min(0).sqrt(), azimuth), z[:, None]], -1)

    def pdf(self, directions: Float[Tensor, "n 3"]) -> Float[Tensor, "n 1"]:
        """Density per steradian of `sample`."""
        height, width, _ = self.radiance.shape
        u, v = panorama_place(directions, self.turn)
        column = (u * width).long() % width
        row = v * height if self.rows is Rows.CENTERS else v * (height - 1) + 0.5
        row = row.long().clamp(0, height - 1)
        return self._density.to(directions)[row, column][:, None]

    @cached_property
    def _z_edges(self) -> Float[Tensor, "h_plus_one"]:
        """Heights between the bands of the rows, from 1 down to -1."""
        height = self.radiance.shape[0]
        edges = torch.arange(height + 1, dtype=torch.float64)
        v = edges / height if self.rows is Rows.CENTERS else ((edges - 0.5) / (height - 1)).clamp(0, 1)
        return torch.cos(math.pi * v)

    @cached_property
    def _light(self) -> Float[Tensor, "h w"]:
        """Light per texel in double precision: mean radiance of the bilinear look-up, times the solid angle."""
        radiance = self.radiance.detach().double().cpu()
        width = radiance.shape[1]
        luminance = radiance @ torch.tensor(LUMINANCE, dtype=torch.float64)
        below = torch.cat([luminance[:1], luminance, luminance[-1:]])  # the border goes on
        luminance = (below[:-2] + 6 * below[1:-1] + below[2:]) / 8
        luminance = (luminance.roll(1, 1) + 6 * luminance + luminance.roll(-1, 1)) / 8
        return luminance * (self._z_edges[:-1] - self._z_edges[1:])[:, None] * (2 * math.pi / width)

    @cached_property
    def _cumulative(self) -> Float[Tensor, "texels"]:
        total = self._light.flatten().cumsum(0)
        return total / total[-1]

    @cached_property
    def _density(self) -> Float[Tensor, "h w"]:
        width = self.radiance.shape[1]
        solid_angle = (self._z_edges[:-1] - self._z_edges[1:])[:, None] * (2 * math.pi / width)
        return self._light / self._light.sum() / solid_angle


def panorama_place(
    directions: Float[Tensor, "*n 3"], turn: float = 0.0
) -> tuple[Float[Tensor, "*n"], Float[Tensor, "*n"]]:
    """u in [0, 1) and v in [0, 1] of unit directions, in surroundings turned by `turn`."""
    x, y, z = directions.unbind(-1)
    u = (torch.atan2(x, y) + turn) / (2 * math.pi)
    return u - u.detach().floor(), torch.atan2(torch.hypot(x, y), z) / math.pi


def read_environment(path: Path, rows: Rows = Rows.CENTERS) -> Environment:
    """Open a panorama, .exr or .hdr. Raises `UserError` where `Environment.checked` or the reader does."""
    readers = {".exr": read_exr_rgb, ".hdr": read_hdr, ".pic": read_hdr}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise clear(f"environment map {path}", expected=".exr or .hdr", got=path.suffix or "no suffix", do="convert it")
    return Environment.checked(reader(path), str(path), rows)


def write_environment(path: Path, environment: Environment) -> None:
    """Write the panorama as it stands in `radiance`, without its turn: .exr in float32, .hdr in 8 bits a colour."""
    pixels: Float32[np.ndarray, "h w 3"] = environment.radiance.detach().cpu().float().numpy()
    suffix = path.suffix.lower()
    if suffix == ".exr":
        write_exr_rgb(path, pixels)
    elif suffix == ".hdr":
        write_hdr(path, pixels)
    else:
        raise clear(f"environment map {path}", expected=".exr or .hdr", got=suffix or "no suffix", do="name one")


def _fault(radiance: np.ndarray) -> str | None:
    """What is wrong with the pixels, in words."""
    if not np.isfinite(radiance).all():
        count = int((~np.isfinite(radiance)).any(-1).sum())
        return f"{count} pixels that are NaN or infinite"
    if (radiance < 0).any(-1).mean() > RINGING:
        return f"{int((radiance < 0).any(-1).sum())} negative pixels (down to {radiance.min():.3g})"
    return "black everywhere" if radiance.max() == 0 else None


def texel_directions(height: int, rows: Rows = Rows.CENTERS) -> Float[Tensor, "texels 3"]:
    """Unit directions of the texels of a panorama of `height` rows and twice as many columns, row by row, in double
    precision."""
    row = torch.arange(height, dtype=torch.float64)
    v = (row + 0.5) / height if rows is Rows.CENTERS else row / (height - 1)
    u = (torch.arange(2 * height, dtype=torch.float64) + 0.5) / (2 * height)
    azimuth = math.pi / 2 - 2 * math.pi * u
    z, radius = torch.cos(math.pi * v), torch.sin(math.pi * v)
    disc = polar(radius[:, None], azimuth)
    return torch.cat([disc, z[:, None, None].expand(-1, 2 * height, 1)], -1).flatten(0, 1)
