"""A cloud of Gaussians as a pinhole camera sees it: any features, opacity and depth (Kerbl et al. 2023,
arXiv:2308.04079).
"""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.gaussians.cloud import GaussianCloud
from rilievo.ops.gaussian_rasterize import Projection, project_gaussians, rasterize_gaussians

NEAR = 0.01
"""Nothing nearer than this is drawn, in world units."""


@dataclass(frozen=True)
class SplatRender:
    """What a camera sees, and where on its screen each Gaussian was."""

    features: Float[Tensor, "h w c"]
    """Over the background, or premultiplied with opacity where none was given."""
    alpha: Float[Tensor, "h w"]
    depth: Float[Tensor, "h w"]
    """Σ w z along camera z, not divided by `alpha`."""
    median_depth: Float[Tensor, "h w"]
    projection: Projection

    @property
    def visible(self) -> Bool[Tensor, "n"]:
        """Which Gaussians reach into the picture."""
        return (self.projection.radii > 0).all(-1)


def render_splats(
    cloud: GaussianCloud,
    features: Float[Tensor, "n c"],
    cam_from_world: Float[Tensor, "4 4"],
    K: Float[Tensor, "3 3"],
    size_px: tuple[int, int],
    *,
    background: Float[Tensor, "c"] | None = None,
    antialiased: bool = False,
    near: float = NEAR,
) -> SplatRender:
    """Draw a cloud whose Gaussians carry any features, `size_px` being width and height.

    With `antialiased` a Gaussian thinner than a pixel fades instead of growing (Yu et al. 2024, arXiv:2311.16493). The
    gradient by the means on screen is left in `projection.means2d.grad` after a backward pass.
    """
    opacities = cloud.opacities
    projection = project_gaussians(
        cloud.means,
        cloud.quats,
        cloud.scales,
        cam_from_world.to(cloud.means),
        K.to(cloud.means),
        size_px,
        near=near,
        opacities=opacities.detach(),
    )
    if projection.means2d.requires_grad:
        projection.means2d.retain_grad()
    seen = rasterize_gaussians(
        projection.means2d,
        projection.conics,
        projection.depths,
        projection.radii,
        opacities * projection.compensation if antialiased else opacities,
        features,
        size_px,
        background,
    )
    return SplatRender(seen.features, seen.alpha, seen.depth, seen.median_depth, projection)
