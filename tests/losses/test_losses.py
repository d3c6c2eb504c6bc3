"""Losses per ray and per sample, and their published means, gradients and weighted sum."""

import numpy as np
import pytest
import torch

from rilievo import losses
from rilievo.ops.packed import offsets_from_ray_index

CLOSED_FORM = {"atol": 1e-6, "rtol": 1e-5}


def rays(n: int, channels: int, seed: int) -> torch.Tensor:
    return torch.rand(n, channels, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


COLOR_LOSSES = [losses.l1, losses.mse, losses.smooth_l1, losses.charbonnier]


@pytest.mark.parametrize("loss", COLOR_LOSSES)
def test_a_color_loss_is_least_for_the_right_color_and_the_same_both_ways(loss):
    a, b = rays(9, 3, 0), rays(9, 3, 1)
    assert (loss(a, a) < loss(a, b)).all()
    torch.testing.assert_close(loss(a, b), loss(b, a))


def test_smooth_l1_meets_its_two_halves_without_a_step():
    beta = 0.25
    error = torch.tensor([beta - 1e-9, beta + 1e-9], dtype=torch.float64)[:, None].expand(2, 3).clone().requires_grad_()
    value = losses.smooth_l1(error, torch.zeros(2, 3, dtype=torch.float64), beta)
    value.sum().backward()
    torch.testing.assert_close(value[0], value[1])
    torch.testing.assert_close(error.grad[0], error.grad[1])


def test_eikonal_is_zero_exactly_for_unit_slope():
    gradient = torch.tensor([[0.0, 0.6, 0.8], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(losses.eikonal(gradient), torch.tensor([0.0, 1.0, 1.0]))


def test_eikonal_has_a_finite_gradient_where_the_slope_vanishes():
    gradient = torch.zeros(2, 3, requires_grad=True)
    losses.eikonal(gradient).sum().backward()
    assert torch.isfinite(gradient.grad).all()


def test_a_wrong_mask_pixel_costs_a_bounded_amount():
    opacity = torch.tensor([0.0, 1.0, 0.0, 1.0])
    mask = torch.tensor([False, True, True, False])
    loss = losses.mask_loss(opacity, mask)
    assert (loss[:2] < 2e-3).all()
    torch.testing.assert_close(loss[2:], torch.full((2,), -float(np.log(1e-3))), rtol=1e-4, atol=0)


def test_an_undecided_ray_has_the_greatest_entropy():
    opacity = torch.linspace(0, 1, 101)
    loss = losses.opaque_loss(opacity)
    assert int(loss.argmax()) == 50
    assert float(loss[0]) == float(loss[0].clamp(0, 0.01))
    torch.testing.assert_close(loss, loss.flip(0), rtol=1e-4, atol=1e-5)


def test_surface_costs_more_than_empty_space():
    loss = losses.sparsity(torch.tensor([0.0, -0.1, 0.1, 1.0]), scale=10.0)
    torch.testing.assert_close(loss, torch.tensor([0.0, -1.0, -1.0, -10.0]).exp())


@pytest.fixture
def training_step(golden):
    """One published training step: leaves that require grad, and the file they come from."""
    data = np.load(golden / "neus_losses.npz")
    leaves = {key.removeprefix("grad/"): None for key in data.files if key.startswith("grad/")}
    leaves = {key: torch.from_numpy(data[f"in/{key}"]).requires_grad_() for key in leaves}
    return data, leaves


@pytest.mark.golden
def test_losses_of_a_training_step_and_their_gradients_are_the_published_ones(training_step):
    """The published distortion is a mean over rays up to the last that has a sample: as many are made here."""
    data, out = training_step
    valid = torch.from_numpy(data["in/rays_valid_full"])[:, 0]
    rgb, target = out["comp_rgb_full"][valid], torch.from_numpy(data["in/batch/rgb"])[valid]
    opacity = out["opacity"][:, 0]
    terms = {
        "rgb_mse": ("rgb_mse", losses.mse(rgb, target)),
        "rgb_l1": ("rgb", losses.l1(rgb, target)),
        "eikonal": ("eikonal", losses.eikonal(out["sdf_grad_samples"])),
        "mask": ("mask", losses.mask_loss(opacity, torch.from_numpy(data["in/batch/fg_mask"]))),
        "opaque": ("opaque", losses.opaque_loss(opacity)),
        "sparsity": ("sparsity", losses.sparsity(out["sdf_samples"], float(data["lambda/sparsity_scale"]))),
        "curvature": ("curvature", losses.curvature(out["sdf_laplace_samples"])),
    }
    for name, suffix in (("distortion", ""), ("distortion_bg", "_bg")):
        midpoints, intervals, ray_index = (
            torch.from_numpy(data[f"in/{key}{suffix}"]) for key in ("points", "intervals", "ray_indices")
        )
        offsets = offsets_from_ray_index(ray_index, int(ray_index.max()) + 1)
        terms[name] = (name, losses.distortion(out[f"weights{suffix}"], midpoints, intervals, offsets))
    total = torch.zeros(())
    for weight, (name, per_element) in terms.items():
        np.testing.assert_allclose(per_element.mean().detach(), data[f"out/loss_{name}"], **CLOSED_FORM, err_msg=name)
        total = total + float(data[f"lambda/lambda_{weight}"]) * per_element.mean()
    total.backward()
    np.testing.assert_allclose(total.item(), data["out/loss"], **CLOSED_FORM)
    for name, leaf in out.items():
        np.testing.assert_allclose(leaf.grad, data[f"grad/{name}"], **CLOSED_FORM, err_msg=name)


@pytest.mark.golden
def test_binary_cross_entropy_is_the_published_one(golden):
    data = np.load(golden / "neus_losses.npz")
    loss = losses.binary_cross_entropy(torch.from_numpy(data["bce/input"]), torch.from_numpy(data["bce/target"]))
    np.testing.assert_allclose(loss.mean(), data["bce/out"], **CLOSED_FORM)


@pytest.mark.golden
def test_color_losses_are_those_of_nero_which_sums_over_channels(golden):
    data = np.load(golden / "nero_losses.npz")
    target = torch.from_numpy(data["rgb/gt"])
    ours = {
        "l2": lambda rgb: 3 * losses.mse(rgb, target),
        "l1": lambda rgb: 3 * losses.l1(rgb, target),
        "smooth_l1": lambda rgb: 3 * losses.smooth_l1(rgb, target, beta=0.25),
        "charbonier": lambda rgb: losses.charbonnier(rgb, target, eps=0.001),
    }
    for name, loss in ours.items():
        rgb = torch.from_numpy(data["rgb/pred"]).requires_grad_()
        per_ray = loss(rgb)
        per_ray.mean().backward()
        np.testing.assert_allclose(per_ray.detach(), data[f"rgb/{name}"], **CLOSED_FORM, err_msg=name)
        np.testing.assert_allclose(rgb.grad, data[f"rgb/{name}_grad_of_mean"], **CLOSED_FORM, err_msg=name)
