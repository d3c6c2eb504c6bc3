"""The preview shows the ball where the cameras see it."""

import numpy as np
import pytest
from PIL import Image

from rilievo.data.preview import WIDTH, _silhouette, preview_picture, write_preview

from .captures import BALL, ball_scene


def test_lines_of_sight_touch_the_ball_along_its_silhouette():
    scene = ball_scene()
    for i in range(len(scene)):
        eye, rim = scene.cameras.centers[i].numpy(), _silhouette(scene, i)
        np.testing.assert_allclose(np.linalg.norm(rim - BALL, axis=1), scene.region.radius)
        np.testing.assert_allclose(((rim - eye) * (rim - BALL)).sum(1), 0, atol=1e-12)


@pytest.mark.parametrize("normalised", [False, True])
def test_a_preview_is_a_picture_with_the_ball_in_red(tmp_path, normalised):
    scene = ball_scene()
    write_preview(scene.normalised() if normalised else scene, tmp_path / "preview.png")
    with Image.open(tmp_path / "preview.png") as image:
        assert image.width == WIDTH
        pixels = np.asarray(image).astype(int)
    assert ((pixels[..., 0] > 180) & (pixels[..., 1] < 70) & (pixels[..., 2] < 70)).sum() > 500


def test_a_single_photo_without_points_has_a_preview():
    scene = ball_scene(n=1, meaning=None)
    assert preview_picture(scene).shape[2] == 3
