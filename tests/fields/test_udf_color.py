"""Colours of unsigned fields: the published networks, and what may depend on the direction."""

import numpy as np
import pytest
import torch

from rilievo.fields.udf_color import BlendingRadiance

from .published_udf import published_colors


@pytest.fixture(scope="module")
def fixture(golden):
    return np.load(golden / "udf_fields.npz")


@pytest.mark.golden
@pytest.mark.parametrize(("name", "with_normals"), [("colour", False), ("colour_idr", True)])
def test_published_colours_and_weights_of_views(fixture, name, with_normals):
    """The variant that is told normals takes the first features alone."""
    field, _ = published_colors(fixture, f"{name}/sd", with_normals=with_normals)
    points, feature, directions = (torch.from_numpy(fixture[f"colour/{k}"]) for k in ("points", "feature", "view_dirs"))
    normals = torch.from_numpy(fixture["colour/normals"]) if with_normals else None
    known = field.trunk.layers[0].weight.shape[1] - (9 if with_normals else 3)
    found = field(points, feature[:, :known], directions, normals)
    for values, kind in zip(found, ("color_base", "color", "blending_weights")):
        torch.testing.assert_close(values.detach(), torch.from_numpy(fixture[f"{name}/{kind}"]), atol=1e-5, rtol=1e-4)


def test_both_sides_of_a_normal_are_told_and_the_normal_is_not_taught():
    field = BlendingRadiance(2, views=1, width=8, hidden_layers=2, with_normals=True)
    normals = torch.eye(3).requires_grad_()
    out = field(torch.zeros(3, 3), torch.zeros(3, 2), torch.eye(3), normals)
    assert not torch.allclose(out.base[0], out.base[1])
    out.color.sum().backward()
    assert normals.grad is None


def test_only_the_second_colour_sees_the_direction():
    field = BlendingRadiance(5, views=2, width=16, hidden_layers=2, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    points, feature = torch.rand(4, 3, generator=generator), torch.rand(4, 5, generator=generator)
    one, other = (torch.eye(3)[i].expand(4, 3) for i in (0, 1))
    here, there = field(points, feature, one), field(points, feature, other)
    assert torch.equal(here.base, there.base)
    assert not torch.allclose(here.color, there.color)
    assert here.logits.shape == (4, 2)
