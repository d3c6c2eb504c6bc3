"""A volume that glows: marching, skipping what is empty, and compositing belong together."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from rilievo.cameras.rays import Rays
from rilievo.fields.encoding import CompositeEncoding
from rilievo.fields.frequency import FrequencyEncoding
from rilievo.fields.hash_grid import HashGrid
from rilievo.fields.mlp import MLP
from rilievo.fields.occupancy import OccupancyGrid
from rilievo.fields.radiance import RadianceField
from rilievo.fields.radiance_volume import RadianceVolume
from rilievo.ops.hash_encode import HashGridSpec

RADIUS = 1.5
CONTRACTIONS = pytest.mark.parametrize("contraction", ["box", "unbounded_sphere"])


class Ball(nn.Module):
    """Instead of a network: density where the encoded point, a place in the unit cube, is near its middle."""

    def __init__(self, radius: float, density: float = 40.0) -> None:
        super().__init__()
        self.radius, self.raw = radius, torch.tensor(density).log() + 1  # the field adds -1 before its exponential

    def forward(self, encoded: Tensor) -> Tensor:
        unit = (encoded[:, :3] + 1) / 2
        raw = torch.where((unit - 0.5).norm(dim=-1) < self.radius, self.raw, -30.0)
        return torch.cat([raw[:, None], unit], dim=-1)


def volume(contraction: str, density: nn.Module | None = None, **kwargs) -> RadianceVolume:
    generator = torch.Generator().manual_seed(0)
    return RadianceVolume(
        CompositeEncoding(FrequencyEncoding(1)),
        density or Ball(0.1),
        RadianceField(4, width=8, hidden_layers=1, generator=generator),
        OccupancyGrid(16, 0.01),
        contraction=contraction,
        radius=RADIUS,
        step=0.02,
        **kwargs,
    )


@pytest.fixture
def rays() -> Rays:
    generator = torch.Generator().manual_seed(1)
    origins = 1.4 * normalize(torch.randn(40, 3, generator=generator), dim=-1)
    targets = 0.8 * torch.rand(40, 3, generator=generator) - 0.4
    return Rays(origins, normalize(targets - origins, dim=-1))


def stretch(rays: Rays, t_max: float = 3.0) -> tuple[Tensor, Tensor]:
    return torch.zeros(len(rays)), torch.full((len(rays),), t_max)


@CONTRACTIONS
def test_places_in_the_cube_and_in_the_world_belong_together(contraction):
    """As far as a thousand radii; beyond, float32 has no digits left."""
    field = volume(contraction)
    direction = normalize(torch.randn(100, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    reach = 0.999 if contraction == "box" else 30.0
    points = direction * torch.linspace(0, reach, 100)[:, None] * RADIUS
    torch.testing.assert_close(field._uncontract(field._contract(points)), points, rtol=1e-3, atol=1e-5)


def test_the_far_corners_of_the_cube_are_far_but_finite():
    field = volume("unbounded_sphere")
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 0.5, 1.0])] * 3)
    distance = field._uncontract(corners).norm(dim=-1)
    assert distance.isfinite().all()
    assert (distance[corners.ne(0.5).any(dim=1)] > 500 * RADIUS).all()


@CONTRACTIONS
def test_skipping_what_is_empty_spares_most_samples_and_hardly_changes_a_pixel(contraction, rays):
    """A cell at the rim, of which the ball fills a corner, may be missed: the ball then begins half a cell later."""
    field = volume(contraction)
    everything = field.march(rays, *stretch(rays))
    for seed in range(20):
        field.update_occupancy(seed=seed, fraction=1.0)
    few = field.march(rays, *stretch(rays))
    assert 0 < len(few) < 0.5 * len(everything)
    with torch.no_grad():
        whole, part = field(rays, everything), field(rays, few)
    assert whole.opacity.max() > 0.99
    torch.testing.assert_close(part.rgb, whole.rgb, rtol=0, atol=5e-3)
    torch.testing.assert_close(part.distance, whole.distance, rtol=0, atol=RADIUS / 16)


@CONTRACTIONS
def test_a_ray_sees_nothing_where_it_has_no_stretch(contraction, rays):
    field = volume(contraction)
    t_min, t_max = stretch(rays)
    t_max[::2] = t_min[::2]
    samples = field.march(rays, t_min, t_max)
    out = field(rays, samples)
    assert (samples.counts[::2] == 0).all()
    assert (samples.counts[1::2] > 0).all()
    assert (out.rgb[::2] == 0).all()
    assert (out.opacity[::2] == 0).all()


def test_hidden_samples_may_be_left_out(rays):
    field = volume("box", Ball(0.2, density=400.0))
    samples = field.march(rays, *stretch(rays))
    with torch.no_grad():
        found, looked = field.march_visible(rays, *stretch(rays), early_stop=1e-3)
        whole, part = field(rays, samples), field(rays, found)
    assert len(found) < 0.2 * len(samples)
    assert len(found) <= looked < 0.9 * len(samples)
    assert (whole.rgb - part.rgb).abs().max() < 2e-3


def test_a_longer_stride_takes_fewer_samples_and_finds_the_same_opacity(rays):
    field = volume("box", Ball(0.25, density=3.0), cone_angle=0.01, max_step=1.0)
    fine = field.march(rays, *stretch(rays))
    field.stride = 2.0
    coarse = field.march(rays, *stretch(rays))
    assert 0.45 * len(fine) < len(coarse) < 0.55 * len(fine)
    assert coarse.intervals.min() == pytest.approx(2 * fine.intervals.min().item(), rel=1e-4)
    with torch.no_grad():
        opacities = [field(rays, samples).opacity for samples in (fine, coarse)]
    torch.testing.assert_close(*opacities, rtol=0, atol=0.08)  # an interval more or less: 0.04 · 3, where all is thin


def test_density_colour_and_grid_learn_together(rays):
    generator = torch.Generator().manual_seed(0)
    encoding = CompositeEncoding(HashGrid(HashGridSpec(3, 2, 10, 4, 1.6), generator))
    field = RadianceVolume(
        encoding,
        MLP(encoding.output_dim, 4, width=8, hidden_layers=1, generator=generator),
        RadianceField(4, width=8, hidden_layers=1, generator=generator),
        OccupancyGrid(8, 0.01),
        contraction="box",
        radius=RADIUS,
        step=0.05,
    )
    samples = field.march(rays, *stretch(rays))
    field(rays, samples).rgb.square().sum().backward()
    for name, parameter in field.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_surfaces_need_no_haste_and_fog_is_seen_through_in_time(rays):
    formed = volume("box", Ball(0.25, density=400.0))
    for seed in range(20):
        formed.update_occupancy(seed=seed, fraction=1.0)
    assert formed.haste(rays, *stretch(rays), early_stop=1e-3, looks=30.0) == 1.0
    fog = volume("box", Ball(10.0, density=1.0))
    before = fog.march_visible(rays, *stretch(rays), early_stop=1e-3)[0]
    fog.stride = fog.haste(rays, *stretch(rays), early_stop=1e-3, looks=30.0)
    assert fog.stride > 3
    after, looked = fog.march_visible(rays, *stretch(rays), early_stop=1e-3)
    assert looked < 1.1 * 30 * len(rays)
    with torch.no_grad():
        opacities = [fog(rays, samples).opacity for samples in (before, after)]
    torch.testing.assert_close(*opacities, rtol=0, atol=0.04)
