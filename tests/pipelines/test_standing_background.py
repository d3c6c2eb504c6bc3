"""What is said when foreground and background disagree about the motion, whichever way photos are aligned."""

from pathlib import Path

import pytest
import torch

from rilievo.matching.pair_result import PairPrediction
from rilievo.pipelines.pair_results import still_share
from rilievo.sfm.photos import Photo, PhotoSet
from rilievo.sfm.stillness import motion_warnings


def photos(mask: Path | None) -> PhotoSet:
    return PhotoSet(tuple(Photo(f"{k}.png", Path(f"{k}.png"), (4, 3), True, str(k), "", mask=mask) for k in range(3)))


@pytest.mark.parametrize(
    ("masked", "stands_still", "still", "said"),
    [
        (True, True, [], "the background stands still while the object moves"),
        (False, False, [0.5, 0.6, 0.1], "50 % of the matches between neighbouring photos do not move"),
        (True, False, [0.9], None),
        (False, False, [0.1, 0.2], None),
        (False, False, [], None),
    ],
)
def test_a_camera_that_may_have_stood_is_warned_of(masked, stands_still, still, said):
    told = motion_warnings(photos(Path("mask.png") if masked else None), stands_still, still)
    assert len(told) == (said is not None)
    if said is not None:
        assert said in told[0]
        assert "--turntable" in told[0]


def test_pointmaps_say_which_share_of_the_picture_stood_still():
    h, w, f = 20, 30, 25.0
    y, x = torch.meshgrid(torch.arange(h) - 10.0, torch.arange(w) - 15.0, indexing="ij")
    X = 2 * torch.stack((x / f, y / f, torch.ones_like(x)), -1)
    moved = X.clone()
    moved[:, w // 3 :, 0] += 2 * 5 / f  # five pixels aside
    sure = torch.full((h, w), 8.0)
    assert still_share(PairPrediction(X, sure, moved, sure)) == pytest.approx(1 / 3)
    assert still_share(PairPrediction(X, sure, X * 3, sure)) == 1
    assert still_share(PairPrediction(X, sure, X, torch.zeros(h, w))) == 0
    assert still_share(PairPrediction(X, sure, X[:, :5], sure[:, :5])) == 0
