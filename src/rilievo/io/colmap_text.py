"""COLMAP's text sparse model: `cameras.txt`, `images.txt`, `points3D.txt`, one entry a line (two for an image)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from rilievo.errors import UserError, clear
from rilievo.io.atomic import write_text
from rilievo.io.colmap_lens import model_by_name
from rilievo.io.colmap_model import ColmapCamera, ColmapImage, ColmapModel


def read_text(folder: Path) -> ColmapModel:
    """Read the model in `folder`; without `points3D.txt` it has no points.

    Raises `UserError` for a missing or malformed file, or a camera model that must be undistorted first.
    """
    cameras: dict[int, ColmapCamera] = {}
    for where, words in _entries(folder / "cameras.txt"):
        try:
            number, width, height = int(words[0]), int(words[2]), int(words[3])
            parameters = tuple(float(word) for word in words[4:])
            cameras[number] = ColmapCamera(number, model_by_name(words[1]), width, height, parameters)
        except (ValueError, IndexError) as error:
            raise _malformed(where, "CAMERA_ID MODEL WIDTH HEIGHT PARAMS…", error) from error
    images = tuple(_images(folder / "images.txt"))
    xyz, rgb = [], []
    if (folder / "points3D.txt").is_file():
        for where, words in _entries(folder / "points3D.txt"):
            try:
                x, y, z = (float(word) for word in words[1:4])
                r, g, b = (int(word) for word in words[4:7])
            except ValueError as error:
                raise _malformed(where, "POINT3D_ID X Y Z R G B …", error) from error
            xyz.append((x, y, z))
            rgb.append((r, g, b))
    points, colors = np.array(xyz, dtype=np.float64).reshape(-1, 3), np.array(rgb, dtype=np.uint8).reshape(-1, 3)
    return ColmapModel(cameras, images, points, colors)


def write_text_model(folder: Path, model: ColmapModel) -> None:
    """Write the model's three files, each whole or not at all; numbers keep all their digits."""
    cameras = [f"{c.id} {c.model.name} {c.width} {c.height} {_digits(c.parameters)}" for c in model.cameras.values()]
    images = [f"{i.id} {_digits(i.quaternion)} {_digits(i.translation)} {i.camera_id} {i.name}\n" for i in model.images]
    points = [
        f"{number} {_digits(xyz)} {' '.join(str(c) for c in rgb.tolist())} 0"
        for number, (xyz, rgb) in enumerate(zip(model.points, model.colors), start=1)
    ]
    write_text(folder / "cameras.txt", "\n".join(["# CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]", *cameras]) + "\n")
    header = "# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then POINTS2D[] on a line of its own"
    write_text(folder / "images.txt", "\n".join([header, *images]) + "\n")
    write_text(folder / "points3D.txt", "\n".join(["# POINT3D_ID X Y Z R G B ERROR TRACK[]", *points]) + "\n")


def _images(path: Path) -> Iterator[ColmapImage]:
    """Every image has two lines, the second of which (its features) may be empty and is passed over."""
    features_next = False
    for number, line in enumerate(_lines(path), start=1):
        if features_next:
            features_next = False
            continue
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split(maxsplit=9)
        try:
            pose = np.array([float(word) for word in words[1:8]])
            yield ColmapImage(int(words[0]), pose[:4], pose[4:], int(words[8]), words[9].strip())
        except (ValueError, IndexError) as error:
            raise _malformed(f"{path}, line {number}", "IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME", error) from error
        features_next = True


def _entries(path: Path) -> Iterator[tuple[str, list[str]]]:
    for number, line in enumerate(_lines(path), start=1):
        if line.strip() and not line.startswith("#"):
            yield f"{path}, line {number}", line.split()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise clear(str(path), expected="a COLMAP text file", got=str(error), do="export the model again") from error


def _malformed(where: str, expected: str, error: Exception) -> Exception:
    if isinstance(error, UserError):
        return error
    return clear(where, expected=expected, got=str(error), do="export the model again")


def _digits(values: object) -> str:
    return " ".join(repr(float(value)) for value in values)  # type: ignore[attr-defined]
