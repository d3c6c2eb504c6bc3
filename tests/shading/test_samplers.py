"""Samplers draw what their densities say: chi-square over bins of the whole sphere."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2
from torch.nn.functional import normalize

from rilievo.shading import brdf
from rilievo.shading.brdf import Material
from rilievo.shading.directions import cosine_hemisphere, uniform_sphere
from rilievo.shading.environment import Environment, Rows

Z_BINS, AZIMUTH_BINS, INNER = 12, 24, 60
DRAWS = 100_000


def uniforms(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def expected_shares(pdf) -> np.ndarray:
    """The density, integrated over each bin by midpoints."""
    z = 1 - 2 * (torch.arange(Z_BINS * INNER, dtype=torch.float64) + 0.5) / (Z_BINS * INNER)
    azimuth = 2 * math.pi * (torch.arange(AZIMUTH_BINS * INNER, dtype=torch.float64) + 0.5) / (AZIMUTH_BINS * INNER)
    z, azimuth = torch.meshgrid(z, azimuth, indexing="ij")
    r = (1 - z * z).sqrt()
    directions = torch.stack([r * azimuth.cos(), r * azimuth.sin(), z], -1).reshape(-1, 3)
    solid_angle = 4 * math.pi / len(directions)
    mass = pdf(directions)[:, 0].reshape(Z_BINS, INNER, AZIMUTH_BINS, INNER).sum((1, 3)) * solid_angle
    return mass.flatten().numpy()


def p_value(directions: torch.Tensor, shares: np.ndarray) -> float:
    """How often chance alone is as far from the shares as these directions; bins that expect few are pooled."""
    row = ((1 - directions[:, 2]) / 2 * Z_BINS).long().clamp(0, Z_BINS - 1)
    azimuth = torch.atan2(directions[:, 1], directions[:, 0]) % (2 * math.pi)
    column = (azimuth / (2 * math.pi) * AZIMUTH_BINS).long().clamp(0, AZIMUTH_BINS - 1)
    found = np.bincount((row * AZIMUTH_BINS + column).numpy(), minlength=Z_BINS * AZIMUTH_BINS)
    expected = shares * len(directions)
    rare = expected < 10
    found = np.append(found[~rare], found[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    if expected[-1] < 10:
        found, expected = found[:-1], expected[:-1]
    return float(chi2.sf(((found - expected) ** 2 / expected).sum(), len(expected) - 1))


def material(metallic: float, roughness: float) -> Material:
    def column(value):
        return torch.tensor([[value]], dtype=torch.float64)

    return Material(torch.tensor([[0.8, 0.5, 0.3]], dtype=torch.float64), column(metallic), column(roughness))


def upwards(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A normal, and a view direction 60 degrees off it."""
    n = normalize(torch.randn(1, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), dim=-1)
    across = torch.linalg.cross(n, n.roll(1, -1), dim=-1)
    return n, normalize(n * 0.5 + normalize(across, dim=-1) * math.sqrt(0.75), dim=-1)


def panorama(rows: Rows) -> Environment:
    generator = torch.Generator().manual_seed(3)
    radiance = torch.rand(12, 24, 3, generator=generator) ** 6
    radiance[2, 5] = 40.0
    radiance[0, 9] = 20.0
    return Environment(radiance, rows, turn=0.7)


def test_cosine_hemisphere_follows_its_density():
    def pdf(directions):
        return directions[:, 2:].clamp_min(0) / math.pi

    assert p_value(cosine_hemisphere(uniforms(0, DRAWS, 2)), expected_shares(pdf)) > 1e-3


def test_uniform_sphere_follows_its_density():
    def pdf(directions):
        return torch.full_like(directions[:, 2:], 1 / (4 * math.pi))

    shares = expected_shares(pdf)
    assert p_value(uniform_sphere(uniforms(1, DRAWS, 2)), shares) > 1e-3
    assert p_value(cosine_hemisphere(uniforms(0, DRAWS, 2)), shares) < 1e-9  # the test can fail


@pytest.mark.parametrize(("metallic", "roughness"), [(1.0, 0.35), (1.0, 0.9), (0.0, 0.5), (0.5, 0.6)])
def test_brdf_samples_follow_their_density(metallic, roughness):
    n, v = upwards(5)
    m = material(metallic, roughness)
    drawn = brdf.sample(m, n, v, uniforms(2, DRAWS, 2))
    torch.testing.assert_close(drawn.norm(dim=-1), torch.ones(DRAWS, dtype=torch.float64))
    shares = expected_shares(lambda directions: brdf.pdf(m, n, v, directions))
    assert shares.sum() == pytest.approx(1, abs=2e-3)
    assert p_value(drawn, shares) > 1e-3


@pytest.mark.parametrize("rows", list(Rows))
def test_environment_samples_follow_their_density(rows):
    environment = panorama(rows)
    drawn = environment.sample(uniforms(4, DRAWS, 3))
    shares = expected_shares(environment.pdf)
    assert shares.sum() == pytest.approx(1, abs=2e-3)
    assert p_value(drawn, shares) > 1e-4


@pytest.mark.parametrize("rows", list(Rows))
def test_environment_samples_find_all_light_at_little_noise(rows):
    environment = panorama(rows)
    drawn = environment.sample(uniforms(6, DRAWS, 3))
    found = (environment.radiance_towards(drawn) / environment.pdf(drawn)).mean(0)
    z = 1 - 2 * (torch.arange(600, dtype=torch.float64) + 0.5) / 600
    azimuth = 2 * math.pi * (torch.arange(1200, dtype=torch.float64) + 0.5) / 1200
    z, azimuth = torch.meshgrid(z, azimuth, indexing="ij")
    r = (1 - z * z).sqrt()
    everywhere = torch.stack([r * azimuth.cos(), r * azimuth.sin(), z], -1).reshape(-1, 3)
    total = environment.radiance_towards(everywhere).mean(0) * 4 * math.pi
    torch.testing.assert_close(found, total, rtol=1e-2, atol=0)
