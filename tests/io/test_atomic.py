import pytest

from rilievo.errors import UserError
from rilievo.io.atomic import replacing, write_text


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "metrics.json"
    write_text(file, "old")
    with pytest.raises(KeyboardInterrupt):
        _break_off_writing(file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def _break_off_writing(file):
    with replacing(file) as temporary:
        temporary.write_text("half of the n")
        raise KeyboardInterrupt


def test_the_new_file_replaces_the_old_one(tmp_path):
    file = tmp_path / "new" / "metrics.json"
    write_text(file, "old")
    write_text(file, "néw")
    assert file.read_text(encoding="utf-8") == "néw"
    assert list(file.parent.iterdir()) == [file]


def test_a_folder_that_cannot_exist_is_the_users_to_mend(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        write_text(tmp_path / "file" / "below.txt", "")
