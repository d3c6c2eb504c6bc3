"""What holds NeRO's shape and light in place at the start."""

import numpy as np
import pytest
import torch

from rilievo.losses import glossy
from rilievo.shading.color import linear_to_srgb, srgb_to_linear

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


def test_two_equal_estimates_have_the_square_of_their_error():
    photo = torch.tensor([[0.2, 0.5, 0.8], [0.3, 0.3, 0.3]])
    seen = torch.tensor([[0.5, 0.4, 0.1], [0.31, 0.29, 0.3]])
    linear = srgb_to_linear(seen)
    expected = (seen - photo).square().sum(-1)
    torch.testing.assert_close(
        glossy.paired_error(linear, linear, srgb_to_linear(photo), linear_to_srgb), expected, rtol=2e-2, atol=1e-5
    )


def test_noise_round_the_truth_costs_nothing_on_average_and_an_error_does():
    generator = torch.Generator().manual_seed(0)
    photo = torch.full((40000, 3), 0.6)
    truth = srgb_to_linear(photo)

    def estimate(shift: float) -> torch.Tensor:
        return (truth + shift + 0.1 * torch.randn(photo.shape, generator=generator)).clamp_min(0)

    right = glossy.paired_error(estimate(0.0), estimate(0.0), truth, linear_to_srgb)
    scatter = float(right.std()) / len(right) ** 0.5
    assert abs(float(right.mean())) < 5 * scatter + 1e-3
    wrong = glossy.paired_error(estimate(0.1), estimate(0.1), truth, linear_to_srgb)
    assert wrong.mean() > right.mean() + 10 * scatter


def test_what_shines_brighter_than_white_can_show_costs_nothing():
    bright = torch.full((1, 3), 5.0)
    assert glossy.paired_error(bright, 2 * bright, torch.ones(1, 3), linear_to_srgb).abs().max() < 1e-6


def test_half_metal_is_the_most_undecided():
    values = glossy.undecided(torch.tensor([[0.0], [0.5], [1.0]]))
    torch.testing.assert_close(values, torch.tensor([0.0, 1.0, 0.0]))
