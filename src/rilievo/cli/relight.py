"""`rilievo relight RUN --envmap FILE -o DIR`: a fitted object under other light."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


@dataclass(frozen=True)
class Relight:
    """Pictures of a run of nero-material under the light of a panorama, with shadows and one bounce."""

    run: tyro.conf.Positional[Path]
    """The folder that `rilievo fit nero-material … -o` wrote."""
    envmap: Path
    """The light: an .exr or .hdr panorama, twice as wide as high, z of the capture up."""
    output: Output
    """A video when it ends in .mp4, else a folder of pictures."""
    backend: Literal["native", "mitsuba", "blender"] = "native"
    """What renders: rilievo, Mitsuba 3 (extra `relight`), or Blender's Cycles."""
    blender: Path | None = None
    """Blender's program, where it is not on the search path."""
    path: str = "test"
    """test or train (cameras of the capture), orbit, spiral, or a JSON file of poses."""
    frames: int = 30
    """Pictures along an orbit or a spiral."""
    fps: float = 30.0
    """Pictures per second of a video."""
    size: int | None = None
    """Width in pixels, the height follows; as the photographs when left out."""
    rows: Literal["centers", "poles"] = "centers"
    """Whether the panorama's rows lie between the poles, as in most programs, or the first and last are the poles, as
    in Mitsuba."""
    turn: float = 0.0
    """Degrees by which the light is turned about z, counter-clockwise seen from above."""
    albedo_scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Red, green and blue by which the albedo is multiplied: photographs leave open whether the object is darker or its
    light."""
    transparent: bool = False
    """Leave out the surroundings: PNGs with alpha."""
    directions: int = 64
    """Light directions of each of two kinds that are followed from a pixel; paths per pixel for the other renderers."""
    bounces: int = 1
    """How often light may come from the object itself."""
    oversample: int = 2
    """Places along each side of a pixel that native pictures average."""
    device: Device = "auto"
    """Where to compute."""


def command(argv: Sequence[str]) -> None:
    asked = parse("relight", Relight, argv)
    _check(asked)

    import math

    from rilievo.cli.render import write_frames
    from rilievo.engine.run import open_run
    from rilievo.pipelines.relight import NewLight, relit_pictures
    from rilievo.shading.environment import Rows, read_environment

    environment = read_environment(asked.envmap, Rows(asked.rows)).turned(math.radians(asked.turn))
    if environment.blackened:
        print(f"{asked.envmap}: {environment.blackened} pixels are negative; they are taken as black")
    run = open_run(asked.run, device=asked.device)
    cameras, names = _views(run, asked)
    light = NewLight(
        environment,
        asked.albedo_scale,
        asked.transparent,
        asked.directions,
        asked.bounces,
        asked.oversample,
        asked.blender,
    )
    pictures = relit_pictures(run, cameras, light, asked.backend)
    if _is_video(asked.output):
        write_frames(asked.output, pictures, len(cameras), asked.fps)
    else:
        _write(asked.output, names, pictures)
    print(f"{asked.output}: {len(cameras)} pictures")


def _check(asked: Relight) -> None:
    least = {"directions": 1, "bounces": 0, "oversample": 1, "frames": 1, "fps": 1, "size": 1}
    for name, lowest in least.items():
        given = getattr(asked, name)
        if given is not None and given < lowest:
            raise clear(f"--{name}", expected=f"at least {lowest}", got=str(given), do="leave it out for the usual one")
    if min(asked.albedo_scale) <= 0:
        got = " ".join(f"{s:g}" for s in asked.albedo_scale)
        raise clear("--albedo-scale", expected="three numbers above 0", got=got, do="leave it out for none")
    if asked.transparent and _is_video(asked.output):
        raise clear("--transparent", expected="a folder as -o", got=str(asked.output), do="video knows no alpha")
    if asked.blender is not None and asked.backend != "blender":
        raise clear("--blender", expected="--backend blender", got=asked.backend, do="leave one of them out")


def _views(run: Run, asked: Relight) -> tuple[Cameras, list[str]]:
    """The cameras, in the run's normalised world, and what their pictures are called."""
    from rilievo.cli.render import path_cameras

    if asked.path in ("test", "train"):
        views = run.scene.test_views if asked.path == "test" else run.scene.train_views
        if not views:
            raise UserError(f"{asked.run}: no views were held out; use --path train or --path orbit")
        cameras, names = run.scene.cameras[list(views)], [Path(run.scene.names[i]).stem for i in views]
    else:
        cameras = path_cameras(run, asked.path, asked.frames)
        names = [f"{i:04d}" for i in range(len(cameras))]
    return cameras if asked.size is None else cameras.resized(width=asked.size), names


def _write(folder: Path, names: Sequence[str], pictures: Iterable[UInt8[np.ndarray, "h w c"]]) -> None:
    from rich.console import Console
    from rich.progress import track

    from rilievo.io.image import write_image

    bar = track(pictures, "relighting", len(names), console=Console(stderr=True), transient=True)
    for name, picture in zip(names, bar):
        write_image(folder / f"{name}.png", picture)


def _is_video(output: Path) -> bool:
    return output.suffix.lower() == ".mp4"
