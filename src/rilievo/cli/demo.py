"""`rilievo demo`: the built-in capture to a mesh, a turntable video and metrics; goes on where it was interrupted."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rilievo.cli.arguments import Device, Output, parse
from rilievo.cli.report import column, table
from rilievo.engine.workspace import Record, SceneSource, Workspace, json_text
from rilievo.errors import clear

if TYPE_CHECKING:
    from rilievo.engine.run import Run

METHOD, STEPS = "neus", 1500
RESOLUTION = 192
FRAMES, FPS = 24, 12.0
SHOWN = 3
"""Held-out views in preview.png."""


@dataclass(frozen=True)
class Demo:
    """A built-in capture to mesh.glb, turntable.mp4, metrics.json and preview.png; no camera, no network."""

    output: Output = Path("demo")
    """The folder to write; one that an interrupted demo left is gone on with."""
    steps: int = STEPS
    """Training steps."""
    preset: str = "fast"
    """Where the settings start from."""
    device: Device = "auto"
    """Where to compute."""


def command(argv: Sequence[str]) -> None:
    asked = parse("demo", Demo, argv)
    folder = asked.output
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / "capture").is_dir())):
        raise clear(str(folder), expected="a new folder, or an earlier demo", got="other files", do="choose another -o")
    stages: tuple[tuple[str, Path, Callable[[Demo], None]], ...] = (
        ("photograph", folder / "capture" / "reference.ply", _capture),
        ("fit", folder / "run" / "done", _fit),
        ("mesh", folder / "mesh.glb", _mesh),
        ("turntable", folder / "turntable.mp4", _turntable),
        ("measure", folder / "metrics.json", _measure),
        ("preview", folder / "preview.png", _preview),
    )
    began = time.perf_counter()
    for name, product, make in stages:
        if product.exists():
            print(f"{name:<10} already there: {product}")
            continue
        started = time.perf_counter()
        make(asked)
        print(f"{name:<10} {time.perf_counter() - started:6.1f} s  {product}")
    print(f"{'total':<10} {time.perf_counter() - began:6.1f} s; look around with: rilievo view {folder / 'run'}")


def _capture(asked: Demo) -> None:
    from rich.console import Console
    from rich.progress import Progress

    from rilievo.demo.capture import VIEWS, true_surface, write_capture
    from rilievo.io.mesh_file import write_mesh

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("photographing", total=VIEWS)
        write_capture(asked.output / "capture", on_view=lambda i: progress.advance(task))
    write_mesh(asked.output / "capture" / "reference.ply", true_surface())


def _fit(asked: Demo) -> None:
    from rilievo.engine.method import available

    method = available()[METHOD]
    config = method.presets[asked.preset]
    config = dataclasses.replace(config, fit=dataclasses.replace(config.fit, steps=asked.steps, device=asked.device))
    record = Record(METHOD, asked.preset, SceneSource(str((asked.output / "capture").absolute())))
    folder = asked.output / "run"
    if (folder / "config.yaml").is_file():
        workspace = Workspace.open(folder)
        workspace.write_record(record, config)
    else:
        workspace = Workspace.create(folder, record, config)
    method.run(config, workspace)
    workspace.write_text("done", f"{asked.steps} steps\n")


def _open(asked: Demo) -> Run:
    from rilievo.engine.run import open_run

    return open_run(asked.output / "run", device=asked.device)


def _mesh(asked: Demo) -> None:
    from rilievo.cli.mesh import surface
    from rilievo.io.mesh_file import write_mesh

    write_mesh(asked.output / "mesh.glb", surface(_open(asked), RESOLUTION, min_component=0.01))


def _turntable(asked: Demo) -> None:
    from rilievo.cli.render import path_cameras, pictures, write_frames

    run = _open(asked)
    cameras = path_cameras(run, "orbit", FRAMES)
    write_frames(asked.output / "turntable.mp4", pictures(run, cameras), len(cameras), FPS)


def _measure(asked: Demo) -> None:
    from rilievo.cli.evaluate import image_metrics, mesh_metrics
    from rilievo.io.atomic import write_text
    from rilievo.io.mesh_file import read_mesh

    images = image_metrics(_open(asked))
    mesh = mesh_metrics(read_mesh(asked.output / "mesh.glb"), asked.output / "capture" / "reference.ply")
    print(table({"held-out views": images["mean"]}))
    print(column(mesh))
    write_text(asked.output / "metrics.json", json_text({"images": images, "mesh": mesh}))


def _preview(asked: Demo) -> None:
    """Held-out photographs beside what the model sees from there: colour, normals, depth."""
    from rilievo.cli.render import pictures
    from rilievo.io.image import write_image
    from rilievo.viz.picture import grid, to_bytes

    run = _open(asked)
    views = list(run.scene.test_views[:SHOWN])
    cameras = run.scene.cameras[views]
    columns = [[to_bytes(run.scene.photograph(i)) for i in views]]
    columns += [list(pictures(run, cameras, show)) for show in ("color", "normals", "depth")]
    rows = [list(row) for row in zip(*columns, strict=True)]
    write_image(asked.output / "preview.png", grid(rows, labels=("photograph", "model", "normals", "depth")))
