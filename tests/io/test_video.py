"""What is written as a video is what is read back, but for the losses of H.264."""

import struct

import numpy as np
import pytest

from rilievo.errors import UserError
from rilievo.io.video import read_video, write_video


def frames(height: int, width: int, count: int):
    rows, columns = np.mgrid[:height, :width]
    for i in range(count):
        yield np.stack([rows * 3, columns * 3, np.full_like(rows, 20 * i)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(48, 64), (47, 61), (1, 1)])
def test_frames_survive_but_for_small_losses(tmp_path, height, width):
    path = tmp_path / "turntable.mp4"
    write_video(path, frames(height, width, 6), fps=25.0)
    read = list(read_video(path))
    assert len(read) == 6
    for shown, stored in zip(frames(height, width, 6), read, strict=True):
        assert stored.shape == (height + height % 2, width + width % 2, 3)
        lost = stored[:height, :width].astype(float) - shown
        assert np.abs(lost).mean() < 4
    assert [p.name for p in tmp_path.iterdir()] == ["turntable.mp4"]


def test_the_index_comes_before_the_pictures(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, frames(32, 32, 3))
    stored = path.read_bytes()
    assert stored.index(b"moov") < stored.index(b"mdat")


def test_a_source_that_breaks_off_leaves_no_file(tmp_path):
    def breaking():
        yield from frames(32, 32, 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_video(tmp_path / "a.mp4", breaking())
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_told_in_a_sentence(tmp_path):
    with pytest.raises(UserError, match="no frames"):
        write_video(tmp_path / "a.mp4", [])
    with pytest.raises(UserError, match=r"\.mp4"):
        write_video(tmp_path / "a.gif", frames(8, 8, 1))
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(UserError, match="expected a video"):
        list(read_video(tmp_path / "text.mp4"))
    with pytest.raises(UserError, match="expected a video"):
        list(read_video(tmp_path / "absent.mp4"))


QUARTERS = {
    "upright": ((1, 0), (0, 1)),
    "clockwise": ((0, 1), (-1, 0)),
    "upside down": ((-1, 0), (0, -1)),
    "counterclockwise": ((0, -1), (1, 0)),
    "mirrored": ((-1, 0), (0, 1)),
}


@pytest.mark.parametrize("turn", QUARTERS)
def test_frames_of_a_phone_that_was_held_otherwise_are_upright(tmp_path, turn):
    """The file's track header says how to show what the sensor stored."""
    path = tmp_path / "phone.mp4"
    write_video(path, frames(32, 48, 2), crf=1)
    stored = next(iter(read_video(path)))
    (a, b), (c, d) = QUARTERS[turn]
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 44
    content[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    shown = next(iter(read_video(path)))
    expected = {
        "upright": stored,
        "clockwise": np.rot90(stored, -1),
        "upside down": np.rot90(stored, 2),
        "counterclockwise": np.rot90(stored, 1),
        "mirrored": stored[:, ::-1],
    }
    np.testing.assert_array_equal(shown, expected[turn])
