"""Flow to a frame far away, starting from a guess: usually flow through frames between, put end to end (a chain).

A flow method loses what moves farther than it is large. With a guess c the second photograph is first brought back to
where the guess says, and the method finds what is left, r; then f(x) = r(x) + c(x + r(x)). Any method can be helped so,
whether or not it takes a guess itself.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from rilievo.flow.provider import FlowProvider
from rilievo.flow.sampling import carried, index_grid, inside


def refined(
    compute: FlowProvider,
    first: UInt8[np.ndarray, "h w 3"],
    second: UInt8[np.ndarray, "h w 3"],
    guess: Float[Tensor, "h w 2"],
) -> Float[Tensor, "h w 2"]:
    """Flow from `first` to `second` near `guess`, which stays where what is found does not bring the photographs
    closer in the 5x5 pixels around, and where it leaves the picture.
    """
    height, width = guess.shape[:2]
    back = carried(torch.from_numpy(second).float(), guess).round().to(torch.uint8)
    within = inside(index_grid(height, width, guess) + guess)
    back = torch.where(within[..., None], back, torch.from_numpy(first))
    rest = torch.from_numpy(compute(first, back.numpy()))
    found = rest + carried(guess, rest)
    better = _difference(first, second, found) < _difference(first, second, guess)
    return torch.where((better & within)[..., None], found, guess)


def _difference(
    first: UInt8[np.ndarray, "h w 3"], second: UInt8[np.ndarray, "h w 3"], flow: Float[Tensor, "h w 2"]
) -> Float[Tensor, "h w"]:
    """Mean difference of colours along a flow in the 5x5 pixels around each."""
    brought = carried(torch.from_numpy(second).float(), flow)
    difference = (brought - torch.from_numpy(first)).abs().mean(-1)
    return F.avg_pool2d(difference[None], 5, 1, 2)[0]
