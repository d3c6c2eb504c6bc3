"""Which flow to believe: there and back again should end where it began.

f is the flow to the other frame, b the flow back; the round trip of pixel x misses by e(x) = f(x) + b(x + f(x)). Two
tests are in use:

* relative, as with neighbouring frames (Neural Scene Flow Fields, Li et al. 2021): |e| < ½ (|f| + |b|) + ½, with b
  looked up bicubically;
* absolute, as with frames far apart (OmniMotion, Wang et al. 2023): |e| < 3 px, bilinearly.

A pixel that is hidden in the other frame fails either. Its flow may still be sound, because flow methods carry motion
into occluded parts: what its target shows goes back and forth in peace, though the pixel itself does not (`occluded`).
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.flow.sampling import carried, index_grid, inside, sample

RELATIVE, SLACK_PX = 0.5, 0.5
CYCLE_PX = 3.0
OCCLUDED_PX = 1.5 * CYCLE_PX
"""A round trip that misses by more has met another surface."""


def relative_consistency(
    flow: Float[Tensor, "h w 2"], back: Float[Tensor, "h w 2"], relative: float = RELATIVE, slack_px: float = SLACK_PX
) -> Bool[Tensor, "h w"]:
    """True where |f + b(x+f)| < relative (|f| + |b(x+f)|) + slack."""
    returned = carried(back, flow, mode="bicubic")
    allowed = relative * (flow.norm(dim=-1) + returned.norm(dim=-1)) + slack_px
    return (flow + returned).norm(dim=-1) < allowed


def cycle_error(flow: Float[Tensor, "h w 2"], back: Float[Tensor, "h w 2"]) -> Float[Tensor, "h w"]:
    """|f + b(x+f)| in pixels."""
    return (flow + carried(back, flow)).norm(dim=-1)


def absolute_consistency(
    flow: Float[Tensor, "h w 2"], back: Float[Tensor, "h w 2"], within_px: float = CYCLE_PX
) -> Bool[Tensor, "h w"]:
    """True where the round trip ends within `within_px` of its beginning."""
    return cycle_error(flow, back) < within_px


def occluded(
    flow: Float[Tensor, "h w 2"],
    back: Float[Tensor, "h w 2"],
    within_px: float = CYCLE_PX,
    beyond_px: float = OCCLUDED_PX,
) -> Bool[Tensor, "h w"]:
    """True where the pixel is hidden in the other frame and its flow is reliable all the same.

    The target x + f lies in the picture and makes its own round trip within `within_px`, while x itself misses by more
    than `beyond_px`.
    """
    target = index_grid(flow.shape[0], flow.shape[1], flow) + flow
    returned = target + sample(back, target)
    again = returned + sample(flow, returned)
    steady = (again - target).norm(dim=-1) < within_px
    return steady & (cycle_error(flow, back) > beyond_px) & inside(target)


def similarity(
    features: Float[Tensor, "fh fw c"], others: Float[Tensor, "fh fw c"], flow: Float[Tensor, "h w 2"]
) -> Float[Tensor, "h w"]:
    """Cosine between the features of each pixel and of its target; feature maps may be coarser than the flow."""
    at = index_grid(flow.shape[0], flow.shape[1], flow)
    size = (flow.shape[0], flow.shape[1])
    return torch.cosine_similarity(sample(features, at, size=size), sample(others, at + flow, size=size), dim=-1)
