"""Similarities and rigid motions are groups with an exponential."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rilievo.errors import UserError
from rilievo.geometry import se3, sim3, so3

seeds = st.integers(0, 2**31)


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def short_turns(tangent: torch.Tensor) -> torch.Tensor:
    """The same tangent vectors with rotations below half a turn."""
    omega = tangent[..., 3:6]
    tangent = tangent.clone()
    tangent[..., 3:6] = omega / omega.norm(dim=-1, keepdim=True).clamp_min(1) * 3.0
    return tangent


@given(seeds, st.sampled_from([(), (1,), (4,), (2, 3)]), st.sampled_from([1.0, 1e-3, 1e-8]))
def test_sim3_log_inverts_exp(seed, batch_shape, size):
    tangent = size * short_turns(random(seed, *batch_shape, 7))
    torch.testing.assert_close(sim3.log(sim3.exp(tangent)), tangent, atol=1e-12 * max(size, 1e-3), rtol=1e-10)


def test_log_of_the_identity_is_zero():
    assert (sim3.log(torch.eye(4, dtype=torch.float64)) == 0).all()


@given(seeds, st.sampled_from([0.0, 1e-9, 0.5, -3.0, 9.0]))
def test_exp_is_the_matrix_exponential(seed, sigma):
    tangent = short_turns(random(seed, 7))
    tangent[6] = sigma
    generator = torch.zeros(4, 4, dtype=torch.float64)
    generator[:3, :3] = so3.hat(tangent[3:6]) + sigma * torch.eye(3, dtype=torch.float64)
    generator[:3, 3] = tangent[:3]
    expected = torch.linalg.matrix_exp(generator)
    assert (sim3.exp(tangent) - expected).norm() <= 1e-13 * expected.norm()


@given(seeds)
def test_inverse_undoes_and_split_takes_apart(seed):
    S = sim3.exp(short_turns(random(seed, 5, 7)))
    torch.testing.assert_close(
        sim3.inverse(S) @ S, torch.eye(4, dtype=torch.float64).expand(5, 4, 4), atol=1e-11, rtol=0
    )
    torch.testing.assert_close(sim3.compose(*sim3.split(S)), S, atol=1e-12, rtol=1e-12)


@given(seeds)
def test_directions_turn_with_the_segments_between_points(seed):
    S = sim3.exp(short_turns(random(seed, 7)))
    a, b = random(seed + 1, 2, 10, 3)
    moved = sim3.apply(S, b) - sim3.apply(S, a)
    expected = sim3.split(S)[0] * sim3.apply_to_directions(S, b - a)
    torch.testing.assert_close(moved, expected, atol=1e-11, rtol=1e-10)


@given(seeds)
def test_rigid_motions_are_similarities_of_scale_one(seed):
    twist = short_turns(random(seed, 6))
    T = se3.exp(twist)
    torch.testing.assert_close(sim3.split(T)[0], torch.ones((), dtype=T.dtype))
    torch.testing.assert_close(se3.log(T), twist, atol=1e-11, rtol=1e-10)
    torch.testing.assert_close(se3.inverse(T) @ T, torch.eye(4, dtype=T.dtype), atol=1e-13, rtol=0)


@given(seeds)
def test_similarity_is_found_from_points_it_moved(seed):
    S, points = sim3.exp(short_turns(random(seed, 7))), random(seed + 1, 12, 3)
    torch.testing.assert_close(sim3.similarity_from_points(points, sim3.apply(S, points)), S, atol=1e-10, rtol=1e-10)


def test_points_of_no_weight_do_not_pull():
    S, points = sim3.exp(short_turns(random(0, 7))), random(1, 12, 3)
    target, weights = sim3.apply(S, points), torch.ones(12, dtype=torch.float64)
    target[0] += 100
    weights[0] = 0
    torch.testing.assert_close(sim3.similarity_from_points(points, target, weights), S, atol=1e-10, rtol=1e-10)


def test_no_similarity_near_umeyama_has_smaller_squares():
    source, target = random(2, 20, 3), random(3, 20, 3)
    best = sim3.similarity_from_points(source, target)

    def squares(S: torch.Tensor) -> torch.Tensor:
        return ((sim3.apply(S, source) - target) ** 2).sum()

    for tangent in 1e-3 * random(4, 40, 7):
        assert squares(best @ sim3.exp(tangent)) > squares(best)


def test_mirrored_points_are_not_answered_with_a_mirror():
    points = random(5, 10, 3)
    S = sim3.similarity_from_points(points, points * torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
    assert torch.linalg.det(S[:3, :3]) > 0


def test_points_on_a_line_are_refused():
    line = torch.arange(5.0, dtype=torch.float64)[:, None] * torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    with pytest.raises(UserError, match="line"):
        sim3.similarity_from_points(line, line)
