"""LPIPS, a distance between pictures as people judge it (Zhang et al. 2018, arXiv:1801.03924), version 0.1.

Both pictures go through a network trained on photographs; at five depths the features are scaled to unit length per
pixel, and their squared difference is weighed channel by channel, averaged over the picture and summed over the depths.

The weights are not part of this package. Give the files of your copy: one that holds everything (the state of an
`LPIPS` module of the `lpips` package), or the backbone's and the linear heads' apart (torchvision's AlexNet or VGG16,
and `lin0.model.1.weight` …).
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from rilievo.errors import UserError, clear

Backbone = Literal["alex", "vgg"]

_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Channel means and deviations of the photographs, for pictures in [-1, 1]."""

_FEATURE = re.compile(r"(?:.*\.)?(?:features|net\.slice\d+)\.(\d+)\.(weight|bias)")
_HEAD = re.compile(r"(?:.*\.)?lins?\.?(\d)\.model\.1\.weight")


def _alex() -> tuple[nn.Sequential, tuple[int, ...]]:
    """AlexNet's features (Krizhevsky 2014, one weird trick), and the layers after which LPIPS looks."""
    layers: list[nn.Module] = [nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    layers += [nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    for channels, after in ((192, 384), (384, 256), (256, 256)):
        layers += [nn.Conv2d(channels, after, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*layers), (1, 4, 7, 9, 11)


def _vgg() -> tuple[nn.Sequential, tuple[int, ...]]:
    """VGG16's features (Simonyan & Zisserman 2015, configuration D), and the layers after which LPIPS looks."""
    layers: list[nn.Module] = []
    taps, channels = [], 3
    for block, (width, depth) in enumerate(((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))):
        if block:
            layers.append(nn.MaxPool2d(2, 2))
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
            channels = width
        taps.append(len(layers) - 1)
    return nn.Sequential(*layers), tuple(taps)


class LPIPS(nn.Module):
    """The distance as a module; without `load_lpips` its weights are random."""

    shift: Tensor
    scale: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.features, self.taps = {"alex": _alex, "vgg": _vgg}[backbone]()
        widths = [layer.out_channels for layer in self.features if isinstance(layer, nn.Conv2d)]
        convolutions = [i for i, layer in enumerate(self.features) if isinstance(layer, nn.Conv2d)]
        self.heads = nn.ParameterList(torch.rand(widths[convolutions.index(tap - 1)]) for tap in self.taps)
        self.register_buffer("shift", torch.tensor(_SHIFT)[:, None, None])
        self.register_buffer("scale", torch.tensor(_SCALE)[:, None, None])

    def forward(
        self, image: Float[Tensor, "*views h w 3"], reference: Float[Tensor, "*views h w 3"]
    ) -> Float[Tensor, "*views"]:
        """Distance of each view; pictures in [0, 1], at least 64 pixels a side."""
        distance = image.new_zeros(image[..., 0, 0, 0].numel())
        for head, a, b in zip(self.heads, self._looks(image), self._looks(reference)):
            distance = distance + ((a - b) ** 2 * head[:, None, None]).sum(dim=1).mean(dim=(-2, -1))
        return distance.reshape(image.shape[:-3])

    def _looks(self, image: Float[Tensor, "*views h w 3"]) -> list[Float[Tensor, "n c y x"]]:
        """Features of unit length at the five depths."""
        x = image.movedim(-1, -3).reshape(-1, 3, *image.shape[-3:-1])
        x = (2 * x - 1 - self.shift) / self.scale
        looks = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.taps:
                looks.append(F.normalize(x, dim=1, eps=1e-10))
        return looks


def load_lpips(backbone: Backbone, files: Sequence[Path]) -> LPIPS:
    """LPIPS with the weights of the given files (`.safetensors`, or `.pth` read without executing anything).

    Raises UserError when a file is missing or unreadable, or weights are absent.
    """
    if not files:
        raise clear(
            "LPIPS",
            expected=f"weight files of its {backbone} backbone and of its linear heads, which do not come with rilievo",
            got="none",
            do=f"give torchvision's {backbone} file and weights/v0.1/{backbone}.pth of lpips 0.1, or do without LPIPS",
        )
    model = LPIPS(backbone)
    state = {f"features.{name}": value for name, value in model.features.state_dict().items()}
    state |= {f"heads.{i}": head.detach() for i, head in enumerate(model.heads)}
    missing = set(state)
    for path in files:
        for name, value in _read(path).items():
            ours, fitted = _ours(name, value)
            if ours in state and state[ours].shape == fitted.shape:
                state[ours] = fitted
                missing.discard(ours)
    if missing:
        raise clear(
            f"LPIPS weights {', '.join(path.name for path in files)}",
            expected=f"all weights of {backbone}",
            got=f"{len(missing)} of {len(state)} absent or of another shape, as {min(missing)}",
            do="give both the backbone's and the linear heads' file, of the same network",
        )
    model.load_state_dict(state, strict=False)
    return model.eval().requires_grad_(False)


def _ours(name: str, value: Tensor) -> tuple[str, Tensor]:
    """What a weight of a published file is called here, and its shape here; an empty name for what is not used."""
    if feature := _FEATURE.fullmatch(name):
        return f"features.{feature[1]}.{feature[2]}", value
    if head := _HEAD.fullmatch(name):
        return f"heads.{head[1]}", value.flatten()
    return "", value


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise clear(f"LPIPS weights {path}", expected="a weight file", got="nothing there", do="check the path")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except ModuleNotFoundError as error:
        raise UserError(f"{path}: needs the package safetensors to be read; pip install safetensors") from error
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise clear(
            f"LPIPS weights {path}",
            expected="a dictionary of tensors",
            got=f"{type(error).__name__}",
            do="fetch the file again",
        ) from error
