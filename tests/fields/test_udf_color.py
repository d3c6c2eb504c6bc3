"""Colours of unsigned fields: the published networks, and what may depend on the direction."""

import numpy as np
import pytest
import torch

from rilievo.fields.udf_color import BlendingRadiance


@pytest.fixture(scope="module")
def fixture(golden):
    return np.load(golden / "udf_fields.npz")


def published(fixture):
    weights = {k.removeprefix("colour/sd/"): torch.from_numpy(fixture[k]) for k in fixture.files if "colour/sd/" in k}
    layers = 1 + max(int(k.removeprefix("lin").split(".")[0]) for k in weights if not k.startswith("lin_base"))
    width, views = len(weights["lin0.bias"]), len(weights[f"lin{layers - 1}.bias"]) - 3
    features = weights["lin_base0.weight_v"].shape[1] - 3
    frequencies = (weights["lin0.weight_v"].shape[1] - 6 - width) // 6
    field = BlendingRadiance(features, views=views, width=width, hidden_layers=layers - 1, frequencies=frequencies)
    state = {}
    for name, value in weights.items():
        layer, kind = name.split(".")
        if not layer.startswith("lin_base"):
            state[f"seen.layers.{layer.removeprefix('lin')}.{kind}"] = value
        elif layer == f"lin_base{layers - 1}":
            state[f"base.layers.0.{kind}"] = value
        else:
            state[f"trunk.layers.{layer.removeprefix('lin_base')}.{kind}"] = value
    field.load_state_dict(state, strict=False)
    assert set(state) == {name for name, _ in field.named_parameters()}
    return field


@pytest.mark.golden
def test_published_colours_and_weights_of_views(fixture):
    points, feature, directions = (torch.from_numpy(fixture[f"colour/{k}"]) for k in ("points", "feature", "view_dirs"))
    found = published(fixture)(points, feature, directions)
    names = ("color_base", "color", "blending_weights")
    for values, name in zip((found.base, found.color, found.logits), names):
        torch.testing.assert_close(values.detach(), torch.from_numpy(fixture[f"colour/{name}"]), atol=1e-5, rtol=1e-4)


def test_only_the_second_colour_sees_the_direction():
    field = BlendingRadiance(5, views=2, width=16, hidden_layers=2, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    points, feature = torch.rand(4, 3, generator=generator), torch.rand(4, 5, generator=generator)
    one, other = (torch.eye(3)[i].expand(4, 3) for i in (0, 1))
    here, there = field(points, feature, one), field(points, feature, other)
    assert torch.equal(here.base, there.base)
    assert not torch.allclose(here.color, there.color)
    assert here.logits.shape == (4, 2)
