"""Which views are held out: the capture's choice, the user's, or every eighth, and told in each case."""

import pytest

from rilievo.data.convert import convert
from rilievo.data.load import load_scene

from .captures import ball_scene, edit


def without_lists(content):
    for key in ("train_filenames", "val_filenames", "test_filenames"):
        content.pop(key)


def told(scene) -> str:
    """What the notes say of it."""
    (note,) = (note for note in scene.notes if note.startswith("held out"))
    return note


def test_every_eighth_photo_by_name_is_held_out_where_nobody_says_otherwise(nerfstudio):
    def forget(content):
        without_lists(content)
        content["frames"].reverse()

    edit(nerfstudio, forget)
    assert load_scene(nerfstudio).test_views == (0, 8)
    assert load_scene(nerfstudio, holdout=5).test_views == (0, 5, 10)
    assert load_scene(nerfstudio, holdout=0).test_views == ()


def test_lists_of_filenames_win_over_the_habit(nerfstudio):
    names = [f"images/{i:03d}.png" for i in range(12)]
    edit(nerfstudio, lambda c: c.update(train_filenames=names[:7], test_filenames=names[9:], val_filenames=names[7:9]))
    scene = load_scene(nerfstudio)
    assert scene.names == tuple(names[:7] + names[9:])
    assert scene.test_views == (7, 8, 9)


def test_whose_choice_it_is_is_told(nerfstudio):
    assert "the capture's own 2 test views" in told(load_scene(nerfstudio))
    edit(nerfstudio, without_lists)
    assert told(load_scene(nerfstudio)) == "held out: 2 of 12 views, one in 8 by name; --holdout 0 trains on all"
    assert told(load_scene(nerfstudio, holdout=3)) == "held out: 4 of 12 views, one in 3 by name"
    assert told(load_scene(nerfstudio, holdout=0)) == "held out: none"


@pytest.mark.parametrize(("holdout", "expected"), [(None, ()), (5, (0, 5, 10)), (0, ())])
def test_photos_that_are_all_listed_for_training_train_unless_the_user_says_otherwise(tmp_path, holdout, expected):
    folder = convert(ball_scene(), tmp_path / "capture", "blender")
    for name in ("test", "val"):
        (folder / f"transforms_{name}.json").unlink(missing_ok=True)
    scene = load_scene(folder, holdout=holdout)
    assert scene.test_views == tuple(i for i in expected if i < len(scene))
    assert told(scene).startswith("held out: none") == (not expected)
