"""Flow that starts from a guess."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from rilievo.flow.chain import refined
from rilievo.flow.provider import provider

LEAP = 40


def test_fine_texture_that_leaps_is_found_from_a_rough_guess():
    pytest.importorskip("cv2")
    compute = provider("dis")
    noise = np.random.default_rng(0).normal(size=(64, 160, 3))
    texture = gaussian_filter(noise, (1, 1, 0))
    first = (128 + 250 * texture).clip(0, 255).astype(np.uint8)
    second = np.roll(first, LEAP, axis=1)
    inner = (slice(8, -8), slice(8, 96))
    there = torch.tensor([float(LEAP), 0.0])
    alone = (torch.from_numpy(compute(first, second))[inner] - there).norm(dim=-1).median()
    guess = (there + torch.tensor([1.6, -1.2])).expand(64, 160, 2)
    found = refined(compute, first, second, guess)
    assert alone > 5
    assert (found[inner] - there).norm(dim=-1).median() < 0.3


def test_what_does_not_bring_photographs_closer_is_not_taken():
    photo = np.random.default_rng(1).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    wrong = lambda first, second: np.full((20, 30, 2), 3.0, np.float32)  # noqa: E731
    assert not refined(wrong, photo, photo, torch.zeros(20, 30, 2)).any()


def test_a_guess_that_leaves_the_picture_stays():
    guess = torch.full((20, 30, 2), 500.0)
    photo = np.random.default_rng(1).integers(0, 255, (20, 30, 3), dtype=np.uint8)
    found = refined(lambda first, second: np.zeros((20, 30, 2), np.float32), photo, photo, guess)
    assert torch.equal(found, guess)
