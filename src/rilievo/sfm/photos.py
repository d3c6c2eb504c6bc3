"""The photographs to align: found, decoded once, paired with their masks and grouped by lens.

What cannot take part is set aside with its reason; what would make the result wrong (a mask without its photo, a mask
of another size) is refused. Pixels are upright everywhere downstream.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rilievo.data.image_files import MASK_FOLDERS, images_in, mask_for, mask_index
from rilievo.data.scene import Dropped, MaskMeaning
from rilievo.errors import UserError, clear
from rilievo.io.image import read_alpha, read_gray, read_header
from rilievo.sfm.exif import read_camera_tag

NO_PHOTOS = frozenset({*MASK_FOLDERS, "depth", "flow"})
"""Folders beside photos whose pictures are something else."""
FOREIGN = frozenset(
    {".heic", ".heif", ".avif", ".jxl", ".gif", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2"}
)
"""Suffixes of pictures by phones and cameras that are not read here, and must not be passed over in silence."""


@dataclass(frozen=True)
class Photo:
    """One usable photograph."""

    name: str
    """Its path below the folder that was given, with forward slashes."""
    path: Path
    size_px: tuple[int, int]
    """Width and height once upright."""
    verbatim: bool
    """The file holds exactly these pixels, upright and without alpha."""
    digest: str
    """Of the file's content."""
    lens: str
    """Photos with the same text were taken through the same lens."""
    focal_px: float | None = None
    mask: Path | None = None
    """A file beside the photo; the photo itself where its alpha is the mask."""
    time: float | None = None
    """In [0, 1], of a frame of a clip."""
    mask_moves: bool = False
    """The mask marks what goes its own way, not what the cameras are found by."""

    def mask_pixels(self) -> np.ndarray | None:
        """uint8 [h, w], 255 on what the cameras are found by; None without a mask."""
        if self.mask is None:
            return None
        pixels = (read_alpha if self.mask == self.path else read_gray)(self.mask, size_px=self.size_px)
        return np.where(pixels > 0, 0, 255).astype(np.uint8) if self.mask_moves else pixels


@dataclass(frozen=True)
class PhotoSet:
    """Photos in order of name (or of time), what was set aside, and what masks mean."""

    photos: tuple[Photo, ...]
    dropped: tuple[Dropped, ...] = ()
    mask_meaning: MaskMeaning | None = None
    notes: tuple[str, ...] = ()
    is_sequence: bool = False
    """Neighbours were taken one after the other: a video."""

    @property
    def has_masks(self) -> bool:
        return any(photo.mask is not None for photo in self.photos)


def find_photos(
    folder: Path,
    masks: Path | None = None,
    meaning: MaskMeaning | None = None,
    lenses: str = "auto",
    *,
    fewest: int = 2,
    spare_masks: bool = False,
) -> PhotoSet:
    """The photos in `folder` (or in its `images/`), with the masks in `masks` or in `masks/` beside them.

    `folder` may also be a single photo; its masks are those that are given. `lenses`: "auto" by size and EXIF, "one"
    for all photos of a size, "each" for every photo its own. With `spare_masks` masks without a photo are passed over,
    as those of frames of a video that were not chosen. Raises `UserError` when fewer than `fewest` different photos
    remain, or masks and photos do not belong together.
    """
    if folder.is_file():
        root, paths = folder.parent, [folder]
    else:
        root = folder / "images" if (folder / "images").is_dir() else folder
        paths = [p for p in images_in(root) if not NO_PHOTOS & set(p.relative_to(root).parts[:-1])]
    dropped = [] if folder.is_file() else _foreign(root)
    if not paths and not dropped:
        raise clear(str(folder), expected="a folder of photos", got="no picture in it", do="check the path")
    with ThreadPoolExecutor(max_workers=4) as pool:
        judged = list(pool.map(lambda path: _judge(path, root, lenses), paths))
    photos, repeated = _without_copies([j for j in judged if isinstance(j, Photo)])
    dropped += [j for j in judged if isinstance(j, Dropped)] + repeated
    if len(photos) < fewest:
        why = f"; {dropped[0].name}: {dropped[0].reason}" if dropped else ""
        wanted = "a photo" if fewest == 1 else "at least two different photos"
        raise clear(str(folder), expected=wanted, got=f"{len(photos)}{why}", do="add photos")
    found = PhotoSet(tuple(photos), tuple(dropped))
    if folder.is_file() and masks is None:
        return _with_alpha(found, meaning)
    return _with_masks(found, root, masks, meaning, spare_masks)


def content_digest(path: Path) -> str:
    """SHA-256 of a file, 16 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _judge(path: Path, root: Path, lenses: str) -> Photo | Dropped:
    name = path.relative_to(root).as_posix()
    try:
        header = read_header(path, decode=True)
    except UserError as error:
        return Dropped(name, f"it cannot be read ({error})")
    tag = read_camera_tag(path)
    width, height = header.size_px
    lens = {"auto": f"{width}x{height} {tag.identity}", "one": f"{width}x{height}", "each": name}[lenses]
    return Photo(
        name,
        path,
        header.size_px,
        header.upright and not header.has_alpha and path.suffix.lower() in {".jpg", ".jpeg", ".png"},
        content_digest(path),
        lens,
        tag.focal_px,
        path if header.has_alpha else None,
    )


def _foreign(root: Path) -> list[Dropped]:
    """Pictures of kinds that are not read, hidden ones aside."""
    found = sorted(p.relative_to(root) for p in root.rglob("*") if p.suffix.lower() in FOREIGN and p.is_file())
    shown = [p.as_posix() for p in found if not any(part.startswith(".") for part in p.parts)]
    return [Dropped(name, f"{Path(name).suffix} pictures are not read; export it as JPEG") for name in shown]


def _without_copies(photos: Sequence[Photo]) -> tuple[list[Photo], list[Dropped]]:
    """A second copy of a photo says nothing about where it was taken from."""
    first: dict[str, str] = {}
    kept, dropped = [], []
    for photo in photos:
        if photo.digest in first:
            dropped.append(Dropped(photo.name, f"it is the same file as {first[photo.digest]}"))
        else:
            first[photo.digest] = photo.name
            kept.append(photo)
    return kept, dropped


def _with_masks(found: PhotoSet, root: Path, masks: Path | None, meaning: MaskMeaning | None, spare: bool) -> PhotoSet:
    if masks is not None and not masks.is_dir():
        raise clear("--masks", expected="a folder of masks", got=f"nothing at {masks}", do="check the path")
    folder = masks or next((f for base in (root, root.parent) for n in MASK_FOLDERS if (f := base / n).is_dir()), None)
    if folder is None or (masks is None and root.parent == folder.parent and root.name != "images"):
        return _with_alpha(found, meaning)
    index = mask_index_of(folder)
    known = {photo.name for photo in found.photos} | {drop.name for drop in found.dropped}
    matched = {name: mask_for(name, index) or mask_for(f"images/{name}", index) for name in known}
    orphans = sorted(set(index.values()) - {m for m in matched.values() if m is not None})
    if orphans and len(known) > 1 and not spare:  # beside a single photo lie the others' masks
        raise clear(
            f"mask {orphans[0].name}",
            expected="a photo of that name",
            got=f"none in {root}" + (f" (and {len(orphans) - 1} more masks without a photo)" if orphans[1:] else ""),
            do="name each mask after its photo, as masks/0001.png for 0001.jpg, or remove it",
        )
    missing = [photo.name for photo in found.photos if matched[photo.name] is None]
    meaning = meaning or MaskMeaning.OBJECT
    if missing and meaning is MaskMeaning.OBJECT:
        raise clear(
            f"masks in {folder}",
            expected="one for every photo",
            got=f"none for {missing[0]}" + (f" and {len(missing) - 1} others" if missing[1:] else ""),
            do="add it, or say --mask-meaning ignore if photos without a mask are to be used whole",
        )
    moves = meaning is MaskMeaning.MOVING
    photos = tuple(replace(_masked(photo, matched[photo.name]), mask_moves=moves) for photo in found.photos)
    note = f"masks: {len(found.photos) - len(missing)} from {folder}, meaning {meaning.value}"
    return replace(found, photos=photos, mask_meaning=meaning, notes=(note,))


def _with_alpha(found: PhotoSet, meaning: MaskMeaning | None) -> PhotoSet:
    """Photos whose masks, if any, are their own alpha."""
    if meaning is MaskMeaning.MOVING:
        raise clear("--mask-meaning moving", expected="masks in files", got="none", do="give --masks DIR")
    if meaning is not None and not found.has_masks:
        raise clear("--mask-meaning", expected="masks", got="none", do="give --masks DIR")
    notes = ("masks: alpha of the photos",) if found.has_masks else ()
    return replace(found, mask_meaning=(meaning or MaskMeaning.OBJECT) if found.has_masks else None, notes=notes)


def mask_index_of(folder: Path) -> dict[str, Path]:
    """`mask_index` for a mask folder of any name."""
    if folder.name in MASK_FOLDERS and mask_index(folder.parent)[0] == folder.name:
        return mask_index(folder.parent)[1]
    index: dict[str, Path] = {}
    for path in images_in(folder):
        below = path.relative_to(folder).with_suffix("")
        for key in (below.as_posix(), below.stem, below.with_suffix("").as_posix()):
            index.setdefault(key, path)
    return index


def _masked(photo: Photo, mask: Path | None) -> Photo:
    if mask is None:
        return photo
    header = read_header(mask, decode=True)
    if header.size_px != photo.size_px:
        raise clear(
            f"mask {mask.name} of {photo.name}",
            expected=f"the photo's {photo.size_px[0]}x{photo.size_px[1]} pixels",
            got=f"{header.size_px[0]}x{header.size_px[1]}",
            do="export the mask at the photo's size",
        )
    return replace(photo, mask=mask)
