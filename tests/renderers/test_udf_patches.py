"""Samples on a plane have the colours that other cameras see there, blended by weight."""

import torch

from rilievo.renderers.patch_blend import SourceViews, projected_colors
from rilievo.renderers.udf_patches import PatchTarget, SampleRows, blend_from_sources

K = torch.tensor([[40.0, 0.0, 16.0], [0.0, 40.0, 16.0], [0.0, 0.0, 1.0]])


def target():
    """Two rays of a camera at the origin, and two cameras beside it with pictures that are smooth."""
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    image = torch.stack([x, y, x + y]) / 64
    cam_from_world = torch.eye(4).repeat(2, 1, 1)
    cam_from_world[:, 0, 3] = torch.tensor([0.2, -0.2])
    sources = SourceViews(torch.stack([image, image]), K.expand(2, 3, 3), cam_from_world)
    return PatchTarget(torch.tensor([[16.5, 16.5], [12.5, 18.5]]), 1, K, torch.eye(4), sources)


def samples(weights, ray):
    """On the plane z = 2, facing the camera."""
    given = target()
    pixels = given.pixels[ray]
    points = torch.cat([(pixels - 16) / 40 * 2, torch.full((len(ray), 1), 2.0)], dim=-1)
    normals = torch.tensor([0.0, 0, -1]).expand(len(ray), 3)
    return SampleRows(points, normals, torch.zeros(len(ray), 3), torch.tensor(weights), ray)


def test_the_middle_of_a_patch_is_the_colour_of_its_pixel():
    given = target()
    seen = blend_from_sources(samples([1.0, 1.0], torch.tensor([0, 1])), given)
    torch.testing.assert_close(seen.patches[:, 4], seen.pixel, atol=1e-5, rtol=0)
    assert seen.patch_seen.all()
    colors, _ = projected_colors(samples([1.0, 1.0], torch.tensor([0, 1])).points, given.sources)
    torch.testing.assert_close(seen.pixel, colors.mean(1), atol=1e-5, rtol=0)


def test_colours_add_up_by_weight_and_rays_without_samples_see_nothing():
    whole = blend_from_sources(samples([1.0], torch.tensor([0])), target())
    halves = blend_from_sources(samples([0.5, 0.5], torch.tensor([0, 0])), target())
    torch.testing.assert_close(halves.pixel[0], whole.pixel[0])
    assert not halves.patch_seen[1]
    assert not halves.pixel[1].any()
