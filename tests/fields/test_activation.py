"""Activations by name."""

import numpy as np
import pytest
import torch

from rilievo.errors import UserError
from rilievo.fields.activation import TRUNC_EXP_MAX, activation, trunc_exp


def test_trunc_exp_is_exp_whose_gradient_stops_growing():
    x = torch.tensor([-3.0, 0.0, 14.0, 20.0], dtype=torch.float64, requires_grad=True)
    y = trunc_exp(x)
    y.sum().backward()
    torch.testing.assert_close(y.detach(), x.detach().exp())
    torch.testing.assert_close(x.grad, x.detach().clamp(max=TRUNC_EXP_MAX).exp())


def test_trunc_exp_can_be_differentiated_twice():
    x = torch.linspace(-2, 2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(trunc_exp, (x,))


@pytest.mark.parametrize("name", ["sigmiod", "scale", "clampx", ""])
def test_an_unknown_name_is_told_with_those_that_are_known(name):
    with pytest.raises(UserError, match="trunc_exp"):
        activation(name)


@pytest.mark.golden
def test_activations_are_the_published_ones(golden):
    data = np.load(golden / "contraction.npz")
    names = sorted({key.split("/")[1] for key in data.files if key.startswith("activation/") and key.endswith("/grad")})
    assert len(names) >= 10
    for name in names:
        x = torch.from_numpy(data["activation/x"]).requires_grad_()
        y = activation(name)(x)
        (gradient,) = torch.autograd.grad(y, x, torch.from_numpy(data["activation/cotangent"]))
        np.testing.assert_allclose(y.detach(), data[f"activation/{name}/out"], atol=1e-6, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(gradient, data[f"activation/{name}/grad"], atol=1e-6, rtol=1e-5, err_msg=name)
    x = torch.from_numpy(data["activation/x"])
    np.testing.assert_array_equal(activation(None)(x), data["activation/none_object/out"])
