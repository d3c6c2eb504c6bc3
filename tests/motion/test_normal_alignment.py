"""Scale and shift of depth from normals."""

import numpy as np
import pytest
import torch

from rilievo.motion.normal_alignment import fit_to_normals, normal_loss, point_normals, smoothed_points


@pytest.fixture(scope="module")
def arrays(shared):
    return np.load(shared / "golden" / "dynamic" / "flow.npz")


def test_normals_of_a_tilted_plane_are_one_direction():
    y, x = torch.meshgrid(torch.arange(6.0), torch.arange(7.0), indexing="ij")
    normals = point_normals(torch.stack((x, y, 0.5 * x + 5), dim=-1))[1:-1, 1:-1]
    expected = torch.tensor([-0.5, 0.0, 1.0]) / 1.25**0.5
    torch.testing.assert_close(normals.abs(), expected.abs().expand_as(normals))
    assert (normals[..., 2] < 0).all(), "towards the camera"


@pytest.mark.golden
def test_published_normals(arrays):
    raw, focal = torch.from_numpy(arrays["align/raw_depth"]), float(arrays["align/focal"])
    torch.testing.assert_close(
        smoothed_points(raw, focal), torch.from_numpy(arrays["align/xyz_at_1_0"]), atol=1e-5, rtol=1e-5
    )
    found = point_normals(smoothed_points(raw, focal))
    published = torch.from_numpy(arrays["align/pred_normal_at_1_0"])
    torch.testing.assert_close(found, published, atol=1e-4, rtol=0)


@pytest.mark.golden
def test_published_objective_and_its_gradient(arrays):
    raw, normals = (torch.from_numpy(arrays[f"align/{name}"]) for name in ("raw_depth", "normal_map"))
    for at, value, gradient in zip(*(torch.from_numpy(arrays[f"align/{name}"]) for name in ("st", "loss", "grad_st"))):
        parameters = at.clone().requires_grad_()
        loss = normal_loss(parameters, raw, normals, float(arrays["align/focal"]))
        loss.backward()
        torch.testing.assert_close(loss.detach(), value, atol=1e-5, rtol=0)
        torch.testing.assert_close(parameters.grad, gradient, rtol=1e-3, atol=1e-3 * float(gradient.abs().max()))


@pytest.mark.golden
def test_the_fit_reaches_the_published_objective(arrays):
    raw, normals = (torch.from_numpy(arrays[f"align/{name}"]) for name in ("raw_depth", "normal_map"))
    focal = float(arrays["align/focal"])
    found = fit_to_normals(raw, normals, focal)
    ours = normal_loss(torch.tensor([found.scale, found.shift]), raw, normals, focal)
    published = normal_loss(torch.from_numpy(arrays["align/optimised_st"]), raw, normals, focal)
    assert float(ours) <= float(published) + 1e-3
