"""Spherical harmonics of directions: the kernel's values and gradients are the definition's."""

import pytest
import torch
from torch.nn.functional import normalize

from rilievo.ops.directional_encode import directional_encode, reference, register
from rilievo.shading.directional_encoding import DirectionalEncoding


def draw(count: int, degree: int, dtype: torch.dtype = torch.float64):
    generator = torch.Generator().manual_seed(count + degree)
    directions = normalize(torch.randn(count, 3, generator=generator, dtype=torch.float64), dim=-1)
    roughness = torch.rand(count, 1, generator=generator, dtype=torch.float64)
    tables = DirectionalEncoding(degree)
    return *(t.to(dtype) for t in (directions, roughness, tables.a, tables.b, tables.start)), degree


@pytest.mark.parametrize("count", [0, 1, 129, 400])
@pytest.mark.parametrize("degree", [1, 2, 5])
def test_kernel_agrees_with_the_definition_in_value_and_gradient(count, degree):
    directions, roughness, *rest = draw(count, degree)
    results = []
    for encode in (directional_encode, reference.directional_encode):
        leaves = directions.clone().requires_grad_(), roughness.clone().requires_grad_()
        features = encode(*leaves, *rest)
        slope = torch.linspace(-1, 1, features.numel(), dtype=torch.float64).view_as(features)
        results.append((features, *torch.autograd.grad((features * slope).sum(), leaves)))
    for ours, defined in zip(*results):
        torch.testing.assert_close(ours, defined, rtol=1e-9, atol=1e-11)


def test_at_the_poles_and_without_blur_nothing_is_lost():
    directions = torch.tensor([[0, 0, 1.0], [0, 0, -1], [1, 0, 0], [0, -1, 0]], dtype=torch.float64)
    _, _, *rest = draw(1, 5)
    still = torch.zeros(4, 1, dtype=torch.float64)
    torch.testing.assert_close(
        directional_encode(directions, still, *rest), reference.directional_encode(directions, still, *rest)
    )


def test_single_precision_loses_no_more_than_the_definition_does(assert_as_accurate_as):
    directions, roughness, *rest = draw(300, 5, torch.float32)
    assert_as_accurate_as(
        directional_encode,
        reference.directional_encode,
        *(directions.requires_grad_(), roughness.requires_grad_(), *rest),
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_and_gaps_in_memory_change_nothing(threads):
    directions, roughness, *rest = draw(300, 4, torch.float32)
    gaps = torch.cat([directions, directions], 1)[:, :3]
    results, before = [], torch.get_num_threads()
    for given in (directions, gaps):
        leaves = given.detach().requires_grad_(), roughness.clone().requires_grad_()
        features = directional_encode(*leaves, *rest)
        results.append((features.detach(), *torch.autograd.grad(features.square().sum(), leaves)))
        torch.set_num_threads(threads)
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_operators_keep_the_rules_of_torch():
    directions, roughness, *rest = draw(20, 3)
    torch.library.opcheck(register.directional_encode, (directions.requires_grad_(), roughness.requires_grad_(), *rest))
