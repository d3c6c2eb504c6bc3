"""What holds NeRO's shape and light in place at the start."""

import numpy as np
import pytest
import torch

from rilievo.losses import glossy

CLOSED_FORM = {"atol": 1e-6, "rtol": 1e-5}


def test_a_unit_sphere_owes_nothing_at_the_start():
    points = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
    sdf = points.norm(dim=-1) - 1
    assert glossy.start_outside(points, sdf) == 0
    assert glossy.start_inside(points, sdf) == 0


def test_no_points_owe_nothing():
    nothing = torch.zeros(0, 3)
    assert glossy.start_outside(nothing, nothing[:, 0]) == 0
    assert glossy.start_inside(nothing, nothing[:, 0]) == 0


def test_grey_light_owes_nothing():
    assert not glossy.colorless_light(torch.rand(5, 1).expand(5, 3)).gt(1e-6).any()


@pytest.mark.golden
def test_start_terms_are_the_published_ones(golden):
    data = np.load(golden / "nero_losses.npz")
    points = torch.from_numpy(data["init_sdf/pts"])
    for k, step in enumerate(data["init_sdf/step"].tolist()):
        sdf = torch.from_numpy(data["init_sdf/sdf"])
        for name, term in (("large", glossy.start_outside), ("small", glossy.start_inside)):
            ours = term(points, sdf) * glossy.start_weight(step)
            np.testing.assert_allclose(ours, data[f"init_sdf/{name}"][k], **CLOSED_FORM, err_msg=f"{name} {step}")
    sdf = torch.from_numpy(data["init_sdf/sdf"]).requires_grad_()
    total = glossy.start_outside(points, sdf) + glossy.start_inside(points, sdf)
    (total * glossy.start_weight(100)).backward()
    np.testing.assert_allclose(sdf.grad, data["init_sdf/grad_sdf_step100"], **CLOSED_FORM)


@pytest.mark.golden
def test_the_diffuse_light_term_is_the_published_one(golden):
    data = np.load(golden / "nero_losses.npz")
    ours = glossy.colorless_light(torch.from_numpy(data["diffuse_light_reg/diffuse_light"]))
    np.testing.assert_allclose(
        float(data["diffuse_light_reg/lambda_"]) * ours, data["diffuse_light_reg/loss"], **CLOSED_FORM
    )
