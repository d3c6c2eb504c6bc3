"""Windows that are cut out of large photos."""

import pytest
import torch

from rilievo.errors import UserError
from rilievo.matching.windows import Windows


@pytest.mark.parametrize("size", [(768, 1024), (1200, 900), (700, 700), (513, 1000), (512, 384), (3000, 4000)])
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5])
def test_tiles_cover_the_photo_and_overlap_as_asked(size, overlap):
    tiles = Windows.tiling(size, 512, overlap)
    covered = torch.zeros(size, dtype=torch.bool)
    for left, top, right, bottom in tiles.corners:
        covered[top:bottom, left:right] = True
    assert covered.all()
    assert (tiles.extent % 16 == 0).all()
    for axis in (0, 1):
        starts = tiles.low[:, axis].unique()
        assert (starts.diff() <= float(tiles.extent[0, axis]) * (1 - overlap) + 1).all()


@pytest.mark.parametrize("shape", [None, (384, 512), (512, 384)])
def test_windows_about_any_place_lie_within_the_photo_in_one_shape(shape):
    center = torch.tensor([[175.0, 140], [1000, 750], [46, 200], [356, 292]], dtype=torch.float64)
    extent = torch.tensor([[450.0, 320], [1000, 700], [87, 397], [512, 384]], dtype=torch.float64)
    windows = Windows.around(center, extent, (900, 1200), shape)
    assert (windows.low >= 0).all()
    assert (windows.high <= torch.tensor([1200, 900])).all()
    if shape:
        assert (windows.extent == torch.tensor(shape[::-1])).all()
    else:
        ratio = windows.extent.amin(dim=1) / windows.extent.amax(dim=1)
        assert ((ratio - 0.7525).abs() < 0.02).all()
        assert ((windows.extent[:, 0] >= windows.extent[:, 1]) == (extent[:, 0] >= extent[:, 1])).all()


def test_a_window_well_inside_the_photo_stays_about_its_middle():
    center = torch.tensor([[300.0, 400.0]], dtype=torch.float64)
    window = Windows.around(center, torch.tensor([[200.0, 150.0]], dtype=torch.float64), (900, 1200))
    assert ((window.center - center).abs() <= 1).all()


def test_positions_are_held_up_to_the_last_pixel_and_seen_from_the_middle():
    window = Windows(torch.tensor([[10, 20]]), torch.tensor([[30, 30]]))
    xy = torch.tensor([[10.0, 20.0], [29.9, 29.9], [30.0, 25.0], [20.0, 19.9]])
    assert window.hold(xy).tolist() == [[True, True, False, False]]
    torch.testing.assert_close(window.offsets(xy)[0, 0], torch.tensor([-0.5, -0.5], dtype=torch.float64))
    assert window.corners == [(10, 20, 30, 30)]


def test_photos_smaller_than_their_windows_are_refused():
    with pytest.raises(UserError, match="crops of a 320x240 photo"):
        Windows.tiling((240, 320), 512, 0.5)
    with pytest.raises(UserError, match="at most its size"):
        Windows.around(torch.zeros(1, 2), torch.ones(1, 2), (600, 600), (512, 700))
    with pytest.raises(UserError, match="overlap"):
        Windows.tiling((768, 1024), 512, 1.0)


@pytest.mark.golden
def test_tiles_are_the_published_ones(published_crops):
    assert published_crops["grids"]
    for name, expected in published_crops["grids"].items():
        width, height = (int(side) for side in name.split("x"))
        tiles = Windows.tiling((height, width), 512, 0.5)
        assert [list(corners) for corners in tiles.corners] == expected["raw_ltrb"], name
        shaped = Windows.around(tiles.center, tiles.extent, (height, width))
        assert [list(corners) for corners in shaped.corners] == expected["norm_ltrb"], name
