"""What is written into COLMAP's database does not depend on who was ready first."""

import numpy as np
import pycolmap
import pytest
from PIL import Image

from rilievo.sfm.align import lens_groups
from rilievo.sfm.features import FeatureSettings, extract, open_database, stored_name
from rilievo.sfm.photos import find_photos


def checkers(size: tuple[int, int], cells: int, seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 255, (cells, cells, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


@pytest.mark.parametrize("threads", [1, 2])
def test_photos_are_numbered_in_order_though_the_first_takes_longest(threads, tmp_path):
    shapes = [((800, 600), 200), ((96, 80), 9), ((96, 80), 9), ((800, 600), 150), ((96, 80), 9)]
    (tmp_path / "photos").mkdir()
    for i, (size, cells) in enumerate(shapes):
        checkers(size, cells, i).save(tmp_path / "photos" / f"{i}.png")
    found = find_photos(tmp_path / "photos")
    groups, beliefs = lens_groups(found, None)
    assert len(beliefs) == 2
    database = open_database(tmp_path / "work", found, FeatureSettings())
    assert [*extract(database, found, groups, beliefs, FeatureSettings(), threads)][-1] == len(shapes)
    with pycolmap.Database.open(database.path) as db:
        images = [db.read_image_with_name(stored_name(i, photo)) for i, photo in enumerate(found.photos)]
        assert [image.image_id for image in images] == [1, 3, 4, 2, 5]  # lens by lens
        assert [image.camera_id for image in images] == [1, 2, 2, 1, 2]
        assert all(len(db.read_keypoints(image.image_id)) for image in images)


def test_the_numbers_stay_when_an_interrupted_search_goes_on(tmp_path):
    for i in range(4):
        checkers((400, 300), 40, i).save(tmp_path / f"{i}.png")
    found = find_photos(tmp_path)
    groups, beliefs = lens_groups(found, None)
    database = open_database(tmp_path / "work", found, FeatureSettings())
    started = extract(database, found, groups, beliefs, FeatureSettings(), 1)
    next(started)
    started.close()
    with pycolmap.Database.open(database.path) as db:
        first = db.read_keypoints(1)
    assert [*extract(database, found, groups, beliefs, FeatureSettings(), 2)] == [2, 4]
    with pycolmap.Database.open(database.path) as db:
        assert db.num_images() == 4
        assert [len(db.read_keypoints(i)) > 0 for i in (1, 2, 3, 4)] == [True] * 4
        np.testing.assert_array_equal(db.read_keypoints(1), first)
