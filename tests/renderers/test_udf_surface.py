"""Unsigned distances along packed rays: the dense formulas, packed, and light that stops at a sheet."""

import pytest
import torch

from rilievo.cameras.rays import Rays
from rilievo.ops.packed import PackedSamples, ray_index_from_offsets
from rilievo.renderers.udf_alpha import crossing_alpha, still_approaching, visibility
from rilievo.renderers.udf_surface import Widths, packed_approach, packed_visibility, render_unsigned

SHARP = {"inv_s": 200.0, "beta": 1000.0, "gamma": 20.0}


def widths(saturation=1.0, cos_anneal=1.0, **sharpness):
    numbers = {name: torch.tensor(value) for name, value in (SHARP | sharpness).items()}
    return Widths(**numbers, saturation=saturation, cos_anneal=cos_anneal)


def even_samples(rays, count, length):
    edges = torch.linspace(0, length, count + 1)
    return PackedSamples(torch.arange(rays + 1) * count, edges[:-1].repeat(rays), edges[1:].repeat(rays))


def sheet(points):
    """The half plane z = 0, x < 0: u, its gradient, and where the point is as feature."""
    across = torch.stack([points[:, 0].clamp_min(0), torch.zeros(len(points)), points[:, 2]], dim=-1)
    udf = across.norm(dim=-1)
    return udf, across / udf[:, None].clamp_min(1e-12), points


def sides(feature, ray, normals):
    """Red from above, blue from below."""
    above = (normals[:, 2:] > 0).float()
    return torch.cat([above, torch.zeros_like(above), 1 - above], dim=-1)


@pytest.mark.parametrize("saturation", [0.0, 0.9, 1.0])
def test_packed_visibility_is_the_dense_one_on_every_ray(saturation):
    generator = torch.Generator().manual_seed(0)
    counts = [7, 0, 1, 12]
    udf, dt = (torch.rand(sum(counts), generator=generator) for _ in range(2))
    cos = torch.rand(sum(counts), generator=generator) * 2 - 1
    offsets = torch.tensor([0, *counts]).cumsum(0)
    ray = ray_index_from_offsets(offsets)
    wide = widths(saturation, beta=8.0, gamma=0.5)
    found = packed_visibility(udf, cos, dt, ray, offsets, wide)
    approach = packed_approach(cos, ray)
    for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist()):
        if begin == end:
            continue
        own = slice(begin, end)
        forgiven = still_approaching(cos[None, own])
        assert torch.equal(approach[own], forgiven[0])
        crossing = crossing_alpha(udf[None, own], dt[None, own], wide.beta, wide.gamma)
        torch.testing.assert_close(found[own], visibility(crossing, forgiven, saturation)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("height", [1.0, -1.0])
@pytest.mark.parametrize("slant", [0.0, 0.4])
def test_a_sheet_stops_all_light_and_shows_the_side_that_is_seen(height, slant):
    direction = torch.nn.functional.normalize(torch.tensor([[slant, 0.0, -height]]), dim=-1)
    rays = Rays(torch.tensor([[-0.8, 0.0, height]]), direction)
    seen = render_unsigned(rays, even_samples(1, 1000, 2.0), sheet, sides, widths())
    assert float(seen.opacity) > 0.99
    assert float(seen.distance / seen.opacity) == pytest.approx(1 / abs(float(direction[0, 2])), abs=0.01)
    assert torch.sign(seen.normals[0, 2]) == height
    assert seen.rgb[0].argmax() == (0 if height > 0 else 2)


def test_light_passes_beside_the_edge_of_a_sheet():
    rays = Rays(torch.tensor([[0.2, 0.0, 1.0]]), torch.tensor([[0.0, 0.0, -1.0]]))
    seen = render_unsigned(rays, even_samples(1, 1000, 2.0), sheet, sides, widths())
    assert float(seen.opacity) < 0.01


def test_rays_without_samples_see_nothing():
    rays = Rays(torch.zeros(3, 3), torch.tensor([[0.0, 0.0, 1.0]]).expand(3, 3))
    none = PackedSamples(torch.zeros(4, dtype=torch.int64), torch.zeros(0), torch.zeros(0))
    seen = render_unsigned(rays, none, sheet, sides, widths())
    assert seen.rgb.shape == (3, 3)
    assert float(seen.opacity.abs().max()) == 0


def test_every_width_and_the_distance_learn_from_a_colour():
    rays = Rays(torch.tensor([[-0.8, 0.0, 1.0]]), torch.tensor([[0.0, 0.0, -1.0]]))
    soft = {name: torch.tensor(value, requires_grad=True) for name, value in {"inv_s": 20.0, "beta": 30.0}.items()}
    shift = torch.tensor(0.0, requires_grad=True)

    def moved(points):
        udf, gradient, feature = sheet(points)
        return udf + shift, gradient, feature

    wide = Widths(**soft, gamma=torch.tensor(20.0), saturation=0.9, cos_anneal=0.5)
    seen = render_unsigned(rays, even_samples(1, 100, 2.0), moved, lambda feature, ray, n: feature.abs(), wide)
    seen.rgb.sum().backward()
    for learned in (*soft.values(), shift):
        assert learned.grad is not None
        assert learned.grad.isfinite()
        assert learned.grad != 0
