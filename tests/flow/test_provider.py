"""Flow methods by name: each finds a known motion of a textured picture."""

import json

import numpy as np
import pytest

from rilievo.errors import UserError
from rilievo.flow.provider import PROVIDERS, provider
from rilievo.flow.raft import padding

cv2 = pytest.importorskip("cv2")


def moved_texture(u: int, v: int) -> tuple[np.ndarray, np.ndarray]:
    """A random smooth texture, and the same after everything in it has moved by whole pixels."""
    noise = np.random.default_rng(3).random((96, 120, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    smooth = (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)
    return smooth[10:74, 12:108], smooth[10 - v : 74 - v, 12 - u : 108 - u]


@pytest.mark.parametrize("name", ["dis", "farneback", "lucas-kanade", "tvl1"])
def test_a_shift_is_found_within_a_tenth_of_a_pixel(name):
    if name == "tvl1":
        pytest.importorskip("skimage")
    first, second = moved_texture(3, -2)
    flow = provider(name)(first, second)
    assert flow.shape == (64, 96, 2)
    assert flow.dtype == np.float32
    error = np.linalg.norm(flow - np.array([3, -2]), axis=-1)[8:-8, 8:-8]
    assert np.median(error) < 0.1


def test_every_method_says_what_it_lacks_or_works():
    first, second = moved_texture(1, 0)
    for name in PROVIDERS:
        try:
            compute = provider(name)
        except UserError:
            with pytest.raises(UserError, match="pip install"):
                provider(name)
        else:
            assert np.isfinite(compute(first, second)).all()


def test_unknown_methods_and_missing_weights_are_told():
    with pytest.raises(UserError, match="lucas-kanade"):
        provider("psychic")
    with pytest.raises(UserError, match=r"raft|torchvision"):
        provider("raft")


def test_photos_of_two_sizes_are_refused():
    first, second = moved_texture(1, 0)
    with pytest.raises(UserError, match="96x64 and 95x64"):
        provider()(first, second[:, 1:])


@pytest.mark.golden
def test_padding_of_raft_is_the_published_one(shared):
    notes = json.loads((shared / "golden" / "dynamic" / "raft_notes.json").read_text())
    for name, example in notes["padding"]["examples"].items():
        size, mode = name.split("_")
        height, width = map(int, size.split("x"))
        assert list(padding(height, width, top_too=mode == "sintel")) == example["left_right_top_bottom"], name
