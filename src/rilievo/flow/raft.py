"""RAFT (Teed & Deng 2020, arXiv:2003.12039) through torchvision, with weights from a local file.

Photos go in as RGB in [-1, 1], padded by repeating the border to multiples of 8, half on either side (the odd pixel to
the right and below); the flow is cropped by the same amounts.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float32, UInt8
from torch import Tensor

from rilievo.errors import clear

STRIDE = 8
ITERATIONS = 20


def padding(height: int, width: int, *, top_too: bool = True) -> tuple[int, int, int, int]:
    """Left, right, top, bottom rows to add until both sides are multiples of 8; all of the height at the bottom
    without `top_too`, as with KITTI.
    """
    tall, wide = -height % STRIDE, -width % STRIDE
    top = tall // 2 if top_too else 0
    return wide // 2, wide - wide // 2, top, tall - top


def padded(photo: Float32[Tensor, "n 3 h w"]) -> Float32[Tensor, "n 3 ph pw"]:
    """The photo with its border repeated out to multiples of 8."""
    return F.pad(photo, padding(*photo.shape[-2:]), mode="replicate")


class TorchvisionRaft:
    """The large model of torchvision."""

    def __init__(self, model: torch.nn.Module, device: torch.device) -> None:
        self.model, self.device = model.eval().to(device), device

    @torch.no_grad()
    def __call__(
        self, first: UInt8[np.ndarray, "h w 3"], second: UInt8[np.ndarray, "h w 3"]
    ) -> Float32[np.ndarray, "h w 2"]:
        height, width = first.shape[:2]
        left, _, top, _ = padding(height, width)
        photos = [torch.from_numpy(photo.copy()).to(self.device).permute(2, 0, 1)[None] for photo in (first, second)]
        a, b = (padded(photo.float() / 127.5 - 1) for photo in photos)
        flow = self.model(a, b, num_flow_updates=ITERATIONS)[-1][0]
        return flow[:, top : top + height, left : left + width].permute(1, 2, 0).cpu().numpy()


def torchvision_raft(weights: Path | None = None, device: torch.device | str = "cpu") -> TorchvisionRaft:
    """RAFT with the weights in `weights`, a state dict of torchvision's `raft_large` (BSD-3-Clause).

    Raises `UserError` when torchvision is missing, or there are no weights: nothing is downloaded here.
    """
    try:
        from torchvision.models.optical_flow import raft_large
    except ImportError as error:
        raise clear(
            "flow by RAFT", expected="torchvision", got="no such module", do="pip install torchvision, or use dis"
        ) from error
    if weights is None or not weights.is_file():
        raise clear(
            "flow by RAFT",
            expected="a file with the weights of torchvision's raft_large",
            got="none" if weights is None else f"nothing at {weights}",
            do="save its state dict with torch.save, or use dis, which needs none",
        )
    model = raft_large(weights=None)
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return TorchvisionRaft(model, torch.device(device))
