"""Opacity of an interval from signed distances."""

import numpy as np
import pytest
import torch

from rilievo.renderers.alpha import alpha_from_sdf, anneal_ratio, annealed_cos, occupancy_alpha

COLOURS = {"atol": 2e-5, "rtol": 1e-4}
CLOSED_FORM = {"atol": 1e-6, "rtol": 1e-5}
INV_S = torch.tensor(64.0, dtype=torch.float64)


def plane(cos: float, n: int = 400) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Samples through a plane half way along a ray of length 2: distances, cosines, intervals."""
    edges = torch.linspace(-1, 1, n + 1, dtype=torch.float64)
    middle = (edges[1:] + edges[:-1]) / 2
    return cos * middle, torch.full_like(middle, cos), edges.diff()


@pytest.mark.parametrize("cos", [-1.0, -0.5, -0.2])
def test_a_ray_that_enters_is_stopped_at_the_surface(cos):
    """The weight's median is where the distance is zero, whatever the angle: NeuS is unbiased to first order."""
    sdf, cosines, dt = plane(cos)
    alpha = alpha_from_sdf(sdf, cosines, dt, INV_S)
    transmitted = torch.cumprod(1 - alpha, 0)
    middle = torch.linspace(-1, 1, len(dt) + 1, dtype=torch.float64)[1:]
    median = middle[int((transmitted < 0.5).nonzero()[0])]
    assert abs(float(median)) < 0.02
    assert float(transmitted[-1]) < 1e-3


def test_splitting_an_interval_does_not_change_what_passes_a_plane():
    passed = []
    for n in (200, 400):
        sdf, cos, dt = plane(-0.7, n)
        passed.append(torch.cumprod(1 - alpha_from_sdf(sdf, cos, dt, INV_S), 0)[n // 2 - 1])
    torch.testing.assert_close(passed[0], passed[1], rtol=0.02, atol=0)


def test_a_ray_that_leaves_meets_nothing_at_the_end_of_annealing():
    sdf = torch.linspace(-0.5, 0.5, 50)
    leaving = annealed_cos(torch.full_like(sdf, 0.8), 1.0)
    alpha = alpha_from_sdf(sdf, leaving, torch.full_like(sdf, 0.02), torch.tensor(64.0))
    outside = sdf > 0
    assert (alpha[outside] < 1e-4).all()


def test_deep_inside_the_opacity_is_one_and_not_nan():
    alpha = alpha_from_sdf(torch.tensor([-5.0]), torch.tensor([-1.0]), torch.tensor([0.01]), torch.tensor(1e4))
    assert alpha.item() == 1.0


def test_annealing_goes_from_forgiving_to_true():
    cos = torch.linspace(-1, 1, 21)
    torch.testing.assert_close(annealed_cos(cos, 0.0), -(1 - cos) / 2)
    torch.testing.assert_close(annealed_cos(cos, 1.0), cos.clamp(max=0.0))
    assert (annealed_cos(cos, 0.3) <= 0).all()


def test_no_annealing_means_the_true_cosine_from_the_start():
    assert anneal_ratio(0, 0) == 1.0


@pytest.mark.golden
def test_alpha_and_its_gradients_are_the_published_ones(golden):
    data = np.load(golden / "neus_alpha.npz")
    for i, v in enumerate(data["in/variance"]):
        for j, ratio in enumerate(data["in/cos_anneal_ratio"]):
            sdf, normal = (torch.from_numpy(data[f"in/{key}"]).requires_grad_() for key in ("sdf", "normal"))
            variance = torch.tensor(float(v), requires_grad=True)
            dirs, dt = torch.from_numpy(data["in/dirs"]), torch.from_numpy(data["in/dists"])[:, 0]
            cos = annealed_cos((dirs * normal).sum(-1), float(ratio))
            alpha = alpha_from_sdf(sdf, cos, dt, (10 * variance).exp())
            alpha.backward(torch.from_numpy(data["in/cotangent"]))
            np.testing.assert_allclose(alpha.detach(), data["out/alpha"][i, j], **COLOURS)
            for name, leaf in (("sdf", sdf), ("normal", normal), ("variance", variance)):
                expected = data[f"out/grad_{name}"][i, j]
                np.testing.assert_allclose(leaf.grad, expected, **COLOURS, err_msg=f"{name} {i} {j}")


@pytest.mark.golden
def test_occupancy_is_the_published_one(golden):
    data = np.load(golden / "neus_alpha.npz")
    step = float(data["occ/render_step_size"])
    assert step == pytest.approx(1.732 * 2 * float(data["occ/radius"]) / int(data["occ/num_samples_per_ray"]))
    for i, v in enumerate(data["in/variance"]):
        alpha = occupancy_alpha(torch.from_numpy(data["occ/sdf"]), step, torch.tensor(float(v)).mul(10).exp())
        np.testing.assert_allclose(alpha, data["occ/alpha"][i], **COLOURS)


@pytest.mark.golden
def test_annealing_is_the_published_one(golden):
    data = np.load(golden / "neus_alpha.npz")
    ours = [anneal_ratio(int(step), int(data["anneal/cos_anneal_end"])) for step in data["anneal/step"]]
    np.testing.assert_allclose(ours, data["anneal/cos_anneal_ratio"], **CLOSED_FORM)
