"""Which views are kept for evaluation, and whose choice that is.

The capture's own test views; else every n-th view by name where the user asks for that; else none where the capture
lists all its photos for training, and every eighth where it says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from rilievo.data.frame import Frame, Split

DEFAULT_HOLDOUT = 8
"""Every eighth view: the habit of LLFF and of all who compare with it."""


def held_out(frames: Sequence[Frame], holdout: int | None) -> tuple[tuple[int, ...], str]:
    """Indices of the held-out views, and a note for the user. `holdout` is a wish: n, 0 for none, None for no wish."""
    listed = tuple(i for i, frame in enumerate(frames) if frame.split is Split.TEST)
    if listed:
        return listed, f"held out: the capture's own {len(listed)} test views"
    if holdout is None and all(frame.split is Split.TRAIN for frame in frames):
        return (), "held out: none, since the capture lists all its photos for training; --holdout 8 keeps every eighth"
    every = DEFAULT_HOLDOUT if holdout is None else holdout
    by_name = sorted(range(len(frames)), key=lambda i: frames[i].name)
    chosen = tuple(sorted(by_name[::every])) if every else ()
    if not chosen or len(chosen) == len(frames):
        return (), "held out: none"
    told = f"held out: {len(chosen)} of {len(frames)} views, one in {every} by name"
    return chosen, told if holdout is not None else f"{told}; --holdout 0 trains on all"
