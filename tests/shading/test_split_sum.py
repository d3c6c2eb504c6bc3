"""The table of the split sum: against sums of another kind, against its own curvature, against the published table."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from rilievo.shading.directions import cosine_hemisphere
from rilievo.shading.split_sum import reflectance_integral, reflectance_table, split_sum_reflectance

DENSE = (240, 120)


def places(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(60, generator=generator).double() * 0.98 + 0.02, torch.rand(60, generator=generator).double()


def drawn_integral(n_dot_v: torch.Tensor, roughness: torch.Tensor, draws: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(A, B) and their standard errors by random light directions over the hemisphere, with D and G₂ written out anew
    (Walter et al. 2007; Heitz 2014)."""
    u = torch.rand(draws, 2, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    light = cosine_hemisphere(u)
    means, errors = [], []
    for cos, alpha in zip(n_dot_v.tolist(), roughness.square().tolist()):
        view = torch.tensor([math.sqrt(1 - cos * cos), 0.0, cos], dtype=torch.float64)
        half = normalize(view + light, dim=-1)
        d = alpha**2 / (math.pi * (half[:, 2] ** 2 * (alpha**2 - 1) + 1) ** 2)

        def hidden(c, alpha=alpha):
            return (torch.sqrt(1 + alpha**2 * (1 / c**2 - 1)) - 1) / 2

        g = 1 / (1 + hidden(torch.tensor(cos).double()) + hidden(light[:, 2]))
        grazing = (1 - half @ view) ** 5
        value = d * g / (4 * cos) * math.pi / light[:, 2]  # over the density cos / π; f_r (n·l) has no n·l left
        terms = torch.stack([(1 - grazing) * value, grazing * value], -1)
        means.append(terms.mean(0))
        errors.append(terms.std(0) / math.sqrt(draws))
    return torch.stack(means), torch.stack(errors)


def test_the_integral_is_what_random_directions_find():
    """Within four standard errors of theirs and what twice the midpoints change in ours."""
    n_dot_v, roughness = places(0)
    n_dot_v, roughness = n_dot_v * 0.8 + 0.2, roughness * 0.7 + 0.3  # where random directions find the lobe
    ours = reflectance_integral(n_dot_v, roughness)
    own_error = (ours - reflectance_integral(n_dot_v, roughness, draws=(64, 32))).abs()
    found, error = drawn_integral(n_dot_v, roughness, 40000)
    assert error.mean() < 0.01
    assert ((ours - found).abs() <= 4 * error + 2 * own_error).all()


def test_twice_the_midpoints_are_nearer_to_the_limit():
    n_dot_v, roughness = places(0)
    dense = reflectance_integral(n_dot_v, roughness, draws=DENSE)
    coarse, fine = (
        (reflectance_integral(n_dot_v, roughness, draws=draws) - dense).abs().mean() for draws in ((16, 8), (64, 32))
    )
    assert fine < coarse / 4


def test_between_texels_the_table_is_off_by_its_curvature_at_most():
    """Bilinear interpolation errs by an eighth of the second differences along both axes, to leading order."""
    size = 64
    table = reflectance_table(size).double()
    second = torch.zeros_like(table)
    second[:, 1:-1] = second[:, 1:-1] + table.diff(n=2, dim=1).abs() / 8
    second[1:-1] = second[1:-1] + table.diff(n=2, dim=0).abs() / 8
    generator = torch.Generator().manual_seed(1)
    x, y = 2 + (size - 5) * torch.rand(2, 60, generator=generator, dtype=torch.float64)
    n_dot_v, roughness = (x + 0.5) / size, (y + 0.5) / size
    off = torch.cat(split_sum_reflectance(n_dot_v[:, None], roughness[:, None], table), -1)
    off = (off - reflectance_integral(n_dot_v, roughness, draws=DENSE)).abs()
    rows, columns = y.long(), x.long()
    near = torch.stack([second[rows + i, columns + j] for i in (0, 1) for j in (0, 1)]).amax(0)
    sums = (reflectance_integral(n_dot_v, roughness) - reflectance_integral(n_dot_v, roughness, draws=DENSE)).abs()
    assert (off <= 2 * near + 2 * sums + 1e-5).float().mean() > 0.95
    assert off.mean() < 2 * (near + sums).mean()


def test_a_polished_mirror_reflects_by_fresnel_alone():
    n_dot_v = torch.linspace(0.1, 1, 10, dtype=torch.float64)
    a, b = reflectance_integral(n_dot_v, torch.zeros_like(n_dot_v)).unbind(-1)
    torch.testing.assert_close(b, (1 - n_dot_v) ** 5, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(a + b, torch.ones_like(a), atol=1e-4, rtol=0)


def test_the_table_is_computed_once():
    assert reflectance_table() is reflectance_table()


@pytest.mark.golden
def test_the_integral_is_that_of_the_shipped_table(golden):
    """As near as the reference's own numerical integral is, whose errors are stored beside the table."""
    data = np.load(golden / "nero_shading.npz")
    centers = (torch.from_numpy(data["lut/index"]).double() + 0.5) / 256
    roughness, n_dot_v = torch.meshgrid(centers, centers, indexing="ij")
    ours = reflectance_integral(n_dot_v, roughness, draws=(120, 60)).numpy()
    mean, largest = data["lut/err_mean_max_smith_correlated_alpha_r2"]
    from_shipped = np.abs(ours - data["lut/shipped_rows_roughness_cols_NoV"])
    assert from_shipped.mean() < mean
    assert from_shipped.max() < largest


@pytest.mark.golden
def test_looking_up_our_table_is_looking_up_the_shipped_one(golden):
    """Texel by texel the tables may differ by the errors stored with the shipped one; our texels are as small here."""
    data = np.load(golden / "nero_shading.npz")
    n_dot_v, roughness = torch.from_numpy(data["lut/uv_NoV_roughness"]).split(1, dim=-1)
    table, size = torch.zeros(256, 256, 2), 256
    corner = (torch.cat([roughness, n_dot_v], -1).clamp(0, 1) * size - 0.5).clamp(0, size - 1).long()
    for offset in ((0, 0), (0, 1), (1, 0), (1, 1)):
        row, column = (corner + torch.tensor(offset)).clamp(max=size - 1).unbind(-1)
        table[row, column] = reflectance_integral((column + 0.5) / size, (row + 0.5) / size).float()
    ours = torch.cat(split_sum_reflectance(n_dot_v, roughness, table), -1).numpy()
    mean, largest = data["lut/err_mean_max_smith_correlated_alpha_r2"]
    off = np.abs(ours - data["lut/lookup"])
    assert off.mean() < mean
    assert off.max() < largest
