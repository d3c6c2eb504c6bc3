"""Ray marching: the samples of the definition to the last bit, and the samples that geometry demands."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rilievo.errors import UserError
from rilievo.ops.packed import PackedSamples
from rilievo.ops.ray_march import march_rays, reference, register
from rilievo.ops.ray_march.schedule import background_march, uniform_step

RADIUS, STEP = 1.1, 0.03


def draw_rays(generator: torch.Generator, rays: int = 60, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    """Rays from outside and inside towards the box, some along an axis, some that miss it, some of no length."""
    origins = torch.randn(rays, 3, generator=generator, dtype=dtype)
    origins = 2 * origins / origins.norm(dim=1, keepdim=True)
    origins[::5] *= 0.2
    directions = torch.rand(rays, 3, generator=generator, dtype=dtype) * 2 - 1 - origins
    directions[::7] = torch.eye(3, dtype=dtype)[torch.arange(0, rays, 7) % 3]
    directions[::11] = origins[::11]
    directions = directions / directions.norm(dim=1, keepdim=True)
    t_min = torch.rand(rays, generator=generator, dtype=dtype) * 0.3
    t_max = t_min + 5
    t_min[3], t_max[3] = math.inf, -math.inf  # how a missed box is told
    t_max[4] = t_min[4]
    return origins, directions, t_min, t_max


def blobs(generator: torch.Generator, resolution: int, share: float) -> Tensor:
    """An occupancy grid with large empty parts and single occupied cells."""
    coarse = torch.rand(3, 3, 3, generator=generator) < 0.4
    index = torch.arange(resolution) * 3 // resolution
    return coarse[index][:, index][:, :, index] & (torch.rand((resolution,) * 3, generator=generator) < share)


@pytest.mark.parametrize("contraction", ["box", "unbounded_sphere"])
@pytest.mark.parametrize("cone_angle", [0.0, 0.01])
@pytest.mark.parametrize("resolution", [1, 16, 37])
@pytest.mark.parametrize("share", [0.05, 1.0])
def test_samples_are_those_of_the_definition_to_the_last_bit(generator, contraction, cone_angle, resolution, share):
    occupied = blobs(generator, resolution, share)
    for dtype, limit in ((torch.float32, None), (torch.float64, None), (torch.float32, 5)):
        origins, directions, t_min, t_max = draw_rays(generator, dtype=dtype)
        jitter = torch.rand(len(t_min), generator=generator, dtype=dtype)
        max_step = 0.04
        ours = march_rays(
            origins,
            directions,
            t_min,
            t_max,
            occupied,
            radius=RADIUS,
            contraction=contraction,
            step=STEP,
            cone_angle=cone_angle,
            max_step=max_step,
            jitter=jitter,
            max_samples_per_ray=limit,
        )
        start = t_min + jitter * (t_min * cone_angle).clamp(STEP, max_step)
        unbounded, most = contraction == "unbounded_sphere", -1 if limit is None else limit
        expected = reference.march_rays(
            origins, directions, start, t_max, occupied, RADIUS, unbounded, STEP, cone_angle, max_step, most
        )
        for a, b in zip((ours.offsets, ours.t_starts, ours.t_ends), expected):
            assert torch.equal(a, b)


@pytest.mark.parametrize("distance", [3.0, 300.0])
def test_far_away_cameras_skip_no_occupied_cell(generator, distance):
    """A position far down a ray is known to few digits; skipping must not be surer of it than the look-up."""
    occupied = blobs(generator, 64, 0.02)
    towards = torch.rand(100, 3, generator=generator) * 2 - 1
    origins = distance * torch.nn.functional.normalize(torch.randn(100, 3, generator=generator), dim=1)
    directions = torch.nn.functional.normalize(towards - origins, dim=1)
    t_min, t_max = torch.full((100,), distance - 2), torch.full((100,), distance + 2)
    ours = march_rays(origins, directions, t_min, t_max, occupied, radius=1.0, contraction="box", step=0.005)
    expected = reference.march_rays(origins, directions, t_min, t_max, occupied, 1.0, False, 0.005, 0.0, math.inf, -1)
    assert len(ours) > 0
    assert torch.equal(ours.offsets, expected[0])
    assert torch.equal(ours.t_starts, expected[1])


def test_a_full_box_is_sampled_along_its_whole_crossing():
    samples = march_full_box(torch.tensor([[-3.0, 0.1, 0.2]]), torch.tensor([[1.0, 0, 0]]))
    assert len(samples) == pytest.approx(2 * RADIUS / STEP, abs=1)
    assert samples.t_starts[0].item() == pytest.approx(3 - RADIUS, abs=STEP)
    assert samples.t_ends[-1].item() == pytest.approx(3 + RADIUS, abs=STEP)
    assert torch.equal(samples.t_starts[1:], samples.t_ends[:-1])


def test_one_occupied_cell_is_found_where_it_is():
    occupied = torch.zeros(32, 32, 32, dtype=torch.bool)
    occupied[20, 3, 11] = True
    low = torch.tensor([20.0, 3, 11]) / 32 * 2 * RADIUS - RADIUS
    side = 2 * RADIUS / 32
    origin = torch.tensor([[2.0, 2.5, -1.5]])
    direction = torch.nn.functional.normalize(low + side / 2 - origin, dim=1)
    samples = march_full_box(origin, direction, occupied)
    points = origin + direction * samples.midpoints[:, None]
    assert len(samples) >= int(side / STEP)
    assert ((points > low - 1e-5) & (points < low + side + 1e-5)).all()


def test_jitter_moves_samples_by_its_share_of_the_step():
    origin, direction = torch.tensor([[0.0, 0, -2]]), torch.tensor([[0.0, 0, 1]])
    still = march_full_box(origin, direction)
    moved = march_full_box(origin, direction, jitter=torch.tensor([0.25]))
    shift = (moved.t_starts[0] - still.t_starts[0]) / STEP % 1
    assert shift.item() == pytest.approx(0.25, abs=1e-3)


def test_steps_grow_with_distance_between_their_limits():
    origin, direction = torch.zeros(1, 3), torch.tensor([[1.0, 0, 0]])
    samples = march_rays(
        origin,
        direction,
        torch.tensor([0.1]),
        torch.tensor([100.0]),
        torch.ones(4, 4, 4, dtype=torch.bool),
        radius=1.0,
        contraction="unbounded_sphere",
        step=0.01,
        cone_angle=0.05,
        max_step=1.5,
    )
    expected = (samples.t_starts * 0.05).clamp(0.01, 1.5)
    torch.testing.assert_close(samples.intervals, expected, atol=1e-5, rtol=1e-5)
    assert samples.t_ends[-1] > 99


def test_no_more_samples_than_allowed_and_the_nearest_of_them():
    origin, direction = torch.tensor([[0.0, 0, -2]]), torch.tensor([[0.0, 0, 1]])
    some = march_full_box(origin, direction, max_samples_per_ray=7)
    assert torch.equal(some.t_starts, march_full_box(origin, direction).t_starts[:7])


def test_no_rays_and_an_empty_grid_give_no_samples(generator):
    empty = torch.zeros(16, 16, 16, dtype=torch.bool)
    assert len(march_full_box(torch.zeros(0, 3), torch.zeros(0, 3))) == 0
    samples = march_full_box(*draw_rays(generator)[:2], empty)
    assert len(samples) == 0
    assert samples.offsets.tolist() == [0] * 61


def test_rays_that_are_not_numbers_give_no_samples():
    origins = torch.tensor([[math.nan, 0, 0], [0, 0, -2]])
    directions = torch.tensor([[0, 0, 1.0], [0, math.nan, 1.0]])
    assert len(march_full_box(origins, directions)) == 0


def test_the_number_of_threads_changes_nothing(generator):
    rays = draw_rays(generator, 500)[:2]
    occupied = blobs(generator, 32, 0.3)
    before = torch.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(march_full_box(*rays, occupied))
    torch.set_num_threads(before)
    for other in results[1:]:
        assert torch.equal(other.offsets, results[0].offsets)
        assert torch.equal(other.t_starts, results[0].t_starts)


def test_tensors_with_gaps_in_memory_are_read_right(generator):
    origins, directions = draw_rays(generator)[:2]
    occupied = blobs(generator, 16, 0.5)
    turned = occupied.permute(2, 1, 0).contiguous().permute(2, 1, 0)
    expected = march_full_box(origins, directions, occupied)
    ours = march_full_box(origins.T.contiguous().T, torch.cat([directions, directions], 1)[:, :3], turned)
    assert torch.equal(ours.t_starts, expected.t_starts)


def test_the_operator_keeps_the_rules_of_torch(generator):
    occupied = blobs(generator, 8, 0.5)
    args = (*draw_rays(generator, 9), occupied, RADIUS, False, STEP, 0.0, math.inf, -1)
    torch.library.opcheck(register.march_rays, args)


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ({"step": 0.0}, "step"),
        ({"radius": -1.0}, "radius"),
        ({"cone_angle": -0.1}, "cone_angle"),
        ({"max_step": STEP / 2}, "max_step"),
        ({"max_samples_per_ray": 0}, "max_samples_per_ray"),
        ({"t_max": torch.tensor([1e10])}, "t_max: expected a distance"),
        ({"t_max": torch.tensor([math.inf])}, "t_max: expected a distance"),
        ({"t_max": torch.tensor([4.0], dtype=torch.float64)}, "one precision"),
    ],
)
def test_mistakes_are_told(mistake, message):
    with pytest.raises(UserError, match=re.escape(message)):
        march_full_box(torch.zeros(1, 3), torch.tensor([[1.0, 0, 0]]), **mistake)


def march_full_box(
    origins: Tensor, directions: Tensor, occupied: Tensor | None = None, **options: object
) -> PackedSamples:
    """Uniform steps of length STEP through [-RADIUS, RADIUS]³, over the first 6 units of each ray."""
    settings = {
        "t_min": torch.zeros(len(origins)),
        "t_max": torch.full((len(origins),), 6.0),
        "occupied": torch.ones(16, 16, 16, dtype=torch.bool) if occupied is None else occupied,
        "radius": RADIUS,
        "contraction": "box",
        "step": STEP,
    }
    return march_rays(origins, directions, **(settings | options))


# --- published numbers


@pytest.fixture(scope="module")
def schedules(golden: Path) -> dict:
    return json.loads((golden / "schedules.json").read_text())


@pytest.mark.golden
def test_golden_background_march(schedules):
    for samples, expected in schedules["bg_marching"].items():
        near, far = expected["near_plane_bg"], expected["far_plane_bg"]
        march = background_march(int(samples), near, far, expected["render_step_size_bg"])
        assert march.cone_angle == pytest.approx(expected["cone_angle_bg"], rel=1e-5, abs=1e-6)
        assert (march.near, march.far, march.step) == (near, far, expected["render_step_size_bg"])


@pytest.mark.golden
def test_golden_uniform_step(schedules):
    for setting, expected in schedules["render_step_size_neus"].items():
        radius, samples = re.fullmatch(r"radius=(.+),n=(\d+)", setting).groups()
        assert uniform_step(float(radius), int(samples)) == pytest.approx(expected, rel=1e-5, abs=1e-6)
