"""One pair's result in a file."""

from dataclasses import replace

import pytest
import torch

from rilievo.matching import pair_file
from rilievo.matching.pair_file import Precision

from .oracle import result


def maps(r):
    return [(p.X_1, p.C_1) for p in (r.ij, r.ji)] + [(p.X_2, p.C_2) for p in (r.ij, r.ji)]


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_half_precision_rounds_coordinates_by_a_twentieth_of_a_percent_in_any_unit(tmp_path, unit):
    kept = result(1, unit=unit)
    pair_file.write(tmp_path / "pair.npz", kept)
    back = pair_file.read(tmp_path / "pair.npz")
    for (X, C), (X_back, C_back) in zip(maps(kept), maps(back)):
        assert X_back.dtype == C_back.dtype == torch.float32
        torch.testing.assert_close(X_back, X, rtol=2**-11, atol=1e-7 * unit)
        torch.testing.assert_close(C_back, C, rtol=2**-11, atol=0)


def test_matches_and_score_are_kept_exactly(tmp_path):
    kept = result(2)
    pair_file.write(tmp_path / "pair.npz", kept)
    back = pair_file.read(tmp_path / "pair.npz")
    for part in ("xy_i", "xy_j", "confidence"):
        assert torch.equal(getattr(back.correspondences, part), getattr(kept.correspondences, part))
    assert back.score == kept.score


def test_single_precision_keeps_everything_exactly(tmp_path):
    kept = result(3)
    pair_file.write(tmp_path / "pair.npz", kept, Precision.SINGLE)
    for (X, C), (X_back, C_back) in zip(maps(kept), maps(pair_file.read(tmp_path / "pair.npz"))):
        assert torch.equal(X, X_back)
        assert torch.equal(C, C_back)


def test_points_that_are_not_finite_come_back_as_they_were_and_spoil_no_other(tmp_path):
    kept = result(4)
    X = kept.ij.X_1.clone()
    X[0, 0], X[1, 1], X[2] = torch.nan, -torch.inf, 0.0
    C = kept.ij.C_1 * 1e5
    pair_file.write(tmp_path / "pair.npz", replace(kept, ij=replace(kept.ij, X_1=X, C_1=C)))
    back = pair_file.read(tmp_path / "pair.npz").ij
    torch.testing.assert_close(back.X_1, X, rtol=2**-11, atol=1e-7, equal_nan=True)
    assert back.C_1.isfinite().all()
    assert back.C_1.max() == 65504


def test_a_pair_without_matches_is_kept_too(tmp_path):
    pair_file.write(tmp_path / "pair.npz", result(5, matches=0))
    assert pair_file.read(tmp_path / "pair.npz").correspondences.is_empty


@pytest.mark.parametrize("damage", ["cut", "byte", "empty", "text", "missing"])
def test_damage_is_noticed(tmp_path, damage):
    path = tmp_path / "pair.npz"
    pair_file.write(path, result(6))
    assert pair_file.is_sound(path)
    whole = path.read_bytes()
    spoiled = bytearray(whole)
    spoiled[len(whole) // 2] ^= 1
    content = {"cut": whole[: len(whole) // 2], "byte": bytes(spoiled), "empty": b"", "text": b"not a pair"}
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[damage])
    assert not pair_file.is_sound(path)
    assert pair_file.read(path) is None
