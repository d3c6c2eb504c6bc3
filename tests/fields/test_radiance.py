"""Colour from features, directions and normals."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from rilievo.fields.radiance import ColorField, RadianceField

from .test_mlp import FORWARD, published_state


def test_directions_shared_along_a_ray_give_the_colours_of_directions_repeated():
    generator = torch.Generator().manual_seed(0)
    field = RadianceField(6, with_normals=True, generator=generator)
    feature = torch.randn(9, 6, generator=generator)
    normals, rays = (normalize(torch.randn(n, 3, generator=generator), dim=-1) for n in (9, 4))
    ray_index = torch.tensor([0, 0, 1, 1, 1, 3, 3, 3, 3])
    shared = field(feature, rays, normals, ray_index=ray_index)
    torch.testing.assert_close(shared, field(feature, rays[ray_index], normals))


def test_colours_are_between_black_and_white():
    feature = 100 * torch.randn(50, 6, generator=torch.Generator().manual_seed(1))
    rgb = ColorField(6, generator=torch.Generator().manual_seed(2))(feature)
    assert ((rgb >= 0) & (rgb <= 1)).all()


@pytest.mark.golden
def test_radiance_is_the_published_one(golden):
    data = np.load(golden / "vanilla_mlp.npz")
    feature, dirs, normal = (torch.from_numpy(data[f"volume_radiance/{k}"]) for k in ("feature", "dirs", "normal"))
    state = published_state(data, "volume_radiance/sd/network/layers.")
    field = RadianceField(
        feature.shape[1],
        with_normals=True,
        width=len(state["layers.0.bias"]),
        hidden_layers=max(int(key.split(".")[1]) for key in state),
    )
    field.network.load_state_dict(state)
    np.testing.assert_allclose(field(feature, dirs, normal).detach(), data["volume_radiance/out"], **FORWARD)
