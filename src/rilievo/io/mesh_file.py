"""Triangle meshes in files: `.ply` (ours), `.obj` and `.glb` (through trimesh), with vertex colours, whole or not at
all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh

from rilievo.errors import clear
from rilievo.geometry.mesh import TriMesh
from rilievo.io.atomic import replacing
from rilievo.io.ply import read_points, write_table

SUFFIXES = (".ply", ".obj", ".glb")


def write_mesh(path: Path, mesh: TriMesh) -> None:
    """Write a mesh in its own frame; no axes are exchanged, also not for glb, whose viewers take y as up.

    Raises `UserError` for another suffix or a place that cannot be written.
    """
    suffix = _suffix(path)
    if suffix == ".ply":
        columns: dict[str, np.ndarray] = {axis: mesh.vertices[:, i].astype(np.float32) for i, axis in enumerate("xyz")}
        if mesh.normals is not None:
            columns |= {f"n{axis}": mesh.normals[:, i].astype(np.float32) for i, axis in enumerate("xyz")}
        if mesh.colors is not None:
            columns |= {name: mesh.colors[:, i] for i, name in enumerate(("red", "green", "blue"))}
        write_table(path, columns, mesh.faces.astype(np.int32))
        return
    if suffix == ".glb" and len(mesh.faces) == 0:
        raise clear(
            str(path), expected="a mesh with faces (glb holds no empty mesh)", got="none", do="write .ply instead"
        )
    body = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_normals=mesh.normals, process=False)
    if mesh.colors is not None:
        body.visual = trimesh.visual.ColorVisuals(body, vertex_colors=mesh.colors)
    with replacing(path) as temporary:
        body.export(temporary, include_normals=mesh.normals is not None)


def read_mesh(path: Path) -> TriMesh:
    """Read a mesh with its vertex colours; normals come back from `.ply` alone. Several parts become one mesh.

    Raises `UserError` when the file is missing, broken, or of another kind.
    """
    if _suffix(path) == ".ply":
        ply = read_points(path)
        faces = np.zeros((0, 3), np.int64) if ply.faces is None else ply.faces
        return TriMesh(ply.xyz, faces, ply.normals, ply.rgb)
    if not path.is_file():
        raise clear(str(path), expected="a mesh file", got="nothing there", do="check the path")
    try:
        body = trimesh.load(path, force="mesh", process=False)
    except (ValueError, KeyError, IndexError, TypeError, OSError, EOFError) as error:
        raise clear(str(path), expected="a readable mesh", got=str(error), do="export it again") from error
    if not isinstance(body, trimesh.Trimesh) or len(body.vertices) == 0:
        raise clear(str(path), expected="a mesh with vertices", got="none", do="export it again")
    colors = None
    if isinstance(body.visual, trimesh.visual.ColorVisuals) and body.visual.kind == "vertex":
        colors = np.asarray(body.visual.vertex_colors, dtype=np.uint8)[:, :3].copy()
    return TriMesh(np.array(body.vertices), np.array(body.faces), None, colors)


def _suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise clear(
            f"mesh {path.name}", expected="a name in " + ", ".join(SUFFIXES), got=suffix or "none", do="rename it"
        )
    return suffix
