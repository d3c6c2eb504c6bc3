"""The hash grid as a module: its first values, its levels, and that it learns."""

import numpy as np
import pytest
import torch

from rilievo.fields.encoding import (
    CoarseToFine,
    CompositeEncoding,
    Levelled,
    OffersPullback,
    ProgressiveLevels,
    SkipsLevels,
)
from rilievo.fields.hash_grid import HashGrid
from rilievo.ops.hash_encode import HashGridSpec, hash_encode

CLOSED_FORM = {"atol": 1e-6, "rtol": 1e-5}
SPEC = HashGridSpec(4, 2, 8, 3, 1.6)


def grid_with_features(spec: HashGridSpec = SPEC, seed: int = 0) -> HashGrid:
    """A grid whose features are of size 1, in float64."""
    grid = HashGrid(spec)
    grid.table.data.normal_(generator=torch.Generator().manual_seed(seed))
    return grid.double()


@pytest.fixture
def points() -> torch.Tensor:
    return torch.rand(29, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_a_new_table_is_uniform_within_one_in_ten_thousand():
    table = HashGrid(HashGridSpec(8, 2, 14, 16, 1.5), torch.Generator().manual_seed(0)).table.detach()
    assert table.abs().max() <= 1e-4
    deviation = 1e-4 / 3**0.5
    assert table.std().item() == pytest.approx(deviation, rel=0.02)
    assert abs(table.mean().item()) < 4 * deviation / table.numel() ** 0.5


def test_the_generator_decides_the_table():
    one, same, other = (HashGrid(SPEC, torch.Generator().manual_seed(seed)).table for seed in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_grid_is_a_levelled_encoding_that_skips_levels_and_offers_its_pullback():
    grid = HashGrid(SPEC)
    assert all(isinstance(grid, protocol) for protocol in (Levelled, SkipsLevels, OffersPullback))
    assert (grid.input_dim, grid.output_dim) == (3, 8)


def test_the_grid_shows_its_table(points):
    grid = grid_with_features()
    assert torch.equal(grid(points), hash_encode(points, grid.table, SPEC))


@pytest.mark.parametrize("active", [0, 2, 4])
def test_the_pullback_is_what_autograd_finds(active, points):
    grid = grid_with_features()
    grid.active_levels = active
    cotangent = torch.randn(len(points), grid.output_dim, generator=torch.Generator().manual_seed(2)).double()
    x = points.clone().requires_grad_()
    (expected,) = torch.autograd.grad(grid(x), x, cotangent)
    torch.testing.assert_close(grid.pullback(points, cotangent), expected)


def test_levels_open_one_by_one_and_only_open_ones_learn(points):
    grid = grid_with_features()
    full = grid(points).detach()
    encoding = ProgressiveLevels(grid, CoarseToFine(start_level=1, start_step=0, update_steps=10))
    for step, shown in ((0, 1), (9, 1), (10, 2), (25, 3), (1000, 4)):
        encoding.set_step(step)
        features = encoding(points)
        (to_table,) = torch.autograd.grad(features.sum(), grid.table)
        columns = 2 * shown
        assert torch.equal(features[:, :columns], full[:, :columns])
        assert (features[:, columns:] == 0).all()
        of_level = [(part != 0).any().item() for part in to_table.split([32, 128, 256, 256])]
        assert of_level == [level < shown for level in range(4)]


def test_a_grid_learns_what_it_is_shown():
    """A wave with several periods across the cube, from colours at random points, in a hundred steps."""
    generator = torch.Generator().manual_seed(0)
    grid = HashGrid(HashGridSpec(5, 1, 14, 4, 1.6), generator)
    optimiser = torch.optim.Adam(grid.parameters(), lr=0.05)

    def error() -> torch.Tensor:
        x = torch.rand(2000, 3, generator=generator)
        wave = torch.sin(9 * x[:, 0]) * torch.cos(7 * x[:, 1] + 3 * x[:, 2])
        return (grid(x).sum(dim=1) - wave).square().mean()

    before = error().item()
    for _ in range(100):
        optimiser.zero_grad()
        error().backward()
        optimiser.step()
    assert error().item() < 0.02 * before


@pytest.mark.golden
def test_levels_of_the_grid_open_as_published(golden):
    data = np.load(golden / "encodings.npz")
    given = {key.removeprefix("progressive_hashgrid/"): data[key] for key in data.files if "progressive_" in key}
    keys = ("n_levels", "n_features_per_level", "log2_hashmap_size", "base_resolution")
    factor = float(str(data["hashgrid/per_level_scale"]))  # stored in float32: its shortest decimal is the one meant
    spec = HashGridSpec(*(int(data[f"hashgrid/{key}"]) for key in keys), factor)
    grid = HashGrid(spec).double()
    grid.table.data.copy_(torch.from_numpy(data["hashgrid/table"]))
    schedule = CoarseToFine(*(int(given[key]) for key in ("start_level", "start_step", "update_steps")))
    progressive = ProgressiveLevels(grid, schedule, hidden_before_first_step=True)
    encoding = CompositeEncoding(progressive)
    x = torch.from_numpy(given["x"]).double()
    assert (progressive(x) == 0).all()
    for step, level, expected in zip(given["step"], given["current_level"], given["out_include_xyz"]):
        encoding.set_step(int(step))
        assert progressive.level == level
        np.testing.assert_allclose(encoding(x).detach(), expected, **CLOSED_FORM)
