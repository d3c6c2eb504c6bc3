"""From a camera to a picture: colours of the Gaussians as seen from there, drawn front to back."""

from __future__ import annotations

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.engine.gaussian_module import GaussianModel
from rilievo.engine.method import Rendering
from rilievo.engine.render import HIT
from rilievo.engine.view_render import through_lens
from rilievo.errors import UserError
from rilievo.gaussians.cloud import GaussianCloud
from rilievo.gaussians.motion import transformed
from rilievo.gaussians.rows import Gaussians
from rilievo.geometry.mesh import TriMesh
from rilievo.renderers.splat import SplatRender, render_splats

from .config import SplatConfig


class SplatModel(GaussianModel):
    """A cloud, drawn as it is."""

    def __init__(self, config: SplatConfig, cloud: GaussianCloud) -> None:
        super().__init__(config.sh_degree, config.sh_every)
        self.config = config
        self.gaussians = Gaussians(cloud)

    def forward(self, camera: Cameras, background: Float[Tensor, "3"] | None = None) -> SplatRender:
        """What a pinhole camera, alone in its batch, sees."""
        cloud = self.gaussians.cloud
        device = cloud.means.device
        width, height = camera.sizes_px[0].tolist()
        return render_splats(
            cloud,
            self.colors(cloud, camera.centers[0].to(device, torch.float32)),
            camera.cam_from_world[0].to(device),
            camera.K[0].to(device),
            (width, height),
            background=background,
            antialiased=self.config.antialiased,
        )

    @torch.no_grad()
    def render(self, cameras: Cameras, index: int, time: float | None = None) -> Rendering:
        """The view of a camera with any lens; what no Gaussian covers is white."""
        seen = through_lens(self._draw, cameras, index).cpu()
        rgb, opacity, depth = seen[..., :3], seen[..., 3], seen[..., 4]
        return Rendering(
            rgb=(rgb + (1 - opacity[..., None])).clamp(0, 1),
            opacity=opacity.clamp(0, 1),
            depth=torch.where(opacity > HIT, depth / opacity.clamp_min(HIT), 0),
        )

    def extract_mesh(self, resolution: int) -> TriMesh:
        """Gaussians have no surface. Raises `UserError`, always."""
        raise UserError(
            "splat: expected a method with a surface, got a cloud of Gaussians, which has none; "
            "fit neus for a mesh, or open gaussians.ply of the run in a viewer of Gaussians"
        )

    @torch.no_grad()
    def cloud_in(self, new_from_world: Float64[Tensor, "4 4"]) -> GaussianCloud:
        """The cloud in another frame, in double precision on the CPU."""
        held = {name: values.detach().cpu().double() for name, values in self.gaussians.cloud.items()}
        return transformed(GaussianCloud(**held), new_from_world, self.harmonics[-1])

    def _draw(self, pinhole: Cameras) -> Float[Tensor, "h w 5"]:
        seen = self(pinhole)
        return torch.cat((seen.features, seen.alpha[..., None], seen.depth[..., None]), dim=-1)
