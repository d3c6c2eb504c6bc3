"""Depth and flow that lie beside photos: found by name, brought to their size, refused when they are no such thing."""

import numpy as np
import pytest
from PIL import Image

from rilievo.data.load import load_scene
from rilievo.errors import UserError

from .captures import edit

WIDTH, HEIGHT = 48, 40


@pytest.fixture
def depth():
    return np.random.default_rng(0).uniform(1, 5, (HEIGHT, WIDTH)).astype(np.float32)


@pytest.fixture
def clip(nerfstudio):
    """Twelve frames with times, the eighth of them held out."""

    def change(content):
        for i, frame in enumerate(content["frames"]):
            frame["time"] = i / 11
        for key in ("train_filenames", "val_filenames", "test_filenames"):
            content.pop(key)

    edit(nerfstudio, change)
    return nerfstudio


def save(path, values):
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".npz":
        np.savez(path, depth=values, other=np.zeros(3))
    else:
        np.save(path, values)


@pytest.mark.parametrize("file", ["depth_mono/003.npz", "depth_mono/003.npy", "depth/003.npz"])
def test_depth_has_its_photos_name(nerfstudio, depth, file):
    save(nerfstudio / file, depth)
    scene = load_scene(nerfstudio)
    np.testing.assert_array_equal(scene.depth(3), depth)
    assert scene.depth(4) is None
    np.testing.assert_array_equal(scene.subset([5, 3]).depth(1), depth)


def test_an_estimate_goes_before_a_measurement(nerfstudio, depth):
    save(nerfstudio / "depth_mono" / "003.npy", depth)
    save(nerfstudio / "depth" / "003.npy", 2 * depth)
    np.testing.assert_array_equal(load_scene(nerfstudio).depth(3), depth)
    assert "depth files: 1, in depth_mono/" in load_scene(nerfstudio).notes


def test_depth_that_the_file_lists_is_found_and_pictures_count_thousandths(nerfstudio):
    millimetres = np.random.default_rng(1).integers(1, 5000, (HEIGHT, WIDTH)).astype(np.uint16)
    (nerfstudio / "sensor").mkdir()
    Image.fromarray(millimetres).save(nerfstudio / "sensor" / "a.png")
    edit(nerfstudio, lambda c: c["frames"][3].update(depth_file_path="sensor/a.png"))
    np.testing.assert_allclose(load_scene(nerfstudio).depth(3), millimetres / 1000, rtol=1e-6)


def test_what_is_not_finite_and_positive_is_unknown(nerfstudio, depth):
    depth[:5], depth[5:10], depth[10:15] = np.nan, -1, np.inf
    save(nerfstudio / "depth" / "003.npy", depth)
    read = load_scene(nerfstudio).depth(3)
    assert not read[:15].any()
    np.testing.assert_array_equal(read[15:], depth[15:])


def test_depth_shrinks_with_its_photo(nerfstudio, depth):
    save(nerfstudio / "depth" / "003.npy", np.repeat(np.repeat(depth, 2, 0), 2, 1))
    np.testing.assert_array_equal(load_scene(nerfstudio).depth(3), depth)
    assert load_scene(nerfstudio, downscale=2).depth(3).shape == (HEIGHT // 2, WIDTH // 2)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.full((HEIGHT, WIDTH), np.nan), "finite numbers above 0, got none"),
        (np.ones((WIDTH, HEIGHT)), "the shape of its frame, 48x40 pixels, got 40x48"),
        (np.ones((HEIGHT, WIDTH, 3)), "one number per pixel"),
    ],
)
def test_depth_that_is_none_is_refused(nerfstudio, values, said):
    save(nerfstudio / "depth" / "003.npy", values)
    scene = load_scene(nerfstudio)
    with pytest.raises(UserError, match=said):
        scene.depth(3)


def test_a_damaged_and_a_missing_depth_file_are_named(nerfstudio):
    (nerfstudio / "depth").mkdir()
    (nerfstudio / "depth" / "003.npz").write_bytes(b"no archive")
    edit(nerfstudio, lambda c: c["frames"][4].update(depth_file_path="gone.npy"))
    scene = load_scene(nerfstudio)
    for view, name in ((3, "003.npz"), (4, "gone.npy")):
        with pytest.raises(UserError, match=f"{name}: expected a sound depth file"):
            scene.depth(view)


def test_flow_leads_to_the_next_frame_that_was_filmed_and_to_the_one_before(clip):
    for folder in ("flow_fwd", "flow_bwd"):
        (clip / folder).mkdir()
        for i in range(12):
            np.save(clip / folder / f"{i:03d}.npy", np.zeros((HEIGHT, WIDTH, 2)))
    scene = load_scene(clip)
    assert 8 in scene.test_views
    flows = scene.flow_files
    assert flows[7] == {
        "images/008.png": clip / "flow_fwd" / "007.npy",
        "images/006.png": clip / "flow_bwd" / "007.npy",
    }
    assert list(flows[0]) == ["images/001.png"]
    assert list(flows[11]) == ["images/010.png"]
    assert scene.subset([7]).flow_files == (flows[7],)
    assert {"a clip: 12 moments", "flow files: 22"} <= set(scene.notes)


def test_photos_without_times_have_no_flow(nerfstudio):
    (nerfstudio / "flow_fwd").mkdir()
    np.save(nerfstudio / "flow_fwd" / "003.npy", np.zeros((HEIGHT, WIDTH, 2)))
    assert load_scene(nerfstudio).flow_files is None


def test_a_test_view_has_the_depth_that_is_listed_and_not_its_namesakes(shared):
    scene = load_scene(shared / "scenes" / "dynamic", verify=False)
    folder = shared / "scenes" / "dynamic"
    for i in (scene.train_views[3], scene.test_views[3]):
        parent = "depth_mono" if i in scene.train_views else "test_depth"
        assert scene.depth_files[i].path.parent == folder / parent
        assert (scene.depth(i) > 0).all()
    links = scene.flow_files[scene.train_views[3]]
    assert {path.parent.name: name for name, path in links.items()} == {
        "flow_fwd": "images/004.png",
        "flow_bwd": "images/002.png",
    }
