"""`rilievo align PHOTOS -o SCENE`: cameras, lenses and points from photographs or a video."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from rilievo.cli.alignment_options import Aligner, AlignmentOptions
from rilievo.cli.arguments import Device, Output, parse
from rilievo.errors import clear

if TYPE_CHECKING:
    from rilievo.data.scene import Dropped
    from rilievo.pipelines.anchor_scene import Localized
    from rilievo.pipelines.network_photos import PhotoPredictor
    from rilievo.pipelines.pointmap_align import Progress
    from rilievo.sfm.align import AlignSettings, Known
    from rilievo.sfm.lens import Belief
    from rilievo.sfm.photos import PhotoSet

LISTED = 10
ALIGNING_ONLY = ("turntable", "poses", "mapper", "graph", "fine_side", "fuse", "glb")


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
    method: Aligner = "sfm"
    """sfm: SIFT features and bundle adjustment. mast3r, dust3r: pointmaps by a network, for photos with little overlap
    or texture; they need published weights. Two photos are placed by dust3r as its pair viewer does."""
    onto: Path | None = None
    """An aligned scene: its cameras stay, and the photos (one is enough, and may be given as a file) are placed in its
    frame."""
    clip: bool = False
    """The photos are the frames of a clip, in order of name: each gets its time, as those of a video always do."""
    fixed_camera: bool = False
    """The camera stood still and the world moved: all frames of the clip get one camera, its focal length from EXIF or
    --intrinsics, or a guess."""
    device: Device = "auto"
    """Where a network runs."""
    how: Annotated[AlignmentOptions, tyro.conf.arg(name="")] = field(default_factory=AlignmentOptions)


def command(argv: Sequence[str]) -> None:
    run(parse("align", Align, argv))


def require_sound(asked: Align) -> None:
    """Raise `UserError` for what can be told to be wrong before anything is read or written."""
    asked.how.require_fitting(asked.method)
    if asked.onto is not None:
        asked.how.refuse(ALIGNING_ONLY, "photos that are aligned anew", "--onto")
        if asked.method == "dust3r":
            raise clear("--onto", expected="--method sfm or mast3r", got="dust3r", do="choose one of these")
        if not asked.onto.exists():
            raise clear("--onto", expected="an aligned scene", got=f"nothing at {asked.onto}", do="check the path")
    if asked.fixed_camera:
        given = [name for name in ("poses", "turntable") if name in asked.how.given()]
        if asked.onto is not None or given:
            got = "--onto" if asked.onto is not None else f"--{given[0]}"
            raise clear("--fixed-camera", expected="a camera of which nothing else is told", got=got, do="choose one")
    if not asked.photos.exists():
        raise clear(
            str(asked.photos), expected="a folder of photos or a video", got="nothing there", do="check the path"
        )


def run(asked: Align) -> None:
    """Align, and say what came of it. Raises `UserError` also where the output is not free."""
    _require_free(asked.output)
    require_sound(asked)

    from rilievo.sfm.align import Known
    from rilievo.sfm.known import known_lens, known_poses

    how, found = asked.how, _photos(asked)
    print(_described(asked, found))
    lens = None if how.intrinsics is None else known_lens(how.intrinsics, found)
    if asked.fixed_camera:
        _stand(asked, found, lens)
    elif asked.onto is not None:
        _place(asked, asked.onto, found, lens)
    else:
        known = Known(lens, None if how.poses is None else known_poses(how.poses, found))
        (_by_features if asked.method == "sfm" else _by_pointmaps)(asked, found, known)
    shutil.rmtree(asked.output / ".frames", ignore_errors=True)


def _photos(asked: Align) -> PhotoSet:
    from rilievo.data.scene import MaskMeaning
    from rilievo.io.image import IMAGE_SUFFIXES
    from rilievo.sfm.clip import timed
    from rilievo.sfm.photos import find_photos

    how, folder = asked.how, asked.photos
    meaning = None if how.mask_meaning is None else MaskMeaning(how.mask_meaning)
    is_video = folder.is_file() and folder.suffix.lower() not in IMAGE_SUFFIXES
    if is_video:
        from rilievo.sfm.video import frames_of_video

        folder = frames_of_video(asked.photos, asked.output / ".frames", how.frames)
    fewest = 2 if asked.onto is None else 1
    found = find_photos(folder, how.masks, meaning, how.lenses, fewest=fewest, spare_masks=is_video)
    if is_video or asked.clip or asked.fixed_camera or meaning is MaskMeaning.MOVING:
        found = timed(found, folder if is_video else None)
    return found


def _stand(asked: Align, found: PhotoSet, lens: Belief | None) -> None:
    from rilievo.sfm.align import WORK
    from rilievo.sfm.clip import write_fixed_camera

    told = write_fixed_camera(found, asked.output, asked.output / WORK / "scene", lens)
    print(_report(asked.output, found, len(found.photos), 0, [told], found.dropped))


def _by_features(asked: Align, found: PhotoSet, known: Known) -> None:
    from rilievo.sfm.align import align

    aligned = align(found, asked.output, _feature_settings(asked), known, _shown)
    points = len(set(aligned.tracks.point.tolist()))
    print(_report(asked.output, found, len(aligned.views), points, aligned.notes, aligned.dropped))


def _feature_settings(asked: Align) -> AlignSettings:
    from rilievo.sfm.align import AlignSettings
    from rilievo.sfm.features import FeatureSettings

    how = asked.how
    is_video = asked.photos.is_file() and asked.onto is None
    pairs = "sequential" if is_video and how.pairs == "auto" else how.pairs
    features = FeatureSettings(how.max_side, pairs=pairs, kind=how.features)
    return AlignSettings(features, how.mapper, how.turntable, how.threads)


def _by_pointmaps(asked: Align, found: PhotoSet, known: Known) -> None:
    from rilievo.pipelines.fine_matching import FineMatching
    from rilievo.pipelines.pointmap_align import PointmapSettings, align, plan_alignment
    from rilievo.pipelines.pointmap_exports import Exports

    assert asked.method != "sfm"
    how = asked.how
    fine = None if how.fine_side is None else FineMatching(how.fine_side)
    settings = PointmapSettings(asked.method, how.graph, how.turntable, fine, Exports(how.glb, how.fuse))
    predictor, licence = _network(asked)
    print(f"weights: {licence}")
    plan = plan_alignment(found, predictor, settings)
    print(plan)
    with _bar() as progress:
        aligned = align(plan, found, predictor, asked.output, settings, known, progress)
    print(_report(asked.output, found, len(aligned.photos), aligned.points, aligned.notes, aligned.dropped))


def _place(asked: Align, onto: Path, found: PhotoSet, lens: Belief | None) -> None:
    """Place photos in a scene that is there."""
    from rilievo.pipelines.anchor_scene import open_anchors

    anchors = open_anchors(onto, asked.how.lenses)
    placed: Localized
    if asked.method == "sfm":
        from rilievo.pipelines.feature_localization import localize_photos

        placed = localize_photos(found, anchors, asked.output, _feature_settings(asked), lens, _shown)
    else:
        from rilievo.pipelines import pointmap_localization

        predictor, licence = _network(asked)
        print(f"weights: {licence}")
        with _bar() as progress:
            placed = pointmap_localization.localize_photos(found, anchors, predictor, asked.output, lens, progress)
    print(f"{asked.output}: {len(placed.photos)} of {len(found.photos)} photos placed in the frame of {onto}")
    print("\n".join([f"  {note}" for note in placed.notes] + _listed(placed.dropped)))


def _network(asked: Align) -> tuple[PhotoPredictor, str]:
    """The network that was asked for, and what may be done with its weights.

    Raises `UserError` where weights are absent or wrong, or the device is not there.
    """
    from rilievo.engine.fit import accelerator
    from rilievo.pipelines.pair_plan import require_descriptors
    from rilievo.pointmaps.checkpoint import load_network
    from rilievo.pointmaps.predictor import NetworkPredictor

    loaded = load_network(asked.how.weights or asked.method, accelerator(asked.device))
    predictor = NetworkPredictor(loaded, bfloat16=asked.how.bfloat16)
    if asked.method == "mast3r":
        require_descriptors(predictor, str(loaded.origin))
    return predictor, f"{loaded.origin}; licence: {loaded.licence}"


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


def _described(asked: Align, found: PhotoSet) -> str:
    sizes = sorted({photo.size_px for photo in found.photos})
    size = " ".join(f"{w}x{h}" for w, h in sizes) if len(sizes) <= 2 else f"{len(sizes)} sizes"
    lenses = len({photo.lens for photo in found.photos})
    focal = sum(photo.focal_px is not None for photo in found.photos)
    lines = [f"{asked.photos}: {len(found.photos)} photos, {size} px, {lenses} {'lens' if lenses == 1 else 'lenses'}"]
    unknown = "  no focal length in EXIF" + ("" if asked.fixed_camera else ": it is found")
    lines.append(f"  focal length in the EXIF of {focal} photos" if focal else unknown)
    return "\n".join(lines + [f"  {note}" for note in found.notes])


def _report(
    output: Path, found: PhotoSet, aligned: int, points: int, notes: Sequence[str], dropped: Sequence[Dropped]
) -> str:
    lines = [f"{output}: {aligned} of {len(found.photos)} photos aligned, {points} points"]
    return "\n".join(lines + [f"  {note}" for note in notes] + _listed(dropped))


def _listed(dropped: Sequence[Dropped]) -> list[str]:
    lines = [f"  dropped {drop.name}: {drop.reason}" for drop in dropped[:LISTED]]
    return lines + ([f"  … and {len(dropped) - LISTED} more"] if len(dropped) > LISTED else [])
