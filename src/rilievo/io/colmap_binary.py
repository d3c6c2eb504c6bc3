"""COLMAP's binary sparse model: `cameras.bin`, `images.bin`, `points3D.bin`, little endian throughout.

Files of newer versions (`rigs.bin`, `frames.bin`) repeat what these three say and are passed over.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

from rilievo.errors import clear
from rilievo.io.atomic import replacing
from rilievo.io.colmap_lens import model_by_id
from rilievo.io.colmap_model import ColmapCamera, ColmapImage, ColmapModel

_FEATURE_BYTES = 24
"""x, y and a point's number."""
_TRACK_BYTES = 8
"""An image's number and a feature's."""


def read_binary(folder: Path) -> ColmapModel:
    """Read the model in `folder`; without `points3D.bin` it has no points.

    Raises `UserError` for a missing or truncated file, or a camera model that must be undistorted first.
    """
    points = folder / "points3D.bin"
    xyz, rgb = _read_points(_Bytes(points)) if points.is_file() else (np.zeros((0, 3)), np.zeros((0, 3), np.uint8))
    return ColmapModel(
        {camera.id: camera for camera in _read_cameras(_Bytes(folder / "cameras.bin"))},
        tuple(_read_images(_Bytes(folder / "images.bin"))),
        xyz,
        rgb,
    )


def write_binary(folder: Path, model: ColmapModel) -> None:
    """Write the model's three files, each whole or not at all."""
    cameras = [struct.pack("<Q", len(model.cameras))]
    for camera in model.cameras.values():
        cameras.append(struct.pack("<iiQQ", camera.id, camera.model.id, camera.width, camera.height))
        cameras.append(struct.pack(f"<{len(camera.parameters)}d", *camera.parameters))
    images = [struct.pack("<Q", len(model.images))]
    for image in model.images:
        images.append(struct.pack("<i7di", image.id, *image.quaternion, *image.translation, image.camera_id))
        images.append(image.name.encode("utf-8") + b"\0" + struct.pack("<Q", 0))
    points = [struct.pack("<Q", len(model.points))]
    for number, (xyz, rgb) in enumerate(zip(model.points, model.colors), start=1):
        points.append(struct.pack("<Q3d3BdQ", number, *xyz, *rgb.tolist(), 0.0, 0))
    for name, chunks in (("cameras", cameras), ("images", images), ("points3D", points)):
        with replacing(folder / f"{name}.bin") as temporary:
            temporary.write_bytes(b"".join(chunks))


class _Bytes:
    """A file's bytes, consumed from the front."""

    def __init__(self, path: Path) -> None:
        self.path, self.at = path, 0
        try:
            self.raw = path.read_bytes()
        except OSError as error:
            raise clear(
                str(path), expected="a file", got=error.strerror or str(error), do="export the model again"
            ) from error

    def unpack(self, form: str) -> tuple:
        size = struct.calcsize("<" + form)
        values = struct.unpack("<" + form, self.take(size))
        return values

    def take(self, size: int) -> bytes:
        chunk = self.raw[self.at : self.at + size]
        if len(chunk) < size:
            raise self.truncated()
        self.at += size
        return chunk

    def text(self) -> str:
        end = self.raw.find(b"\0", self.at)
        if end < 0:
            raise self.truncated()
        name = self.raw[self.at : end].decode("utf-8", errors="replace")
        self.at = end + 1
        return name

    def truncated(self) -> Exception:
        return clear(
            str(self.path),
            expected="a complete COLMAP binary file",
            got=f"one that ends after {len(self.raw)} bytes, in the middle of an entry",
            do="copy or export the model again",
        )


def _read_cameras(data: _Bytes) -> list[ColmapCamera]:
    cameras = []
    for _ in range(data.unpack("Q")[0]):
        number, model_id, width, height = data.unpack("iiQQ")
        model = model_by_id(model_id)
        cameras.append(ColmapCamera(number, model, width, height, data.unpack(f"{len(model.parameters)}d")))
    return cameras


def _read_images(data: _Bytes) -> list[ColmapImage]:
    images = []
    for _ in range(data.unpack("Q")[0]):
        number, *pose, camera_id = data.unpack("i7di")
        name = data.text()
        data.take(data.unpack("Q")[0] * _FEATURE_BYTES)
        images.append(ColmapImage(number, np.array(pose[:4]), np.array(pose[4:]), camera_id, name))
    return images


def _read_points(data: _Bytes) -> tuple[np.ndarray, np.ndarray]:
    xyz, rgb = [], []
    for _ in range(data.unpack("Q")[0]):
        _, x, y, z, r, g, b, _, track = data.unpack("Q3d3BdQ")
        data.take(track * _TRACK_BYTES)
        xyz.append((x, y, z))
        rgb.append((r, g, b))
    return np.array(xyz, dtype=np.float64).reshape(-1, 3), np.array(rgb, dtype=np.uint8).reshape(-1, 3)
