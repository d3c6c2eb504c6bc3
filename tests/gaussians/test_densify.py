"""Density control: who is cloned, split and removed, and what the optimiser and the checkpoint keep."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch

from rilievo.errors import UserError
from rilievo.gaussians.cloud import GaussianCloud
from rilievo.gaussians.densify import Densification, densify, reset_opacities
from rilievo.gaussians.rows import Gaussians, rearrange
from rilievo.gaussians.settings import DensifyConfig, LogLinear

NAMES = {
    "means": "xyz",
    "log_scales": "scaling",
    "quats": "rotation",
    "opacity_logits": "opacity",
    "sh_dc": "f_dc",
    "sh_rest": "f_rest",
}
CONFIG = DensifyConfig(max_scale=None)


def grads(*wanting):
    mean_grad = torch.zeros(50)
    mean_grad[list(wanting)] = 1.0
    return mean_grad


def test_a_small_gaussian_is_doubled_and_a_large_one_becomes_two_smaller_ones(cloud):
    logs = cloud.log_scales.clone()
    logs[10], logs[20] = math.log(0.001), math.log(0.5)
    opaque = dataclasses.replace(cloud, log_scales=logs, opacity_logits=torch.ones(50))
    new = densify(opaque, grads(10, 20), torch.zeros(2, 50, 3), CONFIG, extent=1.0)
    assert len(new.cloud) == 52
    assert new.source.tolist() == [i for i in range(50) if i != 20] + [10, 20, 20]
    assert new.fresh.tolist() == [False] * 49 + [True] * 3
    assert torch.equal(new.cloud.means[49:], cloud.means[[10, 20, 20]])
    assert torch.allclose(new.cloud.scales[50:], torch.tensor(0.5 / 1.6))


def test_children_are_drawn_from_their_parent(cloud):
    many = cloud[torch.full((4000,), 30)]
    many = dataclasses.replace(many, opacity_logits=torch.ones(4000))
    noise = torch.randn(2, 4000, 3, generator=torch.Generator().manual_seed(1))
    config = dataclasses.replace(CONFIG, dense=0.0)
    children = densify(many, torch.ones(4000), noise, config, extent=1.0).cloud
    away = children.means - cloud.means[30]
    assert len(children) == 8000
    found, expected = away.T @ away / len(away), cloud.covariances[30]
    assert (found - expected).abs().max() < 0.05 * expected.diagonal().max()


def test_the_faint_and_the_huge_are_removed(cloud):
    logits, logs = torch.ones(50), torch.full((50, 3), -4.0)
    logits[3] = math.log(0.004)
    logs[8, 1] = math.log(0.21)
    thinned = densify(
        dataclasses.replace(cloud, opacity_logits=logits, log_scales=logs),
        torch.zeros(50),
        torch.zeros(2, 50, 3),
        dataclasses.replace(CONFIG, max_scale=0.1),
        extent=2.0,
    )
    assert sorted(set(range(50)) - set(thinned.source.tolist())) == [3, 8]


def test_no_more_gaussians_than_allowed_and_the_strongest_first(cloud):
    opaque = dataclasses.replace(cloud, opacity_logits=torch.ones(50))
    config = dataclasses.replace(CONFIG, max_gaussians=53)
    new = densify(opaque, torch.arange(50.0), torch.zeros(2, 50, 3), config, extent=1.0)
    assert len(new.cloud) == 53
    assert set(new.source[new.fresh].tolist()) == {47, 48, 49}


def test_what_was_gathered_survives_the_checkpoint_and_leads_to_the_same_cloud(cloud):
    def half_way():
        gaussians = Gaussians(cloud)
        optimizer = torch.optim.Adam(gaussians.parameters(), lr=0.1)
        return gaussians, optimizer, Densification(DensifyConfig(start=0, every=10), len(cloud), 1.0)

    gaussians, optimizer, strategy = half_way()
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        screen_grad = torch.rand(50, 2, generator=generator) * 4e-4
        strategy.observe(screen_grad, torch.rand(50, generator=generator) > 0.3)
    resumed_gaussians, resumed_optimizer, resumed = half_way()
    resumed.load_state_dict(strategy.state_dict())
    for a, b, c in ((gaussians, optimizer, strategy), (resumed_gaussians, resumed_optimizer, resumed)):
        c.advance(a, b, 10, torch.Generator().manual_seed(9))
    assert len(gaussians) > 50
    assert torch.equal(gaussians.means, resumed_gaussians.means)
    assert not strategy.times_seen.any()
    assert len(strategy.times_seen) == len(gaussians)


def test_a_gaussian_that_was_never_seen_has_no_gradient_and_is_left_alone(cloud):
    gaussians = Gaussians(dataclasses.replace(cloud, opacity_logits=torch.ones(50)))
    strategy = Densification(DensifyConfig(start=0, every=10), 50, 1.0)
    strategy.observe(torch.full((50, 2), 9.0), torch.zeros(50, dtype=torch.bool))
    strategy.advance(gaussians, torch.optim.Adam(gaussians.parameters()), 10, torch.Generator())
    assert len(gaussians) == 50


def test_a_reset_leaves_faint_gaussians_as_they_are(cloud):
    gaussians = Gaussians(cloud)
    optimizer = torch.optim.Adam(gaussians.parameters(), lr=0.0)
    gaussians.cloud.opacities.sum().backward()
    optimizer.step()
    reset_opacities(gaussians, optimizer, 0.01)
    assert torch.allclose(gaussians.cloud.opacities, cloud.opacities.clamp_max(0.01))
    assert not optimizer.state[gaussians.opacity_logits]["exp_avg"].any()


def test_settings_without_meaning_are_refused():
    with pytest.raises(UserError, match="every: expected at least 1, got 0"):
        DensifyConfig(every=0)


@pytest.fixture(scope="module")
def published(dynamic):
    return {name: torch.from_numpy(values) for name, values in np.load(dynamic / "densify.npz").items()}


def stored(published, where):
    """A cloud of the fixture."""
    parts = {ours: published[f"{where}/{theirs}"] for ours, theirs in NAMES.items()}
    return GaussianCloud(**parts | {"opacity_logits": parts["opacity_logits"][:, 0], "sh_dc": parts["sh_dc"][:, 0]})


def cases(published):
    return sorted({name.split("/")[0] for name in published} - {"init"})


@pytest.mark.golden
def test_cloning_splitting_and_pruning_are_the_published_ones(published):
    assert cases(published)
    for case in cases(published):
        threshold, min_opacity, extent, screen_limit, dense = published[f"{case}/params"].tolist()
        before = stored(published, f"{case}/before")
        gaussians = Gaussians(before)
        optimizer = torch.optim.Adam(gaussians.parameters())
        moments = {name: published[f"{case}/before/exp_avg/{theirs}"] for name, theirs in NAMES.items()}
        for name, moment in moments.items():
            parameter = gaussians.get_parameter(name)
            optimizer.state[parameter] = {"exp_avg": moment.reshape(parameter.shape).clone()}
        split = published[f"{case}/split_mask_over_original_then_clones"][: len(before)]
        noise = torch.zeros(2, len(before), 3)
        samples = published[f"{case}/split_samples"].reshape(2, -1, 3)
        noise[:, split] = samples / before.scales[split]
        config = DensifyConfig(
            grad_threshold=threshold,
            dense=dense,
            min_opacity=min_opacity,
            max_scale=0.1 if screen_limit > 0 else None,
        )
        sums, counts = published[f"{case}/grad_accum"][:, 0], published[f"{case}/denom"][:, 0]
        mean_grad = sums / counts.clamp_min(1)
        torch.testing.assert_close(mean_grad, published[f"{case}/mean_grad"][:, 0], atol=1e-5, rtol=1e-5)
        new = densify(before, mean_grad, noise, config, extent)
        rearrange(gaussians, optimizer, new)
        for name, theirs in NAMES.items():
            found = gaussians.get_parameter(name).detach()
            expected = published[f"{case}/after/{theirs}"].reshape(found.shape)
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5, msg=f"{case}: {name}")
            kept = optimizer.state[gaussians.get_parameter(name)]["exp_avg"]
            expected = published[f"{case}/after/exp_avg/{theirs}"].reshape(kept.shape)
            torch.testing.assert_close(kept, expected, atol=1e-5, rtol=1e-5, msg=f"{case}: moments of {name}")


@pytest.mark.golden
def test_opacities_are_reset_as_published(published):
    for case in cases(published):
        gaussians = Gaussians(stored(published, f"{case}/after"))
        optimizer = torch.optim.Adam(gaussians.parameters())
        logits = gaussians.opacity_logits
        torch.testing.assert_close(logits.data[:, None], published[f"{case}/opacity_before_reset"], atol=1e-5, rtol=0)
        optimizer.state[logits] = {"exp_avg": torch.ones_like(logits)}
        reset_opacities(gaussians, optimizer, 0.01)
        torch.testing.assert_close(logits.data[:, None], published[f"{case}/opacity_after_reset"], atol=1e-5, rtol=0)
        expected = published[f"{case}/exp_avg_opacity_after_reset"]
        assert torch.equal(optimizer.state[logits]["exp_avg"][:, None], expected)


@pytest.mark.golden
def test_learning_rates_are_the_published_ones(dynamic):
    published = json.loads((dynamic / "densify.json").read_text())
    for name in ("xyz_lr", "expon_with_delay"):
        args = published[name]["args"]
        rate = LogLinear(
            args["lr_init"], args["lr_final"], args["max_steps"], args["lr_delay_steps"], args["lr_delay_mult"]
        )
        for step, value in published[name]["values"].items():
            assert rate(int(step)) == pytest.approx(value, rel=1e-5)
    assert LogLinear(0.0, 0.0, 10)(5) == published["zero_lr"]
    assert LogLinear(1.0, 0.1, 10)(-1) == published["negative_step"]
