"""From a run of nero-material and a panorama to pictures, whoever renders them.

A renderer gives the object alone, as linear light times coverage, and coverage. Here the surroundings are laid under
it, or left out, and the colours encoded for a screen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.engine.run import Run
from rilievo.errors import clear
from rilievo.geometry import sim3
from rilievo.methods.nero_material.model import NeroMaterialModel
from rilievo.methods.nero_material.relight import PlacedLight, relit
from rilievo.shading.brdf import Material
from rilievo.shading.color import linear_to_srgb
from rilievo.shading.environment import Environment
from rilievo.viz.picture import to_bytes

from . import relight_blender, relight_mitsuba
from .relight_job import RelightJob

Backend = Literal["native", "mitsuba", "blender"]
LEAST_COVERAGE = 1e-3
"""Pixels that show less of the object than this have no colour of their own."""


@dataclass(frozen=True)
class NewLight:
    """How pictures under new light are asked for."""

    environment: Environment
    """z of the capture is up."""
    albedo_scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    transparent: bool = False
    samples: int = 64
    """Directions of each kind, or light paths, per pixel."""
    bounces: int = 1
    oversample: int = 2
    """Places along each side of a pixel, in native pictures."""
    blender: Path | None = None


def relit_pictures(
    run: Run, cameras: Cameras, asked: NewLight, backend: Backend
) -> Iterator[UInt8[np.ndarray, "h w c"]]:
    """What each camera, in the run's normalised world, sees: RGB, or RGBA where the surroundings are left out.

    Raises `UserError` for a run of another method, or where the renderer is missing.
    """
    model = run.model
    if not isinstance(model, NeroMaterialModel):
        raise clear(
            str(run.workspace.folder),
            expected="a run of nero-material",
            got=f"one of {run.method.name}",
            do=f"rilievo fit nero-material SCENE --mesh {run.workspace.folder} -o RUN",
        )
    capture_from_world = run.scene.capture_from_world
    if backend == "native":
        _, R, _ = sim3.split(capture_from_world)
        device = next(model.parameters()).device
        around = PlacedLight(asked.environment.to(device), R.float().to(device))
        seen: Iterator[Tensor] = (_native(model, around, cameras, i, asked) for i in range(len(cameras)))
    else:
        moved = cameras.transformed(capture_from_world)
        job = RelightJob(
            run.workspace.folder, asked.environment, moved, asked.albedo_scale, asked.samples, asked.bounces
        )
        rendered = relight_mitsuba.render(job) if backend == "mitsuba" else relight_blender.render(job, asked.blender)
        seen = (torch.from_numpy(rgba) for rgba in rendered)
    empty = 0
    for i, rgba in enumerate(seen):
        empty += not bool((rgba[..., 3] > 0).any())
        yield screened(rgba, None if asked.transparent else _behind(asked.environment, capture_from_world, cameras, i))
    if empty:
        print(
            f"{empty} of {len(cameras)} pictures show nothing of the object; "
            "a file of poses must be in the frame of the capture"
        )


def screened(
    premultiplied: Float[Tensor, "h w 4"], behind: Float[Tensor, "h w 3"] | None
) -> UInt8[np.ndarray, "h w c"]:
    """8-bit sRGB: over what is behind, or with straight alpha."""
    light, coverage = premultiplied[..., :3], premultiplied[..., 3:].clamp(0, 1)
    if behind is not None:
        return to_bytes(linear_to_srgb(light + behind * (1 - coverage)).numpy())
    own = linear_to_srgb(light / coverage.clamp_min(LEAST_COVERAGE))
    return to_bytes(torch.cat([own, coverage], -1).numpy())


def _native(model: NeroMaterialModel, around: PlacedLight, cameras: Cameras, i: int, asked: NewLight) -> Tensor:
    scale = torch.tensor(asked.albedo_scale)

    def scaled(points: Tensor) -> Material:
        material = model.material(points)
        return replace(material, albedo=(material.albedo * scale.to(points)).clamp(0, 1))

    return relit(
        model.surface,
        scaled,
        around,
        cameras,
        i,
        directions=asked.samples,
        bounces=asked.bounces,
        oversample=asked.oversample,
        seed=i,
    )


def _behind(environment: Environment, capture_from_world: Tensor, cameras: Cameras, i: int) -> Tensor:
    rays = cameras.view_rays(i)
    width, height = cameras.sizes_px[i].tolist()
    directions = sim3.apply_to_directions(capture_from_world.to(rays.directions), rays.directions)
    return environment.radiance_towards(directions).view(height, width, 3)
