"""Matching again in larger pictures: what is found is nearer to the truth, and the masks still count."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rilievo.cli import main
from rilievo.geometry import se3, sim3
from rilievo.matching.correspondences import MatchingConfig
from rilievo.matching.pair_result import Correspondences, Descriptors, PairPrediction
from rilievo.pipelines.fine_matching import FineMatcher, FineMatching, carried, thinned
from rilievo.pipelines.network_photos import prepare_photos
from rilievo.pipelines.pair_results import matched
from rilievo.pointmaps.photo import prepare_file
from rilievo.sfm.photos import find_photos

from .asked import assert_one_sentence, errors_of, told_by
from .oracle import ENLARGED, FEATURES, REACH, OraclePredictor, room_depth, round_room

SIZE_HW = (48, 64)
SHADES = 40


class PaintedPredictor:
    """Knows a round room, and reads off the photos' paint what part of them it is shown: red counts columns, green
    rows, blue photos."""

    has_descriptors, key = True, "painted"

    def __init__(self, world) -> None:
        self.world = world

    def prepare(self, path: Path):
        return prepare_file(path, max(SIZE_HW))

    def predict(self, photos, pairs):
        seen = [self._look(photo) for photo in photos]
        for i, j in pairs:
            yield (i, j), self._said(seen[i], seen[j])

    def _look(self, photo):
        """Which photo it is, and the pixels [h, w, 2] of the photo (centres at +0.5) that it shows."""
        red, green, blue = (photo.pixels[..., k].astype(float) for k in range(3))
        h, w = red.shape
        column, row = (np.polyfit(np.arange(2, n - 2), c[2:-2], 1) for n, c in ((w, red.mean(0)), (h, green.mean(1))))
        x, y = np.polyval(column, np.arange(w)) + 0.5, np.polyval(row, np.arange(h)) + 0.5
        return round(blue.mean() / SHADES), torch.from_numpy(np.stack(np.meshgrid(x, y), -1))

    def points(self, v, pixels):
        """World points seen at pixels of photo v."""
        K, pose = self.world.photo_K, self.world.world_from_cam[v]
        flat = torch.cat((pixels, torch.ones_like(pixels[..., :1])), -1) @ torch.linalg.inv(K).mT
        directions = flat @ pose[:3, :3].mT
        return pose[:3, 3] + room_depth(pose[:3, 3], directions)[..., None] * directions

    def shown(self, P, v, pixels):
        """Which points P are seen within the part of photo v that `pixels` are."""
        pose = self.world.world_from_cam[v]
        away = P - pose[:3, 3]
        X = sim3.apply(se3.inverse(pose), P)
        at = X @ self.world.photo_K.mT
        at = at[..., :2] / at[..., 2:].clamp_min(1e-6)
        low, high = pixels[0, 0], pixels[-1, -1]
        inside = (X[..., 2] > 0) & (at > low).all(-1) & (at < high).all(-1)
        return inside & ((room_depth(pose[:3, 3], away) - 1).abs() < 0.02)

    def _said(self, one, two):
        P = [self.points(*view) for view in (one, two)]
        there = se3.inverse(self.world.world_from_cam[one[0]])
        both = self.shown(P[0], *two), self.shown(P[1], *one)
        W = torch.randn(3, FEATURES // 2, generator=torch.Generator().manual_seed(7), dtype=torch.float64) / REACH
        described = []
        for points, seen in zip(P, both):
            phase = points @ W
            D = torch.cat((phase.cos(), phase.sin()), -1) / (FEATURES / 2) ** 0.5
            described.append(Descriptors(D.float(), torch.where(seen, 10.0, 0.5)))
        X = [sim3.apply(there, points).float() for points in P]
        sure = torch.full(X[0].shape[:2], 8.0), torch.where(both[1], 8.0, 1.0)
        return PairPrediction(X[0], sure[0], X[1], sure[1], *described)


def paint(world, folder: Path, masks: Path | None = None) -> Path:
    """Photos that say where each of their pixels is, and masks of their left three quarters."""
    h, w = (ENLARGED * side for side in SIZE_HW)
    for path in (folder, masks):
        if path is not None:
            path.mkdir(parents=True)
    for v in range(len(world.depth)):
        column, row = np.meshgrid(np.arange(w), np.arange(h))
        Image.fromarray(np.stack([column, row, np.full_like(row, SHADES * v)], -1).astype(np.uint8)).save(
            folder / f"{v:03d}.png"
        )
        if masks is not None:
            Image.fromarray((255 * (column < 0.75 * w)).astype(np.uint8)).save(masks / f"{v:03d}.png")
    return folder


@pytest.fixture(scope="module")
def room():
    return round_room(3, SIZE_HW, turn=0.5)


def compared(room, tmp_path, *, masked: bool):
    """Coarse and fine matches of photos 0 and 1, the photos as seen, and who saw them."""
    masks = tmp_path / "seen" if masked else None
    photos, _ = prepare_photos(find_photos(paint(room, tmp_path / "photos", masks), masks).photos, _prepare)
    predictor, matching = PaintedPredictor(room), MatchingConfig(step=4)
    said = dict(predictor.predict([photo.prepared for photo in photos], [(0, 1), (1, 0)]))
    coarse = matched(said[0, 1], said[1, 0], (photos[0].mask, photos[1].mask), matching)
    fine = FineMatcher(photos, predictor, matching, FineMatching(ENLARGED * SIZE_HW[1]))(0, 1, coarse)
    return coarse, fine, photos, predictor


def _prepare(path):
    return prepare_file(path, max(SIZE_HW))


def misses(matches, predictor):
    """Distances in px of the small pictures from where the points of photo 0 are in photo 1."""
    P = predictor.points(0, ENLARGED * (matches.xy_i.double() + 0.5))
    at = sim3.apply(se3.inverse(predictor.world.world_from_cam[1]), P) @ predictor.world.photo_K.mT
    return (at[:, :2] / at[:, 2:] / ENLARGED - 0.5 - matches.xy_j).norm(dim=-1)


def test_fine_matches_are_nearer_to_the_truth_than_pixels_allow(room, tmp_path):
    coarse, fine, _, predictor = compared(room, tmp_path, masked=False)
    assert len(fine) >= 0.5 * len(coarse)
    blocks = (SIZE_HW[0] // 2) * (SIZE_HW[1] // 2)
    assert len(fine) <= blocks
    assert misses(fine, predictor).median() < 0.6 * misses(coarse, predictor).median()


def test_fine_matches_stay_on_the_masks(room, tmp_path):
    _, fine, photos, _ = compared(room, tmp_path, masked=True)
    assert len(fine) > 50
    for xy, photo in ((fine.xy_i, photos[0]), (fine.xy_j, photos[1])):
        column, row = (xy + 0.499).floor().long().unbind(-1)
        assert photo.mask[row, column].all()


def test_photos_no_larger_than_the_network_sees_them_keep_their_matches(room, tmp_path):
    photos, _ = prepare_photos(find_photos(paint(room, tmp_path / "photos")).photos, _prepare)
    coarse = Correspondences(torch.rand(20, 2), torch.rand(20, 2), torch.rand(20))
    finer = FineMatcher(photos, PaintedPredictor(room), MatchingConfig(), FineMatching(max(SIZE_HW)))
    assert finer(0, 1, coarse) is coarse


def test_of_each_block_the_surest_match_is_kept_in_order():
    xy = torch.tensor([[0.2, 0.1], [1.9, 1.0], [2.1, 0.0], [3.9, 1.9]])
    kept = thinned(Correspondences(xy, xy, torch.tensor([1.0, 3.0, 2.0, 2.0])), step=4)
    torch.testing.assert_close(kept.xy_i, xy[[1, 2]])


def test_pixel_centres_stay_pixel_centres_when_pictures_grow():
    doubled = torch.diag(torch.tensor([2.0, 2.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(carried(torch.tensor([[0.0, 3.0]]), doubled), torch.tensor([[0.5, 6.5]]))


def test_fine_matches_lead_to_cameras(room, tmp_path, monkeypatch, capsys):
    photos = paint(room, tmp_path / "photos")
    told_by(monkeypatch, PaintedPredictor(room))
    words = ["align", str(photos), "-o", str(tmp_path / "out"), "--method", "mast3r", "--fine-side", "192"]
    assert main(words) == 0
    assert "3 of 3 photos aligned" in capsys.readouterr().out
    _, errors = errors_of(tmp_path / "out", room)
    assert errors.rotation_deg <= 1
    assert errors.center_percent <= 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--method", "mast3r", "--fine-side", "32"], "--fine-side: expected at least 64, got 32"),
        (["--method", "dust3r", "--fine-side", "192"], "--fine-side: expected --method mast3r, got --method dust3r"),
    ],
)
def test_a_side_that_cannot_be_is_answered_with_one_sentence(room, tmp_path, monkeypatch, capsys, words, said):
    told_by(monkeypatch, OraclePredictor(room))
    assert main(["align", str(paint(room, tmp_path / "photos")), "-o", str(tmp_path / "out"), *words]) == 2
    assert_one_sentence(capsys, said)
