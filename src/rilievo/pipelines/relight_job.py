"""What another renderer is asked for: a run's mesh and materials under an environment, seen by pinhole cameras.

Everything is in the frame of the capture. Pictures come back as linear light times coverage, and coverage; what is
behind the object is laid under them by whoever asked, so that all renderers agree on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from rilievo.cameras.camera import Cameras
from rilievo.errors import clear
from rilievo.shading.environment import Environment

SQUARE_SLACK = 1e-3
"""How much the two focal lengths may differ, as a share."""


@dataclass(frozen=True)
class RelightJob:
    """One environment, one material, any number of cameras."""

    folder: Path
    """The run of nero-material, with surface.ply, materials/ and material.glb."""
    environment: Environment
    cameras: Cameras
    """In the frame of the capture."""
    albedo_scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    samples: int = 64
    """Light paths per pixel."""
    bounces: int = 1

    def __post_init__(self) -> None:
        K, distortion = self.cameras.K, self.cameras.distortion
        square = (K[:, 0, 0] / K[:, 1, 1] - 1).abs() < SQUARE_SLACK
        plain = square & (K[:, 0, 1] == 0) & (distortion == 0).all(-1) & ~self.cameras.fisheye
        if not bool(plain.all()):
            raise clear(
                "cameras for another renderer",
                expected="pinholes with square pixels",
                got=f"{int((~plain).sum())} with distortion, skew or other pixels",
                do="use --backend native, or another --path",
            )


Renderer = Callable[[RelightJob], Iterator[Float32[np.ndarray, "h w 4"]]]


def vertex_material(job: RelightJob) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scaled albedo [v, 3], metallic [v, 1] and roughness [v, 1] at the vertices of the run's surface."""
    kept = job.folder / "materials"
    missing = [n for n in ("albedo", "metallic", "roughness") if not (kept / f"{n}.npy").is_file()]
    if missing:
        raise clear(
            str(kept),
            expected="albedo.npy, metallic.npy and roughness.npy",
            got=f"no {missing[0]}.npy",
            do="let the fit of nero-material come to its end, or --resume it",
        )
    albedo, metallic, roughness = (np.load(kept / f"{n}.npy") for n in ("albedo", "metallic", "roughness"))
    return np.clip(albedo * np.asarray(job.albedo_scale, np.float32), 0, 1), metallic, roughness


def resampled(environment: Environment, directions: torch.Tensor, rows: int) -> Float32[np.ndarray, "h w 3"]:
    """The environment's radiance towards `directions`, given row by row for a picture of `rows` rows."""
    light = environment.radiance_towards(directions.float())
    return light.view(rows, 2 * rows, 3).numpy().astype(np.float32)
