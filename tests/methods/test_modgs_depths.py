"""Depth of a clip whose camera turns and does not travel, so that nothing can be triangulated."""

import dataclasses

import pytest
import torch

from rilievo.cameras.camera import Cameras
from rilievo.errors import UserError
from rilievo.flow.sampling import index_grid, inside, sample
from rilievo.geometry import so3
from rilievo.methods.modgs.clip import Clip
from rilievo.methods.modgs.depths import aligned_depths
from rilievo.methods.modgs.pairs import FlowPairs
from rilievo.methods.modgs.start import require_still
from rilievo.motion.lift import point_map

FRAMES, HEIGHT, WIDTH, FOCAL = 5, 30, 40, 35.0
NORMAL, AWAY = torch.tensor([0.3, 0.2, 1.0], dtype=torch.float64), 1.0
"""The wall NORMAL · x = AWAY."""


class TrueFlow(FlowPairs):
    """Flow between all frames of a wall at known depth."""

    def __init__(self, cameras, depths):
        self.cameras, self.depths = cameras, depths

    def partners(self, i):
        return [j for j in range(FRAMES) if abs(i - j) == 2]

    def flow(self, i, j):
        points = point_map(self.depths[i], self.cameras.K[i], self.cameras.world_from_cam[i])
        end, _ = self.cameras.project(j, points.xyz.reshape(-1, 3))
        return end.view(HEIGHT, WIDTH, 2) - index_grid(HEIGHT, WIDTH, end) - 0.5

    def believed(self, i, j):
        return torch.ones(HEIGHT, WIDTH, dtype=torch.bool)


@pytest.fixture(scope="module")
def turning_clip():
    poses = torch.eye(4, dtype=torch.float64).repeat(FRAMES, 1, 1)
    turns = torch.linspace(-0.15, 0.15, FRAMES, dtype=torch.float64)
    poses[:, :3, :3] = so3.exp(turns[:, None] * torch.tensor([0.2, 1.0, 0.0], dtype=torch.float64))
    poses[:, 2, 3] = -2.0
    K = torch.tensor([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]], dtype=torch.float64)
    cameras = Cameras.pinhole(poses, K.repeat(FRAMES, 1, 1), torch.tensor([[WIDTH, HEIGHT]]).repeat(FRAMES, 1))
    rays = [cameras.view_rays(i, torch.float64) for i in range(FRAMES)]
    along = [(AWAY - r.origins @ NORMAL) / (r.directions @ NORMAL) for r in rays]
    depths = [t * (r.directions @ f) for t, r, f in zip(along, rays, cameras.forwards)]
    truth = torch.stack(depths).view(FRAMES, HEIGHT, WIDTH)
    estimates = torch.stack([(0.4 + 0.1 * i) * z ** (0.8 + 0.1 * i) + 0.05 * i for i, z in enumerate(truth)])
    nothing = torch.zeros(FRAMES, HEIGHT, WIDTH, dtype=torch.bool)
    clip = Clip(
        views=tuple(range(FRAMES)),
        stems=tuple(f"{i:03d}" for i in range(FRAMES)),
        cameras=cameras,
        times=torch.linspace(0, 1, FRAMES),
        photos=torch.zeros(FRAMES, HEIGHT, WIDTH, 3, dtype=torch.uint8),
        estimates=estimates,
        shown=~nothing,
        moving=nothing,
    )
    return clip, truth


def test_frames_of_a_turning_camera_agree_with_the_middle_one(turning_clip):
    clip, truth = turning_clip
    depths = aligned_depths(clip, TrueFlow(clip.cameras, truth), clip.shown)
    middle, flow = FRAMES // 2, TrueFlow(clip.cameras, truth)
    assert depths[middle].median() == pytest.approx(2.0, rel=1e-3)
    factor = depths[middle] / truth[middle]
    for i in range(FRAMES):
        end = index_grid(HEIGHT, WIDTH, truth) + flow.flow(middle, i)
        there = sample((depths[i] / truth[i])[..., None], end)[..., 0]
        assert (there / factor - 1)[inside(end)].abs().median() < 0.01


@pytest.mark.parametrize(("field", "said"), [("moving", "marks all of it as moving"), ("shown", "covers all of it")])
def test_a_mask_that_covers_everything_is_refused(turning_clip, field, said):
    clip, _ = turning_clip
    mask = getattr(clip, field).clone()
    mask[3] = field == "moving"
    with pytest.raises(UserError, match=f"frame 003: expected .*{said}"):
        require_still(dataclasses.replace(clip, **{field: mask}))
