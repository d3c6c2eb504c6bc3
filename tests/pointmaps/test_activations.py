"""Raw channels into points, confidences and descriptors."""

import math

import numpy as np
import pytest
import torch

from rilievo.pointmaps.activations import (
    Bounded,
    Pointmaps,
    open_channels,
    open_confidence,
    open_points,
    unit_descriptors,
)

PURE = {"rtol": 1e-4, "atol": 1e-5, "equal_nan": True}


def bounds(words: list[str]) -> Bounded:
    """Mode of an array's name, as in `exp_1_inf`."""
    number = {"minf": -math.inf, "inf": math.inf}
    low, high = (number.get(word) or float(word) for word in words[1:])
    return Bounded(words[0], low, high)


@pytest.mark.golden
@pytest.mark.parametrize(
    ("family", "opened"),
    [("depth", open_points), ("conf", open_confidence), ("desc", lambda raw, _: unit_descriptors(raw))],
)
def test_opened_values_are_the_published_ones(published, family, opened):
    data = np.load(published / "heads.npz")
    raw = torch.from_numpy(data[f"{family}/in"])
    modes = [key.split("/")[1] for key in data.files if key.startswith(f"{family}/") and not key.endswith("/in")]
    assert modes
    for mode in modes:
        setting = Bounded() if mode == "norm" else bounds(mode.split("_"))
        torch.testing.assert_close(opened(raw, setting), torch.from_numpy(data[f"{family}/{mode}"]), **PURE)


@pytest.mark.golden
@pytest.mark.parametrize("case", ["mast3r_post/two_confs", "mast3r_post/one_conf", "dust3r_post"])
def test_channels_are_laid_out_as_published(published, case):
    data = np.load(published / "heads.npz")
    raw = torch.from_numpy(data[f"{case.split('/')[0]}/in_BCHW"])
    channels = data[f"{case}/desc"].shape[-1] if f"{case}/desc" in data.files else 0
    own = Bounded("exp", 0.0) if case.endswith("two_confs") else None
    maps = open_channels(raw, Bounded("exp"), Bounded("exp", 1.0), channels, own)
    names = {"pts3d": maps.X, "conf": maps.C, "desc": maps.D, "desc_conf": maps.Q}
    stored = [name for name in names if f"{case}/{name}" in data.files]
    assert stored == [name for name, value in names.items() if value is not None]
    for name in stored:
        torch.testing.assert_close(names[name], torch.from_numpy(data[f"{case}/{name}"]), **PURE)


def test_zero_vector_is_the_point_zero():
    assert open_points(torch.zeros(3), Bounded("exp")).tolist() == [0, 0, 0]


def test_mixed_batch_keeps_its_order():
    def numbered(values: list[float]) -> Pointmaps:
        C = torch.tensor(values, dtype=torch.float32)[:, None, None].expand(-1, 2, 3)
        return Pointmaps(C[..., None].expand(-1, -1, -1, 3), C)

    mixed = Pointmaps.mixed(numbered([1, 4]), numbered([0, 2, 3]), torch.tensor([True, False, True, True, False]))
    assert mixed.C[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert mixed.X[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
