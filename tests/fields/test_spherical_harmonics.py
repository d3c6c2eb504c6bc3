"""Spherical harmonics of directions."""

import numpy as np
import pytest
import torch

from rilievo.errors import UserError
from rilievo.fields.spherical_harmonics import MAX_DEGREE, SphericalHarmonics


def test_harmonics_are_orthonormal_over_the_sphere():
    z, weight = (torch.from_numpy(a) for a in np.polynomial.legendre.leggauss(12))
    turn = torch.arange(24, dtype=torch.float64) * 2 * torch.pi / 24
    ring = (1 - z**2).sqrt()
    directions = torch.stack(
        [ring[:, None] * turn.cos(), ring[:, None] * turn.sin(), z[:, None].expand(-1, 24)], dim=-1
    ).reshape(-1, 3)
    y = SphericalHarmonics(MAX_DEGREE)(directions)
    area = (weight[:, None] * torch.full((24,), 2 * torch.pi / 24, dtype=torch.float64)).reshape(-1)
    torch.testing.assert_close((y * area[:, None]).T @ y, torch.eye(MAX_DEGREE**2, dtype=torch.float64))


def test_each_band_is_rotated_into_itself():
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(50, 3, generator=generator, dtype=torch.float64), dim=-1)
    rotation, _ = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    before, after = (
        SphericalHarmonics(MAX_DEGREE)(d).split([1, 3, 5, 7, 9], dim=1) for d in (directions, directions @ rotation)
    )
    for a, b in zip(before, after):
        torch.testing.assert_close(a.square().sum(1), b.square().sum(1))


@pytest.mark.parametrize("degree", range(1, MAX_DEGREE + 1))
def test_a_lower_degree_is_the_beginning_of_a_higher_one(degree):
    directions = torch.nn.functional.normalize(torch.randn(9, 3, generator=torch.Generator().manual_seed(1)), dim=-1)
    torch.testing.assert_close(
        SphericalHarmonics(degree)(directions), SphericalHarmonics(5)(directions)[:, : degree**2]
    )


def test_an_impossible_degree_is_told_to_the_user():
    with pytest.raises(UserError, match="1 to 5"):
        SphericalHarmonics(6)


@pytest.mark.golden
def test_harmonics_are_those_of_tiny_cuda_nn(golden):
    """tiny-cuda-nn takes (d + 1) / 2; ours takes d."""
    data = np.load(golden / "encodings.npz")
    harmonics = SphericalHarmonics(int(data["spherical_harmonics/degree"]))
    for directions in (data["spherical_harmonics/dirs"], 2 * data["spherical_harmonics/input_01"] - 1):
        out = harmonics(torch.from_numpy(directions))
        np.testing.assert_allclose(out, data["spherical_harmonics/out"], atol=1e-6, rtol=1e-5)
