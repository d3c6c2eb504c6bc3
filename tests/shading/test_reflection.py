"""Mirrors and the sRGB curve."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from rilievo.shading.color import linear_to_srgb, srgb_to_linear
from rilievo.shading.reflection import dot, reflect


def directions(seed: int) -> torch.Tensor:
    return normalize(torch.randn(40, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)


def test_reflecting_twice_changes_nothing():
    v, n = directions(0), directions(1)
    torch.testing.assert_close(reflect(reflect(v, n), n), v)


def test_reflection_keeps_length_and_angle_to_the_normal():
    v, n = directions(2), directions(3)
    r = reflect(v, n)
    torch.testing.assert_close(r.norm(dim=-1), v.norm(dim=-1))
    torch.testing.assert_close(dot(r, n), dot(v, n))


def test_the_srgb_curve_and_its_inverse_cancel():
    srgb = torch.linspace(0, 1, 256, dtype=torch.float64)
    torch.testing.assert_close(linear_to_srgb(srgb_to_linear(srgb)), srgb, atol=1e-7, rtol=1e-6)


def test_the_srgb_curve_has_a_finite_gradient_in_the_dark():
    linear = torch.tensor([-1.0, 0.0, 1e-8, 0.5], requires_grad=True)
    linear_to_srgb(linear).sum().backward()
    assert torch.isfinite(linear.grad).all()


@pytest.mark.golden
def test_reflection_is_the_published_one(golden):
    data = np.load(golden / "contraction.npz")
    x, n = (torch.from_numpy(data[f"reflect/{key}"]) for key in ("x", "n"))
    np.testing.assert_allclose(dot(x, n), data["reflect/dot"], atol=1e-6, rtol=1e-5)
    np.testing.assert_allclose(reflect(x, n), data["reflect/out"], atol=1e-6, rtol=1e-5)
