"""Rays enter and leave boxes and balls where algebra says."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from rilievo.geometry.box import Box, ray_ball, ray_box


def rays_at_random(seed: int, count: int = 200) -> tuple[torch.Tensor, torch.Tensor, torch.Generator]:
    g = torch.Generator().manual_seed(seed)
    origins = 2 * torch.randn(count, 3, generator=g, dtype=torch.float64)
    directions = torch.randn(count, 3, generator=g, dtype=torch.float64)
    directions[torch.rand(count, 3, generator=g) < 0.25] = 0
    directions[directions.norm(dim=-1) == 0] = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    return origins, directions / directions.norm(dim=-1, keepdim=True), g


@given(st.integers(0, 2**31))
def test_a_point_of_a_ray_is_in_the_box_exactly_between_near_and_far(seed):
    origins, directions, g = rays_at_random(seed)
    box = Box(torch.tensor([-1.0, -0.5, -2.0]).double(), torch.tensor([0.7, 1.5, 1.0]).double())
    near, far = ray_box(origins, directions, box)
    t = 4 * torch.randn(len(near), generator=g, dtype=torch.float64)
    inside = box.contains(origins + t[:, None] * directions)
    assert (inside == ((near <= t) & (t <= far))).all()


@given(st.integers(0, 2**31))
def test_a_point_of_a_ray_is_in_the_ball_exactly_between_near_and_far(seed):
    origins, directions, g = rays_at_random(seed)
    center, radius = torch.tensor([0.3, -0.2, 0.5]).double(), 1.4
    near, far = ray_ball(origins, directions, center, radius)
    t = 4 * torch.randn(len(near), generator=g, dtype=torch.float64)
    inside = (origins + t[:, None] * directions - center).norm(dim=-1) <= radius
    assert (inside == ((near <= t) & (t <= far))).all()
    hit = near <= far
    assert hit.any()
    assert (near[~hit] == torch.inf).all()
    assert (far[~hit] == -torch.inf).all()


def test_a_ray_within_a_face_of_the_box_hits():
    origins = torch.tensor([[-3.0, 1.0, 0.0], [-3.0, 1.0001, 0.0]])
    directions = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    near, far = ray_box(origins, directions, Box.cube(1.0, origins))
    assert near.tolist() == [2.0, torch.inf]
    assert far.tolist() == [4.0, -torch.inf]


def test_a_distant_eye_sees_a_ball_as_sharply_as_a_near_one():
    origins = torch.tensor([[0.0, 0.5, -3000.0]])
    near, far = ray_ball(origins, torch.tensor([[0.0, 0.0, 1.0]]), torch.zeros(3), 1.0)
    assert abs((far - near).item() - 3**0.5) < 1e-3  # |o|² − (o·d)² would have lost all digits in float32


def test_gradients_are_finite_for_hits_touches_and_misses():
    origins = torch.tensor([[0.0, 0.0, -3.0], [0.0, 1.0, -3.0], [0.0, 2.0, -3.0]], requires_grad=True)
    directions = torch.tensor([[0.0, 0.0, 1.0]] * 3, requires_grad=True)
    for near, far in (
        ray_ball(origins, directions, torch.zeros(3), 1.0),
        ray_box(origins, directions, Box.cube(1.0, origins.detach())),
    ):
        hit = near <= far
        assert hit.tolist() == [True, True, False]
        (near[hit] + 2 * far[hit]).sum().backward(retain_graph=True)
        assert origins.grad.isfinite().all()
        assert directions.grad.isfinite().all()


def test_box_of_its_own_corners_is_the_box():
    box = Box(torch.tensor([-1.0, 0.0, 2.0]), torch.tensor([1.0, 5.0, 3.0]))
    again = Box.of(box.corners)
    assert (again.low == box.low).all()
    assert (again.high == box.high).all()
    assert len(box.corners.unique(dim=0)) == 8
    assert box.corners[1].tolist() == [1.0, 0.0, 2.0]
