"""Reflectance: energy, reciprocity, and the limits that optics knows."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from rilievo.shading import brdf
from rilievo.shading.brdf import Material
from rilievo.shading.directions import fibonacci_sphere, tangent_frame, to_local, to_world, uniform_sphere
from rilievo.shading.microfacet import (
    fresnel_schlick,
    fresnel_schlick_rough,
    ggx_distribution,
    smith_masking,
    smith_masking_shadowing,
)
from rilievo.shading.reflection import dot, reflect
from rilievo.shading.split_sum import directional_albedo

UP = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)


def white(metallic: float, roughness: float) -> Material:
    return Material(
        torch.ones(1, 3, dtype=torch.float64),
        torch.tensor([[metallic]], dtype=torch.float64),
        torch.tensor([[roughness]], dtype=torch.float64),
    )


def seen_at(cos: float) -> torch.Tensor:
    return torch.tensor([[math.sqrt(1 - cos * cos), 0.0, cos]], dtype=torch.float64)


def reflected_share(material: Material, view: torch.Tensor, draws: int = 40_000) -> torch.Tensor:
    """Light that comes back from white surroundings."""
    u = torch.rand(draws, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    light = brdf.sample(material, UP, view, u)
    pdf = brdf.pdf(material, UP, view, light)
    share = torch.where(pdf > 0, brdf.evaluate(material, UP, view, light) / pdf.clamp_min(1e-30), 0.0)
    return share.mean(0)


@pytest.mark.parametrize("metallic", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("roughness", [0.0, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("cos", [0.05, 0.4, 0.95])
def test_white_furnace_returns_no_more_light_than_it_got(metallic, roughness, cos):
    assert reflected_share(white(metallic, roughness), seen_at(cos)).max() < 1.01


@pytest.mark.parametrize("roughness", [0.0, 0.1, 0.2])
def test_a_polished_white_metal_returns_nearly_all_light(roughness):
    assert reflected_share(white(1.0, roughness), seen_at(0.7)).min() > 0.985


@pytest.mark.parametrize("roughness", [0.15, 0.5, 1.0])
@pytest.mark.parametrize("cos", [0.2, 0.8])
def test_the_split_sum_table_is_the_share_that_sampling_finds(roughness, cos):
    found = reflected_share(white(1.0, roughness), seen_at(cos))
    f0 = torch.ones(1, 3, dtype=torch.float64)
    table = directional_albedo(f0, torch.tensor([[cos]]).double(), torch.tensor([[roughness]]).double())
    torch.testing.assert_close(found, table[0], rtol=0, atol=6e-3)


def test_light_and_eye_may_change_places():
    generator = torch.Generator().manual_seed(1)
    v, l = (uniform_sphere(torch.rand(200, 2, generator=generator, dtype=torch.float64)) for _ in range(2))
    v, l = torch.cat([v[:, :2], v[:, 2:].abs()], -1), torch.cat([l[:, :2], l[:, 2:].abs()], -1)
    material = white(0.5, 0.4)
    forth = brdf.evaluate(material, UP, v, l) / dot(UP, l)
    back = brdf.evaluate(material, UP, l, v) / dot(UP, v)
    high = ((v[:, 2] > 0.01) & (l[:, 2] > 0.01))[:, None]
    torch.testing.assert_close(forth * high, back * high)


def test_nothing_is_reflected_below_the_surface():
    below = seen_at(0.5) * torch.tensor([1.0, 1.0, -1.0])
    assert not brdf.evaluate(white(0.0, 0.5), UP, seen_at(0.5), below).any()
    assert not brdf.evaluate(white(0.0, 0.5), UP, below, seen_at(0.5)).any()


def test_the_visible_facets_fill_the_area_that_is_seen():
    """∫ D(h) (n·h) dh = 1, and ∫ G₁ D max(0, v·h) dh = n·v: what makes G₁ the masking of this D."""
    h = fibonacci_sphere(400_000, upper_half=True)
    solid_angle = 2 * math.pi / len(h)
    for alpha in (0.15, 0.5, 1.0):
        a = torch.tensor([[alpha]], dtype=torch.float64)
        facets = ggx_distribution(h[:, 2:], a)
        assert float((facets * h[:, 2:]).sum() * solid_angle) == pytest.approx(1, abs=1e-3)
        for cos in (0.3, 0.9):
            seen = smith_masking(torch.tensor([[cos]]).double(), a) * facets * dot(h, seen_at(cos)).clamp_min(0)
            assert float(seen.sum() * solid_angle) == pytest.approx(cos, abs=2e-3)


def test_shadowing_hides_more_than_masking_alone_and_less_than_if_both_were_independent():
    cos_v, cos_l = torch.rand(2, 100, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alpha = torch.full_like(cos_v, 0.6)
    both = smith_masking_shadowing(cos_v, cos_l, alpha)
    assert (both <= smith_masking(cos_v, alpha)).all()
    assert (both >= smith_masking(cos_v, alpha) * smith_masking(cos_l, alpha)).all()


def test_grazing_mirrors_reflect_everything_unless_rough():
    f0, grazing = torch.full((1, 3), 0.04), torch.zeros(1, 1)
    torch.testing.assert_close(fresnel_schlick(f0, grazing), torch.ones(1, 3))
    torch.testing.assert_close(fresnel_schlick(f0, torch.ones(1, 1)), f0)
    torch.testing.assert_close(fresnel_schlick_rough(f0, grazing, torch.full((1, 1), 0.7)), torch.full((1, 3), 0.3))
    torch.testing.assert_close(fresnel_schlick_rough(f0, grazing, torch.ones(1, 1)), f0)


def test_the_sharpest_lobe_stays_finite_in_single_precision():
    m = Material(torch.full((1, 3), 0.9), torch.ones(1, 1), torch.zeros(1, 1))
    n, v = UP.float(), normalize(torch.tensor([[0.3, 0.1, 0.8]]), dim=-1)
    out = brdf.evaluate(m, n, v, reflect(v, n))
    assert torch.isfinite(out).all()
    assert (out > 1e3).all()


def test_colours_and_roughness_receive_finite_gradients_everywhere():
    generator = torch.Generator().manual_seed(2)
    n, v, l = (normalize(torch.randn(500, 3, generator=generator), dim=-1) for _ in range(3))
    parts = [torch.rand(500, c, generator=generator).requires_grad_() for c in (3, 1, 1)]
    brdf.evaluate(Material(*parts), n, v, l).sum().backward()
    assert all(torch.isfinite(part.grad).all() for part in parts)


def test_the_frame_round_a_normal_is_right_handed_and_turns_back():
    n = normalize(torch.randn(300, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64), dim=-1)
    n[:2] = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    t, b = tangent_frame(n)
    axes = torch.stack([t, b, n], -1)
    torch.testing.assert_close(axes.mT @ axes, torch.eye(3, dtype=torch.float64).expand_as(axes))
    torch.testing.assert_close(torch.linalg.det(axes), torch.ones(300, dtype=torch.float64))
    d = torch.randn(300, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    torch.testing.assert_close(to_world(to_local(d, n), n), d)
