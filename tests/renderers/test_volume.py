"""Radiance through a volume: what light does, whatever the field."""

import pytest
import torch
from torch import Tensor

from rilievo.ops.packed import PackedSamples
from rilievo.ops.ray_weights import visible
from rilievo.renderers.volume import alpha_of_density, march_visible, render_volume

from .scenes import DISTANCE, chosen, even_samples, march, moved, moved_back, no_samples, random_rays, rays_towards

RADIUS = 0.8


def fog(points: Tensor) -> tuple[Tensor, Tensor]:
    """Density and features of a cloud: dense in the middle, coloured by place."""
    return 6 * torch.exp(-4 * (points * points).sum(-1)), points


def color(feature: Tensor, ray: Tensor) -> Tensor:
    return torch.sigmoid(3 * feature)


def ball(density: float):
    """Uniform glass in the ball of RADIUS."""
    return lambda points: (density * (points.norm(dim=-1) < RADIUS), points)


def walls(density: Tensor):
    """Of infinite extent: one at z in (-0.5, -0.25), the next at (0.25, 0.5)."""

    def at(points: Tensor) -> tuple[Tensor, Tensor]:
        z = points[:, 2]
        first, second = (z > -0.5) & (z < -0.25), (z > 0.25) & (z < 0.5)
        return density[0] * first + density[1] * second, torch.stack([first, second], dim=-1).to(points)

    return at


@pytest.fixture
def rays():
    return random_rays(16, spread=1.0)


@pytest.fixture
def samples(rays) -> PackedSamples:
    return even_samples(len(rays), DISTANCE - 1.5, DISTANCE + 1.5, 100)


def test_opacity_and_what_passes_through_add_to_one(rays, samples):
    out = render_volume(rays, samples, fog, color)
    density, _ = fog(rays.origins[samples.ray_index] + samples.midpoints[:, None] * rays.directions[samples.ray_index])
    passes = torch.exp(-(density * samples.intervals).view(len(rays), -1).sum(dim=1))
    torch.testing.assert_close(out.opacity + passes, torch.ones_like(passes))
    torch.testing.assert_close(out.weights.view(len(rays), -1).sum(dim=1), out.opacity)


def test_glass_absorbs_exponentially_along_the_chord():
    """Lambert and Beer: opacity 1 - exp(-σ L), where a ray that passes the centre at b has a chord of 2 √(r² - b²)."""
    targets = torch.tensor([[b, 0.0, 0.0] for b in (0.0, 0.2, 0.5, 0.79, 0.9)], dtype=torch.float64)
    rays = rays_towards(targets)
    closest = DISTANCE * rays.directions[:, 0]
    chord = 2 * (RADIUS**2 - closest**2).clamp_min(0).sqrt()
    out = render_volume(rays, even_samples(5, DISTANCE - 1, DISTANCE + 1, 20_000), ball(1.5), color)
    torch.testing.assert_close(out.opacity, -torch.expm1(-1.5 * chord), rtol=0, atol=1e-3)


def test_a_glow_of_one_colour_has_that_colour_times_the_opacity(rays, samples):
    glow = torch.tensor([0.9, 0.4, 0.1], dtype=torch.float64)
    out = render_volume(rays, samples, fog, lambda feature, ray: glow.expand(len(ray), 3))
    torch.testing.assert_close(out.rgb, out.opacity[:, None] * glow)


def test_colours_may_differ_from_ray_to_ray(rays, samples):
    per_ray = torch.rand(len(rays), 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    out = render_volume(rays, samples, fog, lambda feature, ray: per_ray[ray])
    torch.testing.assert_close(out.rgb, out.opacity[:, None] * per_ray)


def test_the_distance_to_a_thick_wall_is_that_of_its_face():
    rays = random_rays(16, spread=0.4)
    samples = even_samples(16, DISTANCE - 1, DISTANCE + 1, 4000)
    out = render_volume(rays, samples, walls(torch.tensor([2000.0, 0.0])), lambda feature, ray: feature[:, [0, 1, 1]])
    face = (DISTANCE - 0.5) / rays.directions[:, 2]
    torch.testing.assert_close(out.distance, face, rtol=0, atol=2e-3)


def test_nothing_behind_an_opaque_wall_is_seen_or_learns(rays, samples):
    density = torch.tensor([1e4, 3.0], dtype=torch.float64, requires_grad=True)
    colours = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]], dtype=torch.float64, requires_grad=True)
    out = render_volume(rays, samples, walls(density), lambda feature, ray: feature @ colours)
    torch.testing.assert_close(out.rgb, colours[0].expand(len(rays), 3))
    of_density, of_colours = torch.autograd.grad(out.rgb.sum(), (density, colours))
    torch.testing.assert_close(of_colours[0], torch.full((3,), float(len(rays))).double())
    assert (of_colours[1] == 0).all()
    assert of_density[1] == 0


def test_what_is_behind_thin_fog_still_shows(rays, samples):
    density = torch.tensor([1.0, 1e4], dtype=torch.float64)
    out = render_volume(rays, samples, walls(density), lambda feature, ray: feature[:, [0, 1, 1]])
    assert (out.rgb[:, 1] > 0.6).all()
    torch.testing.assert_close(out.rgb[:, 0] + out.rgb[:, 1], torch.ones(len(rays)).double())


def test_moving_scene_and_rays_together_changes_no_pixel(rays, samples):
    here = render_volume(rays, samples, fog, color)
    there = render_volume(moved(rays), samples, lambda points: fog(moved_back(points)), color)
    for name in ("rgb", "opacity", "distance", "weights"):
        torch.testing.assert_close(getattr(there, name), getattr(here, name))


def test_rays_without_samples_are_empty(rays):
    out = render_volume(rays, no_samples(len(rays)), fog, color)
    for value in (out.rgb, out.opacity, out.distance):
        assert len(value) == len(rays)
        assert (value == 0).all()
    assert len(out.weights) == 0


def test_a_ray_without_samples_does_not_disturb_its_neighbours(rays, samples):
    empty = samples.ray_index == 5
    out, part = (render_volume(rays, s, fog, color) for s in (samples, chosen(samples, ~empty)))
    others = torch.arange(len(rays)) != 5
    assert torch.equal(part.rgb[others], out.rgb[others])
    assert (part.rgb[5] == 0).all()


# --- the samples that light comes from


def dense(points: Tensor) -> tuple[Tensor, Tensor]:
    return 20 * fog(points)[0], points


@pytest.fixture
def stretch(rays) -> tuple[Tensor, Tensor]:
    """Of different lengths, and none for the last ray."""
    t_min = torch.linspace(0, 2, len(rays), dtype=torch.float64)
    t_max = torch.full_like(t_min, 2 * DISTANCE)
    t_max[-1] = 0
    return t_min, t_max


@pytest.mark.parametrize("density_fn", [fog, dense, walls(torch.tensor([1.0, 1e4]))], ids=["fog", "dense", "walls"])
@pytest.mark.parametrize("early_stop", [1e-1, 1e-3])
@pytest.mark.parametrize("jittered", [False, True])
def test_marching_a_few_at_a_time_finds_what_marching_to_the_end_would(density_fn, early_stop, jittered, rays, stretch):
    jitter = torch.rand(len(rays), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    jitter = jitter if jittered else None
    every = march(rays, *stretch, jitter, None)
    density, _ = density_fn(rays.origins[every.ray_index] + every.midpoints[:, None] * rays.directions[every.ray_index])
    expected = visible(-torch.expm1(-density * every.intervals), every.offsets, early_stop, early_stop)
    glance = alpha_of_density(density_fn)
    found, looked = march_visible(rays, *stretch, march, glance, early_stop=early_stop, jitter=jitter)
    assert len(found) <= looked <= len(every)
    assert torch.equal(found.ray_index, every.ray_index[expected])
    torch.testing.assert_close(found.t_starts, every.t_starts[expected])
    torch.testing.assert_close(found.t_ends, every.t_ends[expected])


@pytest.mark.parametrize("early_stop", [1e-1, 1e-2, 1e-3])
def test_what_is_left_out_changes_colours_by_less_than_was_agreed(early_stop, rays, stretch):
    """Hidden samples have `early_stop` of the light between them, thin ones stop less than that each."""
    every = march(rays, *stretch, None, None)
    found, _ = march_visible(rays, *stretch, march, alpha_of_density(dense), early_stop=early_stop)
    whole, part = (render_volume(rays, s, dense, color) for s in (every, found))
    thin = torch.zeros(len(rays), dtype=torch.int64)
    density, _ = dense(rays.origins[every.ray_index] + every.midpoints[:, None] * rays.directions[every.ray_index])
    thin.index_add_(0, every.ray_index, (-torch.expm1(-density * every.intervals) <= early_stop).long())
    lost = whole.opacity - part.opacity
    assert lost.max() > 0
    assert (lost <= early_stop * (1 + thin)).all()
    assert ((whole.rgb - part.rgb).abs().amax(dim=1) <= early_stop * (1 + thin)).all()


def test_behind_an_opaque_wall_hardly_anything_is_looked_at(rays, stretch):
    t_min = (DISTANCE - 0.6) / rays.directions[:, 2]
    every = march(rays, t_min, stretch[1], None, None)
    found, looked = march_visible(rays, t_min, stretch[1], march, alpha_of_density(walls(torch.tensor([1e4, 3.0]))))
    assert looked < 0.3 * len(every)
    assert found.counts.max() == 1


def test_finding_what_is_visible_leaves_no_history(rays, stretch):
    density = torch.tensor([1.0, 1e4], dtype=torch.float64, requires_grad=True)
    recorded: list[bool] = []

    def observed(points: Tensor) -> tuple[Tensor, Tensor]:
        recorded.append(torch.is_grad_enabled())
        return walls(density)(points)

    march_visible(rays, *stretch, march, alpha_of_density(observed))
    assert recorded
    assert not any(recorded)


def test_where_no_ray_has_a_stretch_nothing_is_looked_at(rays, stretch):
    t_min, _ = stretch
    for some in (rays, rays[:0]):
        found, looked = march_visible(some, t_min[: len(some)], t_min[: len(some)], march, alpha_of_density(fog))
        assert looked == len(found) == 0
        assert found.offsets.tolist() == [0] * (len(some) + 1)
