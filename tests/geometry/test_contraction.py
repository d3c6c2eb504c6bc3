"""Contractions agree with the published ones, can be undone and have gradients everywhere."""

import numpy as np
import pytest
import torch

from rilievo.geometry.box import Box
from rilievo.geometry.contraction import contract_box, contract_unbounded, uncontract_box, uncontract_unbounded


@pytest.mark.golden
def test_published_contractions_are_matched(golden):
    arrays = np.load(golden / "contraction.npz")
    x = torch.from_numpy(arrays["contract/x"])
    names = [n.split("/") for n in arrays.files if n.startswith("contract/") and n.endswith("/out")]
    assert {kind for _, kind, _, _ in names} == {"AABB", "UN_BOUNDED_SPHERE"}
    for _, kind, setting, _ in names:
        radius = float(setting.removeprefix("radius_"))
        ours = contract_box(x, Box.cube(radius, x)) if kind == "AABB" else contract_unbounded(x, radius)
        expected = arrays[f"contract/{kind}/{setting}/out"]
        np.testing.assert_allclose(ours.numpy(), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("radius", [0.7, 3.0])
def test_contractions_can_be_undone(radius):
    x = 5 * torch.randn(300, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    box = Box(x.amin(0), x.amax(0))
    unit = contract_unbounded(x, radius)
    assert ((unit - 0.5).norm(dim=-1) < 0.5).all()
    torch.testing.assert_close(uncontract_unbounded(unit, radius), x, atol=1e-10, rtol=1e-10)
    torch.testing.assert_close(uncontract_box(contract_box(x, box), box), x)
    assert contract_box(x, box).aminmax().min == 0
    assert contract_box(x, box).aminmax().max == 1


def test_gradients_are_right_and_finite_at_the_origin_and_on_the_sphere():
    g = torch.Generator().manual_seed(1)
    x = torch.randn(8, 3, generator=g, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda p: contract_unbounded(p, 0.9), x.requires_grad_())
    assert torch.autograd.gradgradcheck(lambda p: contract_unbounded(p, 0.9), x)
    special = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1e20, 0, 0]], dtype=torch.float64, requires_grad=True)
    first = torch.autograd.grad(contract_unbounded(special, 1.0).sum(), special, create_graph=True)[0]
    second = torch.autograd.grad(first.sum(), special)[0]
    assert first.isfinite().all()
    assert second.isfinite().all()
    torch.testing.assert_close(first[0], torch.full((3,), 0.25, dtype=torch.float64))
