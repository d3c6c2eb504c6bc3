"""Neighbours move alike."""

import numpy as np
import pytest
import torch

from rilievo.errors import UserError
from rilievo.losses import l1, mse
from rilievo.losses.smoothness import neighbor_smoothness
from rilievo.motion.neighbors import nearest_neighbors


def cloud(n: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, 3, generator=torch.Generator().manual_seed(seed))


def test_a_translation_of_everything_is_perfectly_smooth():
    points = cloud(50)
    motion = torch.tensor([1.0, -2.0, 0.5]).expand(50, 3)
    assert float(neighbor_smoothness(motion, nearest_neighbors(points, 5)).max()) == 0.0


def test_a_linear_motion_costs_its_slope_times_the_distance():
    points = cloud(80)
    neighbors = nearest_neighbors(points, 6)
    distances = (points[:, None] - points[neighbors]).square().sum(-1).mean(-1)
    torch.testing.assert_close(neighbor_smoothness(2 * points, neighbors), 4 * distances / 3)


def test_neighbors_are_the_nearest_others_even_where_points_coincide():
    points = torch.cat((cloud(40), cloud(40)))
    neighbors = nearest_neighbors(points, 4)
    assert (neighbors != torch.arange(80)[:, None]).all()
    twins = (points[neighbors[:, 0]] - points).abs().max()
    assert float(twins) == 0.0
    brute = (points[:, None] - points).norm(dim=-1).fill_diagonal_(torch.inf).sort(1).values[:, :4]
    torch.testing.assert_close((points[neighbors] - points[:, None]).norm(dim=-1), brute, atol=1e-6, rtol=1e-5)


def test_too_few_points_are_a_users_mistake():
    with pytest.raises(UserError, match="more than 5"):
        nearest_neighbors(cloud(5), 5)
    with pytest.raises(UserError, match="finite"):
        nearest_neighbors(torch.full((9, 3), torch.nan), 2)


@pytest.mark.golden
def test_published_smoothness(shared):
    arrays = np.load(shared / "golden" / "dynamic" / "trajectory_losses.npz")
    points, flow = (torch.from_numpy(arrays[f"smooth/{name}"]) for name in ("pcd", "flow"))
    stored = arrays["smooth/idx"].astype(np.int64)
    found = nearest_neighbors(points, stored.shape[1] - 1)
    np.testing.assert_array_equal(found.numpy(), stored[:, 1:])
    squared = (points[found] - points[:, None]).square().sum(-1)
    torch.testing.assert_close(squared, torch.from_numpy(arrays["smooth/sqdist"])[:, 1:], atol=1e-6, rtol=1e-5)
    for name in (key for key in arrays.files if key.startswith("smooth/K") and not key.endswith("grad_flow")):
        count, kind = name.removeprefix("smooth/K").split("_")
        motion = flow.clone().requires_grad_()
        loss = neighbor_smoothness(motion, found[:, : int(count) - 1], squared=kind == "l2").mean()
        loss.backward()
        torch.testing.assert_close(loss.detach(), torch.from_numpy(arrays[name]), atol=0, rtol=1e-5)
        gradient = torch.from_numpy(arrays[f"{name}_grad_flow"])
        torch.testing.assert_close(motion.grad, gradient, atol=float(1e-4 * gradient.abs().max()), rtol=0)


@pytest.mark.golden
def test_published_lengths_of_differences(shared):
    arrays = np.load(shared / "golden" / "dynamic" / "trajectory_losses.npz")
    a, b = (torch.from_numpy(arrays[f"lp/{name}"]) for name in "ab")
    for name, loss in (("l1", l1), ("l2", mse)):
        torch.testing.assert_close(loss(a, b).mean(), torch.from_numpy(arrays[f"lp/{name}"]), atol=0, rtol=1e-5)
