"""What a COLMAP sparse model holds, whichever way it is written.

A pose is the rotation (unit quaternion wxyz) and translation that take world points into the camera: x_cam = R x + t,
OpenCV axes. Two-dimensional features and tracks are read past and written empty: nothing here needs them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8

from rilievo.io.colmap_lens import LensModel


@dataclass(frozen=True)
class ColmapCamera:
    id: int
    model: LensModel
    width: int
    height: int
    parameters: tuple[float, ...]


@dataclass(frozen=True)
class ColmapImage:
    id: int
    quaternion: Float64[np.ndarray, "4"]
    """wxyz, cam from world."""
    translation: Float64[np.ndarray, "3"]
    camera_id: int
    name: str

    @property
    def cam_from_world(self) -> Float64[np.ndarray, "4 4"]:
        pose = np.eye(4)
        pose[:3, :3] = rotation_of(self.quaternion)
        pose[:3, 3] = self.translation
        return pose


@dataclass(frozen=True)
class ColmapModel:
    cameras: dict[int, ColmapCamera]
    images: tuple[ColmapImage, ...]
    points: Float64[np.ndarray, "p 3"]
    colors: UInt8[np.ndarray, "p 3"]


def rotation_of(quaternion: Float64[np.ndarray, "4"]) -> Float64[np.ndarray, "3 3"]:
    """The rotation matrix of a quaternion wxyz, which need not be quite unit."""
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_of(R: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "4"]:
    """The unit quaternion wxyz, w >= 0, of a rotation matrix: the dominant eigenvector of Bar-Itzhack's (2000) matrix.

    It is stable for every rotation and the best fit for one that is slightly off.
    """
    xx, yx, zx, xy, yy, zy, xz, yz, zz = R.T.ravel()
    K = (
        np.array(
            [
                [xx - yy - zz, xy + yx, xz + zx, zy - yz],
                [xy + yx, yy - xx - zz, yz + zy, xz - zx],
                [xz + zx, yz + zy, zz - xx - yy, yx - xy],
                [zy - yz, xz - zx, yx - xy, xx + yy + zz],
            ]
        )
        / 3
    )
    xyzw = np.linalg.eigh(K)[1][:, -1]
    quaternion = xyzw[[3, 0, 1, 2]]
    return -quaternion if quaternion[0] < 0 else quaternion
