"""Photos and masks found by name: a listed path may lack its extension, a mask shares its photo's stem."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rilievo.errors import UserError
from rilievo.io.image import IMAGE_SUFFIXES, read_header

MASK_FOLDERS = ("masks", "mask")


def images_in(folder: Path) -> list[Path]:
    """The pictures in `folder` and its subfolders, sorted by path; hidden files are passed over."""
    found = (p for p in folder.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def find_image(folder: Path, listed: str) -> Path | None:
    """The file a layout means by `listed`: as it stands, or with an image extension added; None when there is none.

    An absolute path that is not on this machine is tried relative to the capture, from its tail.
    """
    if not listed:
        return None
    listed = listed.replace("\\", "/")
    candidates = [folder / listed]
    if Path(listed).is_absolute():
        parts = Path(listed).parts
        candidates += [folder.joinpath(*parts[-n:]) for n in (3, 2, 1) if n < len(parts)]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
        for suffix in (".png", ".jpg", ".jpeg", ".JPG", ".PNG", ".JPEG", ".webp", ".tif", ".tiff", ".bmp"):
            extended = candidate.with_name(candidate.name + suffix)
            if extended.is_file():
                return extended
    return None


def size_if_readable(path: Path) -> tuple[int, int] | None:
    """Width and height of a picture, None when its header is broken (it will be dropped with a reason later)."""
    try:
        return read_header(path).size_px
    except UserError:
        return None


def mask_index(folder: Path) -> tuple[str, dict[str, Path]]:
    """The capture's mask folder ("" when there is none) and its files by what they may be called for.

    A mask is known by its path without extension below the folder, by that name with its second extension also taken
    off (COLMAP's `photo.jpg.png`), and by its bare stem.
    """
    for name in MASK_FOLDERS:
        if (folder / name).is_dir():
            index: dict[str, Path] = {}
            for path in images_in(folder / name):
                below = path.relative_to(folder / name).with_suffix("")
                keys = [below.as_posix(), below.stem]
                if below.suffix.lower() in IMAGE_SUFFIXES:
                    keys.append(below.with_suffix("").as_posix())
                for key in keys:
                    index.setdefault(key, path)
            return name, index
    return "", {}


def mask_for(name: str, index: Mapping[str, Path]) -> Path | None:
    """The mask of the photo called `name` (a path inside the capture): by path below the photo folder, then by stem."""
    path = Path(name)
    below = Path(*path.parts[1:]) if len(path.parts) > 1 else path
    for key in (below.as_posix(), below.with_suffix("").as_posix(), path.with_suffix("").as_posix(), path.stem):
        if key in index:
            return index[key]
    return None
