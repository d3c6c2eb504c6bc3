"""Which masks a capture has, and what they mean.

Meanings are kept apart (`MaskMeaning`): *object*, where outside is empty, *ignore*, where outside is unknown, and
*moving*, where outside stands still. Some layouts define it: alpha and DTU's `mask/` mean object, nerfstudio's
`mask_path` means ignore, masks of a clip in `cameras.json` mean moving and cover nothing. A folder `masks/` may mean
object or ignore, so it is taken as object and the user is told, with the way to change it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rilievo.data.frame import Judged, Listing
from rilievo.data.image_files import mask_for, mask_index
from rilievo.data.scene import MaskMeaning
from rilievo.data.stored import Channel, StoredImage, StoredImages
from rilievo.errors import clear
from rilievo.io.image import read_header


@dataclass(frozen=True)
class Masks:
    """The masks of a capture, if any, and what the user should know of them."""

    coverage: StoredImages | None = None
    meaning: MaskMeaning | None = None
    moving: StoredImages | None = None
    notes: tuple[str, ...] = ()


def choose(
    folder: Path,
    listing: Listing,
    judged: list[Judged],
    sizes: list[tuple[int, int]],
    asked: MaskMeaning | None,
) -> Masks:
    """Masks named by the layout, else alpha, else a `masks/` or `mask/` folder; `asked` overrides their meaning.

    Raises `UserError` when a mask has another size than its photo, when a folder has masks for some photos only and
    they mean *object*, or when `asked` is given and there are no masks at all.
    """
    size_of = dict(zip((j.frame.name for j in judged), sizes))
    named = {j.frame.name: j.frame.mask for j in judged if j.frame.mask is not None}
    if named:
        source, known = f"{len(named)} masks named by the capture", listing.mask_meaning
    elif any(j.header.has_alpha for j in judged):
        meaning = asked or listing.mask_meaning or MaskMeaning.OBJECT
        files = [StoredImage(j.frame.image, Channel.ALPHA, size_of[j.frame.name], j.orient) for j in judged]
        return Masks(StoredImages(files), meaning, notes=(f"masks: alpha of the photos, meaning {meaning.value}",))
    else:
        where, index = mask_index(folder)
        named = {j.frame.name: found for j in judged if (found := mask_for(j.frame.name, index)) is not None}
        source, known = f"folder {where}/", listing.mask_meaning
        if index and not named:
            raise clear(
                f"{where}/",
                expected="one mask per photo, under the photo's name",
                got=f"{len(set(index.values()))} masks, none of which matches",
                do=f"name each after its image, as {where}/0001.png for images/0001.jpg",
            )
    if not named:
        if asked is not None:
            raise clear("mask meaning", expected="a capture with masks", got="none", do="add masks/ or leave it out")
        return Masks()
    meaning = asked or known or MaskMeaning.OBJECT
    notes = [f"masks: {source}, meaning {meaning.value} (outside them is {_outside(meaning)})"]
    if asked is None and known is None:
        notes = [
            f"masks: {source}, taken to mean {meaning.value} (outside them is {_outside(meaning)}); "
            "if what lies outside is only to be left out of training, say --mask-meaning ignore"
        ]
    missing = [j.frame.name for j in judged if j.frame.name not in named]
    if missing and meaning is MaskMeaning.OBJECT:
        raise clear(
            "masks",
            expected="one per image",
            got=f"{len(named)} for {len(judged)} images ({missing[0]} has none)",
            do="name each after its image, as masks/0001.png for images/0001.jpg",
        )
    files = []
    for j in judged:
        mask = named.get(j.frame.name)
        if mask is None:
            files.append(StoredImage(j.frame.image, Channel.FULL, size_of[j.frame.name]))
            continue
        orient = _check_size(j, mask)
        files.append(StoredImage(mask, Channel.GRAY, size_of[j.frame.name], orient))
    if missing:
        notes.append(f"{len(missing)} photos have no mask and are used whole")
    if meaning is MaskMeaning.MOVING:
        return Masks(moving=None if missing else StoredImages(files), notes=tuple(notes))
    return Masks(StoredImages(files), meaning, notes=tuple(notes))


def _check_size(j: Judged, mask: Path) -> bool:
    """Whether the mask is to be turned upright too; raises `UserError` when it cannot be its photo's."""
    header = read_header(mask, decode=True)
    expected = j.header.size_px if j.orient else j.header.stored_size_px
    if header.size_px == expected:
        return True
    if header.stored_size_px == expected:
        return False
    raise clear(
        f"mask {mask.name} of {j.frame.name}",
        expected=f"the photo's {expected[0]}x{expected[1]} pixels",
        got=f"{header.size_px[0]}x{header.size_px[1]}",
        do="export the mask at the photo's size",
    )


def _outside(meaning: MaskMeaning) -> str:
    outside = {MaskMeaning.OBJECT: "empty", MaskMeaning.IGNORE: "left out of training", MaskMeaning.MOVING: "still"}
    return outside[meaning]
