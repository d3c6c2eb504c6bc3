"""Encodings: frequencies, composites, levels that open one by one; and their pullbacks."""

import numpy as np
import pytest
import torch
from torch import nn

from rilievo.fields.encoding import CoarseToFine, CompositeEncoding, ProgressiveLevels, pullback
from rilievo.fields.frequency import FrequencyEncoding, frequency_window

CLOSED_FORM = {"atol": 1e-6, "rtol": 1e-5}


class StandInGrid(nn.Module):
    """A levelled encoding without tables: each level a wave of twice the frequency, amplified by one weight."""

    input_dim = 3

    def __init__(self, n_levels: int = 5, features_per_level: int = 2) -> None:
        super().__init__()
        self.n_levels, self.features_per_level = n_levels, features_per_level
        self.output_dim = n_levels * features_per_level
        generator = torch.Generator().manual_seed(3)
        octave = 2.0 ** torch.arange(n_levels).repeat_interleave(features_per_level)
        self.directions = nn.Parameter(torch.randn(3, self.output_dim, generator=generator) * octave)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.directions).cos()


class SkippingGrid(StandInGrid):
    """The same, skipping what is not active, and counting on nobody to mask it."""

    def __init__(self) -> None:
        super().__init__()
        self.active_levels = self.n_levels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shown = torch.arange(self.output_dim) < self.active_levels * self.features_per_level
        return super().forward(x) * shown


class StoredGrid(nn.Module):
    """A levelled encoding that knows the answer for one batch of points."""

    input_dim = 3

    def __init__(self, features: torch.Tensor, n_levels: int) -> None:
        super().__init__()
        self.features = features
        self.n_levels, self.output_dim = n_levels, features.shape[1]
        self.features_per_level = self.output_dim // n_levels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.features


@pytest.fixture
def points() -> torch.Tensor:
    return torch.rand(17, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


ENCODINGS = {
    "frequency": lambda: FrequencyEncoding(4),
    "frequency half open": lambda: _at(FrequencyEncoding(4, window_steps=100), 40),
    "composite": lambda: CompositeEncoding(FrequencyEncoding(3)),
    "composite without xyz": lambda: CompositeEncoding(FrequencyEncoding(3), include_xyz=False),
    "composite of a foreign encoding": lambda: CompositeEncoding(StandInGrid().double()),
    "progressive": lambda: _at(ProgressiveLevels(StandInGrid().double(), CoarseToFine(1, 0, 10)), 25),
    "progressive that skips": lambda: _at(ProgressiveLevels(SkippingGrid().double(), CoarseToFine(1, 0, 10)), 25),
}


def _at(encoding, step):
    encoding.set_step(step)
    return encoding


@pytest.mark.parametrize("make", ENCODINGS.values(), ids=ENCODINGS.keys())
def test_pullback_is_the_transposed_jacobian(make, points):
    encoding = make()
    cotangent = torch.randn(len(points), encoding.output_dim, generator=torch.Generator().manual_seed(1)).double()
    x = points.clone().requires_grad_()
    (expected,) = torch.autograd.grad(encoding(x), x, cotangent)
    torch.testing.assert_close(pullback(encoding, points, cotangent), expected)


@pytest.mark.parametrize("make", ENCODINGS.values(), ids=ENCODINGS.keys())
def test_pullback_can_be_differentiated_by_points_and_cotangent(make, points):
    encoding = make()
    points = points[:3].clone().requires_grad_()
    cotangent = torch.randn(3, encoding.output_dim, generator=torch.Generator().manual_seed(2)).double()
    assert torch.autograd.gradcheck(lambda x, c: pullback(encoding, x, c), (points, cotangent.requires_grad_()))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_pullback_of_a_foreign_encoding_works_where_gradients_are_off(mode, points):
    encoding = StandInGrid().double()
    cotangent = torch.ones(len(points), encoding.output_dim, dtype=torch.float64)
    with mode():
        silent = pullback(encoding, points * 1.0, cotangent * 1.0)
    assert not silent.requires_grad
    torch.testing.assert_close(silent.clone(), pullback(encoding, points, cotangent).detach())


def test_a_frequency_window_opens_from_low_to_high_and_stays_open():
    windows = np.array([frequency_window(step, 100, 5) for step in range(0, 130, 3)])
    assert (np.diff(windows, axis=0) >= 0).all()
    assert (np.diff(windows, axis=1) <= 0).all()
    assert windows[0].sum() == 0
    assert windows[-1].tolist() == [1.0] * 5


def test_levels_beyond_the_current_one_are_zero_and_receive_no_gradient(points):
    grid = StandInGrid().double()
    encoding = ProgressiveLevels(grid, CoarseToFine(start_level=2, start_step=5, update_steps=10))
    encoding.set_step(16)
    features = encoding(points)
    features.sum().backward()
    shown = 3 * grid.features_per_level
    assert encoding.level == 3
    assert (features[:, shown:] == 0).all()
    assert (features[:, :shown] != 0).all()
    assert (grid.directions.grad[:, shown:] == 0).all()


def test_skipping_levels_and_hiding_them_give_the_same_features(points):
    hidden, skipped = (ProgressiveLevels(g().double(), CoarseToFine(2, 0, 10)) for g in (StandInGrid, SkippingGrid))
    for step in (0, 9, 10, 100):
        hidden.set_step(step)
        skipped.set_step(step)
        torch.testing.assert_close(skipped(points), hidden(points), rtol=0, atol=0)


def test_levels_shown_depend_on_the_step_alone():
    resumed, unbroken = (ProgressiveLevels(StandInGrid(), CoarseToFine(1, 0, 10)) for _ in range(2))
    for step in range(26):
        unbroken.set_step(step)
    resumed.set_step(25)
    assert torch.equal(resumed.mask, unbroken.mask)
    assert "mask" not in resumed.state_dict()


def test_the_coarse_levels_are_there_before_the_first_step_unless_the_published_start_is_asked_for():
    schedule = CoarseToFine(start_level=2)
    assert ProgressiveLevels(StandInGrid(), schedule).mask.sum() == 2 * 2
    published = ProgressiveLevels(StandInGrid(), schedule, hidden_before_first_step=True)
    assert published.mask.sum() == 0
    published.set_step(0)
    assert published.mask.sum() == 2 * 2


@pytest.mark.golden
def test_frequency_encoding_is_the_published_one(golden):
    data = np.load(golden / "encodings.npz")
    x = torch.from_numpy(data["vanilla_frequency/x"])
    encoding = FrequencyEncoding(
        int(data["vanilla_frequency/n_frequencies"]),
        input_dim=x.shape[1],
        window_steps=int(data["vanilla_frequency/n_masking_step"]),
    )
    assert encoding.output_dim == data["vanilla_frequency/n_output_dims"]
    np.testing.assert_allclose(encoding(x), data["vanilla_frequency/out_initial"], **CLOSED_FORM)
    for i, step in enumerate(data["vanilla_frequency/step"]):
        encoding.set_step(int(step))
        np.testing.assert_allclose(encoding.window, data["vanilla_frequency/mask"][i], **CLOSED_FORM)
        np.testing.assert_allclose(encoding(x), data["vanilla_frequency/out"][i], **CLOSED_FORM)


@pytest.mark.golden
def test_composite_encoding_is_the_published_one(golden):
    data = np.load(golden / "encodings.npz")
    x = torch.from_numpy(data["composite/x"])
    n, steps = int(data["vanilla_frequency/n_frequencies"]), int(data["vanilla_frequency/n_masking_step"])
    encoding = CompositeEncoding(
        FrequencyEncoding(n, window_steps=steps),
        scale=float(data["composite/xyz_scale"]),
        offset=float(data["composite/xyz_offset"]),
    )
    encoding.set_step(int(data["composite/step"]))
    assert encoding.output_dim == data["composite/n_output_dims"]
    np.testing.assert_allclose(encoding(x), data["composite/out_include_xyz"], **CLOSED_FORM)
    plain = CompositeEncoding(FrequencyEncoding(n), include_xyz=False)
    np.testing.assert_allclose(plain(x), data["composite/out_no_xyz_no_mask"], **CLOSED_FORM)


@pytest.mark.golden
def test_progressive_levels_open_when_the_published_ones_do(golden):
    """The stored masks are all one tensor, seen after its last update: ours are compared with the stored outputs."""
    data = np.load(golden / "encodings.npz")
    name = "progressive_hashgrid"
    outputs = torch.from_numpy(data[f"{name}/out_include_xyz"])
    x = torch.from_numpy(data[f"{name}/x"])
    n_levels = int(data[f"{name}/current_level"].max())
    schedule = CoarseToFine(*(int(data[f"{name}/{key}"]) for key in ("start_level", "start_step", "update_steps")))
    progressive = ProgressiveLevels(StoredGrid(outputs[-1][:, 3:], n_levels), schedule, hidden_before_first_step=True)
    assert not progressive.mask.any()
    encoding = CompositeEncoding(progressive)
    for i, step in enumerate(data[f"{name}/step"]):
        encoding.set_step(int(step))
        assert progressive.level == data[f"{name}/current_level"][i]
        np.testing.assert_array_equal(progressive.mask.bool(), (outputs[i][:, 3:] != 0).any(0))
        np.testing.assert_allclose(encoding(x), outputs[i], **CLOSED_FORM)
