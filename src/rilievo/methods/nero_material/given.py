"""The surface that materials are asked for: a mesh file, or a run that found one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rilievo.data.scene import Scene
from rilievo.errors import clear
from rilievo.geometry import sim3
from rilievo.geometry.mesh import TriMesh

SPECK = 0.01
"""Pieces with less than this share of the largest one's area are left out."""


def given_mesh(path: Path, resolution: int, scene: Scene) -> TriMesh:
    """The mesh in the frame of the capture of a normalised scene.

    Raises `UserError` when none was named, nothing is there, it has no faces, or it lies beside the region of interest.
    """
    from rilievo.io.mesh_file import read_mesh

    if path == Path():
        raise clear("--mesh", expected="a mesh file or a run folder", got="none", do="fit nero-shape first and name it")
    mesh = _of_run(path, resolution) if path.is_dir() else read_mesh(path)
    if len(mesh.faces) == 0:
        raise clear(f"--mesh {path}", expected="a mesh with faces", got="none", do="extract it again, or fit longer")
    mesh = mesh.without_small_components(SPECK)
    center, radius = mesh.bounding_ball
    scale, _, origin = sim3.split(scene.capture_from_world)  # of a normalised world: the ball of the region
    if np.linalg.norm(center - origin.numpy()) > radius + float(scale):
        raise clear(
            f"--mesh {path}",
            expected="a mesh in the capture's frame, within the region of interest",
            got=f"one round {center.round(2).tolist()} of radius {radius:.3g}",
            do="give the mesh of a run on this capture",
        )
    return mesh


def _of_run(path: Path, resolution: int) -> TriMesh:
    from rilievo.engine.run import open_run

    run = open_run(path, device="cpu")
    return run.model.extract_mesh(resolution).transformed(run.scene.capture_from_world.numpy())
