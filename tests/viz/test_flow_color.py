"""The colour circle of flow."""

import numpy as np
import pytest

from rilievo.viz.flow_color import color_wheel, direction_colors, flow_picture


def test_no_motion_is_white():
    assert (flow_picture(np.zeros((2, 3, 2))) == 255).all()


def test_opposite_directions_have_different_colors_and_equal_ones_the_same():
    flow = np.array([[[3.0, 0.0], [-3.0, 0.0], [3.0, 0.0]]])
    picture = flow_picture(flow)
    np.testing.assert_array_equal(picture[0, 0], picture[0, 2])
    assert np.abs(picture[0, 0].astype(int) - picture[0, 1]).max() > 100


def test_a_shared_scale_makes_slow_frames_paler():
    flow = np.full((1, 1, 2), 1.0)
    assert flow_picture(flow, longest_px=10.0).min() > flow_picture(flow).min()


@pytest.mark.golden
def test_published_pictures(shared):
    arrays = np.load(shared / "golden" / "dynamic" / "flow.npz")

    def near(picture, name):
        assert np.abs(picture.astype(int) - arrays[name]).max() <= 1, name

    np.testing.assert_array_equal(color_wheel(), arrays["viz/colorwheel"])
    field = arrays["viz/field"].astype(np.float64)
    near(flow_picture(field), "viz/rgb")
    near(flow_picture(field)[..., ::-1], "viz/bgr")
    near(flow_picture(np.clip(field, 0, 2)), "viz/rgb_clip2")
    near(flow_picture(arrays["flo/flow"].astype(np.float64)), "viz/rgb_random")
    near(direction_colors(arrays["viz/unnormalised_uv"].astype(np.float64)), "viz/rgb_direct_uv")
    near(flow_picture(np.zeros((*arrays["viz/zero_rgb"].shape[:2], 2))), "viz/zero_rgb")
