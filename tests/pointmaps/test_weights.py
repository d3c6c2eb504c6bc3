"""Where weights are looked for, and what is said when they are not there."""

import time
from pathlib import Path

import pytest

from rilievo.errors import UserError
from rilievo.pointmaps.weights import HUB_IDS, UNKNOWN_LICENCE, find_weights


@pytest.mark.parametrize("name", ["mast3r", HUB_IDS["dust3r"]])
def test_offline_the_sentence_names_the_hub_id_and_what_works_without(name, tmp_path, monkeypatch):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    start = time.monotonic()
    with pytest.raises(UserError) as caught:
        find_weights(name)
    assert time.monotonic() - start < 2
    hub_id = HUB_IDS.get(name, name)
    assert str(caught.value) == (
        f"weights {hub_id}: expected model.safetensors and config.json of that name in the Hugging Face cache, or a "
        "network to fetch them, got no model.safetensors in the local cache, and HF_HUB_OFFLINE forbids the network; "
        f"download them from https://huggingface.co/{hub_id} on a connected machine and pass their folder (or the "
        "official .pth) with --weights, or use --method sfm, which needs no weights"
    )


def test_cached_weights_are_found_without_the_network(tmp_path, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    asked = []

    def download(hub_id: str, name: str, local_files_only: bool = False) -> str:
        asked.append(local_files_only)
        return str(tmp_path / hub_id / name)

    monkeypatch.setattr(hub, "hf_hub_download", download)
    files = find_weights("mast3r")
    assert asked == [True, True]
    assert (files.state.name, files.config.name) == ("model.safetensors", "config.json")
    assert "Map-free" in files.licence


@pytest.mark.parametrize("failure", [ConnectionError("no route to host"), FileNotFoundError("404\nlong story")])
def test_a_failing_network_is_told_in_one_sentence(failure, monkeypatch):
    hub = pytest.importorskip("huggingface_hub")
    from huggingface_hub import constants
    from huggingface_hub.errors import LocalEntryNotFoundError

    def download(hub_id: str, name: str, local_files_only: bool = False) -> str:
        raise LocalEntryNotFoundError("not cached") if local_files_only else failure

    monkeypatch.setattr(hub, "hf_hub_download", download)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(UserError, match="--method sfm") as caught:
        find_weights("someone/something")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere.pth", "weights/nowhere.pth", "a/b/c", Path("naver/local")])
def test_a_path_that_is_not_there_is_no_hub_id(name):
    with pytest.raises(UserError, match="got nothing there; check the path"):
        find_weights(name)


def test_safetensors_need_their_config_beside_them(tmp_path):
    (tmp_path / "model.safetensors").touch()
    for given in (tmp_path, tmp_path / "model.safetensors"):
        with pytest.raises(UserError, match=r"got no config\.json"):
            find_weights(given)
    (tmp_path / "config.json").touch()
    assert find_weights(tmp_path).licence == UNKNOWN_LICENCE


def test_other_files_are_refused(tmp_path):
    (tmp_path / "weights.zip").touch()
    with pytest.raises(UserError, match=r"expected a \.pth file"):
        find_weights(tmp_path / "weights.zip")
