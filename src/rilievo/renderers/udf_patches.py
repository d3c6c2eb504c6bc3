"""What a surface rendered as a volume looks like in other photographs: pixel and patch colours blended from source
views at the samples of each ray (NeuralUDF, Long et al. 2023, arXiv:2211.14173, section 3.5).

Every sample is a small plane, with the field's gradient for a normal; where it falls in the sources, and what a patch
of the plane looks like there, is blended by the colour network's logits and composited with the sample's weight. Only
samples that count are asked: a patch is hundreds of colours from each source.
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from .patch_blend import SourceViews, blended, plane_homographies, projected_colors, warped_patches

COUNTS = 0.01
"""Least weight of a sample whose colours are looked up."""
SEEN = 0.5
"""Share of a ray's weight that has to be seen by some source."""


@dataclass(frozen=True)
class PatchTarget:
    """The camera whose rays are rendered, the pixels they go through, and where else to look."""

    pixels: Float[Tensor, "rays 2"]
    half: int
    """Patches have 2 half + 1 pixels a side."""
    K: Float[Tensor, "3 3"]
    cam_from_world: Float[Tensor, "4 4"]
    sources: SourceViews


@dataclass(frozen=True)
class SampleRows:
    """The samples of a batch of rays that count."""

    points: Float[Tensor, "chosen 3"]
    normals: Float[Tensor, "chosen 3"]
    """Unit, of either side."""
    logits: Float[Tensor, "chosen views"]
    """Which source to believe, before the softmax; of more views than there are sources the first count."""
    weights: Float[Tensor, "chosen"]
    ray: Int64[Tensor, "chosen"]


@dataclass(frozen=True)
class SourceColors:
    """Colours of rays as the sources have them, composited and not divided by the weights' sum."""

    pixel: Float[Tensor, "rays 3"]
    patches: Float[Tensor, "rays patch 3"]
    pixel_seen: Bool[Tensor, "rays"]
    patch_seen: Bool[Tensor, "rays"]


def blend_from_sources(samples: SampleRows, target: PatchTarget) -> SourceColors:
    """Pixel and patch colours of the target's rays."""
    rays, sources = len(target.pixels), target.sources
    logits = samples.logits[:, : len(sources.images)]
    color, there = blended(logits, *projected_colors(samples.points, sources))
    H = plane_homographies(samples.points, samples.normals, target.K, target.cam_from_world, sources)
    patches, inside = warped_patches(H, target.pixels[samples.ray], target.half, sources)
    patch, whole = blended(logits, patches, inside.all(-1))

    def composited(values: Tensor) -> Tensor:
        weighted = values * samples.weights.view(-1, *(1,) * (values.ndim - 1))
        return values.new_zeros(rays, *values.shape[1:]).index_add(0, samples.ray, weighted)

    return SourceColors(
        pixel=composited(color),
        patches=composited(patch),
        pixel_seen=composited(there.to(color)) > SEEN,
        patch_seen=composited(whole.to(color)) > SEEN,
    )
