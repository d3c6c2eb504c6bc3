"""What is known of a pair of photos: predicted pointmaps, and the pixels that show the same point.

Symbols as in DUSt3R (Wang et al. 2024, arXiv:2312.14132) and MASt3R (Leroy et al. 2024, arXiv:2406.09756): the ordered
pair (1, 2) gives pointmaps X^{1,1} and X^{2,1}, both in the camera frame of its first photo and in a unit of its own,
confidences C, unit descriptors D and their confidences Q. Swapping the photos gives a second, independent answer.

Pixel positions here are *indices*: (x, y) = (0, 0) is the centre of the top left pixel, which `cameras` calls
(0.5, 0.5). `Correspondences.centres` goes over to that convention.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True)
class Descriptors:
    """One photo's features in one of the two predictions of a pair."""

    D: Float[Tensor, "h w d"]
    """Unit vectors. Vectors that are all zero or not finite match nothing."""
    Q: Float[Tensor, "h w"]
    """Confidence of each, >= 0."""

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.D.shape[0], self.D.shape[1]


@dataclass(frozen=True)
class PairPrediction:
    """What a predictor says of an ordered pair; 1 is its first photo, 2 its second. Everything is in the frame of 1."""

    X_1: Float[Tensor, "h1 w1 3"]
    C_1: Float[Tensor, "h1 w1"]
    X_2: Float[Tensor, "h2 w2 3"]
    """The second photo's points, seen from the first: still in the frame of 1."""
    C_2: Float[Tensor, "h2 w2"]
    descriptors_1: Descriptors | None = None
    descriptors_2: Descriptors | None = None
    """None where the predictor has no descriptors (DUSt3R), and in what comes back from a `PairStore`."""


@dataclass(frozen=True)
class Correspondences:
    """Pixels of photo i and photo j that show the same point: unique, sorted by pixel of i, then of j (row-major).

    Positions are pixel indices (x, y), the centre of the top left pixel being (0, 0); matches found at full resolution
    through crops may lie between whole numbers. There may be none (`is_empty`): the photos do not overlap.
    """

    xy_i: Float[Tensor, "matches 2"]
    xy_j: Float[Tensor, "matches 2"]
    confidence: Float[Tensor, "matches"]

    def __len__(self) -> int:
        return len(self.confidence)

    @property
    def is_empty(self) -> bool:
        return len(self) == 0

    @property
    def centres(self) -> tuple[Float[Tensor, "matches 2"], Float[Tensor, "matches 2"]]:
        """Positions as `cameras` counts them: a pixel's centre is at +0.5."""
        return self.xy_i + 0.5, self.xy_j + 0.5

    def swapped(self) -> Correspondences:
        """The same matches as the pair (j, i) sees them; the order of rows stays."""
        return Correspondences(self.xy_j, self.xy_i, self.confidence)

    def where(self, keep: Bool[Tensor, "matches"]) -> Correspondences:
        """The matches marked by `keep`."""
        return Correspondences(self.xy_i[keep], self.xy_j[keep], self.confidence[keep])

    @classmethod
    def none(cls, like: Tensor) -> Correspondences:
        """No match at all, on the device and in the dtype of `like`."""
        nothing = like.new_zeros((0, 2))
        return cls(nothing, nothing, nothing[:, 0])


@dataclass(frozen=True)
class PairScore:
    """How well a pair went, as the sparse aligner weighs pairs."""

    mean_confidence: float
    """Fourth root of the product of the four confidence maps' means (inside the masks, where there are any)."""
    match_confidence: float
    """Sum of the matches' confidences."""
    matches: int


@dataclass(frozen=True)
class PairResult:
    """All that alignment needs of the photos i < j: both ordered predictions, and the matches."""

    ij: PairPrediction
    """Of the ordered pair (i, j): its 1 is photo i, and its points are in the frame of i."""
    ji: PairPrediction
    """Of the ordered pair (j, i): its 1 is photo j, and its points are in the frame of j."""
    correspondences: Correspondences
    score: PairScore

    def swapped(self) -> PairResult:
        """The same result as the pair (j, i) sees it."""
        return PairResult(self.ji, self.ij, self.correspondences.swapped(), self.score)


def score_of(
    ij: PairPrediction,
    ji: PairPrediction,
    matches: Correspondences,
    masks: tuple[Bool[Tensor, "h1 w1"] | None, Bool[Tensor, "h2 w2"] | None] = (None, None),
) -> PairScore:
    """Score of a pair; of a photo with a mask only what is inside it speaks, and an empty mask makes the mean 0."""
    mask_i, mask_j = masks
    maps = ((ij.C_1, mask_i), (ij.C_2, mask_j), (ji.C_1, mask_j), (ji.C_2, mask_i))
    means = torch.stack([_mean_inside(C, mask) for C, mask in maps])
    return PairScore(float(means.prod() ** 0.25), float(matches.confidence.double().sum()), len(matches))


def _mean_inside(C: Float[Tensor, "h w"], mask: Bool[Tensor, "h w"] | None) -> Float[Tensor, ""]:
    counted = C.double() if mask is None else C.double()[mask]
    return counted.sum() / max(counted.numel(), 1)
