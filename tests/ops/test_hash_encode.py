"""Hash encoding: against its definition, against published numbers, and against what interpolation does."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from rilievo.errors import UserError
from rilievo.ops.hash_encode import HashGridSpec, hash_encode, hash_encode_pullback, levels, reference, register

CLOSED_FORM = {"atol": 1e-6, "rtol": 1e-5}

SPECS = {
    "two features": HashGridSpec(5, 2, 9, 4, 1.6),
    "one feature": HashGridSpec(3, 1, 8, 3, 1.7),
    "four features": HashGridSpec(3, 4, 8, 3, 1.7),
    "one dense level": HashGridSpec(1, 2, 12, 9, 1.5),
    "one hashed level": HashGridSpec(1, 2, 6, 17, 1.5),
    "vertices that just fit": HashGridSpec(2, 2, 6, 3, 1.5),
}
COUNTS = [0, 1, 2, 37]

SINGLE = ["two features", "one dense level", "one hashed level"]  # in float32: each pair of types compiles anew

specs = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
counts = pytest.mark.parametrize("points", COUNTS)


def draw(spec: HashGridSpec, points: int, generator: torch.Generator, dtype: torch.dtype = torch.float64) -> tuple:
    """Points, a table and a cotangent of the features. All of the same size, so that no level hides another."""
    x = torch.rand(points, 3, generator=generator, dtype=dtype)
    table = torch.randn(spec.total_entries, spec.features_per_level, generator=generator, dtype=dtype)
    cotangent = torch.randn(points, spec.output_dim, generator=generator, dtype=dtype)
    return x, table, cotangent


def defined_pullback(g: Tensor, x: Tensor, table: Tensor, spec: HashGridSpec, active: int) -> Tensor:
    """The transpose of the definition's Jacobian, by autograd."""
    x = x if x.requires_grad else x.clone().requires_grad_()
    return torch.autograd.grad(reference.hash_encode(x, table, spec, active), x, g, create_graph=True)[0]


def everything(encode, pulled_back, x: Tensor, table: Tensor, g: Tensor) -> list[Tensor]:
    """Features, pullback, the gradients of both, and the second derivatives of the features."""
    x, table, g = (t.detach().requires_grad_() for t in (x, table, g))
    v = torch.linspace(-1, 2, x.numel(), dtype=x.dtype).view(x.shape)
    out = encode(x, table)
    first = torch.autograd.grad((out * g).sum(), (x, table), create_graph=True)
    second = torch.autograd.grad((first[0] * v).sum() + first[1].square().sum(), (x, table, g))
    normal = pulled_back(g, x, table)
    through_normal = torch.autograd.grad((normal * v).sum(), (g, x, table))
    return [t.detach() for t in (out, *first, *second, normal, *through_normal)]


def of_the_kernel(spec: HashGridSpec, active: int):
    return (
        lambda x, table: hash_encode(x, table, spec, active),
        lambda g, x, table: hash_encode_pullback(g, x, table, spec, active),
    )


def of_the_definition(spec: HashGridSpec, active: int):
    return (
        lambda x, table: reference.hash_encode(x, table, spec, active),
        lambda g, x, table: defined_pullback(g, x, table, spec, active),
    )


# --- the kernels and their definition


@specs
@counts
def test_kernels_and_all_their_derivatives_are_those_of_the_definition(spec, points, generator):
    inputs = draw(spec, points, generator)
    ours = everything(*of_the_kernel(spec, spec.n_levels), *inputs)
    for a, b in zip(ours, everything(*of_the_definition(spec, spec.n_levels), *inputs)):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12 * max(1.0, b.abs().max().item() if b.numel() else 0))


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("points", [1, 300])
def test_features_are_as_accurate_as_the_definition(name, points, generator, assert_as_accurate_as):
    spec = SPECS[name]
    x, table, _ = (t.requires_grad_() for t in draw(spec, points, generator, torch.float32))
    ours, defined = of_the_kernel(spec, spec.n_levels)[0], of_the_definition(spec, spec.n_levels)[0]
    assert_as_accurate_as(ours, defined, x, table)


@pytest.mark.parametrize("name", SINGLE)
def test_normals_are_as_accurate_as_the_definition(name, generator, assert_as_accurate_as):
    spec = SPECS[name]
    x, table, g = (t.requires_grad_() for t in draw(spec, 300, generator, torch.float32))
    ours, defined = of_the_kernel(spec, spec.n_levels)[1], of_the_definition(spec, spec.n_levels)[1]
    assert_as_accurate_as(ours, defined, g, x, table)


@specs
def test_features_are_differentiable_twice(spec, generator):
    x, table, _ = draw(spec, 2, generator)
    seen = torch.nonzero(touched(x, spec)).squeeze(1)[:12]

    def encode(x: Tensor, rows: Tensor) -> Tensor:
        return hash_encode(x, table.index_put((seen,), rows), spec)

    inputs = x.requires_grad_(), table[seen].requires_grad_()
    assert gradcheck(encode, inputs)
    assert gradgradcheck(encode, inputs)


@specs
def test_a_normal_is_differentiable_by_points_table_and_cotangent(spec, generator):
    x, table, g = draw(spec, 2, generator)
    seen = torch.nonzero(touched(x, spec)).squeeze(1)[:12]

    def normal(g: Tensor, x: Tensor, rows: Tensor) -> Tensor:
        return hash_encode_pullback(g, x, table.index_put((seen,), rows), spec)

    assert gradcheck(normal, (g.requires_grad_(), x.requires_grad_(), table[seen].requires_grad_()))


def touched(x: Tensor, spec: HashGridSpec) -> Tensor:
    """The rows of the table that these points read."""
    rows = torch.zeros(spec.total_entries, spec.features_per_level, dtype=x.dtype, requires_grad=True)
    hash_encode(x, rows, spec).sum().backward()
    assert rows.grad is not None
    return rows.grad.abs().sum(1) > 0


def test_the_order_of_differentiation_does_not_matter(generator):
    """∂²/∂x∂T is found as ∂x of the table's gradient, and as ∂T of the point's."""
    spec = SPECS["two features"]
    x, table, g = (t.requires_grad_() for t in draw(spec, 7, generator))
    to_x, to_table = torch.autograd.grad((hash_encode(x, table, spec) * g).sum(), (x, table), create_graph=True)
    v, w = torch.randn_like(x), torch.randn_like(table)
    (one_way,) = torch.autograd.grad((to_x * v).sum(), table, retain_graph=True)
    (other_way,) = torch.autograd.grad((to_table * w).sum(), x)
    torch.testing.assert_close((one_way * w).sum(), (other_way * v).sum())


def test_a_third_derivative_is_refused_by_name(generator):
    spec = SPECS["two features"]
    x, table, _ = draw(spec, 5, generator)
    x.requires_grad_()
    value = hash_encode(x, table, spec).pow(4).sum()
    for _ in range(2):
        (gradient,) = torch.autograd.grad(value, x, create_graph=True)
        value = gradient.square().sum()
    with pytest.raises(RuntimeError, match="hash_encode_pullback_backward"):
        torch.autograd.grad(value, x)


# --- levels


@pytest.mark.parametrize("active", [1, 3, 5, 99])
def test_hidden_levels_give_zeros_and_receive_no_gradient(active, generator):
    spec = SPECS["two features"]
    x, table, g = draw(spec, 37, generator)
    shown = min(active, spec.n_levels)
    ours = everything(*of_the_kernel(spec, active), x, table, g)
    for a, b in zip(ours, everything(*of_the_definition(spec, shown), x, table, g)):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-10)
    out, _, to_table = ours[:3]
    assert (out[:, shown * spec.features_per_level :] == 0).all()
    assert (to_table[levels(spec).offsets[shown] :] == 0).all()


def test_where_all_levels_are_hidden_there_is_nothing(generator):
    spec = SPECS["two features"]
    for value in everything(*of_the_kernel(spec, 0), *draw(spec, 37, generator)):
        assert (value == 0).all()


def test_hidden_levels_change_nothing_about_the_shown_ones(generator):
    spec = SPECS["two features"]
    x, table, _ = draw(spec, 37, generator)
    part = 3 * spec.features_per_level
    assert torch.equal(hash_encode(x, table, spec, 3)[:, :part], hash_encode(x, table, spec)[:, :part])


def test_levels_own_disjoint_rows_that_fill_the_table():
    for spec in SPECS.values():
        grid = levels(spec)
        assert grid.offsets.tolist() == [0, *np.cumsum(grid.entries)]
        assert (grid.entries <= 2**spec.log2_table_size).all()
        assert (grid.hashed == (grid.resolutions**3 > grid.entries)).all()


@specs
def test_outside_the_cube_the_definition_is_followed_too(spec, generator):
    """Counting rows goes on beyond the faces, to both sides; more points than the kernels take at a time."""
    x = 3 * torch.rand(150, 3, generator=generator, dtype=torch.float64) - 1
    table = torch.randn(spec.total_entries, spec.features_per_level, generator=generator, dtype=torch.float64)
    g = torch.randn(150, spec.output_dim, generator=generator, dtype=torch.float64)
    found = everything(*of_the_kernel(spec, spec.n_levels), x, table, g)
    defined = everything(*of_the_definition(spec, spec.n_levels), x, table, g)
    for ours, theirs in zip(found, defined):
        torch.testing.assert_close(ours, theirs)


# --- what interpolation does


@specs
def test_a_constant_table_gives_a_constant_without_slope_also_outside_the_cube(spec, generator):
    """Weights add to one; and whatever the point, the rows that are read are rows of its level."""
    x = 6 * torch.rand(500, 3, generator=generator, dtype=torch.float64) - 2.5
    x[:8] = torch.tensor(
        [[-0.3, 0, 0], [0, -0.3, 0], [0, 0, -0.3], [-9, 1, 1], [1, -9, 1], [1, 1, -9], [1e8] * 3, [0] * 3]
    )
    per_level = torch.arange(1, spec.n_levels + 1, dtype=torch.float64)
    entries = torch.from_numpy(levels(spec).entries)
    table = per_level.repeat_interleave(entries)[:, None].expand(-1, spec.features_per_level).contiguous()
    expected = per_level.repeat_interleave(spec.features_per_level).expand(500, -1)
    torch.testing.assert_close(hash_encode(x, table, spec), expected)
    slope = hash_encode_pullback(torch.ones_like(expected), x, table, spec)
    torch.testing.assert_close(slope, torch.zeros_like(x), rtol=0, atol=1e-9)
    rows = table.clone().requires_grad_()
    hash_encode(x, rows, spec).sum().backward()
    assert rows.grad is not None
    received = torch.stack([part.sum() for part in rows.grad.split(entries.tolist())])
    torch.testing.assert_close(received, torch.full_like(per_level, 500.0 * spec.features_per_level))


def test_a_linear_function_on_a_dense_level_is_interpolated_exactly(generator):
    """Rows that hold their vertex's coordinate give p = x s + ½ back, and its slope s."""
    spec = SPECS["one dense level"]
    grid = levels(spec)
    n, scale = int(grid.resolutions[0]), float(grid.scales[0])
    index = torch.arange(spec.total_entries)
    table = torch.stack([index % n, index // n % n], dim=1).double()
    x = torch.rand(100, 3, generator=generator, dtype=torch.float64) * ((n - 1.5) / scale)  # beyond, vertices wrap
    torch.testing.assert_close(hash_encode(x, table, spec), x[:, :2] * scale + 0.5)
    slope = hash_encode_pullback(torch.ones(100, 2, dtype=torch.float64), x, table, spec)
    torch.testing.assert_close(slope, torch.tensor([scale, scale, 0], dtype=torch.float64).expand(100, 3))


@specs
def test_features_are_continuous_across_cells(spec, generator):
    x, table, _ = draw(spec, 400, generator)
    step = 1e-9
    jump = (
        hash_encode(x.round(decimals=1) + step, table, spec) - hash_encode(x.round(decimals=1) - step, table, spec)
    ).abs()
    assert jump.max() < 2 * step * levels(spec).scales.max() * 3 * 2 * table.abs().max()


@specs
def test_corners_of_the_cube_are_like_any_other_point(spec, generator):
    x = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=torch.float64)] * 3)
    _, table, g = draw(spec, len(x), generator)
    ours = everything(*of_the_kernel(spec, spec.n_levels), x, table, g)
    for a, b in zip(ours, everything(*of_the_definition(spec, spec.n_levels), x, table, g)):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-10)


# --- the machinery


def test_operators_keep_the_rules_of_torch(generator):
    spec = HashGridSpec(2, 2, 4, 2, 2.0)
    x, table, g = draw(spec, 3, generator)
    constant, settings = torch.randn_like(x), register.settings(spec, 1)
    x, table, g = (t.requires_grad_() for t in (x, table, g))
    calls = [
        (register.encode, (x, table, *settings)),
        (register.scatter, (g, x, *settings)),
        (register.pullback, (g, x, table, *settings)),
    ]
    calls += [
        (register.pullback_backward, (constant, g.detach(), x.detach(), table.detach(), needs, *settings))
        for needs in ([True, True, True], [False, True, False], [True, False, True])
    ]
    for operator, args in calls:
        torch.library.opcheck(operator, args)


@pytest.mark.parametrize("active", [2, 5])
def test_every_output_is_written_whatever_the_memory_held(active, generator, monkeypatch):
    """Scratch memory filled with NaN must not shine through."""
    spec = SPECS["two features"]
    inputs = draw(spec, 37, generator, torch.float32)
    clean = everything(*of_the_kernel(spec, active), *inputs)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    torch.use_deterministic_algorithms(True)
    try:
        dirty = everything(*of_the_kernel(spec, active), *inputs)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(a, b) for a, b in zip(clean, dirty))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_nothing_and_neither_does_a_second_run(generator, threads):
    spec = SPECS["two features"]
    inputs = draw(spec, 5000, generator, torch.float32)
    before = torch.get_num_threads()
    expected = everything(*of_the_kernel(spec, spec.n_levels), *inputs)
    torch.set_num_threads(threads)
    try:
        assert all(torch.equal(a, b) for a, b in zip(everything(*of_the_kernel(spec, 5), *inputs), expected))
    finally:
        torch.set_num_threads(before)


@specs
def test_tensors_with_gaps_in_memory_are_read_right(spec, generator):
    inputs = draw(spec, 37, generator)
    expected = everything(*of_the_kernel(spec, spec.n_levels), *inputs)
    spread = [torch.stack([t.T, torch.full_like(t.T, torch.nan)], dim=-1)[..., 0].T for t in inputs]
    assert not any(t.is_contiguous() for t in spread)
    ours = everything(*of_the_kernel(spec, spec.n_levels), *spread)
    assert all(torch.equal(a, b) for a, b in zip(ours, expected))


def test_a_cotangent_that_is_one_number_everywhere_is_read_right(generator):
    """What `sum().backward()` hands over: a view of a single number."""
    spec = SPECS["two features"]
    x, table, g = draw(spec, 37, generator)
    ones = torch.ones((), dtype=g.dtype).expand(g.shape)
    expected = hash_encode_pullback(torch.ones_like(g), x, table, spec)
    assert torch.equal(hash_encode_pullback(ones, x, table, spec), expected)


def test_a_cotangent_in_half_precision_is_computed_in_single(generator):
    spec = SPECS["two features"]
    x, table, g = draw(spec, 37, generator, torch.float32)
    half = g.bfloat16().requires_grad_()
    normal = hash_encode_pullback(half, x, table, spec)
    assert torch.equal(normal, hash_encode_pullback(half.float(), x, table, spec))
    normal.sum().backward()
    assert half.grad is not None
    assert half.grad.dtype == torch.bfloat16


def test_no_more_is_computed_than_autograd_asks_for(generator, monkeypatch):
    """A frozen table is not summed into, and points without gradient get none."""
    spec = SPECS["two features"]
    x, table, _ = draw(spec, 37, generator)
    called = []
    for name in ("scatter", "pullback"):
        original = getattr(register, name)
        monkeypatch.setattr(register, name, lambda *a, n=name, f=original: (called.append(n), f(*a))[1])
    hash_encode(x.requires_grad_(), table, spec).sum().backward()
    hash_encode(x.detach(), table.requires_grad_(), spec).sum().backward()
    assert called == ["pullback", "scatter"]


# --- what the user may get wrong


def test_a_table_of_another_size_is_refused(generator):
    spec = SPECS["two features"]
    x, table, g = draw(spec, 3, generator)
    with pytest.raises((ValueError, UserError), match="total_entries"):
        hash_encode(x, table[:-1], spec)
    with pytest.raises((ValueError, UserError), match="total_entries"):
        inspect.unwrap(hash_encode_pullback)(g, x, table[:, :1], spec)


# --- published numbers


@pytest.fixture(scope="module")
def encodings(golden: Path) -> dict[str, np.ndarray]:
    with np.load(golden / "encodings.npz") as file:
        return {key: file[key] for key in file.files}


def published_spec(data: dict[str, np.ndarray], prefix: str) -> HashGridSpec:
    """The factor between levels was used in float64 and stored in float32: its shortest decimal is the one meant."""
    keys = ("n_levels", "n_features_per_level", "log2_hashmap_size", "base_resolution")
    return HashGridSpec(*(int(data[f"{prefix}/{key}"]) for key in keys), float(str(data[f"{prefix}/per_level_scale"])))


@pytest.mark.golden
@pytest.mark.parametrize("prefix", ["hashgrid", "spec_neus", "spec_nerf"])
def test_golden_level_tables(encodings, prefix):
    """The resolution of a hashed level decides nothing else, and may differ by one where its scale is an integer."""
    grid = levels(published_spec(encodings, prefix))
    np.testing.assert_allclose(grid.scales, encodings[f"{prefix}/level_scale"], **CLOSED_FORM)
    beside = np.abs(grid.resolutions - encodings[f"{prefix}/level_resolution"])
    assert (beside <= grid.hashed).all()
    assert np.array_equal(grid.entries, encodings[f"{prefix}/level_entries"])
    assert np.array_equal(grid.hashed, encodings[f"{prefix}/level_hashed"])
    assert np.array_equal(grid.offsets[:-1], encodings[f"{prefix}/level_offset_entries"])


@pytest.mark.golden
@pytest.mark.parametrize("prefix", ["spec_neus", "spec_nerf"])
def test_golden_table_sizes(encodings, prefix):
    spec = published_spec(encodings, prefix)
    assert spec.total_entries == int(encodings[f"{prefix}/total_entries"])
    assert spec.total_entries * spec.features_per_level == int(encodings[f"{prefix}/total_params"])


@pytest.mark.golden
@pytest.mark.parametrize("definition", [hash_encode, reference.hash_encode], ids=["kernel", "reference"])
def test_golden_features_and_jacobian(encodings, definition):
    spec = published_spec(encodings, "hashgrid")
    x, table = (torch.from_numpy(encodings[f"hashgrid/{key}"]).double() for key in ("x", "table"))
    out = definition(x.requires_grad_(), table, spec, spec.n_levels)
    np.testing.assert_allclose(out.detach(), encodings["hashgrid/out"], **CLOSED_FORM)
    rows = [torch.autograd.grad(out[:, c].sum(), x, retain_graph=True)[0] for c in range(spec.output_dim)]
    np.testing.assert_allclose(torch.stack(rows, dim=1), encodings["hashgrid/jacobian"], **CLOSED_FORM)


@pytest.mark.golden
def test_golden_pullback_is_the_transposed_jacobian(encodings, generator):
    spec = published_spec(encodings, "hashgrid")
    x, table = (torch.from_numpy(encodings[f"hashgrid/{key}"]).double() for key in ("x", "table"))
    for channel in range(spec.output_dim):
        cotangent = torch.zeros(len(x), spec.output_dim, dtype=x.dtype)
        cotangent[:, channel] = 1
        ours = hash_encode_pullback(cotangent, x, table, spec)
        np.testing.assert_allclose(ours, encodings["hashgrid/jacobian"][:, channel], **CLOSED_FORM)


@pytest.mark.golden
def test_golden_corner_indices(encodings):
    spec = published_spec(encodings, "hashgrid")
    x = torch.from_numpy(encodings["hashgrid/x"]).double()
    corners = torch.tensor([[c >> d & 1 for d in range(3)] for c in range(8)])
    grid = levels(spec)
    for level in range(spec.n_levels):
        cell = (x * grid.scales[level] + 0.5).floor().long()
        index = grid.offsets[level] + reference.corner_index(cell[:, None] + corners, spec, level)
        assert np.array_equal(index, encodings["hashgrid/corner_index"][:, level])


@pytest.mark.golden
def test_golden_spatial_hash(encodings):
    """Of a level with 2^19 entries and more vertices than that."""
    spec = HashGridSpec(n_levels=1, log2_table_size=19, base_resolution=128, per_level_scale=2.0)
    assert levels(spec).hashed.all()
    index = reference.corner_index(torch.from_numpy(encodings["hash/corner"]), spec, 0)
    assert np.array_equal(index, encodings["hash/mod_2_19"])
    assert np.array_equal(encodings["hash/hash_u32"] % 2**19, encodings["hash/mod_2_19"])
