"""Relocation: many Gaussians in the place of one look as it did; what is drawn follows from the generator alone."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rilievo.gaussians.relocation import Relocation, divide, relocate, shared_opacity_and_scale, walk
from rilievo.gaussians.rows import Gaussians
from rilievo.gaussians.settings import RelocationConfig


@given(opacity=st.floats(0.01, 0.99), sharers=st.integers(1, 51))
def test_sharers_absorb_as_much_light_as_the_one_they_replace(opacity, sharers):
    """Composited along a line through the centre, at the centre and integrated over the line."""
    one = torch.tensor([opacity], dtype=torch.float64)
    each, factor = shared_opacity_and_scale(one, torch.tensor([sharers]))
    x = torch.linspace(-40, 40, 8001, dtype=torch.float64)
    alone = opacity * torch.exp(-x.square() / 2)
    together = 1 - (1 - each * torch.exp(-(x / factor).square() / 2)) ** sharers
    assert together.max().item() == pytest.approx(opacity, rel=1e-9)
    assert together.sum().item() == pytest.approx(alone.sum().item(), rel=1e-4)


def test_the_dead_move_to_the_living_and_the_rest_stay(cloud):
    dead = torch.zeros(50, dtype=torch.bool)
    dead[[2, 5]] = True
    opaque = dataclasses.replace(cloud, opacity_logits=torch.where(dead, -9.0, 2.0))
    new = relocate(opaque, dead, torch.tensor([0.0, 0.999], dtype=torch.float64), 0.005)
    assert new.source[dead].tolist() == [0, 49]
    assert torch.equal(new.cloud.means[[2, 5]], cloud.means[[0, 49]])
    assert sorted(new.fresh.nonzero()[:, 0].tolist()) == [0, 2, 5, 49]
    untouched = ~new.fresh
    assert torch.equal(new.cloud.log_scales[untouched], cloud.log_scales[untouched])
    both = 1 - (1 - new.cloud.opacities[[0, 2]]).prod()
    assert both.item() == pytest.approx(torch.sigmoid(torch.tensor(2.0)).item(), abs=1e-5)


def test_hosts_are_chosen_in_proportion_to_opacity(cloud):
    draws = torch.rand(20_000, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    new = divide(cloud, draws, 0.005)
    counts = torch.bincount(new.source[50:], minlength=50).double()
    expected = cloud.opacities.double() / cloud.opacities.double().sum() * 20_000
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 86  # 0.1 % quantile of 49 degrees of freedom


@pytest.mark.parametrize("logit", [-9.0, 9.0])
def test_where_all_or_none_are_dead_nothing_moves(cloud, logit):
    alike = dataclasses.replace(cloud, opacity_logits=torch.full((50,), logit))
    new = relocate(alike, alike.opacities < 0.005, torch.rand(50, dtype=torch.float64), 0.005)
    assert torch.equal(new.cloud.means, cloud.means)
    assert not new.fresh.any()


def test_only_faint_gaussians_walk_and_as_far_as_they_reach(cloud):
    logits = torch.full((50,), 3.0)
    logits[7] = -12.0
    gaussians = Gaussians(dataclasses.replace(cloud, opacity_logits=logits))
    walk(gaussians, torch.Generator().manual_seed(0), 1.0)
    moved = torch.linalg.vector_norm(gaussians.means - cloud.means, dim=-1)
    assert moved.argmax() == 7
    assert moved[torch.arange(50) != 7].max() < 1e-6


def test_the_cloud_grows_to_its_limit_and_the_same_way_from_the_same_generator(cloud):
    def grown():
        gaussians = Gaussians(cloud)
        optimizer = torch.optim.Adam(gaussians.parameters(), lr=1e-6)
        strategy = Relocation(RelocationConfig(start=0, every=5, growth=1.3, max_gaussians=80))
        for step in range(1, 30):
            strategy.advance(gaussians, optimizer, step, torch.Generator().manual_seed(step))
        return gaussians

    one, other = grown(), grown()
    assert len(one) == 80
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters()))
    assert not Relocation(RelocationConfig()).state_dict()
