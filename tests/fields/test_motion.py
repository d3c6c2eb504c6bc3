"""Invertible motion: what it undoes, what its tabulated form keeps, and the published networks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rilievo.fields.coupling import octaves
from rilievo.fields.gabor import GaborNet
from rilievo.fields.lattice import tabulated
from rilievo.fields.motion import InvertibleMotion

from .published_motion import motion_of, our_name, weights

SMALL = {"time_width": 24, "time_features": 10, "projection": 16, "hidden": (24, 24, 24)}
ATOL = {"atol": 1e-5, "rtol": 0.0}


def points(seed: int, rows: int = 2, n: int = 200) -> torch.Tensor:
    return torch.rand(rows, n, 3, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([None, 1 / 32]), st.permutations([0, 1, 2]))
def test_there_and_back_returns_every_point_for_random_weights(seed, affine, lattice, order):
    generator = torch.Generator().manual_seed(seed)
    motion = InvertibleMotion(order=[*order, order[0]], affine=affine, lattice=lattice, generator=generator)
    x, times = points(seed), torch.rand(2, generator=generator)
    with torch.no_grad():
        back = motion.to_time(motion.to_canonical(x, times), times)
        stayed = motion.carry(x, times, times)
    assert (back - x).abs().max() < 1e-4
    assert (stayed - x).abs().max() < 1e-4


def test_a_map_to_another_time_is_undone_by_the_map_back():
    motion = InvertibleMotion(**SMALL, generator=torch.Generator().manual_seed(0))
    a, b = torch.tensor([0.1, 0.9]), torch.tensor([0.7, 0.2])
    x = points(1)
    moved = motion.carry(x, a, b)
    assert (moved - x).abs().max() > 1e-3
    torch.testing.assert_close(motion.carry(moved, b, a), x, atol=1e-5, rtol=0)


def test_rows_of_a_batch_do_not_know_of_each_other():
    motion = InvertibleMotion(**SMALL, generator=torch.Generator().manual_seed(0))
    x, times = points(1), torch.tensor([0.1, 0.9])
    together = motion.to_canonical(x, times)
    alone = torch.cat([motion.to_canonical(x[k : k + 1], times[k : k + 1]) for k in range(2)])
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("affine", [False, True])
def test_chunks_change_neither_values_nor_gradients(affine):
    x, start, end = points(3, 1, 500), torch.tensor([0.2]), torch.tensor([0.8])
    whole, parted = (
        InvertibleMotion(**SMALL, affine=affine, chunk=chunk, generator=torch.Generator().manual_seed(5)).double()
        for chunk in (1000, 128)
    )
    results = []
    for motion in (whole, parted):
        moved = motion.carry(x.double(), start.double(), end.double())
        moved.square().sum().backward()
        results.append((moved.detach(), [p.grad for p in motion.parameters()]))
    torch.testing.assert_close(results[0], results[1])
    with torch.no_grad():
        torch.testing.assert_close(parted.carry(x.double(), start.double(), end.double()), results[0][0])


def test_a_tabulated_function_is_itself_at_nodes_and_linear_between():
    generator = torch.Generator().manual_seed(0)
    at = torch.rand(50, 2, generator=generator, dtype=torch.float64) * 4 - 2

    def plane(x):
        return torch.stack((3 * x[:, 0] - x[:, 1] + 1, x[:, 0] + 2), dim=-1)

    torch.testing.assert_close(tabulated(plane, at, 0.25), plane(at))
    nodes = (at / 0.25).round() * 0.25
    torch.testing.assert_close(tabulated(lambda x: x.sin(), nodes, 0.25), nodes.sin())


def test_gradients_of_a_tabulated_function():
    weight = torch.randn(2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    at = (torch.rand(7, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2 - 1).requires_grad_()
    assert torch.autograd.gradcheck(lambda w, x: tabulated(lambda n: (n @ w).sin(), x, 0.3), (weight, at))


def test_a_fine_lattice_approaches_the_function_itself():
    x, start, end = points(2, 1), torch.tensor([0.3]), torch.tensor([0.6])
    exact, *rough = (
        InvertibleMotion(**SMALL, lattice=spacing, generator=torch.Generator().manual_seed(1))
        for spacing in (None, 1 / 16, 1 / 256)
    )
    with torch.no_grad():
        errors = [float((m.carry(x, start, end) - exact.carry(x, start, end)).abs().mean()) for m in rough]
    assert errors[1] < errors[0] / 2


def test_octaves_are_grouped_by_coordinate():
    x = torch.tensor([[0.1, 0.2]], dtype=torch.float64)
    expected = [f(np.pi * 2**k * c) for c in (0.1, 0.2) for f in (np.sin, np.cos) for k in range(3)]
    torch.testing.assert_close(octaves(x, 3), torch.tensor([expected]))


@pytest.fixture(scope="module")
def gabor(shared):
    return np.load(shared / "golden" / "dynamic" / "gabor.npz")


@pytest.fixture(scope="module")
def nvp(shared):
    return np.load(shared / "golden" / "dynamic" / "nvp.npz")


def tensor(arrays, name):
    return torch.from_numpy(arrays[name])


@pytest.mark.golden
@pytest.mark.parametrize("size", ["small", "full"])
def test_published_time_features(gabor, nvp, size):
    motion = motion_of(weights(gabor, nvp, size), nvp[f"{size}/mask_order"])
    t = tensor(gabor, f"{size}/t")[:, 0].requires_grad_()
    y = motion.time(t)
    torch.testing.assert_close(y, tensor(gabor, f"{size}/y"), **ATOL)
    y.backward(tensor(gabor, f"{size}/grad_out"))
    published = tensor(gabor, f"{size}/grad_t")[:, 0]
    exact = motion_of(weights(gabor, nvp, size), nvp[f"{size}/mask_order"]).double().time
    s = t.detach().double().requires_grad_()
    exact(s).backward(tensor(gabor, f"{size}/grad_out").double())
    torch.testing.assert_close(exact(s).float(), tensor(gabor, f"{size}/y_f64"), **ATOL)
    torch.testing.assert_close(s.grad.float(), published, atol=float(1e-4 * published.abs().max()), rtol=0)
    ours = dict(exact.named_parameters())
    for name, norm in zip(gabor[f"{size}/param_names"], gabor[f"{size}/grad_norms"]):
        gradient = ours[our_name(f"feature_mlp.{name}").removeprefix("time.")].grad
        assert float(gradient.norm()) == pytest.approx(float(norm), rel=1e-3, abs=1e-6), name


@pytest.mark.golden
@pytest.mark.parametrize("size", ["small", "full"])
@pytest.mark.parametrize("affine", [False, True])
def test_published_motion(gabor, nvp, size, affine):
    extra = {k.removeprefix("affine_mlp/"): nvp[k] for k in nvp.files if k.startswith("affine_mlp/")}
    motion = motion_of(weights(gabor, nvp, size), nvp[f"{size}/mask_order"], affine=extra if affine else None)
    x, t, t_other = (tensor(nvp, f"{size}/{name}") for name in ("x", "t", "t_other"))
    t, t_other = t[:, 0], t_other[:, 0]
    torch.testing.assert_close(motion.time(t), tensor(nvp, f"{size}/feat"), **ATOL)
    torch.testing.assert_close(motion.time(t_other), tensor(nvp, f"{size}/feat_other"), **ATOL)
    case = f"{size}_affine" if affine else size
    canonical = motion.to_canonical(x, t)
    torch.testing.assert_close(canonical, tensor(nvp, f"{case}/canonical"), **ATOL)
    torch.testing.assert_close(motion.to_time(canonical, t), tensor(nvp, f"{case}/inverse_same_t"), **ATOL)
    torch.testing.assert_close(motion.carry(x, t, t_other), tensor(nvp, f"{case}/inverse_other_t"), **ATOL)
    if affine:
        torch.testing.assert_close(motion.affine.theta(x, t), tensor(nvp, f"{case}/theta"), **ATOL)
        moved = motion.affine.to_canonical(x, t)
        torch.testing.assert_close(moved, tensor(nvp, f"{case}/after_affine_input"), **ATOL)
        return
    y, features = x, motion.time(t)
    for k, layer in enumerate(motion.layers):
        y = layer.to_canonical(y, features)
        torch.testing.assert_close(y, tensor(nvp, f"{size}/after_layer{k}"), **ATOL)
    x = x.clone().requires_grad_()
    motion.carry(x, t, t_other).backward(tensor(nvp, f"{size}/cycle_grad_out"))
    published = tensor(nvp, f"{size}/cycle_grad_x")
    torch.testing.assert_close(x.grad, published, atol=float(1e-3 * published.abs().max()), rtol=0)


@pytest.mark.golden
def test_published_clamp_of_the_scale(gabor, nvp):
    changed = weights(gabor, nvp, "small")
    for k in (0, 1):
        name = f"deform_mlp.layers1.{k}.map_st.0.mlp.6.bias"
        changed[name] = changed[name].copy()
        changed[name][0] = nvp[f"small_clamp/bias0_layer{k}"]
    motion = motion_of(changed, nvp["small/mask_order"])
    x, t = tensor(nvp, "small/x"), tensor(nvp, "small/t")[:, 0]
    canonical = motion.to_canonical(x, t)
    published = tensor(nvp, "small_clamp/canonical")  # reaches e⁸ = 2981 times the points' size
    torch.testing.assert_close(canonical, published, atol=float(1e-5 * published.abs().max()), rtol=0)
    torch.testing.assert_close(
        motion.to_time(canonical, t), tensor(nvp, "small_clamp/inverse_same_t"), atol=5e-3, rtol=0
    )


def test_fast_waves_live_under_narrow_bells():
    net = GaborNet(8, width=4000, generator=torch.Generator().manual_seed(0))
    gamma, frequency = net.filters[0].gamma, net.filters[0].frequency.abs()
    narrow = gamma > gamma.median()
    assert frequency[narrow].mean() > 1.3 * frequency[~narrow].mean()
