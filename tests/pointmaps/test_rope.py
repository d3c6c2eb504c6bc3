"""Rotary embedding: relative, norm-preserving, and as published."""

import numpy as np
import pytest
import torch

from rilievo.pointmaps.rope import Rotation, patch_positions

PURE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.mark.golden
def test_turned_tokens_are_the_published_ones(published):
    data = np.load(published / "rope.npz")
    cases = sorted({key.split("/")[0] for key in data.files} - {"position_getter"})
    assert cases
    for case in cases:
        tokens, positions, freq, out = (
            torch.from_numpy(data[f"{case}/{key}"]) for key in ("tokens", "positions_yx", "freq", "out")
        )
        turned = Rotation.at(positions, tokens.shape[-1], float(freq))(tokens)
        torch.testing.assert_close(turned, out, **PURE)


@pytest.mark.golden
def test_patches_are_numbered_row_after_row(published):
    data = np.load(published / "rope.npz")
    rows, columns = data["position_getter/hw"].tolist()
    for stored in data["position_getter/out_yx"]:
        assert patch_positions(rows, columns).tolist() == stored.tolist()


def test_scores_depend_on_relative_positions_alone():
    generator = torch.Generator().manual_seed(1)
    q, k = (torch.randn(1, 2, 12, 16, generator=generator) for _ in range(2))
    positions = patch_positions(3, 4)[None]
    here, there = Rotation.at(positions, 16, 100.0), Rotation.at(positions + torch.tensor([5, 9]), 16, 100.0)
    torch.testing.assert_close(here(q) @ here(k).mT, there(q) @ there(k).mT, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(here(q) @ here(k).mT, q @ k.mT, atol=1e-2)


def test_turning_keeps_lengths():
    tokens = torch.randn(1, 1, 6, 8, generator=torch.Generator().manual_seed(2))
    turned = Rotation.at(patch_positions(2, 3)[None], 8, 10.0)(tokens)
    torch.testing.assert_close(turned.norm(dim=-1), tokens.norm(dim=-1))
