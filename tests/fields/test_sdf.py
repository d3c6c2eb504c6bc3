"""Signed distance fields: normals found three ways, finite differences, Laplacian, and the published numbers."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from rilievo.fields.encoding import CoarseToFine, CompositeEncoding, ProgressiveLevels
from rilievo.fields.frequency import FrequencyEncoding
from rilievo.fields.hash_grid import HashGrid
from rilievo.fields.mlp import MLP
from rilievo.fields.sdf import FinestCell, GradientKind, SdfField
from rilievo.losses import curvature, eikonal
from rilievo.ops.hash_encode import HashGridSpec

from .test_encoding import StandInGrid
from .test_mlp import FORWARD, INPUT_GRADIENT, PARAMETER_GRADIENT, published_mlp, published_state

ANALYTIC, FINITE_DIFFERENCE = GradientKind


def field_with(encoding, **kwargs) -> SdfField:
    """A small field with random weights, in float64."""
    generator = torch.Generator().manual_seed(0)
    network = MLP(encoding.output_dim, 5, width=16, hidden_layers=2, sphere_radius=0.5, weight_norm=True)
    field = SdfField(encoding, network, **kwargs)
    for p in field.parameters():
        p.data.normal_(0, 0.3, generator=generator)
    return field.double()


ENCODINGS = {
    "explicit": lambda: CompositeEncoding(FrequencyEncoding(3)),
    "hash grid": lambda: CompositeEncoding(ProgressiveLevels(HashGrid(HashGridSpec(4, 2, 8, 3, 1.6)), CoarseToFine(2))),
    "foreign": lambda: CompositeEncoding(ProgressiveLevels(StandInGrid(), CoarseToFine(2))),
}
encodings = pytest.mark.parametrize("make", ENCODINGS.values(), ids=ENCODINGS.keys())


@pytest.fixture
def points() -> torch.Tensor:
    return 1.5 * (2 * torch.rand(23, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 1)


@encodings
@pytest.mark.parametrize("sdf_activation", ["none", "tanh"])
def test_the_analytic_gradient_is_what_autograd_finds(make, sdf_activation, points):
    field = field_with(make(), radius=1.5, sdf_activation=sdf_activation, sdf_bias=0.1)
    x = points.clone().requires_grad_()
    (expected,) = torch.autograd.grad(field.sdf(x).sum(), x)
    torch.testing.assert_close(field(points).gradient, expected)


@encodings
def test_a_loss_on_normals_trains_weights_as_double_backward_does(make, points):
    field = field_with(make(), radius=1.5)
    parameters = [p for name, p in field.named_parameters() if "layers.2.bias" not in name]
    single = torch.autograd.grad(eikonal(field(points).gradient).mean(), parameters, allow_unused=True)
    x = points.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(field.sdf(x).sum(), x, create_graph=True)
    double = torch.autograd.grad(eikonal(gradient).mean(), parameters, allow_unused=True)
    for a, b in zip(single, double):
        torch.testing.assert_close(a, b)


@encodings
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("kind", GradientKind)
def test_normals_are_the_same_where_gradients_are_off_and_carry_no_history(make, mode, kind, points):
    field = field_with(make(), radius=1.5, gradient=kind)
    with mode():
        silent = field(points * 1.0, with_laplacian=True)
    aloud = field(points, with_laplacian=True)
    for name in ("sdf", "feature", "gradient", "laplacian"):
        assert not getattr(silent, name).requires_grad
        torch.testing.assert_close(getattr(silent, name).clone(), getattr(aloud, name).detach())


def test_finite_differences_agree_with_the_analytic_gradient_to_second_order(points):
    inside = points / 1.5
    fields = [
        field_with(CompositeEncoding(FrequencyEncoding(1)), radius=1.5, gradient=kind, eps=eps)
        for kind, eps in [(ANALYTIC, 1e-3), (FINITE_DIFFERENCE, 2e-3), (FINITE_DIFFERENCE, 1e-3)]
    ]
    exact, coarse, fine = (f(inside).gradient for f in fields)
    ratio = (coarse - exact).norm().item() / (fine - exact).norm().item()
    assert 3.5 < ratio < 4.5


def test_the_laplacian_is_the_trace_of_the_hessian(points):
    field = field_with(CompositeEncoding(FrequencyEncoding(1)), radius=1.5, eps=1e-4)
    inside = points[:5] / 1.5
    hessians = [torch.autograd.functional.hessian(lambda p: field.sdf(p[None])[0], p) for p in inside]
    expected = torch.stack([h.trace() for h in hessians])
    torch.testing.assert_close(field(inside, with_laplacian=True).laplacian.detach(), expected, rtol=1e-3, atol=1e-4)


def test_a_scene_twice_as_large_has_half_the_slope(points):
    small, large = (field_with(CompositeEncoding(FrequencyEncoding(2)), radius=r) for r in (1.5, 3.0))
    torch.testing.assert_close(small(points).gradient, 2 * large(2 * points).gradient)


def test_only_what_is_asked_for_is_computed(points):
    sample = field_with(CompositeEncoding(FrequencyEncoding(2)))(points, with_gradient=False)
    assert sample.gradient is None
    assert sample.laplacian is None


def test_the_finite_difference_step_halves_when_cells_do():
    field = field_with(
        CompositeEncoding(ProgressiveLevels(StandInGrid(), CoarseToFine(1, 0, 10))),
        eps=FinestCell(base_resolution=4, per_level_scale=2.0, n_levels=5, levels=CoarseToFine(1, 0, 10)),
    )
    steps = []
    for step in (0, 10, 20, 100):
        field.set_step(step)
        steps.append(field.eps)
    assert steps == [0.5, 0.25, 0.125, 0.03125]


@pytest.fixture
def published(golden):
    return np.load(golden / "vanilla_mlp.npz")


def published_field(data, **kwargs) -> SdfField:
    """The stored network behind a frequency encoding with xyz, whose number of octaves is told by the first layer."""
    network = published_mlp(data, "volume_sdf/sd/network.layers.")
    encoding = CompositeEncoding(FrequencyEncoding((network.input_dim - 3) // 6))
    return SdfField(encoding, network, radius=float(data["volume_sdf/radius"]), **kwargs)


@pytest.mark.golden
def test_analytic_sdf_is_the_published_one(published):
    points = torch.from_numpy(published["volume_sdf/points"])
    field = published_field(published)
    sample = field(points)
    np.testing.assert_allclose(sample.sdf.detach(), published["volume_sdf/sdf"], **FORWARD)
    np.testing.assert_allclose(sample.feature.detach(), published["volume_sdf/feature"], **FORWARD)
    np.testing.assert_allclose(sample.gradient.detach(), published["volume_sdf/grad_analytic"], **INPUT_GRADIENT)
    loss = eikonal(sample.gradient).mean()
    loss.backward()
    np.testing.assert_allclose(loss.item(), published["volume_sdf/eikonal"], **INPUT_GRADIENT)
    expected = published_state(published, "volume_sdf/grad_of_eikonal/network.layers.")
    assert expected
    for name, gradient in expected.items():
        ours = field.network.get_parameter(name).grad
        np.testing.assert_allclose(ours.norm(), gradient.norm(), **PARAMETER_GRADIENT, err_msg=name)
        np.testing.assert_allclose(ours, gradient, atol=1e-5, rtol=2e-3, err_msg=name)


@pytest.mark.golden
def test_finite_difference_sdf_is_the_published_one(published):
    points = torch.from_numpy(published["volume_sdf/points"])
    eps = float(published["volume_sdf/finite_difference_eps"])
    sample = published_field(published, gradient=GradientKind.FINITE_DIFFERENCE, eps=eps)(points, with_laplacian=True)
    np.testing.assert_allclose(sample.gradient.detach(), published["volume_sdf/grad_finite_difference"], atol=1e-3)
    np.testing.assert_allclose(sample.laplacian.detach(), published["volume_sdf/laplace"], atol=5e-1)
    mean = float(curvature(sample.laplacian).mean().detach())
    np.testing.assert_allclose(mean, published["volume_sdf/curvature_loss"], atol=5e-1)


@pytest.mark.golden
def test_sdf_activation_and_bias_are_the_published_ones(published):
    points = torch.from_numpy(published["volume_sdf/points"])
    field = published_field(published, sdf_activation="tanh", sdf_bias=0.1)
    np.testing.assert_allclose(field(points).sdf.detach(), published["volume_sdf/sdf_with_tanh_bias_0p1"], **FORWARD)
    level = published["volume_sdf/forward_level_with_tanh_bias_0p1"]
    np.testing.assert_allclose(field.sdf(points).detach(), level, **FORWARD)


@pytest.mark.golden
def test_progressive_step_is_the_published_one(golden, published):
    config = json.loads((golden / "schedules.json").read_text())["configs"]["neuralangelo-dtu-wmask"]
    grid, radius = config["model_full"]["geometry"]["xyz_encoding_config"], config["model_full"]["geometry"]["radius"]
    levels = CoarseToFine(grid["start_level"], grid["start_step"], grid["update_steps"])
    cell = FinestCell(grid["base_resolution"], grid["per_level_scale"], grid["n_levels"], levels)
    ours = [cell.at(int(step), radius) for step in published["progressive_eps/step"]]
    np.testing.assert_allclose(ours, published["progressive_eps/eps"], atol=1e-6, rtol=1e-5)


def test_an_encoding_is_a_part_of_the_field_and_trained_with_it():
    field = field_with(CompositeEncoding(ProgressiveLevels(StandInGrid())))
    assert any("directions" in name for name, _ in field.named_parameters())
    assert isinstance(field.encoding, nn.Module)
