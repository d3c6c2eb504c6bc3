"""Blurred directions."""

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y
from torch.nn.functional import normalize

from rilievo.errors import UserError
from rilievo.shading.directional_encoding import DirectionalEncoding


def directions(dtype=torch.float64) -> torch.Tensor:
    return normalize(torch.randn(60, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=-1).to(
        dtype
    )


@pytest.mark.parametrize("degree", [1, 3, 5, 7])
def test_the_features_are_spherical_harmonics(degree):
    d = directions()
    polar, azimuth = torch.acos(d[:, 2]).numpy(), torch.atan2(d[:, 1], d[:, 0]).numpy()
    orders = [(l, m) for l in (2**i for i in range(degree)) for m in range(l + 1)]
    y = np.stack([sph_harm_y(l, m, polar, azimuth) for l, m in orders], -1)
    encoding = DirectionalEncoding(degree)
    assert encoding.output_dim == 2 * len(orders)
    np.testing.assert_allclose(encoding(d), np.concatenate([y.real, y.imag], -1), atol=1e-11)


@pytest.mark.parametrize("degree", [5, 7])
def test_single_precision_loses_little_at_any_degree(degree):
    encoding = DirectionalEncoding(degree)
    single = directions(torch.float32)
    assert (encoding(single) - encoding(single.double())).abs().max() < 3e-5


def test_roughness_dims_high_degrees_first():
    encoding = DirectionalEncoding(4)
    rough = torch.full((60, 1), 0.5, dtype=torch.float64)
    ratio = encoding(directions(), rough) / encoding(directions())
    band = encoding.band.repeat(2)
    expected = torch.exp(-0.25 * band * (band + 1))
    real = ratio[:, : len(band) // 2]  # some imaginary parts are 0
    torch.testing.assert_close(real, expected[: len(band) // 2].expand_as(real))


def test_a_degree_below_one_is_refused():
    with pytest.raises(UserError, match="at least 1"):
        DirectionalEncoding(0)


@pytest.mark.golden
def test_the_encoding_is_the_published_one(golden):
    """The published values carry the cancellation of their polynomial's float32; ours are held to its exact value.

    That is evaluated here in double precision from the published coefficients.
    """
    data = {
        key: torch.from_numpy(value) for key, value in np.load(golden / "nero_encodings.npz").items() if "ide" in key
    }
    encoding = DirectionalEncoding(int(data["ide/deg"]))
    xyz, kappa_inv = data["ide/xyz"], data["ide/kappa_inv"]
    exact = _published(xyz.double(), data["ide/coeff_mat_float64"], data["ide/ml_array"], kappa_inv.double())
    np.testing.assert_allclose(encoding(xyz.double(), kappa_inv.double()), exact, atol=1e-10, rtol=1e-9)
    exact = exact.float()
    round_off = 2 * (data["ide/out"] - exact).abs().max().clamp_min(1e-6)
    assert round_off < 2e-4
    np.testing.assert_allclose(encoding(xyz, kappa_inv), exact, atol=2e-6, rtol=1e-5)
    np.testing.assert_allclose(encoding(xyz, kappa_inv), data["ide/out"], atol=float(round_off), rtol=1e-5)
    assert (DirectionalEncoding(3)(xyz, kappa_inv) - data["ide/out_deg3"]).abs().max() < 2e-6


@pytest.mark.golden
def test_the_encoding_has_the_published_gradients(golden):
    data = {
        key: torch.from_numpy(value) for key, value in np.load(golden / "nero_encodings.npz").items() if "ide" in key
    }
    xyz, kappa_inv = (data[f"ide/{key}"].double().requires_grad_() for key in ("xyz", "kappa_inv"))
    (DirectionalEncoding(int(data["ide/deg"]))(xyz, kappa_inv) * data["ide/cotangent"]).sum().backward()
    for name, leaf in (("xyz", xyz), ("kappa_inv", kappa_inv)):
        expected = data[f"ide/grad_{name}"].double()
        off = (leaf.grad - expected).norm() / expected.norm()
        assert off < 1e-4, name


def _published(xyz, coefficients, ml, kappa_inv):
    x, y, z = xyz.unbind(-1)
    m, l = ml
    powers = torch.stack([z**k for k in range(len(coefficients))], -1)
    y_lm = torch.stack([torch.complex(x, y) ** int(k) for k in m], -1) * (powers @ coefficients)
    y_lm = y_lm * torch.exp(-0.5 * l * (l + 1) * kappa_inv)
    return torch.cat([y_lm.real, y_lm.imag], -1)
