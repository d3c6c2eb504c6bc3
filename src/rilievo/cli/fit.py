"""`rilievo fit METHOD SCENE -o RUN`: learn a scene.

The command line is read twice: METHOD and --preset say which config there is, then every field of that config becomes
a flag whose default is the preset's value.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from rilievo.cli.arguments import Device, Output, parse
from rilievo.cli.report import describe
from rilievo.engine.method import Artifact, Method, available
from rilievo.engine.workspace import Record, SceneSource, Workspace, require_free
from rilievo.errors import UserError, clear
from rilievo.stretch import stretched

if TYPE_CHECKING:
    from rilievo.data.scene import Scene


BEFORE_LEARNING = frozenset({"config.yaml", "preview", "log", "checkpoints"})
"""What is in a run folder before a method has anything to keep."""


@dataclass(frozen=True)
class Options:
    """What every method is told."""

    scene: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SCENE")]
    """A capture: Blender, nerfstudio, instant-ngp, COLMAP, DTU or rilievo layout."""
    output: Output
    """The run folder to write."""
    preset: str = "fast"
    """Where the settings start from: fast, paper or smoke."""
    resume: bool = False
    """Go on from the last checkpoint of the run at -o."""
    steps: int | None = None
    """Training steps, the preset's whole course being stretched or squeezed to them; --fit.steps alone changes when it
    ends."""
    device: Device | None = None
    """Where to compute; short for --fit.device."""
    seed: int | None = None
    """What all random draws follow from; short for --fit.seed."""
    downscale: float = 1.0
    """Shrink the photographs by this factor."""
    mask_meaning: Literal["object", "ignore", "moving"] | None = None
    """What lies outside a mask: nothing (object), what nobody knows (ignore), or what stands still where masks of a
    clip mark what moves (moving)."""
    region: tuple[float, float, float, float] | None = None
    """The ball to reconstruct, X Y Z RADIUS in the capture's frame; found automatically when left out."""
    holdout: int | None = None
    """Keep every n-th view for `rilievo evaluate`, where the capture has no split of its own."""

    @property
    def source(self) -> SceneSource:
        return SceneSource(str(self.scene.absolute()), self.downscale, self.mask_meaning, self.region, self.holdout)


def command(argv: Sequence[str]) -> None:
    methods = available()
    if not argv or argv[0] not in methods:
        _explain_methods(argv, methods)
        return
    method = methods[argv[0]]
    options, config = parse_for(method, argv[1:])
    if options.resume:
        workspace = _resume(options, config, method)
    else:
        require_free(options.output)
        scene = options.source.load()
        print(describe(scene))
        _require_device(config.fit.device)
        if method.check is not None:
            method.check(config, scene)
        workspace = Workspace.create(options.output, Record(method.name, options.preset, options.source), config)
        workspace.scene = scene
        _show(scene, workspace)
    try:
        method.run(config, workspace)
    except UserError:
        if not options.resume:
            _discard_unbegun(workspace)
        raise
    verbs = ("mesh", "evaluate") if Artifact.MESH in method.gives else ("view", "evaluate")
    print(f"{workspace.folder}: done; next: " + ", ".join(f"rilievo {verb} {workspace.folder}" for verb in verbs))


def _discard_unbegun(workspace: Workspace) -> None:
    """Remove the folder of a run that was refused before anything was learned: the mended command finds it free."""
    learned = {path.name for path in workspace.folder.iterdir()} - BEFORE_LEARNING
    if not learned and workspace.latest_checkpoint() is None:
        shutil.rmtree(workspace.folder, ignore_errors=True)


def _require_device(device: str) -> None:
    """Raise `UserError`, before anything is written, for a device that is not there."""
    from rilievo.engine.fit import accelerator

    accelerator(device)


def _show(scene: Scene, workspace: Workspace) -> None:
    """What was understood of the capture, as a picture: photos, cameras, and the ball that is reconstructed."""
    from rilievo.data.preview import write_preview

    path = workspace.preview / "scene.png"
    write_preview(scene, path)
    print(f"  see {path}; another region: --region X Y Z RADIUS")


def parse_for(method: Method, argv: Sequence[str]) -> tuple[Options, Any]:
    """The options and the method's config, from what follows METHOD.

    The config starts from the preset, or from what a resumed run has stored.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--preset", default="fast")
    first.add_argument("--resume", action="store_true")
    first.add_argument("--steps", type=int)
    first.add_argument("--output", "-o", type=Path)
    try:
        known, _ = first.parse_known_args(list(argv))
    except argparse.ArgumentError as error:
        raise UserError(f"{error}; see `rilievo fit {method.name} --help`") from error
    if known.preset not in method.presets:
        raise clear(
            "--preset", expected="one of " + ", ".join(method.presets), got=known.preset, do="choose one of them"
        )
    start = method.presets[known.preset]
    if known.resume and known.output is not None:
        start = Workspace.open(known.output).config(type(start))
    elif known.steps is not None and known.steps > 0:
        start = stretched(start, known.steps / start.fit.steps)  # what other flags say is meant as it stands
    arguments = dataclasses.make_dataclass(
        "Fit",
        [
            ("options", Annotated[Options, tyro.conf.arg(name="")]),
            ("config", Annotated[type(start), tyro.conf.arg(name=""), tyro.conf.AvoidSubcommands], start),
        ],
    )
    arguments.__doc__ = method.summary
    parsed: Any = parse(f"fit {method.name}", arguments, argv)
    return parsed.options, with_shorthands(parsed.config, parsed.options)


def with_shorthands(config: Any, options: Options) -> Any:
    """The config with --steps, --device and --seed put where they belong."""
    short = {name: getattr(options, name) for name in ("steps", "device", "seed")}
    given = {name: value for name, value in short.items() if value is not None}
    return dataclasses.replace(config, fit=dataclasses.replace(config.fit, **given))


def _resume(options: Options, config: Any, method: Method) -> Workspace:
    workspace = Workspace.open(options.output)
    record = workspace.record
    asked = Record(method.name, options.preset, options.source, record.rilievo)
    if asked != record:
        raise clear(
            f"--resume {options.output}",
            expected=f"the command that began it: {record.method}, preset {record.preset}, {record.scene}",
            got=f"{asked.method}, preset {asked.preset}, {asked.scene}",
            do="repeat it, or choose another -o",
        )
    stored = workspace.config(type(config))
    changeable = {"steps": stored.fit.steps, "device": stored.fit.device}
    if dataclasses.replace(config, fit=dataclasses.replace(config.fit, **changeable)) != stored:
        raise UserError(
            f"--resume {options.output}: a resumed run keeps its settings, only --steps and --device may change; "
            "leave the other flags out, or choose another -o"
        )
    workspace.write_record(record, config)
    return workspace


def _explain_methods(argv: Sequence[str], methods: Mapping[str, Method]) -> None:
    listed = "\n".join(f"  {m.name:<6} {m.summary}" for m in methods.values())
    if not argv or any(a in ("-h", "--help") for a in argv):
        print(f"usage: rilievo fit METHOD SCENE -o RUN [options]\n\n{listed}\n\nOptions: `rilievo fit METHOD --help`.")
        return
    got = next((a for a in argv if not a.startswith("-")), "none")
    raise clear("METHOD", expected="one of " + ", ".join(methods), got=got, do="say `rilievo fit METHOD SCENE -o RUN`")
