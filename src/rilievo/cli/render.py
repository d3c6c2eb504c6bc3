"""`rilievo render RUN -o FILE.mp4|DIR`: pictures of a run along a camera path and through time."""

from __future__ import annotations

import math
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
    from torch import Tensor

    from rilievo.cameras.camera import Cameras
    from rilievo.engine.film import Show, Take
    from rilievo.engine.run import Run

NAMED_PATHS = ("orbit", "spiral", "test", "train", "still")


@dataclass(frozen=True)
class Render:
    """Pictures or a video of a run along a camera path. Of a moving world time passes along the path, unless --time
    holds it: a still camera with time running, a moving camera with time held, or both.
    """

    run: tyro.conf.Positional[Path]
    """The folder that `rilievo fit … -o` wrote."""
    output: Output
    """A video when it ends in .mp4, else a folder of pictures."""
    path: str | None = None
    """orbit, spiral, still (one camera of the capture, see --view), train or test (its training or held-out cameras,
    at the times of their photographs), or a JSON file of poses; when left out orbit, and train for a moving world,
    which was filmed from one side."""
    time: tuple[float, ...] = ()
    """Of a moving world: one moment in [0, 1] to hold, or two between which time runs; from 0 to 1 when left out."""
    view: int | None = None
    """The camera of --path still, by its number in the capture from 0; the middle training view when left out."""
    frames: int = 90
    """Pictures along an orbit or a spiral, or of a still camera."""
    fps: float = 30.0
    """Pictures per second of the video."""
    size: int | None = None
    """Width in pixels, the height follows; as the photographs when left out."""
    show: tuple[Literal["color", "normals", "depth", "flow"], ...] = ("color",)
    """What to show; several stand side by side. Flow leads to the next picture, its direction is the hue."""
    device: Device = "auto"
    """Where to compute."""


def command(argv: Sequence[str]) -> None:
    asked = parse("render", Render, argv)
    for name, value in (("--frames", asked.frames), ("--fps", asked.fps), ("--size", asked.size)):
        if value is not None and value <= 0:
            raise clear(name, expected="a number above 0", got=str(value), do="leave it out for the usual one")
    if not asked.show:
        raise clear("--show", expected="at least one of color, normals, depth, flow", got="none", do="leave it out")
    _check_time(asked.time)

    from rilievo.engine.film import Film
    from rilievo.engine.run import open_run

    run = open_run(asked.run, device=asked.device)
    path = asked.path or ("train" if run.moves else "orbit")
    take = path_take(run, path, asked)
    sizes = {(width, height) for width, height in take.cameras.sizes_px.tolist()}
    if asked.output.suffix and len(sizes) > 1:
        raise clear(
            f"--path {path}",
            expected="pictures of one size, for a video",
            got=f"{len(sizes)} sizes",
            do="give a folder for pictures as -o",
        )
    write_frames(asked.output, Film(run.model, take, asked.show), len(take), asked.fps)
    print(f"{asked.output}: {len(take)} pictures")


def path_take(run: Run, path: str, asked: Render) -> Take:
    """The cameras of a path and their times, in the run's normalised world.

    Raises `UserError` for a path or a view that is not there, and for a time in a world that does not move.
    """
    from rilievo.engine.film import Take

    scene = run.scene
    if asked.time and not run.moves:
        got = f"one of {run.method.name}"
        raise clear("--time", expected="a run of a moving world", got=got, do="leave it out, or fit modgs")
    views: list[int] | None = None
    if path == "still":
        views = [_still_view(run, asked.view)] * asked.frames
    elif asked.view is not None:
        raise clear("--view", expected="--path still", got=f"--path {path}", do="leave one of them out")
    elif path in ("train", "test"):
        views = _in_order_of_time(run, scene.test_views if path == "test" else scene.train_views)
    cameras = path_cameras(run, path, asked.frames) if views is None else scene.cameras[views]
    if asked.size is not None:
        cameras = cameras.resized(width=asked.size)
    if not run.moves:
        return Take(cameras)
    if not asked.time and scene.times is not None and path in ("train", "test"):
        return Take(cameras, scene.times[views])
    return Take(cameras, _passing(asked.time or (0.0, 1.0), len(cameras)))


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
    if not Path(path).is_file():
        raise clear("--path", expected=", ".join(NAMED_PATHS) + " or a file", got=repr(path), do="check the name")
    return path_from_file(Path(path), cameras).transformed(torch.linalg.inv(run.scene.capture_from_world))


def pictures(run: Run, cameras: Cameras, show: Show = "color") -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """What the model sees through each camera, ready for a screen."""
    from rilievo.engine.film import Film, Take

    return iter(Film(run.model, Take(cameras), (show,)))


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


def _check_time(time: tuple[float, ...]) -> None:
    if len(time) > 2 or not all(math.isfinite(t) and 0 <= t <= 1 for t in time):
        got = " ".join(f"{t:g}" for t in time)
        raise clear("--time", expected="one or two numbers in [0, 1]", got=got, do="0 is the first frame, 1 the last")


def _passing(ends: tuple[float, ...], count: int) -> Tensor:
    """Moments from the first to the last of `ends`, evenly."""
    import torch

    return torch.linspace(ends[0], ends[-1], count)


def _still_view(run: Run, view: int | None) -> int:
    if view is None:
        ordered = _in_order_of_time(run, run.scene.train_views)
        return ordered[len(ordered) // 2]
    if not 0 <= view < len(run.scene):
        expected = f"a view from 0 to {len(run.scene) - 1}"
        raise clear("--view", expected=expected, got=str(view), do="see the names in the capture, in their order")
    return view


def _in_order_of_time(run: Run, views: Sequence[int]) -> list[int]:
    """Views of the capture from the first to the last; as they come where they have no times."""
    if not views:
        raise UserError("--path test: this run held no views out; fit with --holdout 8, or choose another path")
    times = run.scene.times
    return list(views) if times is None else sorted(views, key=lambda i: float(times[i]))
