"""`rilievo view RUN|SCENE`: look at a run or a capture in the browser."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from rilievo.cli.arguments import Device, parse
from rilievo.cli.report import describe
from rilievo.engine.workspace import SceneSource

if TYPE_CHECKING:
    import numpy as np

    from rilievo.cameras.camera import Cameras
    from rilievo.data.scene import Scene
    from rilievo.viz.viewer import Renders, Viewer

IDLE_S = 0.05


@dataclass(frozen=True)
class View:
    """Show a run or a capture in the browser: cameras, photographs, points, mesh, and the live rendering of a run, with
    a slider for the time of a moving world.
    """

    what: tyro.conf.Positional[Path]
    """A run folder or a capture."""
    port: int = 8080
    """Where the server listens, on 127.0.0.1; the next free one when taken."""
    device: Device = "auto"
    """Where to compute."""


def command(argv: Sequence[str]) -> None:
    asked = parse("view", View, argv)
    viewer, render = open_viewer(asked)
    print(f"open {viewer.url} in a browser; Ctrl-C ends")
    try:
        while True:
            if render is None or not viewer.draw(render):
                time.sleep(IDLE_S)
    finally:
        viewer.close()


def open_viewer(asked: View) -> tuple[Viewer, Renders | None]:
    """A viewer with everything there is to see, and what draws live pictures of a run."""
    if (asked.what / "config.yaml").is_file():
        return _view_run(asked)
    scene = SceneSource(str(asked.what)).load().normalised()
    print(describe(scene))
    return _show(scene, asked.port), None


def _view_run(asked: View) -> tuple[Viewer, Renders]:
    import numpy as np

    from rilievo.engine.run import open_run
    from rilievo.io.mesh_file import read_mesh
    from rilievo.viz.picture import to_bytes

    run = open_run(asked.what, device=asked.device)
    model = run.model  # a damaged checkpoint is told before a browser is opened
    viewer = _show(run.scene, asked.port)
    meshes = sorted(run.workspace.folder.glob("mesh.*"))
    if meshes:
        world_from_capture = np.linalg.inv(run.scene.capture_from_world.numpy())
        viewer.add_mesh(read_mesh(meshes[0]).transformed(world_from_capture))
    if run.moves:
        viewer.add_time()

    def render(cameras: Cameras, time: float | None) -> np.ndarray:
        return to_bytes(model.render(cameras, 0, time).rgb.cpu().numpy())

    return viewer, render


def _show(scene: Scene, port: int) -> Viewer:
    from rilievo.viz.viewer import Viewer

    viewer = Viewer(port)
    viewer.add_scene(scene)
    return viewer
