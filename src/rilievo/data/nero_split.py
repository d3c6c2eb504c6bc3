"""Which views NeRO's published experiments keep for testing (Liu et al. 2023, arXiv:2305.17398).

The rule: all views, in the order of the data set, are shuffled by Python's generator seeded with 6033, and the first is
the test view. For scenes of exactly 128 views, as all of GlossySynthetic are, there is also a fixed list of 32 views
on which new views are judged; one view says little, so that list is preferred where it applies.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

SHUFFLE_SEED = 6033
LISTED_VIEWS = 128
LISTED_TEST_VIEWS = frozenset(
    {0, 2, 3, 4, 5, 7, 11, 14, 19, 29, 30, 31, 33, 49, 56, 57, 59, 61, 66, 68, 71, 73, 75, 91, 93, 95}
    | {109, 110, 111, 113, 120, 127}
)


def shuffled_split(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Training and test names, in shuffled order, by the published rule."""
    shuffled = list(names)
    random.Random(SHUFFLE_SEED).shuffle(shuffled)
    return shuffled[1:], shuffled[:1]
