"""The table of the split sum: against denser sums, against the published table."""

import numpy as np
import pytest
import torch

from rilievo.shading.split_sum import reflectance_integral, reflectance_table, split_sum_reflectance


def places(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(60, generator=generator).double() * 0.98 + 0.02, torch.rand(60, generator=generator).double()


def test_the_integral_has_converged():
    n_dot_v, roughness = places(0)
    dense = reflectance_integral(n_dot_v, roughness, draws=(240, 120))
    off = (reflectance_integral(n_dot_v, roughness) - dense).abs()
    assert off.max() < 5e-3
    assert off.mean() < 5e-4


def test_looking_up_between_texels_is_close_to_the_integral():
    n_dot_v, roughness = places(1)
    a, b = split_sum_reflectance(n_dot_v[:, None], roughness[:, None], reflectance_table().double())
    exact = reflectance_integral(n_dot_v, roughness, draws=(240, 120))
    off = (torch.cat([a, b], -1) - exact).abs()
    assert off.max() < 0.03
    assert off.mean() < 1e-3


def test_a_polished_mirror_reflects_by_fresnel_alone():
    n_dot_v = torch.linspace(0.1, 1, 10, dtype=torch.float64)
    a, b = reflectance_integral(n_dot_v, torch.zeros_like(n_dot_v)).unbind(-1)
    torch.testing.assert_close(b, (1 - n_dot_v) ** 5, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(a + b, torch.ones_like(a), atol=1e-4, rtol=0)


def test_the_table_is_computed_once():
    assert reflectance_table() is reflectance_table()


@pytest.mark.golden
def test_the_integral_is_that_of_the_shipped_table(golden):
    data = np.load(golden / "nero_shading.npz")
    centers = (torch.from_numpy(data["lut/index"]).double() + 0.5) / 256
    roughness, n_dot_v = torch.meshgrid(centers, centers, indexing="ij")
    ours = reflectance_integral(n_dot_v, roughness, draws=(240, 60)).numpy()
    mean, largest = data["lut/err_mean_max_smith_correlated_alpha_r2"]
    from_shipped = np.abs(ours - data["lut/shipped_rows_roughness_cols_NoV"])
    assert from_shipped.mean() < mean / 2  # nearer than the reference's own integral
    assert from_shipped.max() < largest / 2


@pytest.mark.golden
def test_looking_up_our_table_is_looking_up_the_shipped_one(golden):
    data = np.load(golden / "nero_shading.npz")
    n_dot_v, roughness = torch.from_numpy(data["lut/uv_NoV_roughness"]).split(1, dim=-1)
    ours = torch.cat(split_sum_reflectance(n_dot_v, roughness, reflectance_table()), -1).numpy()
    off = np.abs(ours - data["lut/lookup"])
    assert np.median(off) < 5e-4
    inner = (n_dot_v[:, 0] > 0.03).numpy() & (roughness[:, 0] > 0.03).numpy()
    assert off[inner].mean() < 1e-3
    assert off[inner].max() < 0.02
