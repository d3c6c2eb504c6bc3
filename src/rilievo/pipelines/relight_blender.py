"""New light by Blender's Cycles: a script of ours runs in a Blender without windows, which the user has.

Which Blender: `--blender PATH`, else `blender` on the search path, else the module bpy beside us. The run's
material.glb is imported as any glTF file, so that what is shown is what a Blender user gets. A panorama in Blender has
+x in the middle of its picture, and turns clockwise from there as ours does.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float32

from rilievo.errors import UserError, clear
from rilievo.io.exr import read_exr, write_exr_rgb
from rilievo.shading.environment import Rows, texel_directions

from .relight_job import RelightJob, resampled

SCRIPT = Path(__file__).with_name("blender_scene.py")
LAST_WORDS = 5
"""Lines of Blender's own that are repeated when it fails."""


def render(job: RelightJob, blender: Path | None = None) -> Iterator[Float32[np.ndarray, "h w 4"]]:
    """The pictures of a job. Raises `UserError` where there is no Blender, or it fails."""
    command = blender_command(blender)
    mesh = job.folder / "material.glb"
    if not mesh.is_file():
        raise clear(str(mesh), expected="the mesh with its maps", got="none", do="--resume the fit of nero-material")
    with tempfile.TemporaryDirectory() as folder:
        for name in _rendered(job, command, mesh, Path(folder)):
            channels = read_exr(name)
            yield np.stack([channels[c] for c in "RGBA"], axis=-1)


def blender_command(given: Path | None) -> list[str]:
    """How a script is run in Blender. Raises `UserError` where there is none."""
    if given is not None and not given.is_file():
        raise clear("--blender", expected="Blender's program", got=f"no file {given}", do="check the path")
    found = str(given) if given is not None else shutil.which("blender")
    if found is not None:
        return [found, "--background", "--factory-startup", "--python-exit-code", "1", "--python", str(SCRIPT)]
    if importlib.util.find_spec("bpy") is not None:
        return [sys.executable, str(SCRIPT)]
    raise clear(
        "--backend blender",
        expected="Blender",
        got="none on the search path, and no module bpy",
        do="install it (apt install blender, or blender.org), give --blender PATH, or pip install bpy",
    )


def _rendered(job: RelightJob, command: list[str], mesh: Path, folder: Path) -> list[Path]:
    rows = 2 * job.environment.radiance.shape[0]
    quarter = texel_directions(rows, Rows.CENTERS).view(rows, 2 * rows, 3).roll(rows // 2, dims=1)
    write_exr_rgb(folder / "light.exr", resampled(job.environment, quarter.flatten(0, 1), rows))
    names = [folder / f"{i:04d}.exr" for i in range(len(job.cameras))]
    described = {
        "mesh": str(mesh.absolute()),
        "light": str(folder / "light.exr"),
        "albedo_scale": list(job.albedo_scale),
        "samples": job.samples,
        "bounces": job.bounces,
        "views": [_view(job, i, name) for i, name in enumerate(names)],
    }
    (folder / "job.json").write_text(json.dumps(described))
    done = subprocess.run([*command, "--", str(folder / "job.json")], capture_output=True, text=True, check=False)
    if done.returncode != 0 or not all(name.is_file() for name in names):
        said = (done.stderr or done.stdout).strip().splitlines()[-LAST_WORDS:]
        raise UserError(f"{command[0]}: did not finish the pictures; it said: {' / '.join(said)}")
    return names


def _view(job: RelightJob, i: int, name: Path) -> dict[str, object]:
    width, height = job.cameras.sizes_px[i].tolist()
    K = job.cameras.K[i]
    pose: torch.Tensor = job.cameras.world_from_cam_opengl[i]
    return {
        "picture": str(name),
        "size": [width, height],
        "focal": float(K[0, 0]),
        "center": [float(K[0, 2]), float(K[1, 2])],
        "pose": pose.tolist(),
    }
