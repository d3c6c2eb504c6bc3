"""A straightened picture is the one that a pinhole at the same place would have taken."""

import pytest
import torch

from rilievo.cameras.camera import Cameras
from rilievo.cameras.undistort import pinhole_cameras, undistort_image
from rilievo.errors import UserError

from .cameras_at_hand import BARREL, FISHEYE, NONE, PHONE, random_cameras


def photo_of_the_sky(camera: Cameras) -> torch.Tensor:
    """Smooth colours that depend on the direction alone."""
    width, height = camera.sizes_px[0].tolist()
    directions = camera.view_rays(0, torch.float64).directions
    return (0.5 + 0.5 * torch.sin(3 * directions)).reshape(height, width, 3)


def large(lens: list[float], fisheye: bool) -> Cameras:
    return random_cameras([lens], [fisheye]).resized(factor=10.0)


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(("lens", "fisheye"), [(PHONE, False), (BARREL, False), (FISHEYE, True)])
def test_straightened_photo_shows_what_the_pinhole_sees(lens, fisheye, alpha):
    camera = large(lens, fisheye)
    pinhole = pinhole_cameras(camera, alpha)
    straight, valid = undistort_image(photo_of_the_sky(camera), camera, pinhole)
    seen = photo_of_the_sky(pinhole)
    error = (straight - seen)[valid].abs()
    assert error.mean() < 1e-4
    assert error.max() < 0.5 * 1.5 / float(camera.K[0, 0, 0])  # the photo's outermost half pixels repeat their centres
    assert (straight[~valid] == 0).all()


@pytest.mark.parametrize(("lens", "fisheye"), [(PHONE, False), (BARREL, False), (FISHEYE, True)])
def test_alpha_zero_leaves_no_empty_pixel_and_alpha_one_loses_no_photo(lens, fisheye):
    camera = large(lens, fisheye)
    image = photo_of_the_sky(camera)
    tight = pinhole_cameras(camera, 0.0)
    assert undistort_image(image, camera, tight)[1].all()
    whole = pinhole_cameras(camera, 1.0)
    assert not undistort_image(image, camera, whole)[1].all()
    pixels, _ = whole.project(0, (lambda r: r.at(torch.ones(len(r)).double()))(camera.view_rays(0, torch.float64)))
    assert (pixels >= 0).all()
    assert (pixels <= whole.sizes_px[0]).all()
    assert (tight.K[0, 0, 0] > whole.K[0, 0, 0]).all()


def test_a_pinhole_stays_what_it_is():
    camera = random_cameras([NONE], [False])
    K = camera.K.clone()
    K[:, 0, 1] = 0
    camera = Cameras.pinhole(camera.world_from_cam, K, camera.sizes_px)
    pinhole = pinhole_cameras(camera)
    assert (pinhole.K == camera.K).all()
    image = photo_of_the_sky(camera)
    straight, valid = undistort_image(image, camera, pinhole)
    assert valid.all()
    torch.testing.assert_close(straight, image, atol=1e-10, rtol=0)


def test_bytes_stay_bytes_and_labels_stay_labels():
    camera = large(PHONE, False)
    pinhole = pinhole_cameras(camera, 1.0)
    photo = (255 * photo_of_the_sky(camera)).round().to(torch.uint8)
    straight, valid = undistort_image(photo, camera, pinhole)
    assert straight.dtype == torch.uint8
    assert ((straight.double() / 255 - photo_of_the_sky(pinhole))[valid].abs() < 0.02).all()
    labels = torch.where(photo[..., 0] > photo[..., 0].median(), 200, 3).to(torch.uint8)
    chosen, valid = undistort_image(labels, camera, pinhole, mode="nearest")
    assert set(chosen[valid].unique().tolist()) == {3, 200}


def test_a_photo_of_another_size_is_refused():
    camera = large(PHONE, False)
    with pytest.raises(UserError, match="resize"):
        undistort_image(torch.zeros(5, 6, 3), camera, pinhole_cameras(camera))
