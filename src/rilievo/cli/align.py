"""`rilievo align PHOTOS -o SCENE`: cameras, lenses and points from photographs or a video."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from rilievo.cli.arguments import Device, Output, parse
from rilievo.errors import UserError, clear

if TYPE_CHECKING:
    from rilievo.data.scene import Dropped
    from rilievo.pipelines.pair_plan import PhotoPredictor
    from rilievo.pipelines.pointmap_align import Progress
    from rilievo.sfm.align import Known
    from rilievo.sfm.photos import PhotoSet

LISTED = 10

SFM_ONLY = ("mapper", "pairs", "max_side")
NETWORKS_ONLY = ("weights", "graph", "bfloat16", "device")


@dataclass(frozen=True)
class Align:
    """Find out where photographs were taken from and through which lens; write a scene for every other verb.

    Where the photos determine the principal point and the distortion they are refined, where they do not they stay near
    those of an ideal camera. The same command goes on where it was interrupted.
    """

    photos: tyro.conf.Positional[Path]
    """A folder of photos, or a video file."""
    output: Output
    """The scene folder to write."""
    method: Literal["sfm", "mast3r", "dust3r"] = "sfm"
    """sfm: SIFT features and bundle adjustment. mast3r, dust3r: pointmaps by a network, for photos with little overlap
    or texture; they need published weights."""
    weights: str | None = None
    """The network's weights: a .pth, a .safetensors beside its config.json, or a hub id; the published ones of that
    name when left out."""
    graph: str = "auto"
    """Which photos a network compares: complete, swin-W, logwin-W, oneref-R, retrieval or retrieval-A-K; complete up
    to 20 photos and retrieval beyond when left out."""
    bfloat16: bool = False
    """Let the network multiply in half precision: faster on GPUs, half a percent less exact."""
    device: Device = "auto"
    """Where the network runs."""
    masks: Path | None = None
    """Masks named after the photos, white on the object; nothing outside them takes part."""
    mask_meaning: Literal["object", "ignore"] | None = None
    """What lies outside a mask: nothing (object, the default), or what nobody knows (ignore)."""
    turntable: bool = False
    """The camera stood still and the object turned about one axis; needs masks, or a plain background."""
    mapper: Literal["incremental", "global"] = "incremental"
    """How poses are found first; the other way is tried where one leaves photos out."""
    lenses: Literal["auto", "one", "each"] = "auto"
    """Which photos share intrinsics: those of one size and one EXIF setting, all of one size, none."""
    intrinsics: str | None = None
    """Known intrinsics, FX,FY,CX,CY[,K1,K2,P1,P2] in pixels (pixel centres at +0.5), or a JSON file that has them."""
    poses: Path | None = None
    """Known cameras, a scene or cameras.json whose names are the photos': points are triangulated only."""
    pairs: Literal["auto", "all", "sequential"] = "auto"
    """Which photos are compared with which."""
    max_side: int = 3200
    """Larger photos are searched for features in this size; the result is for their own."""
    frames: int = 80
    """Of a video: how many are used at most, the sharpest ones that moved."""
    threads: int = 2
    """For features and matches."""


def command(argv: Sequence[str]) -> None:
    asked = parse("align", Align, argv)
    _require_free(asked.output)
    if asked.threads < 1 or asked.max_side < 64 or asked.frames < 2:
        raise UserError(
            "align: expected --threads >= 1, --max-side >= 64 and --frames >= 2; correct the one that is not"
        )
    _require_fitting(asked)

    from rilievo.data.scene import MaskMeaning
    from rilievo.sfm.align import Known
    from rilievo.sfm.known import known_lens, known_poses
    from rilievo.sfm.photos import find_photos

    if not asked.photos.exists():
        raise clear(
            str(asked.photos), expected="a folder of photos or a video", got="nothing there", do="check the path"
        )
    meaning = None if asked.mask_meaning is None else MaskMeaning(asked.mask_meaning)
    folder = asked.photos
    if folder.is_file():
        from rilievo.sfm.video import frames_of_video

        folder = frames_of_video(asked.photos, asked.output / ".frames", asked.frames)
    found = find_photos(folder, asked.masks, meaning, asked.lenses)
    print(_described(asked.photos, found))
    known = Known(
        None if asked.intrinsics is None else known_lens(asked.intrinsics, found),
        None if asked.poses is None else known_poses(asked.poses, found),
    )
    if asked.method == "sfm":
        _by_features(asked, found, known)
    else:
        _by_pointmaps(asked, found, known)
    shutil.rmtree(asked.output / ".frames", ignore_errors=True)


def _by_features(asked: Align, found: PhotoSet, known: Known) -> None:
    from rilievo.sfm.align import AlignSettings, align
    from rilievo.sfm.features import FeatureSettings

    settings = AlignSettings(
        FeatureSettings(
            asked.max_side, pairs="sequential" if asked.photos.is_file() and asked.pairs == "auto" else asked.pairs
        ),
        asked.mapper,
        asked.turntable,
        asked.threads,
    )
    aligned = align(found, asked.output, settings, known, _shown)
    points = len(set(aligned.tracks.point.tolist()))
    print(_report(asked.output, found, len(aligned.views), points, aligned.notes, aligned.dropped))


def _by_pointmaps(asked: Align, found: PhotoSet, known: Known) -> None:
    from rilievo.pipelines.pointmap_align import PointmapSettings, align, plan_alignment

    assert asked.method != "sfm"
    settings = PointmapSettings(asked.method, asked.graph, asked.turntable)
    predictor, licence = _network(asked)
    print(f"weights: {licence}")
    plan = plan_alignment(found, predictor, settings)
    print(plan)
    with _bar() as progress:
        aligned = align(plan, found, predictor, asked.output, settings, known, progress)
    print(_report(asked.output, found, len(aligned.photos), aligned.points, aligned.notes, aligned.dropped))


def _network(asked: Align) -> tuple[PhotoPredictor, str]:
    """The network that was asked for, and what may be done with its weights.

    Raises `UserError` where weights are absent or wrong, or the device is not there.
    """
    from rilievo.engine.fit import accelerator
    from rilievo.pipelines.pair_plan import require_descriptors
    from rilievo.pointmaps.checkpoint import load_network
    from rilievo.pointmaps.predictor import NetworkPredictor

    loaded = load_network(asked.weights or asked.method, accelerator(asked.device))
    predictor = NetworkPredictor(loaded, bfloat16=asked.bfloat16)
    if asked.method == "mast3r":
        require_descriptors(predictor, str(loaded.origin))
    return predictor, f"{loaded.origin}; licence: {loaded.licence}"


def _require_fitting(asked: Align) -> None:
    """Raise `UserError` for a flag that belongs to another method."""
    others = NETWORKS_ONLY if asked.method == "sfm" else SFM_ONLY
    for option in dataclasses.fields(Align):
        if option.name in others and getattr(asked, option.name) != option.default:
            belongs = "--method mast3r or dust3r" if asked.method == "sfm" else "--method sfm"
            raise clear(
                "--" + option.name.replace("_", "-"),
                expected=belongs,
                got=f"--method {asked.method}",
                do="leave the flag out, or choose that method",
            )
    if asked.turntable and asked.method == "dust3r":
        raise clear("--turntable", expected="--method sfm or mast3r", got="dust3r", do="choose one of these")


def _require_free(output: Path) -> None:
    """Raise `UserError` unless `output` is new, empty, or holds the work of an interrupted run alone."""
    from rilievo.engine.workspace import require_free

    if output.is_dir() and {p.name for p in output.iterdir()} <= {".align", ".frames"}:
        return
    require_free(output)


def _shown(steps: Iterator[int], total: int, label: str) -> None:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        for done in steps:
            bar.update(task, completed=done)


@contextmanager
def _bar() -> Iterator[Progress]:
    """A progress bar that begins anew whenever something else is being done."""
    from rich.console import Console
    from rich.progress import Progress as RichProgress

    with RichProgress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")
        yield lambda label, done, total: bar.update(task, description=label, completed=done, total=total)


def _described(path: Path, found: PhotoSet) -> str:
    sizes = sorted({photo.size_px for photo in found.photos})
    size = " ".join(f"{w}x{h}" for w, h in sizes) if len(sizes) <= 2 else f"{len(sizes)} sizes"
    lenses = len({photo.lens for photo in found.photos})
    focal = sum(photo.focal_px is not None for photo in found.photos)
    lines = [f"{path}: {len(found.photos)} photos, {size} px, {lenses} {'lens' if lenses == 1 else 'lenses'}"]
    lines.append(f"  focal length in the EXIF of {focal} photos" if focal else "  no focal length in EXIF: it is found")
    return "\n".join(lines + [f"  {note}" for note in found.notes])


def _report(
    output: Path, found: PhotoSet, aligned: int, points: int, notes: Sequence[str], dropped: Sequence[Dropped]
) -> str:
    lines = [f"{output}: {aligned} of {len(found.photos)} photos aligned, {points} points"]
    lines += [f"  {note}" for note in notes]
    lines += [f"  dropped {drop.name}: {drop.reason}" for drop in dropped[:LISTED]]
    if len(dropped) > LISTED:
        lines.append(f"  … and {len(dropped) - LISTED} more")
    return "\n".join(lines)
