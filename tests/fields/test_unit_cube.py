"""Points into the unit cube, where encodings live: the published scalings are all box contractions."""

import numpy as np
import pytest
import torch

from rilievo.geometry.box import Box
from rilievo.geometry.contraction import contract_box


def cube(low: float, high: float) -> Box:
    return Box(torch.full((3,), low), torch.full((3,), high))


@pytest.mark.golden
def test_scaling_by_the_range_of_the_data_is_contraction_of_its_bounding_cube(golden):
    data = np.load(golden / "contraction.npz")
    x = data["scale_anything/x"]
    ours = contract_box(torch.from_numpy(x), cube(float(x.min()), float(x.max())))
    np.testing.assert_allclose(ours, data["scale_anything/c_inp_scale_none"], atol=1e-6, rtol=1e-5)


@pytest.mark.golden
@pytest.mark.parametrize("case", ["a", "b"])
def test_scaling_between_two_ranges_is_contraction_of_one_cube(golden, case):
    """The ranges are not stored: the cube, where the result is 0 and where it is 1, is read off by a straight line."""
    data = np.load(golden / "contraction.npz")
    x, expected = data["scale_anything/x"], data[f"scale_anything/{case}"]
    slope, offset = np.polyfit(x.ravel().astype(float), expected.ravel().astype(float), 1)
    ours = contract_box(torch.from_numpy(x), cube(-offset / slope, (1 - offset) / slope))
    np.testing.assert_allclose(ours, expected, atol=1e-6, rtol=1e-5)
