"""Weights along packed rays: against their definition, against published numbers, and against what light does."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from rilievo.errors import UserError
from rilievo.ops.packed import offsets_from_ray_index, ray_index_from_offsets
from rilievo.ops.ray_weights import (
    accumulate,
    distortion_loss,
    reference,
    register,
    visible,
    weights_from_alpha,
    weights_from_density,
)

GOLDEN = {"atol": 2e-5, "rtol": 1e-4}  # weights and colours
GOLDEN_LOSS = {"atol": 1e-6, "rtol": 1e-5}


def draw_alpha(offsets: Tensor, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Mostly thin, some empty, some opaque: 0 and 1 are where a formula that divides would break."""
    alpha = torch.rand(int(offsets[-1]), generator=generator, dtype=dtype) ** 3
    kind = torch.rand(len(alpha), generator=generator)
    return alpha.where(kind > 0.1, 0).where(kind < 0.95, 1)


def draw_intervals(offsets: Tensor, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> tuple:
    """Start and end of samples that go on along each ray, with gaps."""
    lengths = torch.rand(int(offsets[-1]), 2, generator=generator, dtype=dtype) * 0.1 + 0.01
    ends = lengths.flatten().cumsum(0).unflatten(0, (-1, 2)) if len(lengths) else lengths
    return ends[:, 0], ends[:, 1]


# --- the kernels and their definition


def test_weights_are_as_accurate_as_the_definition(offsets, generator, assert_as_accurate_as):
    alpha = draw_alpha(offsets, generator).requires_grad_()
    assert_as_accurate_as(weights_from_alpha, reference.weights_from_alpha, alpha, offsets)


def test_weights_from_density_are_as_accurate_as_the_definition(offsets, generator, assert_as_accurate_as):
    density = torch.rand(int(offsets[-1]), generator=generator).mul(20).requires_grad_()
    t_starts, t_ends = (t.requires_grad_() for t in draw_intervals(offsets, generator))
    assert_as_accurate_as(weights_from_density, reference.weights_from_density, density, t_starts, t_ends, offsets)


@pytest.mark.parametrize("channels", [None, 1, 3, 17])
def test_sums_along_rays_are_as_accurate_as_the_definition(offsets, generator, channels, assert_as_accurate_as):
    weights = draw_alpha(offsets, generator).requires_grad_()
    values = None if channels is None else torch.randn(len(weights), channels, generator=generator).requires_grad_()
    assert_as_accurate_as(accumulate, reference.accumulate, weights, values, offsets)


def test_linear_time_distortion_is_the_double_sum(offsets, generator, assert_as_accurate_as):
    weights = draw_alpha(offsets, generator).requires_grad_()
    t_starts, t_ends = draw_intervals(offsets, generator)
    midpoints, intervals = (t_starts + t_ends) / 2, t_ends - t_starts
    assert_as_accurate_as(distortion_loss, reference.distortion_loss, weights, midpoints, intervals, offsets)


def test_distortion_of_far_samples_close_together_does_not_cancel(generator, assert_as_accurate_as):
    """Sums of w m would lose five digits here."""
    offsets = torch.tensor([0, 200])
    weights = torch.rand(200, generator=generator).requires_grad_()
    midpoints = 1000 + torch.arange(200) / 128  # exact in float32
    assert_as_accurate_as(
        distortion_loss, reference.distortion_loss, weights, midpoints, torch.full((200,), 1 / 128), offsets
    )


def test_visible_samples_are_those_of_the_definition(offsets, generator):
    alpha = draw_alpha(offsets, generator)
    expected = reference.visible(alpha, offsets, 1e-3, 0.05)
    assert torch.equal(visible(alpha, offsets, 1e-3, 0.05), expected)


@pytest.mark.parametrize("definition", [weights_from_alpha, reference.weights_from_alpha])
def test_weights_are_differentiable_twice(generator, definition):
    offsets = torch.tensor([0, 0, 4, 5, 5, 12])
    alpha = draw_alpha(offsets, generator, torch.float64).requires_grad_()
    assert gradcheck(lambda a: definition(a, offsets), alpha)
    assert gradgradcheck(lambda a: definition(a, offsets), alpha)


@pytest.mark.parametrize("definition", [weights_from_density, reference.weights_from_density])
def test_weights_from_density_are_differentiable_in_density_and_in_both_ends(generator, definition):
    offsets = torch.tensor([0, 3, 3, 8])
    density = torch.rand(8, generator=generator, dtype=torch.float64).mul(20).requires_grad_()
    ends = [t.requires_grad_() for t in draw_intervals(offsets, generator, torch.float64)]
    assert gradcheck(lambda *inputs: definition(*inputs, offsets), (density, *ends))


def test_sums_and_distortion_are_differentiable_twice(generator):
    offsets = torch.tensor([0, 3, 3, 8])
    weights = draw_alpha(offsets, generator, torch.float64).requires_grad_()
    values = torch.randn(8, 2, generator=generator, dtype=torch.float64).requires_grad_()
    t_starts, t_ends = draw_intervals(offsets, generator, torch.float64)
    assert gradgradcheck(lambda w, v: accumulate(w, v, offsets), (weights, values))
    assert gradgradcheck(lambda w: accumulate(w, None, offsets), weights)
    assert gradgradcheck(lambda w: distortion_loss(w, (t_starts + t_ends) / 2, t_ends - t_starts, offsets), weights)


def test_a_third_derivative_of_weights_is_refused_by_name(generator):
    offsets = torch.tensor([0, 5])
    alpha = torch.rand(5, generator=generator, requires_grad=True)
    derivative = weights_from_alpha(alpha, offsets)[0].square().sum()
    for _ in range(2):
        (gradient,) = torch.autograd.grad(derivative, alpha, create_graph=True)
        derivative = gradient.square().sum()
    with pytest.raises(RuntimeError, match="weights_backward_twice"):
        torch.autograd.grad(derivative, alpha)


# --- the machinery


def test_operators_keep_the_rules_of_torch(generator):
    offsets = torch.tensor([0, 3, 3, 8])
    alpha, values, per_ray = (torch.rand(n, 3, generator=generator) for n in (8, 8, 3))
    constant = alpha[:, 0].clone(), alpha[:, 1].clone(), alpha[:, 2].clone()
    alpha = alpha[:, 0].clone().requires_grad_()
    values, per_ray = values.requires_grad_(), per_ray.requires_grad_()
    calls = [
        (register.weights_from_alpha, (alpha, offsets)),
        (register.weights_backward, (*constant[:2], alpha, offsets)),
        (register.weights_backward_twice, (*constant, alpha.detach(), offsets)),
        (register.sum_along_rays, (values, offsets)),
        (register.spread_along_rays, (per_ray, offsets, 8)),
        (register.accumulate, (alpha, values, offsets)),
        (register.accumulate_backward, (per_ray, alpha, values, offsets)),
        (register.distortion_pull, (alpha, *constant[:2], offsets)),
    ]
    for operator, args in calls:
        torch.library.opcheck(operator, args)


def test_every_output_is_written_whatever_the_memory_held(offsets, generator, monkeypatch):
    """Scratch memory filled with NaN must not shine through."""
    alpha, values = draw_alpha(offsets, generator), torch.randn(int(offsets[-1]), 3, generator=generator)
    clean = everything(alpha, values, offsets)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True)
    try:
        dirty = everything(alpha, values, offsets)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(clean, dirty))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_nothing(generator, threads):
    offsets = torch.randint(0, 90, (300,), generator=generator).cumsum(0)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), offsets])
    alpha, values = draw_alpha(offsets, generator), torch.randn(int(offsets[-1]), 3, generator=generator)
    before = torch.get_num_threads()
    expected = everything(alpha, values, offsets)
    torch.set_num_threads(threads)
    try:
        assert all(torch.equal(a, b) for a, b in zip(everything(alpha, values, offsets), expected))
    finally:
        torch.set_num_threads(before)


def test_tensors_with_gaps_in_memory_are_read_right(offsets, generator):
    alpha, values = draw_alpha(offsets, generator), torch.randn(3, int(offsets[-1]), generator=generator).T
    gaps = torch.full((len(alpha), 2), torch.nan)
    gaps[:, 0] = alpha
    expected = everything(alpha, values.contiguous(), offsets)
    assert all(torch.equal(a, b) for a, b in zip(everything(gaps[:, 0], values, offsets), expected))


def test_half_precision_is_computed_in_single(generator):
    offsets = torch.tensor([0, 3000])
    alpha = torch.full((3000,), 1e-3, dtype=torch.bfloat16)
    _, transmittance = weights_from_alpha(alpha, offsets)
    assert transmittance.dtype == torch.float32
    assert transmittance[-1].item() == pytest.approx((1 - float(alpha[0])) ** 2999, rel=1e-3)


def everything(alpha: Tensor, values: Tensor, offsets: Tensor) -> list[Tensor]:
    """Outputs of all operators, with first and second derivatives."""
    alpha, values = (t.detach().requires_grad_() for t in (alpha, values))
    position = torch.arange(len(alpha), dtype=alpha.dtype)
    weights, transmittance = weights_from_alpha(alpha, offsets)
    colour, opacity = accumulate(weights, values, offsets), accumulate(weights, None, offsets)
    distortion = distortion_loss(weights, position, torch.ones_like(position), offsets)
    total = colour.square().sum() + opacity.square().sum() + distortion.sum() + transmittance.square().sum()
    first = torch.autograd.grad(total, (alpha, values), create_graph=True)
    second = torch.autograd.grad(sum(f.square().sum() for f in first), (alpha, values))
    return [t.detach() for t in (weights, transmittance, colour, opacity, distortion, *first, *second)]


# --- what light does


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.floats(0, 1, width=32), max_size=20), max_size=6))
def test_weights_and_escaping_light_add_to_one(rays):
    alpha = torch.tensor([a for ray in rays for a in ray], dtype=torch.float64)
    offsets = torch.tensor([0, *(len(ray) for ray in rays)]).cumsum(0)
    weights, _ = weights_from_alpha(alpha, offsets)
    escaping = torch.tensor([np.prod([1 - a for a in ray]) for ray in rays], dtype=torch.float64)
    torch.testing.assert_close(accumulate(weights, None, offsets)[:, 0] + escaping, torch.ones_like(escaping))


def test_nothing_behind_an_opaque_sample_is_seen_but_it_may_still_learn(generator):
    """dw/dα needs what lies behind the opaque sample: if that became transparent, the light would reach it."""
    alpha = torch.tensor([0.5, 1.0, 0.25, 0.5], dtype=torch.float64, requires_grad=True)
    weights, transmittance = weights_from_alpha(alpha, torch.tensor([0, 4]))
    assert weights.tolist() == [0.5, 0.5, 0, 0]
    assert transmittance.tolist() == [1, 0.5, 0, 0]
    (gradient,) = torch.autograd.grad(weights[2], alpha)
    assert gradient.tolist() == [0, -0.5 * 0.25, 0, 0]


def test_a_uniform_medium_absorbs_exponentially():
    t = torch.linspace(0, 2, 65, dtype=torch.float64)
    _, transmittance = weights_from_density(torch.full((64,), 1.5).double(), t[:-1], t[1:], torch.tensor([0, 64]))
    torch.testing.assert_close(transmittance, torch.exp(-1.5 * t[:-1]))


def test_dividing_an_interval_changes_no_colour():
    colour = torch.rand(2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    density = torch.tensor([2.0, 5.0], dtype=torch.float64)
    coarse, fine = torch.tensor([0.0, 0.3, 0.5]).double(), torch.tensor([0.0, 0.1, 0.3, 0.4, 0.5]).double()
    twice = torch.tensor([0, 0, 1, 1])
    whole = accumulate(
        weights_from_density(density, coarse[:-1], coarse[1:], torch.tensor([0, 2]))[0], colour, torch.tensor([0, 2])
    )
    divided = accumulate(
        weights_from_density(density[twice], fine[:-1], fine[1:], torch.tensor([0, 4]))[0],
        colour[twice],
        torch.tensor([0, 4]),
    )
    torch.testing.assert_close(divided, whole)


# --- what the user may get wrong


def test_offsets_of_other_samples_are_refused():
    with pytest.raises(UserError, match="offsets"):
        weights_from_alpha(torch.zeros(5), torch.tensor([0, 4]))
    with pytest.raises(UserError, match="values"):
        inspect.unwrap(accumulate)(torch.zeros(4), torch.zeros(3, 2), torch.tensor([0, 4]))  # beneath the shape checks


def test_distortion_refuses_to_move_samples():
    midpoints = torch.zeros(4, requires_grad=True)
    with pytest.raises(UserError, match="detach"):
        distortion_loss(torch.zeros(4), midpoints, torch.zeros(4), torch.tensor([0, 4]))


def test_offsets_and_ray_index_say_the_same(offsets):
    ray_index = ray_index_from_offsets(offsets)
    assert torch.equal(offsets_from_ray_index(ray_index, len(offsets) - 1), offsets)


# --- published numbers


@pytest.fixture(scope="module")
def volrend(golden: Path) -> dict[str, Tensor]:
    with np.load(golden / "volrend.npz") as file:
        return {key: torch.from_numpy(np.asarray(file[key])) for key in file.files}


@pytest.mark.golden
@pytest.mark.parametrize("kind", ["alpha", "density"])
def test_golden_weights_and_their_gradients(volrend, kind):
    offsets = offsets_from_ray_index(volrend["in/ray_indices"], int(volrend["in/n_rays"]))
    assert torch.equal(offsets.diff(), volrend["in/counts"])
    t = [volrend["in/t_starts"].requires_grad_(), volrend["in/t_ends"].requires_grad_()]
    rgbs = volrend["in/rgbs"].clone().requires_grad_()
    if kind == "alpha":
        source = volrend["in/alphas"].clone().requires_grad_()
        weights, transmittance = weights_from_alpha(source, offsets)
    else:
        source = volrend["in/sigmas"].clone().requires_grad_()
        weights, transmittance = weights_from_density(source, *t, offsets)
    colour = accumulate(weights, rgbs, offsets)
    depth = accumulate(weights, ((t[0] + t[1]) / 2)[:, None], offsets)

    along_weights = torch.autograd.grad(
        (weights * volrend["in/cot_weights"]).sum(), [source, *t], retain_graph=True, allow_unused=True
    )
    along_trans = torch.autograd.grad((transmittance * volrend["in/cot_trans"]).sum(), source, retain_graph=True)
    along_colour = torch.autograd.grad((colour * volrend[f"{kind}/cot_color"]).sum(), [source, rgbs])
    ours = {
        "weights": weights,
        "trans": transmittance,
        "opacity": accumulate(weights, None, offsets),
        "color": colour,
        "depth": depth,
        "grad_in_of_cotw": along_weights[0],
        "grad_in_of_cott": along_trans[0],
        "grad_in_of_cotcolor": along_colour[0],
        "grad_rgbs_of_cotcolor": along_colour[1],
    }
    if kind == "density":
        ours |= {"grad_t_starts_of_cotw": along_weights[1], "grad_t_ends_of_cotw": along_weights[2]}
    for name, value in ours.items():
        torch.testing.assert_close(
            value.detach(), volrend[f"{kind}/{name}"], **GOLDEN, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.golden
def test_golden_opaque_samples(volrend):
    ray_index = volrend["saturated/ray_indices"]
    offsets = offsets_from_ray_index(ray_index, int(ray_index.max()) + 1)
    weights, transmittance = weights_from_alpha(volrend["saturated/alphas"], offsets)
    torch.testing.assert_close(weights, volrend["saturated/weights"], **GOLDEN)
    torch.testing.assert_close(transmittance, volrend["saturated/trans"], **GOLDEN)


@pytest.mark.golden
def test_golden_visibility(volrend):
    offsets = offsets_from_ray_index(volrend["in/ray_indices"], int(volrend["in/n_rays"]))
    thresholds = float(volrend["visibility/early_stop_eps"]), float(volrend["visibility/alpha_thre"])
    assert torch.equal(visible(volrend["in/alphas"], offsets, *thresholds), volrend["visibility/mask"])


@pytest.mark.golden
@pytest.mark.parametrize("kind", ["alpha", "density"])
def test_golden_distortion(volrend, kind):
    """The published mean divides by the last ray that has samples, plus one; our losses are per ray."""
    given = {
        name: volrend[f"distortion_{kind}/{name}"] for name in ("weights", "midpoints", "intervals", "ray_indices")
    }
    weights = given["weights"].clone().requires_grad_()
    rays = int(given["ray_indices"].max()) + 1
    offsets = offsets_from_ray_index(given["ray_indices"], rays)
    total = distortion_loss(weights, given["midpoints"], given["intervals"], offsets).sum()
    (gradient,) = torch.autograd.grad(total / rays, weights)
    torch.testing.assert_close(total.detach(), volrend[f"distortion_{kind}/sum_over_rays_float64"], **GOLDEN_LOSS)
    torch.testing.assert_close(total.detach() / rays, volrend[f"distortion_{kind}/loss"], **GOLDEN_LOSS)
    torch.testing.assert_close(gradient, volrend[f"distortion_{kind}/grad_weights_float64"], **GOLDEN_LOSS)
