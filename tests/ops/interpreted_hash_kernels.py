"""The Triton kernels of hash encoding, run by Triton's interpreter on the CPU. Started by `test_hash_encode_triton.py`,
with TRITON_INTERPRET=1 in the environment: Triton reads it once, when first imported."""

import pytest
import torch
from torch import Tensor

from rilievo.ops.hash_encode import HashGridSpec, cuda, reference, register

SPECS = {
    "two features": HashGridSpec(2, 2, 6, 3, 1.7),
    "one feature": HashGridSpec(2, 1, 6, 3, 1.7),
    "four features": HashGridSpec(1, 4, 4, 3, 1.7),
    "vertices that just fit": HashGridSpec(1, 3, 6, 3, 1.5),
}


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def dtype(request):
    return request.param


def draw(spec: HashGridSpec, points: int, generator: torch.Generator, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """A direction, a cotangent of the features, points and a table."""
    shapes = (points, 3), (points, spec.output_dim), (points, 3), (spec.total_entries, spec.features_per_level)
    v, g, x, table = (torch.randn(s, generator=generator, dtype=dtype) for s in shapes)
    x = torch.rand(points, 3, generator=generator, dtype=dtype)
    x[:2] = torch.tensor([0.0, 1.0], dtype=dtype)[:points, None]
    return v, g, x, table


def of_the_definition(v: Tensor, g: Tensor, x: Tensor, table: Tensor, spec: HashGridSpec, active: int) -> list[Tensor]:
    """Features, scatter, pullback, and the three derivatives of ⟨pullback, v⟩, in float64."""
    v, g, x, table = (t.double() for t in (v, g, x, table))
    g, x, table = (t.requires_grad_() for t in (g, x, table))
    out = reference.hash_encode(x, table, spec, active)
    to_x, to_table = torch.autograd.grad((out * g).sum(), (x, table), create_graph=True)
    return [out, to_table, to_x, *torch.autograd.grad((to_x * v).sum(), (g, x, table))]


def of_the_kernels(
    v: Tensor, g: Tensor, x: Tensor, table: Tensor, spec: HashGridSpec, active: int, needs: tuple = (True, True, True)
) -> list[Tensor]:
    settings = register.settings(spec, active)
    return [
        cuda.encode(x, table, *settings),
        cuda.scatter(g, x, *settings),
        cuda.pullback(g, x, table, *settings),
        *cuda.pullback_backward(v, g, x, table, list(needs), *settings),
    ]


def assert_same(ours: list[Tensor], expected: list[Tensor], dtype: torch.dtype, scale: float) -> None:
    """Within 64 roundings of terms as large as the largest, where every derivative multiplies by a level's `scale`."""
    for order, (a, b) in enumerate(zip(ours, expected)):
        assert (a.dtype, a.shape) == (dtype, b.shape)
        terms = max(1.0, b.abs().max().item()) * (1, 1, scale, scale, scale**2, scale)[order]
        torch.testing.assert_close(a.double(), b.detach(), rtol=0, atol=64 * torch.finfo(dtype).eps * terms)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
@pytest.mark.parametrize("points", [1, 150])
def test_gpu_kernels_of_hash_encoding_agree_with_the_definition(spec, points, generator, dtype):
    inputs = draw(spec, points, generator, dtype)
    scale = spec.base_resolution * spec.per_level_scale ** (spec.n_levels - 1)
    ours, expected = (run(*inputs, spec, spec.n_levels) for run in (of_the_kernels, of_the_definition))
    assert_same(ours, expected, dtype, scale)


def test_hidden_levels_are_silent_on_the_gpu_too(generator):
    spec = HashGridSpec(4, 1, 6, 3, 1.7)
    inputs = draw(spec, 40, generator, torch.float64)
    ours, expected = (run(*inputs, spec, 2) for run in (of_the_kernels, of_the_definition))
    assert_same(ours, expected, torch.float64, 16.0)


def test_nothing_is_shown_where_all_levels_are_hidden(generator):
    spec = SPECS["two features"]
    for value in of_the_kernels(*draw(spec, 40, generator, torch.float32), spec, 0):
        assert (value == 0).all()


def test_no_points_give_empty_features_and_a_table_of_zeros(generator):
    spec = SPECS["two features"]
    out, to_table, to_x, to_g, to_x_again, to_table_again = of_the_kernels(
        *draw(spec, 0, generator, torch.float32), spec, 2
    )
    assert out.shape == to_g.shape == (0, spec.output_dim)
    assert to_x.shape == to_x_again.shape == (0, 3)
    assert to_table.shape == to_table_again.shape == (spec.total_entries, spec.features_per_level)
    assert (to_table == 0).all()
    assert (to_table_again == 0).all()


def test_tensors_with_gaps_in_memory_are_read_right(generator):
    spec = SPECS["two features"]
    inputs = draw(spec, 40, generator, torch.float64)
    spread = [torch.stack([t.T, torch.full_like(t.T, torch.nan)], dim=-1)[..., 0].T for t in inputs]
    for a, b in zip(of_the_kernels(*spread, spec, 2), of_the_kernels(*inputs, spec, 2)):
        assert torch.equal(a, b)


@pytest.mark.parametrize("needs", [(True, False, False), (False, True, False), (False, False, True)])
def test_only_the_derivatives_asked_for_are_computed(needs, generator):
    spec = SPECS["one feature"]
    derivatives = of_the_kernels(*draw(spec, 9, generator, torch.float64), spec, 2, needs)[3:]
    assert tuple(d.numel() > 0 for d in derivatives) == needs


def test_every_output_is_written_whatever_the_memory_held(generator, monkeypatch):
    spec = SPECS["two features"]
    inputs = draw(spec, 9, generator, torch.float64)
    clean = of_the_kernels(*inputs, spec, 1)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True)
    try:
        dirty = of_the_kernels(*inputs, spec, 1)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(clean, dirty))


def test_a_point_outside_the_cube_reads_rows_of_its_level(generator):
    """Of a table that is the same everywhere, the same is read."""
    spec = SPECS["two features"]
    x = 6 * torch.rand(300, 3, generator=generator, dtype=torch.float64) - 2.5
    table = torch.ones(spec.total_entries, spec.features_per_level, dtype=x.dtype)
    settings = register.settings(spec, spec.n_levels)
    torch.testing.assert_close(cuda.encode(x, table, *settings), torch.ones(300, spec.output_dim, dtype=x.dtype))
    sums = cuda.scatter(torch.ones(300, spec.output_dim, dtype=x.dtype), x, *settings)
    assert sums.sum().item() == pytest.approx(300 * spec.output_dim)
