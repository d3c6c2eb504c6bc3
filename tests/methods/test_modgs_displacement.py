"""Where what is seen goes: two sheets of Gaussians, one of which slides, before a camera that looks along z."""

import numpy as np
import pytest
import torch

from rilievo.cameras.camera import Cameras
from rilievo.data.scene import Region, Scene
from rilievo.engine.film import Take, film_flow
from rilievo.gaussians.cloud import GaussianCloud
from rilievo.gaussians.rows import Gaussians
from rilievo.methods.modgs.config import PRESETS
from rilievo.methods.modgs.model import ModgsModel
from rilievo.methods.modgs.stage1 import build_motion

SMOKE = PRESETS["smoke"]
WIDTH, HEIGHT, FOCAL, DEPTH = 32, 24, 30.0, 3.0
VELOCITY = torch.tensor([0.4, -0.2, 0.1])


def sheet(x_from: float, x_to: float) -> Gaussians:
    """Opaque Gaussians at z = DEPTH, close enough to leave no gap."""
    x, y = torch.meshgrid(torch.arange(x_from, x_to, 0.05), torch.arange(-2, 2, 0.05), indexing="ij")
    points = torch.stack((x, y, torch.full_like(x, DEPTH)), dim=-1).reshape(-1, 3)
    n = len(points)
    colors, radii = torch.full((n, 3), 0.5), torch.full((n,), 0.05)
    return Gaussians(GaussianCloud.from_points(points, colors, radii, SMOKE.sh_degree, opacity=0.99))


@pytest.fixture
def cameras() -> Cameras:
    K = torch.tensor([[[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]]], dtype=torch.float64)
    pose = torch.eye(4, dtype=torch.float64)[None]
    return Cameras.pinhole(pose.repeat(2, 1, 1), K.repeat(2, 1, 1), torch.tensor([[WIDTH, HEIGHT]] * 2))


@pytest.fixture
def model(cameras, monkeypatch) -> ModgsModel:
    """The left of the picture slides, its middle stands, its right is empty."""
    scene = Scene(
        name="sheets",
        cameras=cameras,
        names=("a", "b"),
        images=[np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 2,
        coverage=None,
        mask_meaning=None,
        test_views=(),
        region=Region(np.zeros(3), 1.0, "given"),
        times=torch.tensor([0.0, 1.0]),
    )
    model = ModgsModel(SMOKE, scene, build_motion(SMOKE.motion, 0))
    model.gaussians, model.still = sheet(-3.0, -0.3), sheet(-0.3, 0.6)
    monkeypatch.setattr(model, "to_time", lambda y, time: y + VELOCITY * time)
    return model


def test_what_slides_goes_as_far_as_its_speed_says_and_what_stands_stays(model, cameras):
    step = model.displacement(cameras, 0, 0.25, 0.75)
    torch.testing.assert_close(step[:, :8], (VELOCITY / 2).expand(HEIGHT, 8, 3), atol=1e-3, rtol=0)
    assert step[:, 16:20].abs().max() < 1e-3
    assert step[:, 26:].eq(0).all()


def test_flow_is_the_projection_of_the_motion(model, cameras):
    take = Take(cameras, torch.tensor([0.0, 0.5]))
    flow = film_flow(model, take, 0, model.render(cameras, 0, 0.0))
    half = VELOCITY / 2
    columns = (torch.arange(4, 8) + 0.5 - WIDTH / 2) / FOCAL * DEPTH
    expected = FOCAL * (columns + half[0]) / (DEPTH + half[2]) - FOCAL * columns / DEPTH
    torch.testing.assert_close(flow[:, 4:8, 0], expected.expand(HEIGHT, 4), atol=0.02, rtol=0)
    assert flow[:, 16:20].abs().max() < 0.02
