"""LPIPS without its published weights: structure, files, and what must hold for any weights."""

import pytest
import torch

from rilievo.errors import UserError
from rilievo.metrics.lpips import LPIPS, load_lpips


def seeded(backbone):
    torch.manual_seed(0)
    return LPIPS(backbone).eval()


@pytest.fixture
def pictures():
    return torch.rand(2, 2, 67, 71, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("backbone", ["alex", "vgg"])
def test_it_is_zero_for_equal_pictures_positive_otherwise_and_symmetric(backbone, pictures):
    model, (a, b) = seeded(backbone), pictures
    with torch.no_grad():
        assert (model(a, a) == 0).all()
        assert (model(a, b) > 0).all()
        torch.testing.assert_close(model(a, b), model(b, a))
        torch.testing.assert_close(model(a[0], b[0]), model(a, b)[0])


@pytest.mark.parametrize(
    ("backbone", "weights"), [("alex", 2_469_696 + 64 + 192 + 384 + 256 + 256), ("vgg", 14_714_688 + 1472)]
)
def test_number_of_weights_is_the_published_one(backbone, weights):
    """Convolutions of AlexNet and VGG16, plus one linear weight per channel looked at."""
    assert sum(p.numel() for p in LPIPS(backbone).parameters()) == weights


@pytest.mark.parametrize("layout", ["one file", "two files"])
def test_weights_of_published_layouts_are_read(layout, tmp_path, pictures):
    model, (a, b) = seeded("alex"), pictures
    features = model.features.state_dict()
    heads = {f"lin{i}.model.1.weight": head.detach()[None, :, None, None] for i, head in enumerate(model.heads)}
    if layout == "one file":
        torch.save({f"net.slice1.{name}": value for name, value in features.items()} | heads, tmp_path / "all.pth")
        files = [tmp_path / "all.pth"]
    else:
        torch.save({f"features.{k}": v for k, v in features.items()} | {"classifier.1.bias": a}, tmp_path / "alex.pth")
        torch.save(heads, tmp_path / "heads.pth")
        files = [tmp_path / "alex.pth", tmp_path / "heads.pth"]
    with torch.no_grad():
        assert torch.equal(load_lpips("alex", files)(a, b), model(a, b))


def test_absent_weights_are_named(tmp_path):
    with pytest.raises(UserError, match="do not come with rilievo"):
        load_lpips("alex", [])
    with pytest.raises(UserError, match="nothing there"):
        load_lpips("alex", [tmp_path / "alex.pth"])
    (tmp_path / "torn.pth").write_bytes(b"not weights")
    with pytest.raises(UserError, match="fetch the file again"):
        load_lpips("alex", [tmp_path / "torn.pth"])
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, tmp_path / "part.pth")
    with pytest.raises(UserError, match="14 of 15 absent"):
        load_lpips("alex", [tmp_path / "part.pth"])
