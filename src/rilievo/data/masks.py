"""Which masks a capture has, and what they mean.

Meanings are kept apart (`MaskMeaning`): *object*, where outside is empty, *ignore*, where outside is unknown, and
*moving*, where outside stands still. Some layouts define it: alpha and DTU's `mask/` mean object, nerfstudio's
`mask_path` means ignore, masks of a clip in `cameras.json` mean moving. A folder `masks/` may mean any of them, so it
is taken as object and the user is told, with the way to change it.

Masks that mean *moving* cover nothing: they say which part of a frame goes its own way (`Scene.moving`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rilievo.data.frame import Judged, Listing, Split
from rilievo.data.image_files import mask_for, mask_index
from rilievo.data.scene import MaskMeaning
from rilievo.data.stored import Channel, StoredImage, StoredImages
from rilievo.errors import clear
from rilievo.io.image import read_header

OUTSIDE = {
    MaskMeaning.OBJECT: "empty",
    MaskMeaning.IGNORE: "left out of training",
    MaskMeaning.MOVING: "still",
}
"""What lies outside a mask, in words."""


@dataclass(frozen=True)
class Masks:
    """The masks of a capture, if any, and what the user should know of them."""

    coverage: StoredImages | None = None
    meaning: MaskMeaning | None = None
    moving: StoredImages | None = None
    notes: tuple[str, ...] = ()

    @staticmethod
    def of(files: list[StoredImage], meaning: MaskMeaning, notes: list[str]) -> Masks:
        if meaning is MaskMeaning.MOVING:
            return Masks(moving=StoredImages(files), notes=tuple(notes))
        return Masks(StoredImages(files), meaning, notes=tuple(notes))


def choose(
    folder: Path,
    listing: Listing,
    judged: list[Judged],
    sizes: list[tuple[int, int]],
    asked: MaskMeaning | None,
    *,
    is_clip: bool = False,
) -> Masks:
    """Masks named by the layout, else alpha, else a `masks/` or `mask/` folder; `asked` overrides their meaning.

    Raises `UserError` when a mask has another size than its photo, when some photos have none and they mean *object*,
    when they are asked to mean *moving* in what is no clip, or when `asked` is given and there are no masks at all.
    """
    if asked is MaskMeaning.MOVING and not is_clip:
        raise clear(
            "--mask-meaning moving",
            expected="a clip, whose frames have times",
            got="photos without times",
            do="give every frame a `time` in [0, 1], or say ignore to leave what is masked out of training",
        )
    size_of = dict(zip((j.frame.name for j in judged), sizes))
    named = {j.frame.name: j.frame.mask for j in judged if j.frame.mask is not None}
    if named:
        source, known = f"{len(named)} masks named by the capture", listing.mask_meaning
    elif any(j.header.has_alpha for j in judged):
        defined = None if listing.mask_meaning is MaskMeaning.MOVING else listing.mask_meaning
        meaning = asked or defined or MaskMeaning.OBJECT
        files = [StoredImage(j.frame.image, Channel.ALPHA, size_of[j.frame.name], j.orient) for j in judged]
        return Masks.of(files, meaning, [f"masks: alpha of the photos, meaning {meaning.value}"])
    else:
        where, named = _in_folder(folder, judged)
        source, known = f"folder {where}/", listing.mask_meaning
    if not named:
        if asked is not None:
            raise clear("mask meaning", expected="a capture with masks", got="none", do="add masks/ or leave it out")
        return Masks()
    meaning = asked or known or MaskMeaning.OBJECT
    notes = [f"masks: {source}, meaning {meaning.value} (outside them is {OUTSIDE[meaning]})"]
    if asked is None and known is None:
        others = "ignore" if not is_clip else "ignore, and if they mark what moves, --mask-meaning moving"
        notes = [
            f"masks: {source}, taken to mean {meaning.value} (outside them is {OUTSIDE[meaning]}); "
            f"if what lies outside is only to be left out of training, say --mask-meaning {others}"
        ]
    return _complete(judged, named, size_of, meaning, notes)


def _in_folder(folder: Path, judged: list[Judged]) -> tuple[str, dict[str, Path]]:
    """The capture's mask folder and its masks by the names of their photos; raises `UserError` when none matches."""
    where, index = mask_index(folder)
    named = {j.frame.name: found for j in judged if (found := mask_for(j.frame.name, index)) is not None}
    if index and not named:
        raise clear(
            f"{where}/",
            expected="one mask per photo, under the photo's name",
            got=f"{len(set(index.values()))} masks, none of which matches",
            do=f"name each after its image, as {where}/0001.png for images/0001.jpg",
        )
    return where, named


def _complete(
    judged: list[Judged],
    named: dict[str, Path],
    size_of: dict[str, tuple[int, int]],
    meaning: MaskMeaning,
    notes: list[str],
) -> Masks:
    """A mask for every photo; what it means that some have none depends on the meaning."""
    missing = [j.frame for j in judged if j.frame.name not in named]
    if missing and meaning is MaskMeaning.OBJECT:
        raise clear(
            "masks",
            expected="one per image",
            got=f"{len(named)} for {len(judged)} images ({missing[0].name} has none)",
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
    if meaning is not MaskMeaning.MOVING:
        if missing:
            notes.append(f"{len(missing)} photos have no mask and are used whole")
        return Masks.of(files, meaning, notes)
    untold = [frame.name for frame in missing if frame.split is not Split.TEST]
    if untold:
        lacking = f"{len(untold)} frames have no mask ({untold[0]}), so what moves is found without masks"
        return Masks(notes=(*notes, lacking))
    return Masks.of(files, meaning, notes)


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
