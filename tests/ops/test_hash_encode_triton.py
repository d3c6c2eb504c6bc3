"""The GPU kernels of hash encoding: their arithmetic in Triton's interpreter, and that they compile without a GPU."""

import pytest
import torch

from .without_gpu import NEEDS_TRITON, assert_interpreted, compiled

pytestmark = NEEDS_TRITON


def test_gpu_kernels_agree_with_the_definition_in_the_interpreter():
    assert_interpreted("interpreted_hash_kernels.py")


@pytest.mark.parametrize("along", [False, True])
@pytest.mark.parametrize(("name", "features"), [("_gather", 2), ("_spread", 2), ("_slope", 2), ("_gather", 4)])
@pytest.mark.parametrize("number", ["fp32", "fp64"])
def test_kernels_compile_for_a_gpu(name, number, features, along):
    from rilievo.ops.hash_encode import cuda

    types = dict.fromkeys(("direction", "x", "g", "table", "scales", "out"), f"*{number}")
    types |= {"shapes": "*i64", "points": "i32", "columns": "i32", "active_levels": "i32"}
    kernel = getattr(cuda, name)
    constants = {"along": along, "features": features, "lanes": cuda.LANES}
    code = compiled(kernel, {k: t for k, t in types.items() if k in kernel.arg_names}, constants)
    assert ("atom" in code or "red." in code) == (name == "_spread")


@pytest.mark.parametrize("name", ["encode", "scatter", "pullback", "pullback_backward"])
def test_every_operator_finds_its_gpu_kernel(name, monkeypatch):
    from rilievo.ops.hash_encode import cuda, register

    monkeypatch.setattr(cuda, name, lambda *args: args)
    assert register._on_cuda(name)(1, 2) == (1, 2)
    operator = getattr(register, name)._qualname
    assert torch._C._dispatch_has_kernel_for_dispatch_key(operator, "CUDA")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_features_normals_and_their_training_are_those_of_the_processor(generator):
    from rilievo.ops.hash_encode import HashGridSpec, hash_encode, hash_encode_pullback

    spec = HashGridSpec(12, 2, 15, 16, 1.45)
    x = torch.rand(5000, 3, generator=generator)
    table = torch.randn(spec.total_entries, 2, generator=generator)
    g = torch.randn(5000, spec.output_dim, generator=generator)

    def train(device: str) -> list[torch.Tensor]:
        at, rows, weights = (t.to(device).requires_grad_() for t in (x, table, g))
        features = hash_encode(at, rows, spec, active_levels=9)
        normals = hash_encode_pullback(weights, at, rows, spec, active_levels=9)
        first = torch.autograd.grad((features * weights).sum(), (at, rows), retain_graph=True)
        through_normals = torch.autograd.grad(normals.square().sum(), (weights, at, rows))
        return [t.detach().cpu() for t in (features, normals, *first, *through_normals)]

    for ours, expected in zip(train("cuda"), train("cpu")):
        error = torch.linalg.vector_norm(ours - expected) / torch.linalg.vector_norm(expected)
        assert error < 1e-5
