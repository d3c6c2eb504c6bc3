"""Pickles of arrays are read; pickles that run something are not."""

import pickle

import numpy as np
import pytest

from rilievo.errors import UserError
from rilievo.io.array_pickle import read_array_pickle


class Evil:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_arrays_survive(tmp_path, protocol):
    content = [np.arange(6, dtype=np.float32).reshape(2, 3), {"f": np.float64(2.5), "name": "a"}]
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol))
    read = read_array_pickle(tmp_path / "a.pkl")
    np.testing.assert_array_equal(read[0], content[0])
    assert read[1] == content[1]


def test_a_pickle_that_calls_something_is_refused(tmp_path, capsys):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UserError, match=r"builtins\.print"):
        read_array_pickle(tmp_path / "a.pkl")
    assert capsys.readouterr().out == ""


def test_a_missing_or_cut_file_is_told(tmp_path):
    with pytest.raises(UserError, match="nothing there"):
        read_array_pickle(tmp_path / "a.pkl")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(np.arange(100))[:40])
    with pytest.raises(UserError, match="NumPy arrays alone"):
        read_array_pickle(tmp_path / "a.pkl")
