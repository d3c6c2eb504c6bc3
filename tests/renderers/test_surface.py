"""A signed distance field rendered as a volume: the sphere, whose every answer is algebra."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from rilievo.ops.packed import PackedSamples
from rilievo.renderers.alpha import GUARD, alpha_from_sdf, annealed_cos
from rilievo.renderers.surface import alpha_of_distances, render_surface
from rilievo.renderers.volume import march_visible

from .scenes import DISTANCE, even_samples, march, moved, moved_back, no_samples, random_rays

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


def level(points: Tensor) -> Tensor:
    return sphere(points)[0]


def stretch(rays) -> tuple[Tensor, Tensor]:
    start = torch.full((len(rays),), DISTANCE - 1.4, dtype=torch.float64)
    return start, start + 2.8


@pytest.mark.parametrize("inv_s", [50.0, 400.0])
@pytest.mark.parametrize("early_stop", [1e-2, 1e-3])
def test_leaving_out_what_is_hidden_or_thin_changes_colours_by_little_more_than_that(rays, inv_s, early_stop):
    """Slopes are guessed from neighbours, so that opacity is nearly that of the rendering: a factor of 2."""
    samples = march(rays, *stretch(rays), None, None)
    glance = alpha_of_distances(level, sharpness(inv_s))
    kept, looked = march_visible(rays, *stretch(rays), march, glance, early_stop=early_stop)
    assert len(kept) < looked < 0.8 * len(samples)
    whole, part = (render_surface(rays, s, sphere, color, sharpness(inv_s), 1.0) for s in (samples, kept))
    alpha = glance(rays, samples)
    thin = torch.zeros(len(rays), dtype=torch.float64)
    thin.index_add_(0, samples.ray_index, torch.where(alpha <= early_stop, alpha, 0))
    agreed = 2 * (early_stop + thin)
    assert ((whole.rgb - part.rgb).abs().amax(1) < agreed).all()
    assert ((whole.opacity - part.opacity).abs() < agreed).all()


def test_of_a_sharp_surface_little_more_than_its_shell_is_kept(rays):
    samples = march(rays, *stretch(rays), None, None)
    kept, _ = march_visible(rays, *stretch(rays), march, alpha_of_distances(level, sharpness(400.0)))
    assert (kept.counts > 0).all()
    assert len(kept) < 0.05 * len(samples)


def test_glanced_opacities_are_those_of_the_rendering_where_distances_fall_evenly(rays):
    """Before a plane seen head-on, the difference to the next sample is the slope itself."""
    samples = samples_for(rays, 100)
    t = samples.midpoints
    plane = lambda points: DISTANCE - t  # noqa: E731
    glanced = alpha_of_distances(plane, sharpness(50.0))(rays, samples)
    exact = alpha_from_sdf(DISTANCE - t, -torch.ones_like(t), samples.intervals, sharpness(50.0))
    torch.testing.assert_close(glanced, exact, rtol=1e-6, atol=1e-9)


def test_slopes_are_not_guessed_across_a_gap_or_into_the_next_ray(rays):
    """Two samples before and behind the surface with nothing between: no fall in distance belongs to either."""
    t = torch.tensor([DISTANCE - 1.4, DISTANCE], dtype=torch.float64).repeat(len(rays))
    samples = PackedSamples(torch.arange(len(rays) + 1) * 2, t, t + 0.01)
    alpha = alpha_of_distances(level, sharpness(400.0))(rays, samples)
    ray = samples.ray_index
    distances = level(rays.origins[ray] + samples.midpoints[:, None] * rays.directions[ray])
    flat = alpha_from_sdf(distances, torch.zeros_like(t), samples.intervals, sharpness(400.0))
    torch.testing.assert_close(alpha, flat)


def test_without_samples_there_is_nothing_to_glance_at(rays):
    assert alpha_of_distances(level, sharpness(400.0))(rays, no_samples(len(rays))).shape == (0,)
