"""Optical flow: who computes it, which of it to believe, and flow between all frames of a clip."""

from .consistency import absolute_consistency, cycle_error, occluded, relative_consistency, similarity
from .pairs import FlowPairs, chained, exhaustive, judged
from .provider import PROVIDERS, FlowProvider, provider
from .sampling import carried, resize_flow

__all__ = [
    "PROVIDERS",
    "FlowPairs",
    "FlowProvider",
    "absolute_consistency",
    "carried",
    "chained",
    "cycle_error",
    "exhaustive",
    "judged",
    "occluded",
    "provider",
    "relative_consistency",
    "resize_flow",
    "similarity",
]
