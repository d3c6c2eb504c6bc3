"""Which pairs of photos to compare: the scene graph, by the names DUSt3R and MASt3R gave to its kinds.

| name                   | pairs                                                                           |
|------------------------|---------------------------------------------------------------------------------|
| `complete`             | all                                                                             |
| `swin-W[-noncyclic]`   | photos at most W apart in the sequence, which closes on itself unless noncyclic |
| `logwin-W[-noncyclic]` | photos 1, 2, 4, … 2^(W−1) apart                                                 |
| `oneref-R`             | photo R with every other                                                        |
| `retrieval-A-K`        | A spread-out anchors with each other, the rest with what they resemble          |

W is 3 and R is 0 where left out. A prefilter then drops pairs more than K photos apart: `seqK`, or `cycK` where the
sequence closes on itself. No pair is a photo with itself and none occurs twice, also where a cyclic window is wider
than the sequence (the published code returns both).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from jaxtyping import Float
from torch import Tensor

from rilievo.errors import UserError, clear
from rilievo.matching.retrieval import retrieval_pairs

Pair = tuple[int, int]

GRAPHS = "complete, swin-W, logwin-W, oneref-R or retrieval-A-K (swin and logwin may end in -noncyclic)"
WINDOW = 3

_GRAPH = re.compile(
    r"(?P<complete>complete)"
    r"|(?P<window>swin|logwin)(?:-(?P<reach>\d+))?(?P<open>-noncyclic)?"
    r"|(?P<oneref>oneref)(?:-(?P<reference>\d+))?"
    r"|(?P<retrieval>retrieval)-(?P<anchors>\d+)-(?P<neighbours>\d+)"
)
_PREFILTER = re.compile(r"(?P<kind>seq|cyc)(?P<apart>\d+)")


def make_pairs(
    photos: int,
    graph: str = "complete",
    *,
    symmetrise: bool = True,
    prefilter: str | None = None,
    similarity: Float[Tensor, "n n"] | None = None,
) -> list[Pair]:
    """Ordered index pairs of a scene graph over `photos` photos.

    With `symmetrise`, every (i, j) is followed, after all of them, by the (j, i). `similarity` (larger is more alike)
    serves the retrieval graph alone. Raises `UserError` for fewer than two photos, an unknown graph or prefilter, a
    reference that is not there, a retrieval graph without similarities, and where no pair is left.
    """
    if photos < 2:
        raise clear("photos to pair", expected="at least two", got=str(photos), do="add photos of the same scene")
    pairs = list(_once(_listed(photos, graph, similarity)))
    if prefilter is not None:
        pairs = _near_in_sequence(pairs, photos, prefilter)
    if not pairs:
        raise clear(
            f"scene graph {graph}" + (f" with prefilter {prefilter}" if prefilter else ""),
            expected="at least one pair of photos",
            got="none",
            do="widen the window, or take the graph complete",
        )
    return pairs + [(j, i) for i, j in pairs] if symmetrise else pairs


def unordered(pairs: Iterable[Pair]) -> list[Pair]:
    """Each pair once, as (i, j) with i < j, in the order of first appearance: what there is to compute and store."""
    return list(dict.fromkeys((min(pair), max(pair)) for pair in pairs))


def _listed(photos: int, graph: str, similarity: Tensor | None) -> Iterable[Pair]:
    found = _GRAPH.fullmatch(graph)
    if found is None:
        raise _unknown("scene graph", graph, GRAPHS)
    if found["complete"]:
        return [(i, j) for i in range(photos) for j in range(i)]
    if found["oneref"]:
        reference = int(found["reference"] or 0)
        if reference >= photos:
            raise clear(
                f"scene graph {graph}",
                expected=f"a reference from 0 to {photos - 1}",
                got=str(reference),
                do="count photos from 0, in the order of their names",
            )
        return [(reference, j) for j in range(photos) if j != reference]
    if found["retrieval"]:
        if similarity is None or len(similarity) != photos:
            raise clear(
                f"scene graph {graph}",
                expected=f"similarities of all {photos} photos",
                got="none" if similarity is None else f"similarities of {len(similarity)}",
                do="compute them with matching.retrieval.similarity",
            )
        return retrieval_pairs(similarity, anchors=int(found["anchors"]), nearest=int(found["neighbours"]))
    reach = int(found["reach"] or WINDOW)
    steps = range(1, reach + 1) if found["window"] == "swin" else [2**k for k in range(reach)]
    return _windowed(photos, steps, cyclic=found["open"] is None)


def _windowed(photos: int, steps: Iterable[int], *, cyclic: bool) -> list[Pair]:
    ahead = [(i, i + step) for i in range(photos) for step in steps if cyclic or i + step < photos]
    return sorted((min(i, j % photos), max(i, j % photos)) for i, j in ahead)


def _near_in_sequence(pairs: list[Pair], photos: int, prefilter: str) -> list[Pair]:
    found = _PREFILTER.fullmatch(prefilter)
    if found is None:
        raise _unknown("prefilter", prefilter, "seqK or cycK, K being how many photos apart a pair may be")
    most = int(found["apart"])
    apart = {(i, j): abs(i - j) for i, j in pairs}
    if found["kind"] == "cyc":
        apart = {pair: min(gap, photos - gap) for pair, gap in apart.items()}
    return [pair for pair in pairs if apart[pair] <= most]


def _once(pairs: Iterable[Pair]) -> Iterable[Pair]:
    """Pairs of two photos, the first time either order of them appears."""
    seen: set[Pair] = set()
    for i, j in pairs:
        key = (min(i, j), max(i, j))
        if i != j and key not in seen:
            seen.add(key)
            yield i, j


def _unknown(what: str, got: str, expected: str) -> UserError:
    return clear(what, expected=expected, got=f'"{got}"', do="check its spelling")
