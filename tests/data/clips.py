"""Clips as others publish them, for tests: HyperNeRF's and MoDGS's layouts, rigs and LLFF, filled with noise."""

import json
from pathlib import Path

import numpy as np
from PIL import Image


def turn(x: float, y: float, z: float) -> np.ndarray:
    """The rotation by x about the first axis, then y about the second, then z about the third, which stay put."""
    R = np.eye(3)
    for axis, angle in enumerate((x, y, z)):
        step, (a, b) = np.eye(3), ((axis + 1) % 3, (axis + 2) % 3)
        step[[a, b], [a, b]] = np.cos(angle)
        step[b, a], step[a, b] = np.sin(angle), -np.sin(angle)
        R = step @ R
    return R


def photo(path: Path, width: int = 36, height: int = 48) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def hypernerf_camera(**changes: object) -> dict[str, object]:
    camera: dict[str, object] = {
        "orientation": turn(0.2, -0.3, 0.1).tolist(),
        "position": [0.4, -0.3, 1.2],
        "focal_length": 70.5,
        "principal_point": [36.0, 48.0],
        "skew": 0.0,
        "pixel_aspect_ratio": 1.0,
        "radial_distortion": [0.0, 0.0, 0.0],
        "tangential_distortion": [0.0, 0.0],
        "image_size": [72, 96],
    }
    return camera | changes


def hypernerf(folder: Path, n: int = 8, stamps: str = "time_id", **changes: object) -> Path:
    """n frames of 72x96 pixels, kept at half size, on a ray of centres; the last is for testing."""
    ids = [f"{i:06d}" for i in range(n)]
    for i, name in enumerate(ids):
        write(folder / "camera" / f"{name}.json", hypernerf_camera(position=[0.1 * i, -0.3, 1.2]) | changes)
        photo(folder / "rgb" / "2x" / f"{name}.png")
    write(folder / "dataset.json", {"ids": ids, "train_ids": ids[:-1], "val_ids": ids[-1:]})
    write(folder / "metadata.json", {name: {stamps: 2 * i, "camera_id": 0} for i, name in enumerate(ids)})
    write(folder / "scene.json", {"scale": 0.25, "center": [0.1, 0.05, -0.4], "near": 0.1, "far": 2.0})
    return folder


def selfmade(folder: Path, stems: tuple[str, ...] = ("00000", "00005", "00010"), factor: int = 2) -> Path:
    for stem in stems:
        photo(folder / "rgb" / f"{factor}x" / f"{stem}.png")
    (folder / "GeoWizardOut").mkdir(exist_ok=True)
    return folder


def poses_bounds(n: int) -> np.ndarray:
    """LLFF rows of cameras turned and moved by their number, 36x48 pixels."""
    rows = []
    for i in range(n):
        right, down, forward = turn(0.02 * i, 0.05 * i, -0.03 * i).T
        rows.append(np.stack((down, right, -forward, [0.3 * i, 0.1, -0.2 * i], [48.0, 36.0, 40.0]), axis=1).ravel())
    return np.hstack((np.array(rows), np.tile([1.0, 10.0], (n, 1))))


def rig(folder: Path, n: int = 9, scale: float = 2.0) -> Path:
    """A clip of three frames with a rig of n cameras, all of whose photos are there."""
    selfmade(folder, ("00000", "00001", "00002"))
    for time in range(3):
        for i in range(n):
            photo(folder / "mv_images" / f"{time:05d}" / f"cam{i:02d}.png")
    np.save(folder / "poses_bounds.npy", poses_bounds(n))
    write(folder / "colmap_to_depth_scale.json", {"scale": scale})
    return folder
