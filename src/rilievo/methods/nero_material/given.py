"""The surface that materials are asked for: a mesh file, or a run that found one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rilievo.data.scene import Scene
from rilievo.errors import UserError, clear
from rilievo.geometry import sim3
from rilievo.geometry.mesh import TriMesh

SPECK = 0.01
"""Pieces with less than this share of the largest one's area are left out."""
GLANCE = 48
"""Width in pixels of the pictures in which the cameras look for the surface."""


def given_mesh(path: Path, resolution: int, scene: Scene) -> TriMesh:
    """The mesh in the frame of the capture of a normalised scene.

    Raises `UserError` when none was named, nothing is there, it has no faces, or it lies beside the region of interest.
    """
    check_named(path)
    if path.is_dir():
        from rilievo.engine.run import open_run

        run = open_run(path, device="cpu")
        mesh = run.model.extract_mesh(resolution).transformed(run.scene.capture_from_world.numpy())
    else:
        from rilievo.io.mesh_file import read_mesh

        mesh = read_mesh(path)
    return _usable(mesh, path, scene)


def check_named(path: Path) -> None:
    """What can be told of `--mesh` at once. Raises `UserError` when none was named, or a folder is no begun run."""
    if path == Path():
        raise clear("--mesh", expected="a mesh file or a run folder", got="none", do="fit nero-shape first and name it")
    if not path.exists():
        raise clear(f"--mesh {path}", expected="a mesh file or a run folder", got="nothing there", do="check the path")
    if not path.is_dir():
        return
    from rilievo.engine.method import Artifact
    from rilievo.engine.run import open_run

    run = open_run(path, device="cpu")
    if Artifact.MESH not in run.method.gives:
        raise clear(
            f"--mesh {path}",
            expected="a run that gives a mesh",
            got=f"one of {run.method.name}",
            do="name a run of nero-shape or neus, or a mesh file",
        )
    if run.workspace.latest_checkpoint() is None:
        raise UserError(f"--mesh {path}: that run has no checkpoint yet; let it finish, or name another")


def _usable(mesh: TriMesh, path: Path, scene: Scene) -> TriMesh:
    """The mesh without specks, if the training cameras see it."""
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
    if not seen_by_cameras(mesh, scene):
        raise clear(
            f"--mesh {path}",
            expected="a surface before the training cameras",
            got=f"one that no ray of {len(scene.train_views)} views meets",
            do="give the mesh of a run on this capture, in the capture's frame",
        )
    return mesh


def seen_by_cameras(mesh: TriMesh, scene: Scene) -> bool:
    """Whether any of some rays through the training views of a normalised scene meets a mesh in the capture's frame."""
    from .surface import KnownSurface

    surface = KnownSurface(mesh.transformed(sim3.inverse(scene.capture_from_world).numpy()))
    cameras = scene.cameras[list(scene.train_views)].resized(width=GLANCE)
    for i in range(len(cameras)):
        rays = cameras.view_rays(i)
        if bool(surface.blocked(rays.origins, rays.directions).any()):
            return True
    return False


def told_of_gaps(mesh: TriMesh) -> str | None:
    """What there is to say of a mesh that is not closed."""
    if mesh.is_closed():
        return None
    return (
        f"the surface is not closed ({mesh.boundary_loops()} open borders, or edges that are not of two faces): both "
        "sides of it count as surface, and light comes in through the gaps"
    )
