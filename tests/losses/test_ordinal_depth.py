"""Depth up to order, and rendered flow against estimates."""

import numpy as np
import pytest
import torch

from rilievo.errors import UserError
from rilievo.losses import flow as flow_losses
from rilievo.losses import ordinal_depth as order


def surfaces(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    depth = torch.rand(12, 15, generator=generator, dtype=torch.float64) + 1
    return depth, torch.ones(12, 15, dtype=torch.bool)


def test_any_rising_map_of_the_right_depth_has_the_right_order():
    depth, valid = surfaces()
    pairs = order.random_pairs(valid, 10_000, torch.Generator().manual_seed(1))
    threshold = order.depth_range(depth, valid) / 10
    assert float(order.tanh_order(depth.exp() - 3, depth, pairs, threshold).max()) < 1e-6
    turned = order.tanh_order(depth, -depth, pairs, threshold)
    assert float(turned.min()) > 1.9


def test_pairs_are_valid_pixels_and_a_seed_repeats_them():
    _, valid = surfaces()
    valid[:, :7] = False
    first, again = (order.random_pairs(valid, 50, torch.Generator().manual_seed(2)) for _ in range(2))
    assert valid.flatten()[first].all()
    assert first.shape == (2, 50)
    torch.testing.assert_close(first, again)


def test_a_mask_that_covers_everything_is_told():
    with pytest.raises(UserError, match="leaves none"):
        order.random_pairs(torch.zeros(3, 4, dtype=torch.bool), 10)


def test_correlation_does_not_see_scale_and_shift():
    depth, _ = surfaces()
    a = depth.flatten()
    assert float(order.pearson(a, 5 * a - 2)) == pytest.approx(0, abs=1e-12)
    assert float(order.pearson(a, -a)) == pytest.approx(2)
    assert float(order.pearson_either(a, -3 * a)) == pytest.approx(0, abs=1e-12)


def test_losses_over_nothing_are_zero_and_not_nan():
    depth, valid = surfaces()
    flat = torch.zeros_like(depth)
    pairs = order.random_pairs(valid, 100)
    assert torch.isfinite(order.ranking(depth, depth, pairs, 1e9))
    assert float(order.ranking(flat, depth, pairs, 1e9)) == 0.0
    nothing = torch.zeros(12, 15, dtype=torch.bool)
    field = torch.ones(12, 15, 2)
    assert float(flow_losses.flow_l1(field, 2 * field, nothing)) == 0.0


class Published:
    """Values and gradients within rel 1e-5 and 1e-4."""

    def __init__(self, shared):
        self.arrays = np.load(shared / "golden" / "dynamic" / "depth_order.npz")

    def __getitem__(self, name):
        return torch.from_numpy(self.arrays[name])

    def check(self, name, loss, leaf):
        torch.testing.assert_close(loss.detach(), self[name], rtol=1e-5, atol=1e-7)
        (gradient,) = torch.autograd.grad(loss, leaf)
        published = self[f"{name}_grad"]
        torch.testing.assert_close(gradient, published, rtol=1e-4, atol=float(1e-4 * published.abs().max()))


@pytest.fixture(scope="module")
def published(shared):
    return Published(shared)


@pytest.mark.golden
@pytest.mark.parametrize("scene", ["close", "unrelated", "tiny_range"])
def test_published_depth_losses(published, scene):
    g, mask = published["gt_depth"], published["mask"].bool()
    flat = published["masked_flat_to_pixel"].long()
    torch.testing.assert_close(mask.flatten().nonzero()[:, 0], flat)
    tanh_threshold = order.depth_range(g, mask) / 10
    torch.testing.assert_close(tanh_threshold, published["tanh_interval"], rtol=1e-5, atol=0)
    everywhere = order.depth_range(g, torch.ones_like(mask)) / 100
    torch.testing.assert_close(everywhere, published["ranking_threshold"], rtol=1e-5, atol=0)
    names = [key.removeprefix(f"{scene}/") for key in published.arrays.files if key.startswith(f"{scene}/")]
    for name in names:
        if name.endswith("_grad") or "pairs" not in name:
            continue
        r = published[f"{scene}/render_depth"].clone().requires_grad_()
        count = name.split("pairs")[1].split("_")[0]
        pairs = torch.stack([flat[published[f"perm{k}_pairs{count}"].long()] for k in (1, 2)])
        if name.startswith("tanh"):
            kept = (g.flatten()[pairs[0]] - g.flatten()[pairs[1]]).abs() >= tanh_threshold
            torch.testing.assert_close(kept, published[f"tanh_keep_pairs{count}"])
            loss = order.tanh_order(r[0], g, pairs, tanh_threshold, float(name.split("alpha")[1])).mean()
        else:
            loss = order.ranking(r[0], g, pairs, everywhere)
        published.check(f"{scene}/{name}", loss, r)


def lost_in_one_pass(x: torch.Tensor, y: torch.Tensor) -> float:
    """What a correlation loses in the published way, where the sums of (x - mean) x cancel in single precision: up to a
    hundredth of itself, by how the sums are ordered. Three times what they lose here, either way round.
    """

    def correlation(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        a_from_mean, b_from_mean = a - a.mean(), b - b.mean()
        return (a_from_mean * b).sum() / ((a_from_mean * a).sum() * (b_from_mean * b).sum()).sqrt()

    exact = float(correlation(x.double(), y.double()))
    return 3 * max(abs(float(correlation(*pair)) - exact) for pair in ((x, y), (y, x))) + 1e-5


@pytest.mark.golden
@pytest.mark.parametrize("scene", ["close", "unrelated", "tiny_range"])
def test_published_correlations_and_differences(published, scene):
    g, mask = published["gt_depth"], published["mask"].bool()
    r = published[f"{scene}/render_depth"].clone().requires_grad_()
    seen = r[0][mask]
    for name, a, b in (("", r.flatten(), g.flatten()), ("_selectmasked", seen, g[mask])):
        exact = order.pearson_either(a.detach().double(), b.double())
        torch.testing.assert_close(order.pearson_either(a, b).detach().double(), exact, rtol=1e-5, atol=0)
        slack = lost_in_one_pass(a.detach(), 1 / (b + 200))
        assert abs(float(published[f"{scene}/pearson_fsgs{name}"]) - float(exact)) <= slack
    exact = order.pearson(seen.detach().double(), g[mask].double())
    torch.testing.assert_close(order.pearson(seen, g[mask]).detach().double(), exact, rtol=1e-5, atol=1e-7)
    stored = float(published[f"{scene}/pearson_metric_depth_selectmasked"])
    assert abs(stored - float(exact)) <= lost_in_one_pass(seen.detach(), g[mask])
    plain = order.correlation(g.flatten(), r.detach().flatten())
    slack = lost_in_one_pass(r.detach().flatten(), g.flatten())
    assert abs(float(published[f"{scene}/pearson"]) - float(plain)) <= slack
    known = g > 0
    published.check(f"{scene}/l1", (r[0][known] - g[known]).abs().mean(), r)
    published.check(f"{scene}/l2", (r[0][known] - g[known]).square().mean(), r)


@pytest.mark.golden
def test_published_flow_losses(published):
    target, mask = published["flow2d/gt"].permute(1, 2, 0), published["flow2d/mask"].bool()
    ours = {
        "mae": flow_losses.flow_l1,
        "normalized_mae": flow_losses.flow_l1_relative,
        "masked_pearson": flow_losses.flow_pearson,
        "l2norm": flow_losses.flow_length,
    }
    for name, loss in ours.items():
        leaf = published["flow2d/render"].clone().requires_grad_()
        published.check(f"flow2d/{name}", loss(leaf.permute(1, 2, 0), target, mask), leaf)
