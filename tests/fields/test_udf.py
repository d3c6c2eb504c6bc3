"""Unsigned distance fields: published values, and gradients that are those of the distance."""

import numpy as np
import pytest
import torch

from rilievo.fields.encoding import CompositeEncoding
from rilievo.fields.frequency import FrequencyEncoding
from rilievo.fields.mlp import MLP
from rilievo.fields.skip_mlp import SkipMLP
from rilievo.fields.udf import Sharpness, UdfField, UdfKind

from .published_udf import published_udf_network


@pytest.fixture(scope="module")
def fixture(golden):
    return np.load(golden / "udf_fields.npz")


def close(found, expected, atol, rtol):
    torch.testing.assert_close(found.detach(), torch.as_tensor(expected), atol=atol, rtol=rtol)


@pytest.mark.golden
@pytest.mark.parametrize("kind", list(UdfKind))
def test_published_distance_and_features(fixture, kind):
    sample = published_udf_network(fixture, "udf/sd", kind)(torch.from_numpy(fixture["udf/x"]))
    absolute = fixture["udf/out"]
    expected = {
        UdfKind.ABS: absolute[:, 0],
        UdfKind.SQUARE: fixture["udf/udf_square"][:, 0],
        UdfKind.SIGNED: fixture["udf/out_udf_type_sdf"][:, 0],
    }[kind]
    close(sample.udf, expected, 1e-5, 1e-4)
    close(sample.feature, absolute[:, 1:], 1e-5, 1e-4)
    close(sample.raw, fixture["udf/raw_before_abs"][:, 0], 1e-5, 1e-4)
    assert (sample.raw < 0).any()
    assert (sample.raw > 0).any()


@pytest.mark.golden
@pytest.mark.parametrize(("kind", "name"), [(UdfKind.ABS, "gradient"), (UdfKind.SQUARE, "gradient_square")])
def test_published_gradient(fixture, kind, name):
    sample = published_udf_network(fixture, "udf/sd", kind)(torch.from_numpy(fixture["udf/x"]))
    close(sample.gradient, fixture[f"udf/{name}"][:, 0], 1e-5, 1e-3)


@pytest.mark.golden
def test_published_network_of_a_scaled_scene(fixture):
    field = published_udf_network(fixture, "udf/sd", UdfKind.ABS, scale=2.0)
    sample = field(torch.from_numpy(fixture["udf/x"]))
    close(sample.udf, fixture["udf/out_scale2"][:, 0], 1e-5, 1e-4)
    close(sample.gradient, fixture["udf/gradient_scale2"][:, 0], 1e-5, 1e-3)


@pytest.mark.golden
def test_published_parameter_gradients_of_the_eikonal_term(fixture):
    field = published_udf_network(fixture, "udf/sd", UdfKind.ABS)
    eikonal = (field(torch.from_numpy(fixture["udf/x"])).gradient.norm(dim=-1) - 1).square().mean()
    close(eikonal, fixture["udf/eikonal"], 1e-5, 1e-3)
    eikonal.backward()
    for name, parameter in field.network.named_parameters():
        _, layer, kind = name.split(".")
        expected = float(fixture[f"udf/grad_norm_of_eikonal/udf/lin{layer}.{kind}"])
        norm = 0.0 if parameter.grad is None else float(parameter.grad.norm())
        assert norm == pytest.approx(expected, abs=1e-5, rel=2e-3), name


@pytest.mark.golden
def test_published_field_with_flat_pieces(golden):
    """GaussianUDF's: ReLU, and no features."""
    fixture = np.load(golden / "gudf_losses.npz")
    sample = published_udf_network(fixture, "sd/field", activation="relu")(torch.from_numpy(fixture["field/x"]))
    close(sample.udf, fixture["field/udf"][:, 0], 1e-5, 1e-4)
    close(sample.gradient, fixture["field/gradient"], 1e-5, 1e-3)
    close(sample.raw.relu(), fixture["field/udf_relu_last"][:, 0], 1e-5, 1e-4)
    assert float(SkipMLP(39, 1).layers[-1].bias.detach()) == -float(fixture["field/default_bias_init"])


@pytest.mark.golden
def test_published_sharpness(fixture):
    for raw, inv_s in zip(fixture["variance/variance"], fixture["variance/inv_s"]):
        close(Sharpness(inv_s=float(raw)).inv_s, inv_s, 1e-6, 1e-5)
    least = float(fixture["beta/beta_min"])
    for raw, beta, gamma in zip(fixture["beta/raw"], fixture["beta/beta"], fixture["beta/gamma"]):
        found = Sharpness(beta=float(raw), gamma=float(raw), least_width=least)
        close(found.beta, beta, 1e-6, 1e-5)
        close(found.gamma, gamma, 1e-6, 1e-5)


@pytest.mark.parametrize("kind", list(UdfKind))
@pytest.mark.parametrize("skip", [False, True])
def test_gradient_is_that_of_the_distance(kind, skip):
    generator = torch.Generator().manual_seed(1)
    encoding = CompositeEncoding(FrequencyEncoding(2), scale=1.0, offset=0.0)
    if skip:
        network = SkipMLP(encoding.output_dim, 5, width=32, hidden_layers=4, skip_in=(2,), generator=generator)
    else:
        network = MLP(encoding.output_dim, 5, width=32, sphere_radius=0.5, generator=generator)
    field = UdfField(encoding, network, kind=kind, scale=0.5, offset=0.1, distance_scale=3.0).double()
    points = torch.randn(20, 3, generator=generator, dtype=torch.float64).requires_grad_()
    (expected,) = torch.autograd.grad(field.udf(points).sum(), points)
    sample = field(points)
    torch.testing.assert_close(sample.gradient, expected)
    torch.testing.assert_close(sample.udf, field.udf(points))


def test_field_begins_as_the_distance_from_a_sphere_on_both_sides():
    encoding = CompositeEncoding(FrequencyEncoding(6), scale=1.0, offset=0.0)
    field = UdfField(encoding, SkipMLP(39, 8, generator=torch.Generator().manual_seed(0)))
    generator = torch.Generator().manual_seed(2)
    points = torch.nn.functional.normalize(torch.randn(200, 3, generator=generator), dim=-1)
    radius = torch.linspace(0.1, 0.9, 200)[:, None]
    error = field.udf(points * radius) - (radius[:, 0] - 0.5).abs()
    assert error.abs().mean() < 0.1


def test_root_of_a_squared_distance_is_what_is_meshed():
    encoding = CompositeEncoding(FrequencyEncoding(2), scale=1.0, offset=0.0)
    network = SkipMLP(encoding.output_dim, 4, width=32, hidden_layers=3, skip_in=(), sphere_radius=0.5)
    points = torch.rand(10, 3, generator=torch.Generator().manual_seed(3))
    square, absolute = (UdfField(encoding, network, kind=kind) for kind in (UdfKind.SQUARE, UdfKind.ABS))
    torch.testing.assert_close(square.distance(points), absolute.distance(points))
