"""Where NeRO's march along a mirrored ray finds the surface, step by step, against the published march."""

import numpy as np
import pytest
import torch
from tests.renderers.test_occlusion import ball, ball_and_box

from rilievo.renderers.occlusion import find_crossings

PLACE, PROBABILITY = 1e-3, 2e-4


@pytest.mark.golden
def test_steps_lie_where_the_published_ones_do(golden):
    data = {key: torch.from_numpy(value) for key, value in np.load(golden / "nero_intersection.npz").items()}
    radius = float(data["scene/sphere_radius"])
    scenes = {
        "sphere": ball(radius),
        "sphere_box": ball_and_box(radius, data["scene/box_half"], data["scene/box_centre"]),
    }
    names = [key.removesuffix("/z_vals") for key in data if key.endswith("/z_vals") and key.count("/") == 3]
    assert names
    for name in names:
        scene, sharpness, counts = name.split("/")
        _, even, _, drawn = counts.split("_")
        inv_s = torch.tensor(float(sharpness.removeprefix("inv_s_")))
        found = find_crossings(data["scene/pts"], data["scene/dirs"], scenes[scene], inv_s, int(even), int(drawn))
        t, weights, sdf = (data[f"{name}/{part}"] for part in ("z_vals", "weights", "sdf"))
        np.testing.assert_allclose(found.t, t, atol=PLACE, err_msg=name)
        np.testing.assert_allclose(found.weights, weights, atol=PROBABILITY, err_msg=name)
        falls = sdf != -1
        assert (falls == (found.sdf != -1)).float().mean() > 0.995, name  # level steps count or not by rounding
        both = falls & (found.sdf != -1)
        np.testing.assert_allclose(found.sdf[both], sdf[both], atol=PLACE, err_msg=name)
