"""Features and their verified matches, in COLMAP's database.

The database lives in a work folder named by the content of the photos and masks and by the settings, and grows photo by
photo and pair by pair: an interrupted run finds what is done and goes on. Only what lies on a mask is looked at.

SIFT is COLMAP's own; other features come from `learned_features`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from rilievo.io.image import read_color
from rilievo.sfm.colmap import pycolmap
from rilievo.sfm.lens import Belief
from rilievo.sfm.photos import Photo, PhotoSet, content_digest

ALL_PAIRS_UP_TO = 150
"""Photos; beyond it each is matched with its neighbours and with those at distances of powers of two."""
NEIGHBOURS = 15
SEED = 0


@dataclass(frozen=True)
class FeatureSettings:
    """What the database depends on, beside the pictures."""

    max_side: int = 3200
    """Larger photos are looked at in this size."""
    max_features: int = 8192
    pairs: str = "auto"
    """all, sequential, or by the number of photos."""
    kind: str = "sift"
    """sift or xfeat."""


@dataclass(frozen=True)
class Database:
    """The work folder of a set of photos: `features.db`, `images/` as COLMAP reads them, `masks/`."""

    folder: Path

    @property
    def path(self) -> Path:
        return self.folder / "features.db"

    @property
    def images(self) -> Path:
        return self.folder / "images"

    @property
    def masks(self) -> Path:
        return self.folder / "masks"

    @property
    def descriptors(self) -> Path:
        """Of learned features, which COLMAP knows nothing of."""
        return self.folder / "descriptors"


def open_database(work: Path, found: PhotoSet, settings: FeatureSettings) -> Database:
    """The database for exactly these photos, masks and settings below `work`; others that lie there are removed."""
    content = [(p.name, p.digest, p.lens, content_digest(p.mask) if p.mask else "", p.mask_moves) for p in found.photos]
    text = json.dumps([content, asdict(settings), pycolmap.__version__])
    database = Database(work / hashlib.sha256(text.encode()).hexdigest()[:16])
    if work.is_dir():
        for stale in work.iterdir():
            if stale != database.folder:
                shutil.rmtree(stale, ignore_errors=True)
    for i, photo in enumerate(found.photos):
        _place(photo, stored_name(i, photo), database)
    return database


def stored_name(i: int, photo: Photo) -> str:
    """What photo `i` is called in the database: flat, unique, in order."""
    return f"{i:05d}{photo.path.suffix.lower() if photo.verbatim else '.png'}"


def _place(photo: Photo, name: str, database: Database) -> None:
    target = database.images / name
    if not target.is_file():
        database.images.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}")
        if photo.verbatim:
            shutil.copyfile(photo.path, partial)
        else:
            Image.fromarray(read_color(photo.path, size_px=photo.size_px)).save(partial, format="PNG")
        partial.rename(target)
    mask, pixels = database.masks / f"{name}.png", None
    if photo.mask is not None and not mask.is_file():
        pixels = photo.mask_pixels()
    if pixels is not None:
        database.masks.mkdir(parents=True, exist_ok=True)
        partial = mask.with_name(f".{mask.name}")
        Image.fromarray(np.where(pixels >= 128, 255, 0).astype(np.uint8)).save(partial, format="PNG")
        partial.rename(mask)


def extract(
    database: Database,
    found: PhotoSet,
    groups: Sequence[int],
    beliefs: Sequence[Belief],
    settings: FeatureSettings,
    threads: int,
) -> Iterator[int]:
    """Find features, `threads` photos at a time; yields how many photos are done. One COLMAP camera per lens group."""
    options = pycolmap.FeatureExtractionOptions()
    options.num_threads, options.use_gpu, options.max_image_size = threads, False, settings.max_side
    options.sift.max_num_features = settings.max_features
    done = 0
    for group, belief in enumerate(beliefs):
        members = [stored_name(i, found.photos[i]) for i, g in enumerate(groups) if g == group]
        reader = pycolmap.ImageReaderOptions()
        reader.camera_model = "SIMPLE_RADIAL"
        reader.camera_params = ",".join(map(repr, (*belief.mean[[0, 2, 3]].tolist(), 0.0)))
        if database.masks.is_dir():
            reader.mask_path = database.masks
        if not _is_listed(database, members[0]):  # photos are numbered now: features end in any order
            pycolmap.import_images(database.path, database.images, pycolmap.CameraMode.SINGLE, members, reader)
        if settings.kind != "sift":
            from rilievo.sfm.learned_features import extract_learned

            for _ in extract_learned(database, members, settings):
                done += 1
                yield done
            continue
        for start in range(0, len(members), threads):
            batch = members[start : start + threads]
            pycolmap.extract_features(
                database.path,
                database.images,
                image_names=batch,
                camera_mode=pycolmap.CameraMode.SINGLE,
                reader_options=reader,
                extraction_options=options,
            )
            done += len(batch)
            yield done


def _is_listed(database: Database, name: str) -> bool:
    with pycolmap.Database.open(database.path) as db:
        return db.read_image_with_name(name) is not None


def pairs_of(count: int, is_sequence: bool, how: str) -> list[tuple[int, int]]:
    """Which photos are compared: all with all while they are few, else neighbours and far ones in doubling steps."""
    if how == "all" or (how == "auto" and count <= ALL_PAIRS_UP_TO and not (is_sequence and count > 60)):
        return [(i, j) for i in range(count) for j in range(i + 1, count)]
    steps = sorted({*range(1, NEIGHBOURS + 1), *(2**k for k in range(count.bit_length()))})
    return sorted((i, i + step) for step in steps for i in range(count - step))


def match(database: Database, names: Sequence[str], pairs: Sequence[tuple[int, int]], threads: int) -> Iterator[int]:
    """Match and verify `pairs`, skipping those that the database holds; yields how many are done."""
    if database.descriptors.is_dir():
        from rilievo.sfm.learned_features import match_learned

        yield from match_learned(database, names, pairs)
        return
    matching, pairing = pycolmap.FeatureMatchingOptions(), pycolmap.ImportedPairingOptions()
    matching.num_threads, matching.use_gpu = threads, False
    verification = pycolmap.TwoViewGeometryOptions()
    verification.ransac.random_seed = SEED
    listed = database.folder / "pairs.txt"
    chunk = max(8, len(pairs) // 100)
    for start in range(0, len(pairs), chunk):
        listed.write_text("".join(f"{names[i]} {names[j]}\n" for i, j in pairs[start : start + chunk]))
        pairing.match_list_path = listed
        pycolmap.match_image_pairs(
            database.path, matching_options=matching, pairing_options=pairing, verification_options=verification
        )
        yield min(start + chunk, len(pairs))


@dataclass(frozen=True)
class Matches:
    """Verified matches of a pair of photos: pixels in the first and in the second, and the features' numbers."""

    first: int
    second: int
    features: np.ndarray
    """int64 [m, 2]."""


def read_keypoints(database: Database, names: Sequence[str]) -> list[np.ndarray]:
    """Pixels [k, 2] (centres at +0.5, as COLMAP has them) of the features of each photo."""
    with pycolmap.Database.open(database.path) as db:
        images = [db.read_image_with_name(name) for name in names]
        return [
            np.zeros((0, 2)) if im is None else np.asarray(db.read_keypoints(im.image_id), float)[:, :2]
            for im in images
        ]


def read_matches(database: Database, names: Sequence[str], pairs: Sequence[tuple[int, int]]) -> list[Matches]:
    """The matches that survived verification, of pairs that have any."""
    with pycolmap.Database.open(database.path) as db:
        images = [db.read_image_with_name(name) for name in names]
        found = []
        for i, j in pairs:
            first, second = images[i], images[j]
            if first is None or second is None or not db.exists_two_view_geometry(first.image_id, second.image_id):
                continue
            pair = db.read_two_view_geometry(first.image_id, second.image_id)
            inliers = np.asarray(pair.inlier_matches, dtype=np.int64)
            if len(inliers):
                found.append(Matches(i, j, inliers.reshape(-1, 2)))
        return found
