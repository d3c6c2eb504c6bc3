"""A signed distance field rendered as a volume: the sphere, whose every answer is algebra."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from rilievo.ops.packed import PackedSamples
from rilievo.renderers.alpha import GUARD, alpha_from_sdf, annealed_cos
from rilievo.renderers.surface import drop_hidden_surface, render_surface

from .scenes import DISTANCE, even_samples, moved, moved_back, no_samples, random_rays

RADIUS = 1.0


def sphere(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    distance = points.norm(dim=-1)
    return distance - RADIUS, points / distance[:, None], points


def color(feature: Tensor, ray: Tensor, normals: Tensor) -> Tensor:
    return (normals + 1) / 2


def sharpness(inv_s: float) -> Tensor:
    return torch.tensor(inv_s, dtype=torch.float64)


def samples_for(rays, count: int = 800) -> PackedSamples:
    return even_samples(len(rays), DISTANCE - 1.5, DISTANCE + 1.5, count)


@pytest.fixture
def rays():
    """All of them meet the sphere, none at a grazing angle."""
    return random_rays(16, spread=0.5)


def first_crossing(rays) -> Tensor:
    along = (rays.origins * rays.directions).sum(-1)
    beside = (rays.origins * rays.origins).sum(-1) - along**2
    return -along - (RADIUS**2 - beside).sqrt()


def test_the_distance_of_a_sphere_tends_to_the_algebraic_one_as_the_surface_sharpens(rays):
    """The error falls with the square of the thickness 1/inv_s: NeuS is unbiased to first order.

    It falls down to the fog that the published guard makes of free space: an opacity of 1e-5 in each of the 100 samples
    in front, a quarter of a unit from the surface on average.
    """
    error = {}
    for inv_s in (10.0, 20.0, 40.0, 80.0, 160.0, 320.0):
        out = render_surface(rays, samples_for(rays, 300), sphere, color, sharpness(inv_s), 1.0)
        error[inv_s] = (out.distance - first_crossing(rays)).abs().max().item()
    assert error[20] < 0.3 * error[10]
    assert error[40] < 0.3 * error[20]
    assert all(error[inv_s] < 100 * GUARD * 0.3 for inv_s in (80, 160, 320))


def test_normals_and_colours_are_those_of_the_first_surface(rays):
    out = render_surface(rays, samples_for(rays, 3000), sphere, color, sharpness(400.0), 1.0)
    points = rays.at(first_crossing(rays))
    torch.testing.assert_close(out.normals, normalize(points, dim=-1), rtol=0, atol=5e-3)
    torch.testing.assert_close(out.rgb, color(points, points, normalize(points, dim=-1)), rtol=0, atol=5e-3)


def test_opacity_is_one_on_the_sphere_and_nothing_beside_it():
    hitting, missing = random_rays(16, spread=0.5), random_rays(200, spread=2.0)
    closest = torch.linalg.cross(missing.origins, missing.directions).norm(dim=-1)
    missing = missing[closest > 1.05 * RADIUS]
    hit, miss = (
        render_surface(rays, samples_for(rays), sphere, color, sharpness(400.0), 1.0).opacity
        for rays in (hitting, missing)
    )
    torch.testing.assert_close(hit, torch.ones_like(hit), rtol=0, atol=1e-4)
    assert len(miss) > 10
    assert miss.max() < 1e-2


@pytest.mark.parametrize("cos_anneal", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("inv_s", [5.0, 100.0])
def test_opacity_and_what_passes_through_add_to_one(rays, inv_s, cos_anneal):
    samples = samples_for(rays, 100)
    out = render_surface(rays, samples, sphere, color, sharpness(inv_s), cos_anneal)
    cos = annealed_cos((rays.directions[samples.ray_index] * out.sdf_grad).sum(-1), cos_anneal)
    alpha = alpha_from_sdf(out.sdf, cos, samples.intervals, sharpness(inv_s))
    passes = (1 - alpha).view(len(rays), -1).prod(dim=1)
    torch.testing.assert_close(out.opacity + passes, torch.ones_like(passes))


def test_moving_scene_and_rays_together_changes_no_pixel(rays):
    def moved_sphere(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        before = moved_back(points)
        sdf, _, _ = sphere(before)
        turned = moved(type(rays)(torch.zeros_like(before), sphere(before)[1])).directions
        return sdf, turned, before

    by_place = lambda feature, ray, normals: torch.sigmoid(feature)  # noqa: E731
    samples = samples_for(rays, 200)
    here = render_surface(rays, samples, sphere, by_place, sharpness(50.0), 0.7)
    there = render_surface(moved(rays), samples, moved_sphere, by_place, sharpness(50.0), 0.7)
    for name in ("rgb", "opacity", "distance", "weights", "sdf"):
        torch.testing.assert_close(getattr(there, name), getattr(here, name))


def test_a_scene_twice_as_large_looks_the_same(rays):
    """Distances double, and the surface's thickness with them: `inv_s` halves."""
    samples = samples_for(rays, 200)
    larger = PackedSamples(samples.offsets, 2 * samples.t_starts, 2 * samples.t_ends)
    double = lambda points: (2 * sphere(points / 2)[0], *sphere(points / 2)[1:])  # noqa: E731
    here = render_surface(rays, samples, sphere, color, sharpness(50.0), 1.0)
    there = render_surface(type(rays)(2 * rays.origins, rays.directions), larger, double, color, sharpness(25.0), 1.0)
    torch.testing.assert_close(there.rgb, here.rgb)
    torch.testing.assert_close(there.distance, 2 * here.distance)


def test_normals_do_not_depend_on_the_length_of_the_gradient(rays):
    samples = samples_for(rays, 200)
    steep = lambda points: (sphere(points)[0], 3 * sphere(points)[1], points)  # noqa: E731
    one, other = (render_surface(rays, samples, field, color, sharpness(50.0), 1.0) for field in (sphere, steep))
    torch.testing.assert_close(one.rgb, other.rgb)
    torch.testing.assert_close(3 * one.sdf_grad, other.sdf_grad)


def test_from_within_a_hollow_ball_its_wall_faces_the_eye(rays):
    samples = even_samples(len(rays), DISTANCE, DISTANCE + 1.5, 300)
    hollow = lambda points: (-sphere(points)[0], -sphere(points)[1], points)  # noqa: E731
    out = render_surface(rays, samples, hollow, color, sharpness(400.0), 1.0)
    torch.testing.assert_close(out.opacity, torch.ones_like(out.opacity), rtol=0, atol=1e-3)
    assert ((out.normals * rays.directions).sum(dim=1) < -0.8).all()


def test_rays_without_samples_are_empty(rays):
    out = render_surface(rays, no_samples(len(rays)), sphere, color, sharpness(100.0), 1.0)
    for value in (out.rgb, out.opacity, out.distance, out.normals):
        assert len(value) == len(rays)
        assert (value == 0).all()
    assert len(out.sdf) == len(out.points) == len(out.weights) == 0


def test_losses_find_what_they_need_per_sample(rays):
    samples = samples_for(rays, 50)
    out = render_surface(rays, samples, sphere, color, sharpness(100.0), 1.0)
    along = ((out.points - rays.origins[samples.ray_index]) * rays.directions[samples.ray_index]).sum(-1)
    torch.testing.assert_close(along, out.midpoints)
    torch.testing.assert_close(out.sdf, sphere(out.points)[0])
    torch.testing.assert_close(out.sdf_grad.norm(dim=-1), torch.ones_like(out.sdf))


def test_sharpness_radius_and_colour_learn(rays):
    """The gradient of opacity by the radius is positive: a larger sphere stops more of a ray's light."""
    radius = torch.ones((), dtype=torch.float64, requires_grad=True)
    inv_s = sharpness(5.0).requires_grad_()

    def growing(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return points.norm(dim=-1) - radius, *sphere(points)[1:]

    grazing = random_rays(64, spread=2.0)
    out = render_surface(grazing, samples_for(grazing, 100), growing, color, inv_s, 1.0)
    by_radius, by_sharpness = torch.autograd.grad(out.opacity.sum(), (radius, inv_s))
    assert by_radius > 0
    assert by_sharpness.isfinite()
    assert by_sharpness != 0


@pytest.mark.parametrize("inv_s", [50.0, 400.0])
def test_leaving_out_what_is_hidden_changes_colours_by_little_more_than_early_stop(rays, inv_s):
    """Slopes are guessed from neighbours, so that transmittance is nearly that of the rendering: a factor of 2."""
    early_stop = 1e-3
    samples = samples_for(rays)
    level = lambda points: sphere(points)[0]  # noqa: E731
    kept = drop_hidden_surface(rays, samples, level, sharpness(inv_s), early_stop=early_stop, threshold=0.0)
    assert len(kept) < 0.7 * len(samples)
    whole, part = (render_surface(rays, s, sphere, color, sharpness(inv_s), 1.0) for s in (samples, kept))
    assert (whole.rgb - part.rgb).abs().max() < 2 * early_stop
    assert (whole.opacity - part.opacity).abs().max() < 2 * early_stop


def test_free_space_in_front_of_a_sharp_surface_is_left_out_too(rays):
    samples = samples_for(rays)
    kept = drop_hidden_surface(rays, samples, lambda points: sphere(points)[0], sharpness(400.0))
    assert (kept.counts > 0).all()
    assert len(kept) < 0.1 * len(samples)
    whole, part = (render_surface(rays, s, sphere, color, sharpness(400.0), 1.0) for s in (samples, kept))
    torch.testing.assert_close(part.rgb, whole.rgb, rtol=0, atol=5e-3)


def test_slopes_are_not_guessed_across_a_gap_or_into_the_next_ray(rays):
    """Two samples before and behind the surface with nothing between: no fall in distance belongs to the first."""
    t = torch.tensor([DISTANCE - 1.4, DISTANCE], dtype=torch.float64).repeat(len(rays))
    samples = PackedSamples(torch.arange(len(rays) + 1) * 2, t, t + 0.01)
    kept = drop_hidden_surface(
        rays, samples, lambda points: sphere(points)[0], sharpness(400.0), early_stop=1e-3, threshold=0.0
    )
    assert len(kept) == len(samples)


def test_the_next_ray_says_nothing_about_the_slope_on_this_one(rays):
    """The last sample of a ray stands just outside, the first of the next inside and nearer to the eye."""
    first = first_crossing(rays)[:2]
    t_starts = torch.stack([first[0] - 0.005, first[1] - 0.5, first[1] + 0.01])
    samples = PackedSamples(torch.tensor([0, 1, 3]), t_starts, t_starts + 0.01)
    level = lambda points: torch.tensor([0.001, -0.3, -0.01], dtype=torch.float64)  # noqa: E731
    kept = drop_hidden_surface(rays[:2], samples, level, sharpness(400.0))
    assert kept.counts[0] == 0
