"""Perceptrons: their start, their gradient in closed form, and the published numbers."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from rilievo.fields.mlp import MLP

FORWARD = {"atol": 1e-5, "rtol": 1e-4}
INPUT_GRADIENT = {"atol": 1e-5, "rtol": 1e-3}
PARAMETER_GRADIENT = {"atol": 1e-5, "rtol": 2e-3}


def published_state(data, prefix: str) -> dict[str, torch.Tensor]:
    """Weights by our names: the published code counts activations as layers, so its layer 2k is our layer k."""
    state = {}
    for key in data.files:
        if key.startswith(prefix):
            index, parameter = key.removeprefix(prefix).split(".")
            state[f"layers.{int(index) // 2}.{parameter}"] = torch.from_numpy(data[key])
    return state


def published_mlp(data, prefix: str, **kwargs) -> MLP:
    """An MLP of the stored sizes with the stored weights; Softplus where they are weight-normalised."""
    state = published_state(data, prefix)
    last = max(int(key.split(".")[1]) for key in state)
    normed = "layers.0.weight_g" in state
    first_weight = state["layers.0.weight_v" if normed else "layers.0.weight"]
    mlp = MLP(
        first_weight.shape[1],
        len(state[f"layers.{last}.bias"]),
        width=len(first_weight),
        hidden_layers=last,
        sphere_radius=0.5 if normed else None,
        weight_norm=normed,
        **kwargs,
    )
    mlp.load_state_dict(state)
    return mlp


@pytest.mark.parametrize("sphere_radius", [None, 0.5], ids=["relu", "softplus"])
@pytest.mark.parametrize("hidden_layers", [0, 1, 3])
@pytest.mark.parametrize("output", [0, 2])
def test_pullback_is_what_autograd_finds(sphere_radius, hidden_layers, output):
    generator = torch.Generator().manual_seed(0)
    mlp = MLP(7, 4, width=16, hidden_layers=hidden_layers, sphere_radius=sphere_radius, weight_norm=True).double()
    for p in mlp.parameters():
        p.data.normal_(0, 0.5, generator=generator)
    x = torch.randn(11, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    value, gradient = mlp.value_and_pullback(x, output)
    (expected,) = torch.autograd.grad(mlp(x)[:, output].sum(), x)
    torch.testing.assert_close(value, mlp(x))
    torch.testing.assert_close(gradient, expected)


def test_a_loss_on_the_pullback_trains_weights_as_double_backward_does():
    generator = torch.Generator().manual_seed(1)
    mlp = MLP(5, 3, width=8, hidden_layers=2, sphere_radius=0.5, weight_norm=True).double()
    for p in mlp.parameters():
        p.data.normal_(0, 0.3, generator=generator)
    x = torch.randn(9, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    _, gradient = mlp.value_and_pullback(x)
    parameters = [p for name, p in mlp.named_parameters() if name != "layers.2.bias"]
    single = torch.autograd.grad(gradient.square().sum(), parameters, allow_unused=True)
    (double,) = torch.autograd.grad(mlp(x)[:, 0].sum(), x, create_graph=True)
    expected = torch.autograd.grad(double.square().sum(), parameters, allow_unused=True)
    for a, b in zip(single, expected):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("weight_norm", [False, True])
def test_geometric_initialisation_is_about_a_sphere(weight_norm):
    mlp = MLP(
        39, 13, width=256, hidden_layers=2, sphere_radius=0.5, weight_norm=weight_norm,
        generator=torch.Generator().manual_seed(2),
    )  # fmt: skip
    directions = normalize(torch.randn(500, 3, generator=torch.Generator().manual_seed(3)), dim=-1)
    encoded = torch.cat([directions, torch.ones(500, 36)], dim=1)
    for radius in (0.25, 0.5, 1.0):
        encoded[:, :3] = radius * directions
        distance = mlp(encoded)[:, 0].detach()
        assert abs(float(distance.mean()) - (radius - 0.5)) < 0.1 * radius + 0.05  # Softplus(0) lifts the centre
        assert float(distance.std()) < 0.15 * radius


def test_the_same_generator_draws_the_same_network():
    one, two = (MLP(4, 2, generator=torch.Generator().manual_seed(7)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters()))


@pytest.mark.golden
@pytest.mark.parametrize(("case", "output_activation"), [("sphere_wn", "none"), ("plain", "sigmoid")])
def test_mlp_is_the_published_one(golden, case, output_activation):
    data = np.load(golden / "vanilla_mlp.npz")
    mlp = published_mlp(data, f"{case}/sd/layers.", output_activation=output_activation)
    x = torch.from_numpy(data[f"{case}/x"]).requires_grad_()
    out = mlp(x)
    out.backward(torch.from_numpy(data[f"{case}/cotangent"]))
    np.testing.assert_allclose(out.detach(), data[f"{case}/out"], **FORWARD)
    np.testing.assert_allclose(x.grad, data[f"{case}/grad_x"], **INPUT_GRADIENT)
    expected = published_state(data, f"{case}/grad/layers.")
    for name, parameter in mlp.named_parameters():
        np.testing.assert_allclose(parameter.grad, expected[name], **PARAMETER_GRADIENT, err_msg=name)


@pytest.mark.golden
@pytest.mark.parametrize("case", ["sphere_wn", "plain"])
def test_initial_weights_are_distributed_as_published(golden, case):
    """Means and deviations of one published draw, within five standard errors of a draw of ours."""
    data = np.load(golden / "vanilla_mlp.npz")
    like = published_mlp(data, f"{case}/sd/layers.")
    mlp = MLP(
        like.input_dim, like.output_dim, width=len(like.layers[0].bias), hidden_layers=len(like.layers) - 1,
        sphere_radius=0.5 if case == "sphere_wn" else None, weight_norm=case == "sphere_wn",
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    ours = dict(mlp.named_parameters())
    for name, (mean, std) in zip(data[f"{case}/init_param_names"], data[f"{case}/init_param_mean_std"]):
        _, index, parameter = str(name).split(".")
        drawn = ours[f"layers.{int(index) // 2}.{parameter}"].detach()
        error = 5 * math.sqrt(2 / drawn.numel()) * float(std) + 1e-6
        assert abs(float(drawn.mean()) - mean) <= error, name
        assert abs(float(drawn.std()) - std) <= error, name
