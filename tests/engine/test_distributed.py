"""A batch divided among processes gives the gradient of the whole batch.

What remains are roundings: float32 sums of n terms taken in another order differ by about u √n relative to the sum of
their sizes, u = 2⁻²⁴ (Higham 2002, section 4.2).
"""

import math
from pathlib import Path

import pytest
import torch

from rilievo.cli import main
from rilievo.engine import checkpoint, distributed

UNIT_ROUNDOFF = 2.0**-24
SAMPLES = 12000
"""About as many as a step of these runs has, each a term of every gradient."""


def test_alone_the_mean_is_the_plain_mean_with_its_gradient():
    values = torch.tensor([1.0, 2.0, 6.0], requires_grad=True)
    mean = distributed.mean(values)
    mean.backward()
    assert mean == 3
    assert torch.allclose(values.grad, torch.full((3,), 1 / 3))
    assert distributed.average(mean) == 3


def test_the_mean_of_nothing_is_zero_and_pulls_nowhere():
    values = torch.zeros(0, requires_grad=True)
    mean = distributed.mean(values)
    mean.backward()
    assert mean == 0
    assert values.grad.shape == (0,)


def test_shares_of_unequal_size_average_to_the_mean_of_all_values(monkeypatch):
    whole = torch.arange(10.0)
    parts = [part.clone().requires_grad_() for part in (whole[:7], whole[7:], whole[:0])]
    monkeypatch.setattr(distributed, "_processes", lambda: 3)
    monkeypatch.setattr(distributed.dist, "all_reduce", lambda count: count.fill_(10))  # what each is told
    shares = [distributed.mean(part) for part in parts]
    (sum(shares) / 3).backward()  # data-parallel training divides the sum of gradients by 3
    assert float(sum(shares)) / 3 == pytest.approx(4.5)
    assert torch.allclose(torch.cat([part.grad for part in parts]), torch.full((10,), 0.1))


def _state(run: Path, step: int):
    """Parameters by name, and the first moments of Adam in the order of the optimiser."""
    stored = checkpoint.read(run / "checkpoints" / f"step-{step}.ckpt")
    moments = [state["exp_avg"] for _, state in sorted(stored["optimizer_states"][0]["state"].items())]
    return stored["state_dict"], moments


@pytest.mark.slow
@pytest.mark.parametrize(("method", "extra"), [("neus", ["--eikonal-points", "101"]), ("nerf", [])])
def test_two_processes_learn_what_one_does(method, extra, capture, tmp_path):
    rays, steps = 255, 4  # odd: the shares differ in size
    command = ["fit", method, str(capture), "--preset", "smoke", "--fit.rays", str(rays), *extra]
    command += ["--fit.checkpoint-every", "3", "--device", "cpu", "--steps", str(steps)]
    for processes in ("1", "2"):
        assert main([*command, "-o", str(tmp_path / processes), "--fit.processes", processes]) == 0
    assert sorted(p.name for p in (tmp_path / "2" / "checkpoints").iterdir()) == ["step-3.ckpt", "step-4.ckpt"]
    (one, moments), (other, other_moments) = (_state(tmp_path / name, steps) for name in ("1", "2"))
    assert one.keys() == other.keys()
    assert torch.equal(one["n_rays"], other["n_rays"])
    tolerance = 4 * UNIT_ROUNDOFF * math.sqrt(SAMPLES)
    for name in one:
        assert _difference(one[name], other[name]) < tolerance, name
    for a, b in zip(moments, other_moments, strict=True):  # they have the gradient's scale, which Adam's steps hide
        assert _difference(a, b) < tolerance


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    a, b = a.double(), b.double()
    return float((a - b).norm() / a.norm().clamp_min(1e-30))
