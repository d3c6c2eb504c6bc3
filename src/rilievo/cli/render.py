"""`rilievo render RUN -o FILE.mp4|DIR`: pictures of a run along a camera path."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from rilievo.cli.arguments import Device, Output, parse
from rilievo.errors import UserError, clear

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

    from rilievo.cameras.camera import Cameras
    from rilievo.engine.run import Run

NAMED_PATHS = ("orbit", "spiral", "test")


@dataclass(frozen=True)
class Render:
    """Pictures or a video of a run along a camera path."""

    run: tyro.conf.Positional[Path]
    """The folder that `rilievo fit … -o` wrote."""
    output: Output
    """A video when it ends in .mp4, else a folder of pictures."""
    path: str = "orbit"
    """orbit, spiral, test (the held-out cameras), or a JSON file of poses."""
    frames: int = 90
    """Pictures along an orbit or a spiral."""
    fps: float = 30.0
    """Pictures per second of the video."""
    size: int | None = None
    """Width in pixels, the height follows; as the photographs when left out."""
    show: Literal["color", "normals", "depth"] = "color"
    """What to show."""
    device: Device = "auto"
    """Where to compute."""


def command(argv: Sequence[str]) -> None:
    asked = parse("render", Render, argv)
    for name, value in (("--frames", asked.frames), ("--fps", asked.fps), ("--size", asked.size)):
        if value is not None and value <= 0:
            raise clear(name, expected="a number above 0", got=str(value), do="leave it out for the usual one")

    from rilievo.engine.run import open_run

    run = open_run(asked.run, device=asked.device)
    cameras = path_cameras(run, asked.path, asked.frames)
    if asked.size is not None:
        cameras = cameras.resized(width=asked.size)
    write_frames(asked.output, pictures(run, cameras, asked.show), len(cameras), asked.fps)
    print(f"{asked.output}: {len(cameras)} pictures")


def path_cameras(run: Run, path: str, frames: int) -> Cameras:
    """The cameras of a named path or of a file, in the run's normalised world."""
    import torch

    from rilievo.cameras import paths
    from rilievo.cameras.path_file import path_from_file

    cameras, origin = run.scene.cameras, torch.zeros(3, dtype=torch.float64)
    if path == "orbit":
        return paths.orbit(cameras, origin, frames)
    if path == "spiral":
        return paths.spiral(cameras, origin, frames)
    if path == "test":
        if not run.scene.test_views:
            raise UserError("--path test: this run held no views out; fit with --holdout 8, or choose another path")
        return cameras[list(run.scene.test_views)]
    if not Path(path).is_file():
        raise clear("--path", expected=", ".join(NAMED_PATHS) + " or a file", got=repr(path), do="check the name")
    return path_from_file(Path(path), cameras).transformed(torch.linalg.inv(run.scene.capture_from_world))


def pictures(run: Run, cameras: Cameras, show: str = "color") -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """What the model sees through each camera, ready for a screen."""
    from rilievo.viz.picture import depth_picture, normal_picture, to_bytes

    for i in range(len(cameras)):
        seen = run.model.render(cameras, i)
        opacity = seen.opacity.cpu().numpy()
        if show == "depth":
            yield depth_picture(seen.depth.cpu().numpy(), opacity)
        elif show == "normals" and seen.normals is None:
            raise UserError(f"--show normals: {run.method.name} has no surface; choose color or depth")
        elif show == "normals" and seen.normals is not None:
            yield normal_picture(seen.normals.cpu().numpy(), opacity)
        else:
            yield to_bytes(seen.rgb.cpu().numpy())


def write_frames(output: Path, frames: Iterable[UInt8[np.ndarray, "h w 3"]], count: int, fps: float) -> None:
    """Write a video or a folder of numbered pictures, with a progress bar on stderr."""
    from rich.console import Console
    from rich.progress import track

    from rilievo.io.image import write_image

    frames = track(frames, "rendering", total=count, console=Console(stderr=True))
    if output.suffix:
        from rilievo.io.video import write_video

        write_video(output, frames, fps)
        return
    for i, frame in enumerate(frames):
        write_image(output / f"{i:04d}.png", frame)
