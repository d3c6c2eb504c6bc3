"""What masks mean: taken from the layout where it says so, from the user where he does, and told."""

import numpy as np
import pytest

from rilievo.data.convert import convert
from rilievo.data.load import load_scene
from rilievo.data.scene import MaskMeaning
from rilievo.errors import UserError
from rilievo.io.image import write_image

from .captures import ball_coverage, ball_scene, edit


def test_a_mask_of_another_size_is_refused_with_both_sizes(nerfstudio):
    for i in range(12):
        write_image(nerfstudio / "masks" / f"{i:03d}.png", np.zeros((7, 9) if i == 5 else (40, 48), np.uint8))
    with pytest.raises(UserError, match=r"48x40.*9x7"):
        load_scene(nerfstudio)


def test_object_masks_for_some_photos_only_are_refused(nerfstudio):
    write_image(nerfstudio / "masks" / "000.png", np.zeros((40, 48), np.uint8))
    with pytest.raises(UserError, match=r"one per image.*1 for 12"):
        load_scene(nerfstudio)
    scene = load_scene(nerfstudio, mask_meaning=MaskMeaning.IGNORE)
    assert scene.coverage[0].max() == 0
    assert scene.coverage[1].min() == 255


def test_masks_that_match_no_photo_are_refused(nerfstudio):
    write_image(nerfstudio / "masks" / "something.png", np.zeros((40, 48), np.uint8))
    with pytest.raises(UserError, match="none of which matches"):
        load_scene(nerfstudio)


def test_a_masks_folder_is_taken_as_object_and_told(tmp_path):
    folder = convert(ball_scene(), tmp_path / "capture", "colmap")
    scene = load_scene(folder)
    assert scene.mask_meaning is MaskMeaning.OBJECT
    assert any("--mask-meaning ignore" in note for note in scene.notes)
    asked = load_scene(folder, mask_meaning=MaskMeaning.IGNORE)
    assert asked.mask_meaning is MaskMeaning.IGNORE
    assert not any("--mask-meaning" in note for note in asked.notes)


@pytest.mark.parametrize("name", ["mask/{}.png", "masks/{}.png", "masks/{}.png.png"])
def test_masks_are_found_by_their_photos_name(nerfstudio, name):
    expected = ball_scene()
    for i in range(12):
        write_image(nerfstudio / name.format(f"{i:03d}"), ball_coverage(expected.cameras, i))
    scene = load_scene(nerfstudio)
    for i in range(12):
        np.testing.assert_array_equal(scene.coverage[i], expected.coverage[i])


def test_a_mask_path_means_ignore_by_the_formats_definition(tmp_path):
    folder = convert(ball_scene(meaning=MaskMeaning.IGNORE), tmp_path / "capture", "nerfstudio")
    scene = load_scene(folder)
    assert scene.mask_meaning is MaskMeaning.IGNORE
    edit(folder, lambda c: c.update(mask_meaning="object"))
    assert load_scene(folder).mask_meaning is MaskMeaning.OBJECT


def as_clip(folder, **changes):
    """Give every frame a time, and change what the file says."""

    def change(content):
        for i, frame in enumerate(content["frames"]):
            frame["time"] = i / 11
        content.update(changes)

    edit(folder, change)


def masked_clip(folder):
    """A clip of 12 photos with a folder of masks."""
    convert(ball_scene(meaning=None), folder, "nerfstudio")
    as_clip(folder)
    expected = ball_scene()
    for i in range(12):
        write_image(folder / f"masks/{i:03d}.png", ball_coverage(expected.cameras, i))
    return expected


def test_masks_of_a_clip_may_say_what_moves_and_then_cover_nothing(tmp_path):
    expected = masked_clip(tmp_path / "clip")
    assert any("--mask-meaning moving" in note for note in load_scene(tmp_path / "clip").notes)
    scene = load_scene(tmp_path / "clip", mask_meaning=MaskMeaning.MOVING)
    assert scene.coverage is None
    assert scene.mask_meaning is None
    for i in range(12):
        np.testing.assert_array_equal(scene.moving[i], expected.coverage[i])


def test_a_clip_without_some_masks_is_opened_without_any(tmp_path):
    masked_clip(tmp_path / "clip")
    (tmp_path / "clip" / "masks" / "005.png").unlink()
    scene = load_scene(tmp_path / "clip", mask_meaning=MaskMeaning.MOVING)
    assert scene.moving is None
    assert any("1 frames have no mask (images/005.png)" in note for note in scene.notes)


def test_test_views_need_no_mask_of_what_moves(tmp_path):
    masked_clip(tmp_path / "clip")
    names = [f"images/{i:03d}.png" for i in range(12)]
    edit(tmp_path / "clip", lambda c: c.update(train_filenames=names[:11], test_filenames=names[11:]))
    (tmp_path / "clip" / "masks" / "011.png").unlink()
    assert load_scene(tmp_path / "clip", mask_meaning=MaskMeaning.MOVING).moving is not None


def test_alpha_may_say_what_moves(tmp_path):
    folder = convert(ball_scene(), tmp_path / "clip", "nerfstudio")
    as_clip(folder)
    scene = load_scene(folder, mask_meaning=MaskMeaning.MOVING)
    assert scene.coverage is None
    np.testing.assert_array_equal(scene.moving[3], ball_scene().coverage[3])


def test_a_file_may_say_that_its_masks_mark_what_moves(tmp_path):
    folder = convert(ball_scene(meaning=MaskMeaning.IGNORE), tmp_path / "clip", "nerfstudio")
    as_clip(folder, mask_meaning="moving")
    assert load_scene(folder).moving is not None


def test_nothing_moves_in_photos_without_times(tmp_path):
    folder = convert(ball_scene(meaning=MaskMeaning.IGNORE), tmp_path / "photos", "nerfstudio")
    with pytest.raises(UserError, match="--mask-meaning moving: expected a clip"):
        load_scene(folder, mask_meaning=MaskMeaning.MOVING)


def test_what_moves_is_kept_in_the_scene_folder(tmp_path):
    expected = masked_clip(tmp_path / "clip")
    scene = load_scene(tmp_path / "clip", mask_meaning=MaskMeaning.MOVING)
    kept = load_scene(convert(scene, tmp_path / "kept", "nerfstudio"))
    np.testing.assert_array_equal(kept.moving[3], expected.coverage[3])
    np.testing.assert_array_equal(kept.times, scene.times)
