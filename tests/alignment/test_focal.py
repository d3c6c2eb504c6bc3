"""Focal lengths of pointmaps: exact for a pinhole, the published ones, and never NaN."""

import math

import numpy as np
import pytest
import torch

from rilievo.alignment.focal import FocalFrom, bounded_focal, focal_from_pointmap, ordinary_focal


def pinhole(height, width, focal, center, seed=0):
    """A bumpy pointmap of a camera; `center` counts pixel centres at +0.5."""
    z = 2 + torch.rand(height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    y, x = torch.meshgrid(
        torch.arange(height, dtype=torch.float64) + 0.5, torch.arange(width, dtype=torch.float64) + 0.5, indexing="ij"
    )
    return torch.stack(((x - center[0]) * z / focal, (y - center[1]) * z / focal, z), dim=-1)


@pytest.mark.golden
def test_focal_lengths_are_the_published_ones(arrays):
    data = arrays("canonical.npz")
    for case in sorted({name.split("/")[0] for name in data if "/focal/" in name}):
        maps = torch.from_numpy(data[f"{case}/ptmaps11"])
        canonical = torch.from_numpy(next(data[n] for n in data if n.startswith(case) and n.endswith("angle_s8/canon")))
        height, width = maps.shape[1:3]
        middle = torch.tensor([width / 2, height / 2]) + 0.5
        aside = torch.from_numpy(data[f"{case}/focal/offcentre_pp_xy"]) + 0.5
        for method in FocalFrom:
            published = {
                "canon": [bounded_focal(canonical, middle, None, method, 0.0, math.inf)],
                "canon_clip05_35": [bounded_focal(canonical, middle, None, method)],
                "batch": [bounded_focal(X, middle, None, method, 0.0, math.inf) for X in maps],
                "offcentre_pp": [bounded_focal(X, aside, None, method, 0.0, math.inf) for X in maps],
                "clip_min2": [bounded_focal(X, middle, None, method, 2.0, math.inf) for X in maps],
            }
            for name, ours in published.items():
                theirs = data[f"{case}/focal/{method}_{name}"]
                np.testing.assert_allclose(torch.stack(ours), theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", list(FocalFrom))
def test_the_focal_length_of_a_pinhole_is_found_exactly(method):
    center = torch.tensor([20.3, 11.9], dtype=torch.float64)
    X = pinhole(24, 40, 37.5, center)
    assert float(focal_from_pointmap(X, torch.ones(24, 40), center, method)) == pytest.approx(37.5, rel=1e-9)


@pytest.mark.parametrize("method", list(FocalFrom))
def test_background_has_no_vote(method):
    center = torch.tensor([20.0, 12.0], dtype=torch.float64)
    X = torch.where(
        (torch.arange(40) < 15)[None, :, None], pinhole(24, 40, 30.0, center), pinhole(24, 40, 90.0, center)
    )
    mask = (torch.arange(40) < 15).expand(24, 40)
    assert float(bounded_focal(X, center, mask, method)) == pytest.approx(30.0, rel=1e-6)


@pytest.mark.parametrize("method", list(FocalFrom))
@pytest.mark.parametrize("foreground", [0, 1])
def test_there_is_a_focal_length_even_where_nothing_tells_it(method, foreground):
    mask = torch.zeros(24, 40, dtype=torch.bool)
    mask.view(-1)[:foreground] = True
    center = torch.tensor([20.0, 12.0])
    assert float(bounded_focal(torch.zeros(24, 40, 3), center, mask, method)) == pytest.approx(ordinary_focal(24, 40))
    seen = pinhole(24, 40, 35.0, center)
    assert float(bounded_focal(seen, center.double(), mask, method)) == pytest.approx(35.0, rel=1e-6)
