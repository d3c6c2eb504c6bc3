"""`rilievo reconstruct PHOTOS -o DIR`: align, fit and mesh in one go; goes on where it was interrupted."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, get_args

import tyro

from rilievo.cli import align, fit, mesh
from rilievo.cli.alignment_options import Aligner, AlignmentOptions
from rilievo.cli.arguments import Device, Output, parse
from rilievo.engine.method import Artifact, available
from rilievo.engine.workspace import require_free
from rilievo.errors import clear
from rilievo.io.atomic import write_text

RECORD = "reconstruct.json"
SURFACE = "neus"


@dataclass(frozen=True)
class Reconstruct:
    """Photos or a video to DIR/scene (cameras), DIR/run (the fitted surface) and DIR/mesh.glb."""

    photos: tyro.conf.Positional[Path]
    """A folder of photos, or a video file."""
    output: Output
    """The folder to write; one that the same command left unfinished is gone on with."""
    method: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """How photos are aligned (sfm, mast3r or dust3r), or how the surface is learned (a method that gives meshes); say
    it twice to choose both. sfm and neus when left out."""
    preset: str = "fast"
    """Where the settings of the surface start from."""
    steps: int | None = None
    """Training steps; the preset's number when left out."""
    resolution: int = mesh.RESOLUTION
    """Cells of the mesh along each side of the region of interest."""
    device: Device = "auto"
    """Where to compute."""
    how: Annotated[AlignmentOptions, tyro.conf.arg(name="")] = field(default_factory=AlignmentOptions)


@dataclass(frozen=True)
class Chosen:
    """The methods of both stages."""

    aligner: Aligner
    surface: str


def command(argv: Sequence[str]) -> None:
    asked = parse("reconstruct", Reconstruct, argv)
    chosen = _chosen(asked.method)
    began = time.perf_counter()
    scene, run, result = asked.output / "scene", asked.output / "run", asked.output / "mesh.glb"
    aligning = align.Align(asked.photos, scene, chosen.aligner, device=asked.device, how=asked.how)
    align.require_sound(aligning)
    _begin(asked, is_aligned=(scene / "transforms.json").is_file())
    if not (scene / "transforms.json").is_file():
        align.run(aligning)
    if not (run / "done").is_file():
        fit.command(_fit_arguments(asked, chosen.surface, scene, run))
        write_text(run / "done", "")
    if not result.is_file():
        mesh.command(
            [str(run), "-o", str(result), "--resolution", str(asked.resolution), "--min-component", "0.01",
             "--device", asked.device]
        )  # fmt: skip
    print(f"{result}: {time.perf_counter() - began:.0f} s; look around with: rilievo view {run}")


def _chosen(methods: Sequence[str]) -> Chosen:
    """One aligner and one surface. Raises `UserError` for anything else, and for two of a kind."""
    aligners: dict[str, Aligner] = {name: name for name in get_args(Aligner)}
    surfaces = [name for name, m in available().items() if Artifact.MESH in m.gives and m.needs == {Artifact.SCENE}]
    for name in methods:
        if name not in aligners and name not in surfaces:
            raise clear(
                "--method",
                expected=f"one of {', '.join(aligners)} to align by, or of {', '.join(surfaces)} for the surface",
                got=name,
                do=f"sfm and {SURFACE} are the usual ones",
            )
    by, of = [aligners[m] for m in methods if m in aligners], [m for m in methods if m in surfaces]
    if len(by) > 1 or len(of) > 1:
        two = by if len(by) > 1 else of
        raise clear("--method", expected="one to align by and one for the surface", got=", ".join(two), do="choose one")
    return Chosen(by[0] if by else "sfm", of[0] if of else SURFACE)


def _begin(asked: Reconstruct, *, is_aligned: bool) -> None:
    """Leave a record of what was asked, or find the same one; without a scene yet, another one begins anew.

    Raises `UserError` for another one where there is a scene, and for a foreign folder.
    """
    path = asked.output / RECORD
    told = {**dataclasses.asdict(asked), **dataclasses.asdict(asked.how)}
    # as JSON has it, so that what is read back compares
    record = {name: str(value) for name, value in told.items() if name not in ("device", "how")}
    if not path.is_file():
        require_free(asked.output)
    try:
        earlier = json.loads(path.read_text()) if path.is_file() else None
    except ValueError:
        earlier = None
    if is_aligned and earlier != record:
        raise clear(
            str(asked.output),
            expected="a new folder, or what the same command left",
            got="another reconstruction",
            do=f"repeat the command in {RECORD}, or choose another -o",
        )
    if earlier != record:
        write_text(path, json.dumps(record, indent=2) + "\n")


def _fit_arguments(asked: Reconstruct, surface: str, scene: Path, run: Path) -> list[str]:
    arguments = [surface, str(scene), "-o", str(run), "--preset", asked.preset, "--device", asked.device]
    if asked.steps is not None:
        arguments += ["--steps", str(asked.steps)]
    if asked.how.mask_meaning is not None:
        arguments += ["--mask-meaning", asked.how.mask_meaning]
    return arguments + (["--resume"] if (run / "config.yaml").is_file() else [])
