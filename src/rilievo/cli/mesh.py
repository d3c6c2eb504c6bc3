"""`rilievo mesh RUN`: the surface of a run, in the frame of its capture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from rilievo.cli.arguments import Device, MaybeOutput, parse
from rilievo.errors import UserError, clear

if TYPE_CHECKING:
    from rilievo.engine.run import Run
    from rilievo.geometry.mesh import TriMesh

RESOLUTION = 256


@dataclass(frozen=True)
class Mesh:
    """The surface of a run as a mesh with vertex colours, in the frame of its capture."""

    run: tyro.conf.Positional[Path]
    """The folder that `rilievo fit … -o` wrote."""
    output: MaybeOutput = None
    """A file ending in .glb, .ply or .obj; RUN/mesh.glb when left out."""
    resolution: int = RESOLUTION
    """Cells along each side of the region of interest."""
    keep_largest: bool = False
    """Keep the largest connected piece alone."""
    min_component: float | None = None
    """Drop pieces whose area is below this fraction of the largest piece's."""
    device: Device = "auto"
    """Where to compute."""


def command(argv: Sequence[str]) -> None:
    asked = parse("mesh", Mesh, argv)
    if asked.resolution < 8:
        raise clear("--resolution", expected="at least 8", got=str(asked.resolution), do="256 is usual")
    if asked.min_component is not None and not 0 <= asked.min_component <= 1:
        raise clear(
            "--min-component", expected="a fraction in [0, 1]", got=str(asked.min_component), do="0.01 is usual"
        )
    output = asked.output or asked.run / "mesh.glb"

    from rilievo.engine.run import open_run
    from rilievo.io.mesh_file import write_mesh

    run = open_run(asked.run, device=asked.device)
    mesh = surface(run, asked.resolution, 1.0 if asked.keep_largest else asked.min_component)
    write_mesh(output, mesh)
    closed = "closed" if mesh.is_closed() else f"open, {mesh.boundary_loops()} boundaries"
    print(f"{output}: {len(mesh.vertices)} vertices, {len(mesh.faces)} triangles, {closed}")


def surface(run: Run, resolution: int, min_component: float | None = None) -> TriMesh:
    """The mesh of a run in the capture's frame. Raises `UserError` when there is no surface in the region."""
    mesh = run.model.extract_mesh(resolution)
    if not len(mesh.faces):
        raise UserError(
            f"{run.workspace.folder}: no surface in the region of interest; fit longer, or try another --region"
        )
    if min_component is not None:
        mesh = mesh.without_small_components(min_component)
    return mesh.transformed(run.scene.capture_from_world.numpy())
