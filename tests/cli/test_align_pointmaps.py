"""`rilievo align --method mast3r|dust3r` with networks of a few thousand weights, and the sentences for wrong ones."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rilievo.cli import main
from rilievo.data.load import load_scene
from rilievo.pipelines import pair_results
from rilievo.pointmaps.config import DptConfig

NAMES = ("000", "001", "002")


@pytest.fixture(scope="module")
def photos(shared, tmp_path_factory) -> Path:
    """Three small photos, one of them upright."""
    folder = tmp_path_factory.mktemp("photos")
    for name in NAMES:
        image = Image.open(shared / "scenes" / "room_photos" / "images" / f"{name}.png").convert("RGB")
        image = image.resize((192, 144))
        (image.crop((0, 0, 108, 144)) if name == "001" else image).save(folder / f"{name}.png")
    return folder


def constructor(stored) -> str:
    """The text that a checkpoint of these weights would hold."""
    config = json.loads(str(stored["config_json"]))
    words = {"head_type", "output_mode", "pos_embed"}
    arguments = [
        f"{key}={value!r}" if key in words else f"{key}={value}"
        for key, value in config.items()
        if key not in {"cls", "dpt", "note"}
    ]
    return f"{config['cls']}({', '.join(arguments)})"


@pytest.fixture
def checkpoint(shared, tmp_path, monkeypatch):
    """Writes a stored tiny network as its authors would have published it."""

    def write(name: str) -> Path:
        with np.load(shared / "golden" / "mast3r" / f"model_tiny_{name}.npz") as stored:
            text = constructor(stored)
            dpt = json.loads(str(stored["config_json"])).get("dpt")
            state = {key[3:]: torch.from_numpy(stored[key]) for key in stored.files if key.startswith("sd/")}
        if dpt is not None:  # published heads are fixed in size, and too large for a test
            tiny = DptConfig(tuple(dpt["hooks"]), tuple(dpt["layer_dims"]), dpt["feature_dim"], dpt["last_dim"])
            monkeypatch.setattr(DptConfig, "published", staticmethod(lambda decoder_depth: tiny))
        path = tmp_path / f"{name}.pth"
        torch.save({"args": argparse.Namespace(model=text), "model": state}, path)
        return path

    return write


def errors(capsys) -> list[str]:
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return [line for line in told.splitlines() if line.startswith("error: ")]


@pytest.mark.golden
@pytest.mark.parametrize(
    ("method", "network"), [("mast3r", "mast3r"), ("dust3r", "dust3r_linear"), ("dust3r", "dust3r_dpt")]
)
def test_a_tiny_network_goes_all_the_way_to_a_finite_scene_or_one_sentence(
    photos, checkpoint, tmp_path, capsys, monkeypatch, method, network
):
    monkeypatch.setattr(pair_results, "CONFIDENT", 0.0)  # weights that learned nothing are sure of nothing
    words = ["--method", method, "--weights", str(checkpoint(network)), "--device", "cpu"]
    code = main(["align", str(photos), "-o", str(tmp_path / "out"), *words])
    said = capsys.readouterr()
    assert "licence: not known for this file" in said.out
    assert "graph complete; 3 photos, 3 pairs: at most" in said.out
    if code == 2:
        assert len([line for line in said.err.splitlines() if line.startswith("error: ")]) == 1
        assert "Traceback" not in said.err
        assert not (tmp_path / "out" / "transforms.json").exists()
    else:
        assert code == 0
        scene = load_scene(tmp_path / "out")
        assert scene.cameras.world_from_cam.isfinite().all()
        assert scene.cameras.K.isfinite().all()


@pytest.mark.parametrize("method", ["mast3r", "dust3r"])
def test_weights_that_are_not_here_are_told_where_to_get_and_what_works_without(
    photos, tmp_path, capsys, monkeypatch, method
):
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    assert main(["align", str(photos), "-o", str(tmp_path / "out"), "--method", method]) == 2
    [told] = errors(capsys)
    name = {"mast3r": "naver/MASt3R_ViTLarge", "dust3r": "naver/DUSt3R_ViTLarge"}[method]
    assert told.startswith(f"error: weights {name}")
    assert "got no model.safetensors in the local cache" in told
    assert told.endswith("or use --method sfm, which needs no weights")
    assert not (tmp_path / "out" / "transforms.json").exists()


def not_there(folder: Path, checkpoint) -> tuple[str, str]:
    return str(folder / "weights.pth"), "expected a .pth file"


def something_else(folder: Path, checkpoint) -> tuple[str, str]:
    torch.save({"weight": torch.zeros(3)}, folder / "other.pth")
    return str(folder / "other.pth"), "an official MASt3R or DUSt3R checkpoint"


def cut_short(folder: Path, checkpoint) -> tuple[str, str]:
    whole = checkpoint("dust3r_linear").read_bytes()
    (folder / "short.pth").write_bytes(whole[: len(whole) // 2])
    return str(folder / "short.pth"), "a damaged file"


def without_descriptors(folder: Path, checkpoint) -> tuple[str, str]:
    return str(checkpoint("dust3r_linear")), "say --method dust3r"


@pytest.mark.golden
@pytest.mark.parametrize("spoil", [not_there, something_else, cut_short, without_descriptors], ids=lambda f: f.__name__)
def test_wrong_weights_are_answered_with_one_sentence(photos, checkpoint, tmp_path, capsys, spoil):
    weights, said = spoil(tmp_path, checkpoint)
    words = ["--method", "mast3r", "--weights", weights]
    assert main(["align", str(photos), "-o", str(tmp_path / "out"), *words]) == 2
    [told] = errors(capsys)
    assert said in told
    assert not (tmp_path / "out" / "transforms.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--weights", "x.pth"], "--weights: expected --method mast3r or dust3r"),
        (["--bfloat16"], "--bfloat16: expected --method mast3r or dust3r"),
        (["--method", "mast3r", "--mapper", "global"], "--mapper: expected --method sfm"),
        (["--method", "dust3r", "--turntable"], "--turntable: expected --method sfm or mast3r"),
    ],
)
def test_a_flag_of_another_method_is_refused(photos, tmp_path, capsys, words, said):
    assert main(["align", str(photos), "-o", str(tmp_path / "out"), *words]) == 2
    [told] = errors(capsys)
    assert said in told


@pytest.mark.golden
def test_an_unknown_graph_is_refused(photos, checkpoint, tmp_path, capsys):
    words = ["--method", "dust3r", "--weights", str(checkpoint("dust3r_linear")), "--graph", "star"]
    assert main(["align", str(photos), "-o", str(tmp_path / "out"), *words]) == 2
    [told] = errors(capsys)
    assert "complete, swin-W" in told
