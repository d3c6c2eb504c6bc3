"""`rilievo reconstruct PHOTOS -o DIR`: align, fit and mesh in one go; goes on where it was interrupted."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from rilievo.cli import align, fit, mesh
from rilievo.cli.arguments import Device, Output, parse
from rilievo.engine.method import Artifact, available
from rilievo.engine.workspace import require_free
from rilievo.errors import clear
from rilievo.io.atomic import write_text

RECORD = "reconstruct.json"


@dataclass(frozen=True)
class Reconstruct:
    """Photos or a video to DIR/scene (cameras), DIR/run (the fitted surface) and DIR/mesh.glb."""

    photos: tyro.conf.Positional[Path]
    """A folder of photos, or a video file."""
    output: Output
    """The folder to write; one that the same command left unfinished is gone on with."""
    masks: Path | None = None
    """Masks named after the photos, white on the object."""
    mask_meaning: Literal["object", "ignore"] | None = None
    """What lies outside a mask: nothing (object), or what nobody knows (ignore)."""
    turntable: bool = False
    """The camera stood still and the object turned; needs masks, or a plain background."""
    intrinsics: str | None = None
    """Known intrinsics, as `rilievo align --intrinsics` takes them."""
    method: str = "neus"
    """How the surface is learned: a method that gives meshes."""
    preset: str = "fast"
    """Where its settings start from."""
    steps: int | None = None
    """Training steps; the preset's number when left out."""
    resolution: int = mesh.RESOLUTION
    """Cells of the mesh along each side of the region of interest."""
    device: Device = "auto"
    """Where to compute."""


def command(argv: Sequence[str]) -> None:
    asked = parse("reconstruct", Reconstruct, argv)
    meshing = [name for name, method in available().items() if Artifact.MESH in method.gives]
    if asked.method not in meshing:
        raise clear("--method", expected="one of " + ", ".join(meshing), got=asked.method, do="neus is the usual one")
    _begin(asked)
    began = time.perf_counter()
    scene, run, result = asked.output / "scene", asked.output / "run", asked.output / "mesh.glb"
    if not (scene / "transforms.json").is_file():
        align.command(_align_arguments(asked, scene))
    if not (run / "done").is_file():
        fit.command(_fit_arguments(asked, scene, run))
        write_text(run / "done", "")
    if not result.is_file():
        mesh.command(
            [str(run), "-o", str(result), "--resolution", str(asked.resolution), "--min-component", "0.01",
             "--device", asked.device]
        )  # fmt: skip
    print(f"{result}: {time.perf_counter() - began:.0f} s; look around with: rilievo view {run}")


def _begin(asked: Reconstruct) -> None:
    """Leave a record of what was asked, or find the same one. Raises `UserError` for another, or a foreign folder."""
    path = asked.output / RECORD
    # as JSON has it, so that what is read back compares
    record: dict[str, Any] = {name: str(value) for name, value in dataclasses.asdict(asked).items() if name != "device"}
    if not path.is_file():
        if not asked.photos.exists():
            raise clear(
                str(asked.photos), expected="a folder of photos or a video", got="nothing there", do="check the path"
            )
        require_free(asked.output)
        write_text(path, json.dumps(record, indent=2) + "\n")
        return
    try:
        earlier = json.loads(path.read_text())
    except ValueError:
        earlier = None
    if earlier != record:
        raise clear(
            str(asked.output),
            expected="a new folder, or what the same command left",
            got="another reconstruction",
            do=f"repeat the command in {RECORD}, or choose another -o",
        )


def _align_arguments(asked: Reconstruct, scene: Path) -> list[str]:
    arguments = [str(asked.photos), "-o", str(scene)]
    if asked.masks is not None:
        arguments += ["--masks", str(asked.masks)]
    if asked.mask_meaning is not None:
        arguments += ["--mask-meaning", asked.mask_meaning]
    if asked.intrinsics is not None:
        arguments += ["--intrinsics", asked.intrinsics]
    return arguments + (["--turntable"] if asked.turntable else [])


def _fit_arguments(asked: Reconstruct, scene: Path, run: Path) -> list[str]:
    arguments = [asked.method, str(scene), "-o", str(run), "--preset", asked.preset, "--device", asked.device]
    if asked.steps is not None:
        arguments += ["--steps", str(asked.steps)]
    if asked.mask_meaning is not None:
        arguments += ["--mask-meaning", asked.mask_meaning]
    return arguments + (["--resume"] if (run / "config.yaml").is_file() else [])
