"""The pictures of a scene written below a folder, under unique names, with their masks or with alpha."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from jaxtyping import UInt8

from rilievo.data.scene import Scene
from rilievo.data.stored import StoredImages
from rilievo.io.image import write_image


def stems(names: Sequence[str]) -> list[str]:
    """One file stem per photo: its bare stem where these are unique, else its path with underscores, else with its
    number."""
    paths = [PurePosixPath(name) for name in names]
    for candidates in (
        [path.stem for path in paths],
        ["_".join(path.with_suffix("").parts).replace("..", "") for path in paths],
    ):
        if len(set(candidates)) == len(candidates):
            return candidates
    return [f"{i:06d}_{path.stem}" for i, path in enumerate(paths)]


def write_photo(scene: Scene, i: int, folder: Path, stem: str) -> str:
    """Photo `i` as `folder/stem.*`: its own file where that holds exactly these pixels, a PNG otherwise. Returns its
    name."""
    if isinstance(scene.images, StoredImages) and scene.images.files[i].verbatim:
        source = scene.images.files[i].path
        name = stem + source.suffix.lower()
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / name)
        return name
    write_image(folder / f"{stem}.png", scene.images[i])
    return f"{stem}.png"


def write_cut_out(scene: Scene, i: int, folder: Path, stem: str) -> str:
    """Photo `i` as a PNG whose alpha is the coverage, straight. Returns its name."""
    assert scene.coverage is not None
    write_image(folder / f"{stem}.png", np.dstack([scene.images[i], scene.coverage[i]]))
    return f"{stem}.png"


def write_mask(mask: UInt8[np.ndarray, "h w"], folder: Path, stem: str) -> str:
    """A mask as a grey PNG. Returns its name."""
    write_image(folder / f"{stem}.png", mask)
    return f"{stem}.png"
