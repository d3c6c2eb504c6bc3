"""How a motion turns what it carries."""

import torch

from rilievo.geometry import so3
from rilievo.motion.turning import cells, quaternion_product, rotation_of, turning


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_rotation_of_a_rotated_stretch_is_the_rotation():
    R, A = so3.exp(draw(50, 3)), draw(50, 3, 3, seed=1)
    stretch = A @ A.mT + 0.1 * torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(rotation_of(R @ stretch), R, atol=1e-9, rtol=0)


def test_rotation_agrees_with_the_nearest_rotation():
    J = draw(50, 3, 3, seed=2)
    J = J * torch.linalg.det(J).sign()[:, None, None]
    torch.testing.assert_close(rotation_of(J), so3.nearest(J), atol=1e-6, rtol=0)


def test_what_is_turned_inside_out_or_flattened_is_not_turned():
    J = torch.stack((-torch.eye(3), torch.diag(torch.tensor([1.0, 1.0, 0.0]))))
    assert torch.equal(rotation_of(J), torch.eye(3).expand(2, 3, 3))


def test_a_rigid_thing_turns_by_its_own_rotation_whatever_its_canonical_shape():
    warp = lambda y: y + 0.2 * torch.sin(2 * y.roll(1, -1))  # noqa: E731
    first, second = so3.exp(draw(3, seed=3)), so3.exp(draw(3, seed=4))
    y = 0.3 * draw(20, 3, seed=5)
    poses = [lambda y, R=R: warp(y) @ R.mT + 1 for R in (first, second)]
    q, p = (so3.matrix_from_quaternion(turning(f, y, f(y), 1e-5)) for f in poses)
    torch.testing.assert_close(p @ q.mT, (second @ first.mT).expand(20, 3, 3), atol=1e-4, rtol=0)


def test_each_point_lies_in_its_cell_and_no_cell_is_empty():
    x, side = draw(500, 3, seed=8), 0.3
    middles, of = cells(x, side)
    assert ((x - middles[of]).abs() <= side / 2 + 1e-9).all()
    assert torch.equal(of.unique(), torch.arange(len(middles)))
    assert len(middles.unique(dim=0)) == len(middles)


def test_product_of_quaternions_is_the_product_of_rotations():
    a, b = draw(10, 4, seed=6), draw(10, 4, seed=7)
    rotation = so3.matrix_from_quaternion
    torch.testing.assert_close(rotation(quaternion_product(a, b)), rotation(a) @ rotation(b))
