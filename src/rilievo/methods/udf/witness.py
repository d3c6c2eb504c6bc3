"""The second witness: flat Gaussians that learn the photographs on their own, and say where they saw a surface."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.engine.gaussian_module import GaussianModel
from rilievo.engine.method import Rendering
from rilievo.engine.render import HIT
from rilievo.engine.view_render import through_lens
from rilievo.gaussians.cloud import GaussianCloud
from rilievo.gaussians.rows import Gaussians
from rilievo.renderers.planar_splat import PlanarRender, flat, render_planes

from .witness_config import GaussiansConfig

THICKNESS = 1e-4
"""Third scale of every Gaussian, in region radii: far less than a pixel."""


class WitnessModel(GaussianModel):
    """Flat Gaussians in the normalised world."""

    def __init__(self, config: GaussiansConfig, cloud: GaussianCloud) -> None:
        super().__init__(config.sh_degree, config.sh_every)
        self.config = config
        self.gaussians = Gaussians(cloud)

    @property
    def cloud(self) -> GaussianCloud:
        """As they are drawn."""
        return flat(self.gaussians.cloud)

    def forward(self, camera: Cameras, background: Float[Tensor, "3"] | None = None) -> PlanarRender:
        """What a pinhole camera, alone in its batch, sees."""
        cloud = self.cloud
        device = cloud.means.device
        width, height = camera.sizes_px[0].tolist()
        return render_planes(
            cloud,
            self.colors(cloud, camera.centers[0].to(device, torch.float32)),
            camera.cam_from_world[0].to(device),
            camera.K[0].to(device),
            (width, height),
            background=background,
        )

    @torch.no_grad()
    def render(self, cameras: Cameras, index: int, time: float | None = None) -> Rendering:
        """The view of a camera with any lens; what no Gaussian covers is white."""
        seen = through_lens(self._draw, cameras, index).cpu()
        rgb, opacity, depth = seen[..., :3], seen[..., 3], seen[..., 4]
        return Rendering(
            rgb=(rgb + (1 - opacity[..., None])).clamp(0, 1),
            opacity=opacity.clamp(0, 1),
            depth=torch.where(opacity > HIT, depth, 0),
        )

    def _draw(self, pinhole: Cameras) -> Float[Tensor, "h w 5"]:
        seen = self(pinhole)
        return torch.cat((seen.rgb, seen.alpha[..., None], seen.depth[..., None]), dim=-1)


def flat_cloud(
    points: Float[Tensor, "n 3"],
    rgb: Float[Tensor, "n 3"],
    towards: Float[Tensor, "n 3"],
    radii: Float[Tensor, "n"],
    sh_degree: int,
    opacity: float,
) -> GaussianCloud:
    """Discs of the given radii at points, their normals along unit vectors `towards`."""
    cloud = GaussianCloud.from_points(points, rgb, radii, sh_degree, opacity)
    cloud.log_scales[:, 2] = math.log(THICKNESS)
    quats = cloud.quats
    # the shortest turn from z to the vector v: (1 + v_z, z × v), of any length but 0
    quats[:, 0], quats[:, 1], quats[:, 2], quats[:, 3] = 1 + towards[:, 2], -towards[:, 1], towards[:, 0], 0
    quats[towards[:, 2] < -0.999] = quats.new_tensor([0.0, 1.0, 0.0, 0.0])
    return cloud
