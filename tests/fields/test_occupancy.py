"""The occupancy grid: what it learns, how fast it forgets, and what it never looks at."""

import math

import pytest
import torch
from torch import Tensor

from rilievo.fields.occupancy import OccupancyGrid

RESOLUTION = 8


def everywhere(value: float):
    return lambda x: torch.full((len(x),), value)


def left_half(x: Tensor) -> Tensor:
    return (x[:, 0] < 0.5).float()


def low_corner(x: Tensor) -> Tensor:
    """An object that fills just the first cell."""
    return (x < 1 / RESOLUTION).all(dim=1).float()


def test_before_anything_is_known_all_of_space_may_be_occupied():
    assert OccupancyGrid(RESOLUTION, 0.1).occupied.all()


def test_the_first_update_leaves_what_is_there_and_nothing_else():
    grid = OccupancyGrid(RESOLUTION, 0.1)
    grid.update(left_half, seed=0)
    assert grid.occupied[: RESOLUTION // 2].all()
    assert not grid.occupied[RESOLUTION // 2 :].any()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_axes_are_x_y_z(axis):
    grid = OccupancyGrid(RESOLUTION, 0.1)
    grid.update(lambda x: (x[:, axis] > 0.75).float(), seed=0)
    index = torch.arange(RESOLUTION)[(slice(None), *[None] * (2 - axis))].expand(grid.occupied.shape)
    assert torch.equal(grid.occupied, index >= 6)


def test_a_full_update_looks_once_into_every_cell_at_a_new_place_each_time():
    seen: list[Tensor] = []
    grid = OccupancyGrid(RESOLUTION, 0.1)
    for seed in (0, 1):
        grid.update(lambda x: seen.append(x) or left_half(x), seed=seed, chunk=1 << 20)
    for x in seen:
        cells = (x * RESOLUTION).floor()
        assert ((cells >= 0) & (cells < RESOLUTION)).all()
        assert len(cells.unique(dim=0)) == len(x) == RESOLUTION**3
    assert not torch.equal(*seen)


def test_no_more_points_are_evaluated_at_once_than_asked_for():
    sizes: list[int] = []
    grid = OccupancyGrid(RESOLUTION, 0.1)
    grid.update(lambda x: sizes.append(len(x)) or left_half(x), seed=0, chunk=100)
    assert max(sizes) <= 100
    assert sum(sizes) == RESOLUTION**3
    assert grid.occupied.sum() == RESOLUTION**3 // 2


def test_what_is_gone_is_forgotten_at_the_pace_of_the_decay():
    """Opacity 1 falls below 0.1 after ln 0.1 / ln 0.8 = 10.3 updates, and not before."""
    threshold, decay = 0.1, 0.8
    grid = OccupancyGrid(RESOLUTION, threshold, decay)
    grid.update(left_half, seed=0)
    horizon = math.ceil(math.log(threshold) / math.log(decay))
    other_half = lambda x: 1 - left_half(x)  # noqa: E731
    for update in range(1, horizon + 1):
        assert grid.occupied[0, 0, 0], f"lost after {update - 1} updates"
        grid.update(other_half, seed=update)
        torch.testing.assert_close(grid.opacity[0].item(), decay**update, rtol=1e-5, atol=0)
    assert not grid.occupied[: RESOLUTION // 2].any()
    assert grid.occupied[RESOLUTION // 2 :].all()


def test_something_thin_that_was_found_once_stays_as_long_as_it_is_found_now_and_then():
    """A sheet that fills a fifth of a layer of cells, each look hitting it with that chance."""
    grid = OccupancyGrid(RESOLUTION, 0.01)
    sheet = lambda x: ((x[:, 2] * RESOLUTION - 3.4).abs() < 0.1).float()  # noqa: E731
    for seed in range(60):
        grid.update(sheet, seed=seed)
        if seed >= 50:
            assert grid.occupied[:, :, 3].all()
            assert not grid.occupied[:, :, 4:].any()
            assert not grid.occupied[:, :, :3].any()


def test_opacity_that_rises_is_believed_at_once():
    grid = OccupancyGrid(RESOLUTION, 0.5)
    grid.update(everywhere(0.0), seed=0)
    assert not grid.occupied.any()
    grid.update(low_corner, seed=1)
    assert grid.occupied.nonzero().tolist() == [[0, 0, 0]]


def test_where_all_is_thin_the_mean_decides():
    """Early in training nothing reaches the threshold; the denser half must not be thrown away with the rest."""
    grid = OccupancyGrid(RESOLUTION, 0.5)
    grid.update(lambda x: 0.001 + 0.002 * left_half(x), seed=0)
    assert grid.occupied[: RESOLUTION // 2].all()
    assert not grid.occupied[RESOLUTION // 2 :].any()


def test_a_partial_update_looks_at_all_that_is_occupied_and_at_a_share_of_the_rest():
    grid = OccupancyGrid(RESOLUTION, 0.5)
    grid.update(low_corner, seed=0)
    for seed in range(1, 20):
        looked: list[Tensor] = []
        grid.update(lambda x, into=looked: into.append(x) or low_corner(x), seed=seed, fraction=0.25)
        cells = (torch.cat(looked) * RESOLUTION).floor().long()
        assert (cells == 0).all(dim=1).any(), "the occupied cell was not looked at"
        assert len(cells) <= RESOLUTION**3 // 4 + 1
        assert grid.opacity[0] == 1


def test_a_partial_update_of_a_full_grid_stays_within_its_share():
    grid = OccupancyGrid(RESOLUTION, 0.5)
    looked: list[int] = []
    grid.update(lambda x: looked.append(len(x)) or left_half(x), seed=0, fraction=0.25)
    assert sum(looked) <= RESOLUTION**3 // 2


def test_the_seed_decides_and_nothing_else():
    def after(seed: int) -> Tensor:
        torch.manual_seed(seed + 17)  # the process's own randomness plays no part
        before = torch.get_rng_state()
        grid = OccupancyGrid(RESOLUTION, 0.5)
        grid.update(lambda x: x.prod(dim=1), seed=0, fraction=0.5)
        grid.update(lambda x: x.prod(dim=1), seed=seed, fraction=0.5)
        assert torch.equal(torch.get_rng_state(), before)
        return grid.opacity

    assert torch.equal(after(1), after(1))
    assert not torch.equal(after(1), after(2))


def test_a_stored_grid_goes_on_as_the_unbroken_one():
    unbroken, resumed = OccupancyGrid(RESOLUTION, 0.3), OccupancyGrid(RESOLUTION, 0.3)
    unbroken.update(lambda x: x.prod(dim=1), seed=0)
    resumed.load_state_dict(unbroken.state_dict())
    for grid in (unbroken, resumed):
        grid.update(lambda x: x.prod(dim=1), seed=1, fraction=0.3)
    assert torch.equal(unbroken.opacity, resumed.opacity)
    assert torch.equal(unbroken.occupied, resumed.occupied)


def test_updates_leave_no_history_behind():
    weight = torch.ones((), requires_grad=True)
    grid = OccupancyGrid(RESOLUTION, 0.1)
    grid.update(lambda x: weight * left_half(x), seed=0)
    assert not grid.opacity.requires_grad


def test_corners_beyond_infinity_are_neither_looked_at_nor_occupied():
    looked: list[Tensor] = []
    grid = OccupancyGrid(RESOLUTION, 0.5, ball=True)
    grid.update(lambda x: looked.append(x) or torch.ones(len(x)), seed=0)
    centres = (torch.cartesian_prod(*[torch.arange(RESOLUTION)] * 3) + 0.5) / RESOLUTION - 0.5
    half_cell = 0.5 / RESOLUTION
    nearest = (centres.abs() - half_cell).clamp_min(0).norm(dim=1)
    occupied = grid.occupied.flatten()
    assert occupied[nearest < 0.5].all(), "a cell that the ball enters was left out"
    assert not occupied[centres.norm(dim=1) > 0.5 + 2 * half_cell * 3**0.5].any()
    assert len(torch.cat(looked)) == occupied.sum() < RESOLUTION**3
