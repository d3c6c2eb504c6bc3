"""Pairs of made-up photos whose answers are known, for everything that stores or counts them."""

import torch
from torch.nn.functional import normalize

from rilievo.matching.correspondences import MatchingConfig, match_pair
from rilievo.matching.pair_result import Correspondences, Descriptors, PairPrediction, PairResult, score_of


def prediction(seed, size_1, size_2, d=None, unit=1.0):
    """Random points in front of a camera, with confidences above 1."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for size in (size_1, size_2):
        X = torch.randn(*size, 3, generator=generator)
        X[..., 2] = 1 + 3 * torch.rand(*size, generator=generator)
        parts += [X * unit, 1 + 9 * torch.rand(*size, generator=generator)]
    seen = [None, None]
    if d is not None:
        seen = [
            Descriptors(
                normalize(torch.randn(*size, d, generator=generator), dim=-1),
                1 + torch.rand(*size, generator=generator),
            )
            for size in (size_1, size_2)
        ]
    return PairPrediction(*parts, *seen)


def result(seed, size_i=(12, 16), size_j=(16, 12), matches=20, unit=1.0):
    """A pair's result with random matches."""
    generator = torch.Generator().manual_seed(seed)
    xy = [torch.rand(matches, 2, generator=generator) * 12 for _ in range(2)]
    found = Correspondences(*xy, torch.rand(matches, generator=generator))
    ij, ji = prediction(seed, size_i, size_j, unit=unit), prediction(seed + 1, size_j, size_i, unit=unit)
    return PairResult(ij, ji, found, score_of(ij, ji, found))


def matched(seed, size, d=24, step=8):
    """A pair predicted with descriptors and matched by them."""
    ij, ji = prediction(seed, size, size, d), prediction(seed + 1, size, size, d)
    found = match_pair((ij.descriptors_1, ij.descriptors_2), (ji.descriptors_1, ji.descriptors_2), MatchingConfig(step))
    return PairResult(ij, ji, found, score_of(ij, ji, found))
