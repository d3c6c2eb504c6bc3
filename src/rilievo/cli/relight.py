"""`rilievo relight RUN --envmap FILE -o DIR`: a fitted object under other light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from rilievo.cli.arguments import Device, Output, parse
from rilievo.errors import UserError, clear


@dataclass(frozen=True)
class Relight:
    """Pictures of a run of nero-material under the light of a panorama, with shadows and one bounce."""

    run: tyro.conf.Positional[Path]
    """The folder that `rilievo fit nero-material … -o` wrote."""
    envmap: Path
    """The light: an .exr or .hdr panorama, twice as wide as high, z of the capture up."""
    output: Output
    """The folder for the pictures."""
    backend: Literal["native"] = "native"
    """What renders."""
    path: str = "test"
    """test or train (cameras of the capture), orbit, spiral, or a JSON file of poses."""
    frames: int = 30
    """Pictures along an orbit or a spiral."""
    size: int | None = None
    """Width in pixels, the height follows; as the photographs when left out."""
    rows: Literal["centers", "poles"] = "centers"
    """Whether the panorama's rows lie between the poles, as in most programs, or the first and last are the poles, as
    in Mitsuba."""
    turn: float = 0.0
    """Degrees by which the light is turned about z, counter-clockwise seen from above."""
    transparent: bool = False
    """Leave out the surroundings: PNGs with alpha."""
    directions: int = 32
    """Light directions of each of two kinds that are followed from a pixel."""
    bounces: int = 1
    """How often light may come from the object itself."""
    device: Device = "auto"
    """Where to compute."""


def command(argv: Sequence[str]) -> None:
    asked = parse("relight", Relight, argv)
    for name, value, least in (("--directions", asked.directions, 1), ("--bounces", asked.bounces, 0)):
        if value < least:
            raise clear(name, expected=f"at least {least}", got=str(value), do="leave it out for the usual one")

    import math

    import torch
    from rich.progress import track

    from rilievo.cli.render import path_cameras
    from rilievo.engine.run import open_run
    from rilievo.geometry import sim3
    from rilievo.io.image import write_image
    from rilievo.methods.nero_material.model import NeroMaterialModel
    from rilievo.methods.nero_material.relight import PlacedLight, relit
    from rilievo.shading.environment import Rows, read_environment
    from rilievo.viz.picture import to_bytes

    environment = read_environment(asked.envmap, Rows(asked.rows)).turned(math.radians(asked.turn))
    if environment.blackened:
        print(f"{asked.envmap}: {environment.blackened} pixels are negative; they are taken as black")
    run = open_run(asked.run, device=asked.device)
    model = run.model
    if not isinstance(model, NeroMaterialModel):
        raise clear(
            str(asked.run),
            expected="a run of nero-material",
            got=f"one of {run.method.name}",
            do=f"rilievo fit nero-material SCENE --mesh {asked.run} -o RUN",
        )
    device = next(model.parameters()).device
    _, R, _ = sim3.split(run.scene.capture_from_world)
    around = PlacedLight(environment.to(device), R.float().to(device))
    if asked.path in ("test", "train"):
        views = run.scene.test_views if asked.path == "test" else run.scene.train_views
        if not views:
            raise UserError(f"{asked.run}: no views were held out; use --path train or --path orbit")
        cameras, names = run.scene.cameras[list(views)], [Path(run.scene.names[i]).stem for i in views]
    else:
        cameras = path_cameras(run, asked.path, asked.frames)
        names = [f"{i:04d}" for i in range(len(cameras))]
    if asked.size is not None:
        cameras = cameras.resized(width=asked.size)
    for i in track(range(len(cameras)), "relighting", transient=True):
        seen = relit(
            model.surface,
            model.material,
            around,
            cameras,
            i,
            directions=asked.directions,
            bounces=asked.bounces,
            seed=i,
        )
        picture = [seen.rgb, seen.opacity[..., None]] if asked.transparent else [seen.rgb]
        write_image(asked.output / f"{names[i]}.png", to_bytes(torch.cat(picture, -1).numpy()))
    print(f"{asked.output}: {len(cameras)} pictures")
