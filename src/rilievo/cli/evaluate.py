"""`rilievo evaluate RUN|MESH|SCENE`: pictures against held-out photographs, meshes and cameras against a reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from rilievo.cli.arguments import Device, MaybeOutput, parse
from rilievo.cli.mesh import RESOLUTION, surface
from rilievo.cli.report import column, table
from rilievo.engine.workspace import json_text
from rilievo.errors import UserError, clear
from rilievo.io.atomic import write_text

if TYPE_CHECKING:
    from rilievo.engine.run import Run
    from rilievo.geometry.mesh import TriMesh

MESH_SUFFIXES = (".glb", ".ply", ".obj", ".stl", ".off")


@dataclass(frozen=True)
class Evaluate:
    """PSNR and SSIM of a run on held-out photographs at full stored resolution; distances of a mesh, or errors of an
    aligned scene's cameras, to a reference.
    """

    what: tyro.conf.Positional[Path]
    """A run folder; or a mesh file or a scene, together with --reference."""
    output: MaybeOutput = None
    """Where the numbers go as JSON; RUN/metrics.json for a run when left out."""
    reference: Path | None = None
    """The true surface, in the capture's frame; for a scene the true cameras (cameras.json, or any capture)."""
    resolution: int = RESOLUTION
    """Of the mesh that is extracted from a run for --reference."""
    lpips: tuple[Path, ...] = ()
    """Weight files of LPIPS (AlexNet's and its linear heads'), to report it too; they do not come with rilievo."""
    device: Device = "auto"
    """Where to compute."""


def command(argv: Sequence[str]) -> None:
    asked = parse("evaluate", Evaluate, argv)
    is_scene = asked.what.is_dir() and not (asked.what / "config.yaml").is_file()
    if asked.reference is not None and not (asked.reference.exists() if is_scene else asked.reference.is_file()):
        expected = "cameras (a .json file or a capture)" if is_scene else "a mesh file"
        raise clear("--reference", expected=expected, got=f"nothing at {asked.reference}", do="check the path")
    if is_scene:
        output, metrics = asked.output, _of_scene(asked)
    elif asked.what.suffix.lower() in MESH_SUFFIXES and not asked.what.is_dir():
        output, metrics = asked.output, _of_mesh_file(asked)
    else:
        output, metrics = asked.output or asked.what / "metrics.json", _of_run(asked)
    if output is not None:
        write_text(output, json_text(metrics))
        print(f"{output}: written")


def image_metrics(run: Run, lpips: Sequence[Path] = ()) -> dict[str, Any]:
    """PSNR (dB), SSIM and with weight files LPIPS on the held-out photographs at their stored resolution: `mean`,
    `views`.

    A moving world is shown at the time of each photograph. Photographs of cut-out objects are laid over white, as the
    model's pictures are. Raises `UserError` when the run held nothing out.
    """
    import torch
    from rich.console import Console
    from rich.progress import track

    from rilievo.metrics.image import psnr, ssim
    from rilievo.metrics.lpips import load_lpips

    scene = dataclasses.replace(run.workspace.record.scene, downscale=1.0).load()
    if not scene.test_views:
        raise UserError(
            f"{run.workspace.folder}: no views were held out; fit with --holdout 8 to measure on every eighth"
        )
    metrics = {"psnr": psnr, "ssim": ssim} | ({"lpips": load_lpips("alex", lpips)} if lpips else {})
    cameras = scene.cameras.transformed(torch.linalg.inv(run.scene.capture_from_world) @ scene.capture_from_world)
    views = {}
    for i in track(scene.test_views, "held-out views", console=Console(stderr=True), transient=True):
        with torch.no_grad():
            seen = run.model.render(cameras, i, scene.time_of(i)).rgb.cpu()
            photo = torch.from_numpy(scene.photograph(i))
            views[scene.names[i]] = {name: float(metric(seen, photo)) for name, metric in metrics.items()}
    mean = {name: sum(view[name] for view in views.values()) / len(views) for name in metrics}
    return {"mean": mean, "views": views}


def mesh_metrics(mesh: TriMesh, reference: Path) -> dict[str, Any]:
    """Distances, F-score and normal error between a mesh and the surface in the file `reference`, by name."""
    from rilievo.metrics.mesh import compare_meshes

    return dataclasses.asdict(compare_meshes(mesh, reference))


def _of_run(asked: Evaluate) -> dict[str, Any]:
    from rilievo.engine.run import open_run

    run = open_run(asked.what, device=asked.device)
    images = image_metrics(run, asked.lpips)
    print(table({**images["views"], "mean": images["mean"]}))
    metrics: dict[str, Any] = {"images": images}
    if asked.reference is not None:
        metrics["mesh"] = mesh_metrics(surface(run, asked.resolution), asked.reference)
        print(column(metrics["mesh"]))
    return metrics


def _of_scene(asked: Evaluate) -> dict[str, Any]:
    from rilievo.data.load import load_scene
    from rilievo.metrics.cameras import compare_scene_cameras

    if asked.reference is None:
        raise UserError(
            f"{asked.what}: no run; a scene's cameras are measured against true ones, give --reference FILE"
        )
    scene, reference = (load_scene(path, holdout=0, verify=False) for path in (asked.what, asked.reference))
    metrics = {"cameras": compare_scene_cameras(scene, reference)}
    print(column(metrics["cameras"]))
    return metrics


def _of_mesh_file(asked: Evaluate) -> dict[str, Any]:
    from rilievo.io.mesh_file import read_mesh

    if asked.reference is None:
        raise UserError(f"{asked.what}: a mesh is measured against another; give --reference FILE")
    metrics = {"mesh": mesh_metrics(read_mesh(asked.what), asked.reference)}
    print(column(metrics["mesh"]))
    return metrics
