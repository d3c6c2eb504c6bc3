"""Pictures say what the numbers say."""

import numpy as np

from rilievo.viz.picture import LABEL_PX, depth_picture, false_color, grid, normal_picture


def test_false_colours_grow_lighter_with_the_number():
    luma = false_color(np.linspace(0, 1, 200)) @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(luma) > -0.8)  # rounding to bytes may lose a step, never more
    assert luma[-1] - luma[0] > 150


def test_nearer_is_lighter_and_nothing_is_black():
    depth = np.tile(np.linspace(1.0, 2.0, 50), (4, 1))
    opacity = np.ones_like(depth)
    opacity[0] = 0
    picture = depth_picture(depth, opacity)
    assert not picture[0].any()
    assert picture[1, 0].sum() > picture[1, -1].sum()
    assert not depth_picture(depth, np.zeros_like(depth)).any()


def test_depth_colours_do_not_depend_on_the_unit_of_length():
    depth = np.random.default_rng(0).uniform(1, 2, (8, 8))
    opacity = np.ones_like(depth)
    assert np.array_equal(depth_picture(depth, opacity), depth_picture(depth * 1000, opacity))


def test_a_normal_towards_x_is_red_above_grey():
    picture = normal_picture(np.array([[[1.0, 0.0, 0.0]]]), np.ones((1, 1)))
    assert picture[0, 0].tolist() == [255, 128, 128]


def test_a_grid_holds_every_picture_where_its_row_and_column_say():
    shades = [[np.full((10, 20, 3), 10 * r + c, np.uint8) for c in range(3)] for r in range(2)]
    sheet = grid(shades, labels=["rgb", "depth", "normal"], gap_px=4)
    assert sheet.shape == (LABEL_PX + 2 * 14 + 4, 3 * 24 + 4, 3)
    for r in range(2):
        for c in range(3):
            top, left = LABEL_PX + 4 + r * 14, 4 + c * 24
            assert np.array_equal(sheet[top : top + 10, left : left + 20], shades[r][c])
    assert sheet[:LABEL_PX].min() < 255  # the labels
