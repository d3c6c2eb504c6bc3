"""What makes a batch of cameras usable; everything else is refused with a sentence that names the camera."""

from __future__ import annotations

import torch
from torch import Tensor

from rilievo.errors import clear

ORTHONORMAL = 1e-3
"""Largest |RᵀR − 1| taken for a rotation: poses printed with four decimals pass, a scale of 0.1 % does not."""


def check_poses(world_from_cam: Tensor) -> None:
    """Raise `UserError` unless every pose is finite and rigid."""
    if (i := _first(~torch.isfinite(world_from_cam).all(-1).all(-1))) is not None:
        raise clear(
            f"camera {i}",
            expected="a finite pose",
            got=f"NaN or infinity in {_brief(world_from_cam[i])}",
            do="correct or remove this frame",
        )
    bottom = world_from_cam.new_tensor([0, 0, 0, 1])
    if (i := _first((world_from_cam[:, 3] - bottom).abs().amax(-1) > 1e-9)) is not None:
        raise clear(
            f"camera {i}",
            expected="a pose whose last row is 0 0 0 1",
            got=_brief(world_from_cam[i, 3]),
            do="store poses as row-major 4x4 matrices, camera to world",
        )
    R = world_from_cam[:, :3, :3]
    eye = torch.eye(3, dtype=R.dtype, device=R.device)
    if (i := _first((R.mT @ R - eye).abs().amax((-1, -2)) > ORTHONORMAL)) is not None:
        raise clear(
            f"camera {i}",
            expected="a rotation with orthonormal columns",
            got=f"{_brief(R[i])}",
            do="take any scale out of the rotation and keep it in the translation",
        )
    if (i := _first(torch.linalg.det(R) < 0)) is not None:
        raise clear(
            f"camera {i}",
            expected="a rotation (determinant 1)",
            got="a mirror image (determinant -1)",
            do="flip two axes, never one, when changing conventions",
        )


def check_intrinsics(K: Tensor, sizes_px: Tensor) -> None:
    """Raise `UserError` unless every K is an upper triangular pinhole matrix and every image has pixels."""
    if (i := _first(~torch.isfinite(K).all(-1).all(-1))) is not None:
        raise clear(f"camera {i}", expected="a finite K", got=_brief(K[i]), do="correct or remove this frame")
    if (i := _first(torch.minimum(K[:, 0, 0], K[:, 1, 1]) <= 0)) is not None:
        raise clear(
            f"camera {i}",
            expected="positive focal lengths in pixels",
            got=f"fx = {K[i, 0, 0].item():g}, fy = {K[i, 1, 1].item():g}",
            do="flip camera axes in the pose, not in K",
        )
    below = torch.stack((K[:, 1, 0], K[:, 2, 0], K[:, 2, 1], K[:, 2, 2] - 1), -1)
    if (i := _first(below.abs().amax(-1) > 1e-9)) is not None:
        raise clear(
            f"camera {i}",
            expected="K = [fx skew cx; 0 fy cy; 0 0 1]",
            got=_brief(K[i]),
            do="divide K by its last element and leave the pose out of it",
        )
    if (i := _first(sizes_px.amin(-1) < 1)) is not None:
        raise clear(
            f"camera {i}",
            expected="an image of at least 1 x 1 pixels",
            got=f"{sizes_px[i, 0].item()} x {sizes_px[i, 1].item()}",
            do="give width and height in pixels",
        )


def check_distortion(distortion: Tensor, fisheye: Tensor) -> None:
    """Raise `UserError` unless coefficients are finite and fisheye lenses use only the four that they have."""
    if (i := _first(~torch.isfinite(distortion).all(-1))) is not None:
        raise clear(
            f"camera {i}",
            expected="finite distortion coefficients",
            got=_brief(distortion[i]),
            do="correct them or set them to 0",
        )
    if (i := _first(fisheye & distortion[:, 4:].any(-1))) is not None:
        raise clear(
            f"camera {i}",
            expected="a fisheye lens with k1 to k4 only",
            got=_brief(distortion[i]),
            do="set k5, k6, p1, p2 to 0 or choose the OpenCV model",
        )


def _first(wrong: Tensor) -> int | None:
    """Index of the first true entry."""
    return int(wrong.nonzero()[0, 0]) if bool(wrong.any()) else None


def _brief(values: Tensor) -> str:
    return "[" + "; ".join(" ".join(f"{v:.4g}" for v in row) for row in torch.atleast_2d(values).tolist()) + "]"
