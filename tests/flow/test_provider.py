"""Flow methods by name: each finds a known motion of a textured picture."""

import json
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

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


class Shifting(torch.nn.Module):
    """A network of PTLFlow's kind that finds three pixels to the left wherever blue turns into red."""

    output_stride = 8

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, given):
        first = given["images"][0, 0]
        left = torch.where(first[0] > first[2], -3.0, 0.0)  # BGR: the first channel is blue
        return {"flows": torch.stack((left, torch.zeros_like(left)))[None, None]}


class Padding:
    """What PTLFlow's adapter does, with padding to the right and below."""

    def __init__(self, output_stride, input_size):
        self.stride, self.size = output_stride, input_size

    def prepare_inputs(self, images):
        height, width = self.size
        planes = torch.stack([torch.from_numpy(image) for image in images]).permute(0, 3, 1, 2)[None].float() / 255
        return {"images": F.pad(planes, (0, -width % self.stride, 0, -height % self.stride))}

    def unscale(self, found):
        height, width = self.size
        assert found["images"].shape[-1] % self.stride == 0
        return {"flows": found["flows"][..., :height, :width]}


@pytest.fixture
def ptlflow(monkeypatch):
    def get_model(name):
        if name != "flownet2":
            raise ValueError(f"Unknown model name: {name}")
        return Shifting()

    monkeypatch.setitem(sys.modules, "ptlflow", SimpleNamespace(get_model=get_model))
    monkeypatch.setitem(sys.modules, "ptlflow.utils", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "ptlflow.utils.io_adapter", SimpleNamespace(IOAdapter=Padding))


def test_a_network_of_ptlflow_sees_bgr_and_its_padding_is_cut_off(ptlflow, tmp_path):
    torch.save({"state_dict": {"weight": torch.zeros(1)}}, tmp_path / "flownet2.ckpt")
    photo = np.zeros((10, 13, 3), np.uint8)
    photo[:, :5, 2], photo[:, 5:, 0] = 200, 200
    flow = provider("ptlflow/flownet2", tmp_path / "flownet2.ckpt")(photo, photo)
    assert flow.shape == (10, 13, 2)
    assert (flow[:, :5, 0] == -3).all()
    assert not flow[:, 5:].any()


def test_what_ptlflow_lacks_is_told(ptlflow, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="checkpoint of that network"):
        provider("ptlflow/flownet2")
    torch.save({"state_dict": {"other": torch.zeros(1)}}, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="the weights of flownet2"):
        provider("ptlflow/flownet2", tmp_path / "a.ckpt")
    with pytest.raises(UserError, match="a network of PTLFlow"):
        provider("ptlflow/psychic", tmp_path / "a.ckpt")
    monkeypatch.setitem(sys.modules, "ptlflow", None)
    with pytest.raises(UserError, match=r"rilievo\[networks\]"):
        provider("ptlflow/flownet2", tmp_path / "a.ckpt")


def test_horn_schunck_comes_from_the_library_that_has_it(monkeypatch):
    def horn_schunck(first, second, alpha, Niter):
        assert first.dtype == np.float64
        return np.full(first.shape, 2.0), np.full(first.shape, -1.0)

    library = ModuleType("pyoptflow")
    library.HornSchunck = horn_schunck
    monkeypatch.setitem(sys.modules, "pyoptflow", library)
    first, second = moved_texture(2, -1)
    assert (provider("horn-schunck")(first, second) == [2, -1]).all()
    monkeypatch.setitem(sys.modules, "pyoptflow", None)
    with pytest.raises(UserError, match="pip install pyoptflow"):
        provider("horn-schunck")
