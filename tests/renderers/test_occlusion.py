"""Rays that start on a surface and meet it again, or do not."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from rilievo.losses.glossy import occlusion
from rilievo.renderers.occlusion import counts_for_occlusion, find_crossings, inverse_cdf, step_weights
from rilievo.shading.ray_sphere import exit_distance

COLOR = {"atol": 2e-5, "rtol": 1e-4}
PROBABILITY = 2e-4


def ball(radius: float):
    return lambda p: p.norm(dim=-1) - radius


def ball_and_box(radius: float, half: torch.Tensor, center: torch.Tensor):
    def sdf(p: torch.Tensor) -> torch.Tensor:
        q = (p - center).abs() - half
        box = q.clamp_min(0).norm(dim=-1) + q.amax(-1).clamp_max(0)
        return torch.minimum(p.norm(dim=-1) - radius, box)

    return sdf


def test_a_ray_into_a_ball_meets_it_and_a_ray_away_does_not():
    points = torch.tensor([[0.0, 0.0, 0.8], [0.0, 0.0, 0.8]])
    towards = torch.tensor([[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]])
    probability = find_crossings(points, towards, ball(0.4), torch.tensor(400.0)).probability
    assert probability[0] > 0.99
    assert probability[1] < 0.01


def test_even_weights_are_sampled_evenly_and_one_step_gets_all():
    edges = torch.linspace(0, 1, 11)[None]
    torch.testing.assert_close(inverse_cdf(edges, torch.ones(1, 10), 5), torch.tensor([[0.1, 0.3, 0.5, 0.7, 0.9]]))
    single = torch.zeros(1, 10)
    single[0, 3] = 1
    drawn = inverse_cdf(edges, single, 20)
    assert ((drawn > 0.29) & (drawn < 0.41)).all()


def read(golden) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(value) for key, value in np.load(golden / "nero_intersection.npz").items()}


@pytest.mark.golden
def test_leaving_the_sphere_and_sampling_are_the_published_ones(golden):
    data = read(golden)
    ours = exit_distance(data["sphere/pts"], data["sphere/dirs"])
    np.testing.assert_allclose(ours, data["sphere/dist"], atol=1e-6, rtol=1e-5)
    counts = [int(key.rsplit("_n", 1)[1]) for key in data if key.startswith("sample_pdf/det_n")]
    assert counts
    for count in counts:
        drawn = inverse_cdf(data["sample_pdf/bins"], data["sample_pdf/weights"], count)
        np.testing.assert_allclose(drawn, data[f"sample_pdf/det_n{count}"], atol=1e-5, rtol=1e-5)


@pytest.mark.golden
def test_crossings_are_the_published_ones(golden):
    data = read(golden)
    scenes = {
        "sphere": ball(float(data["scene/sphere_radius"])),
        "sphere_box": ball_and_box(
            float(data["scene/sphere_radius"]), data["scene/box_half"], data["scene/box_centre"]
        ),
    }
    points, directions = data["scene/pts"], data["scene/dirs"]
    prefixes = sorted({key.removesuffix("/get_weights") for key in data if key.endswith("/get_weights")})
    assert prefixes
    for prefix in prefixes:
        sdf_fn, inv_s = scenes[prefix.split("/")[0]], torch.tensor(float(prefix.rsplit("_", 1)[1]))
        weights, middle = step_weights(data["scene/z_vals"], points, directions, sdf_fn, inv_s)
        np.testing.assert_allclose(weights, data[f"{prefix}/get_weights"], **COLOR, err_msg=prefix)
        _same_middles(middle, data[f"{prefix}/mid_sdf"])
        for key in [key for key in data if key.startswith(f"{prefix}/sn0") and key.endswith("/weights")]:
            found = find_crossings(points, directions, sdf_fn, inv_s, *_steps(key))
            expected = data[key].sum(-1, keepdim=True)
            np.testing.assert_allclose(found.probability, expected, atol=PROBABILITY, err_msg=key)
            outside = points.norm(dim=-1) >= 0.999
            assert (found.sdf[outside] == -1).all()
            assert not found.t[outside].any()


@pytest.mark.golden
def test_the_occlusion_loss_is_the_published_one(golden):
    data = {key[4:]: torch.from_numpy(v) for key, v in np.load(golden / "nero_losses.npz").items() if key[:4] == "occ/"}
    sdf_fn = ball_and_box(float(data["sphere_radius"]), data["box_half"], data["box_centre"])
    chosen = counts_for_occlusion(
        data["points"], data["sdf"], data["gradients"], data["dirs"], float(data["occ_sdf_thresh"])
    )
    predicted = data["occ_prob"].requires_grad_()
    marched = find_crossings(data["points"][chosen], data["reflective"][chosen], sdf_fn, data["inv_s"]).probability
    loss = occlusion(predicted[chosen], marched).mean()
    loss.backward()
    assert loss.item() == pytest.approx(float(data["loss"]), abs=PROBABILITY)
    np.testing.assert_allclose(predicted.grad, data["grad_occ_prob"], atol=1e-6, rtol=1e-5)


def test_samples_beside_the_surface_do_not_count():
    points = torch.tensor([[0.5, 0, 0], [0.5, 0, 0], [0.5, 0, 0], [1.2, 0, 0]])
    inwards = torch.tensor([[-1.0, 0, 0], [1.0, 0, 0], [-1.0, 0, 0], [-1.0, 0, 0]])
    sdf = torch.tensor([0.001, 0.001, 0.2, 0.001])
    assert counts_for_occlusion(points, sdf, normalize(points, dim=-1), inwards, 0.01).tolist() == [1, 0, 0, 0]


def _same_middles(ours: torch.Tensor, published: torch.Tensor) -> None:
    """Where the distance falls; a step along which it stays the same may count or not, by rounding."""
    both = (ours != -1) & (published != -1)
    assert ((ours != -1) == (published != -1)).float().mean() > 0.995
    np.testing.assert_allclose(ours[both], published[both], atol=1e-6, rtol=1e-5)


def _steps(key: str) -> tuple[int, int]:
    """The two counts in a name like sphere/inv_s_20.0/sn0_128_sn1_9/weights."""
    _, even, _, drawn = key.split("/")[2].split("_")
    return int(even), int(drawn)
