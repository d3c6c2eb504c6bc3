"""How close estimated cameras are to the true ones, as numbers for a report; the measure itself is in
`geometry.alignment`."""

from __future__ import annotations

from pathlib import PurePosixPath

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.data.scene import Scene
from rilievo.errors import clear
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


def compare_scene_cameras(scene: Scene, reference: Scene) -> dict[str, float]:
    """`compare_cameras` for the photos of two captures that have the same file stem, and `registered`: their share of
    the reference's photos; each in the frame its capture was given in.

    Raises UserError where fewer than two photos are in both.
    """
    found, true = scene.in_capture_frame(), reference.in_capture_frame()
    number = {PurePosixPath(name).stem: i for i, name in enumerate(found.names)}
    pairs = [(number[stem], j) for j, name in enumerate(true.names) if (stem := PurePosixPath(name).stem) in number]
    if len(pairs) < 2:
        raise clear(
            "reference cameras",
            expected="at least two photos with the names of the scene's",
            got=f"{len(pairs)}, for example {true.names[0]} there and {found.names[0]} here",
            do="name them alike",
        )
    here, there = torch.tensor(pairs).T
    errors = compare_cameras(found.cameras.world_from_cam[here], true.cameras.world_from_cam[there])
    return errors | {"registered": len(pairs) / len(true)}
