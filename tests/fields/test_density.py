"""Density fields."""

import math

import numpy as np
import pytest
import torch

from rilievo.fields.density import DensityField
from rilievo.fields.frequency import FrequencyEncoding
from rilievo.fields.mlp import MLP
from rilievo.geometry.contraction import contract_unbounded

from .test_mlp import FORWARD, published_mlp


def test_an_untrained_field_is_nearly_empty_and_positive_everywhere():
    network = MLP(12, 4, generator=torch.Generator().manual_seed(0))
    for p in network.layers[-1].parameters():
        p.data.zero_()
    field = DensityField(FrequencyEncoding(2), network, lambda x: x)
    points = torch.rand(10, 3, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(field(points).density, torch.full((10,), math.exp(-1)))
    torch.testing.assert_close(field.level(points), torch.full((10,), -math.exp(-1)))


@pytest.mark.golden
def test_density_is_the_published_one(golden):
    """Stored points reach beyond the box, into contracted space of radius 1."""
    data = np.load(golden / "vanilla_mlp.npz")
    network = published_mlp(data, "volume_density/sd/encoding_with_network.network.layers.")
    encoding = FrequencyEncoding(network.input_dim // 6)
    field = DensityField(encoding, network, lambda x: contract_unbounded(x, float(data["volume_sdf/radius"])))
    points = torch.from_numpy(data["volume_density/points"])
    sample = field(points)
    np.testing.assert_allclose(sample.density.detach(), data["volume_density/density"], **FORWARD)
    np.testing.assert_allclose(sample.feature.detach(), data["volume_density/feature"], **FORWARD)
    np.testing.assert_allclose(field.level(points).detach(), data["volume_density/neg_density_level"], **FORWARD)
