"""Published numbers for matching, and small descriptor maps to try things on."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from rilievo.matching.pair_result import Descriptors


@pytest.fixture(scope="session")
def mast3r(shared) -> Path:
    """The folder of numbers computed with the published MASt3R and DUSt3R."""
    return shared / "golden" / "mast3r"


@pytest.fixture(scope="session")
def fast_nn(mast3r):
    with np.load(mast3r / "fast_nn.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.fixture(scope="session")
def published_pairs(mast3r):
    return json.loads((mast3r / "pairs.json").read_text())


@pytest.fixture(scope="session")
def published_crops(mast3r):
    return json.loads((mast3r / "coarse_to_fine.json").read_text())


def unit_map(seed: int, h: int, w: int, d: int = 16) -> torch.Tensor:
    """A map of random unit descriptors."""
    return normalize(torch.randn(h, w, d, generator=torch.Generator().manual_seed(seed)), dim=-1)


def descriptors(seed: int, D: torch.Tensor) -> Descriptors:
    """The map with random confidences above 1."""
    generator = torch.Generator().manual_seed(seed)
    return Descriptors(D, 1 + torch.rand(D.shape[:2], generator=generator))


@pytest.fixture
def shifted():
    """Two predictions of a pair whose second photo shows the first moved 3 px right and 2 px down, with noise.

    The columns and rows that moved in show something else.
    """
    h, w, d = 32, 40, 16
    one, two = unit_map(1, h, w, d), unit_map(2, h, w, d)
    two[2:, 3:] = one[:-2, :-3]

    def seen(seed, D):
        return descriptors(seed, normalize(D + 0.05 * unit_map(10 + seed, h, w, d), dim=-1))

    return (seen(1, one), seen(2, two)), (seen(3, two), seen(4, one))
