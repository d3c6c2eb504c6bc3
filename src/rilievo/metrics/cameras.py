"""How close estimated cameras are to the true ones, as numbers for a report; the measure itself is in
`geometry.alignment`."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from rilievo.geometry.alignment import camera_errors


def compare_cameras(
    world_from_cam_est: Float[Tensor, "n 4 4"], world_from_cam_ref: Float[Tensor, "n 4 4"]
) -> dict[str, float]:
    """Mean and largest errors of poses of the same cameras in the same order, after alignment by a similarity.

    Rotations in degrees, centres in % of the extent of the reference. Raises UserError where there is nothing to
    compare.
    """
    errors = camera_errors(world_from_cam_est, world_from_cam_ref)
    return {
        "rotation_deg": errors.rotation_deg,
        "center_percent": errors.center_percent,
        "rotation_deg_max": float(errors.rotations_deg.max()),
        "center_percent_max": float(errors.centers_percent.max()),
    }
