"""From a camera and a time to a picture: Gaussians carried from the canonical space, drawn front to back (MoDGS, Liu et
al. 2024, arXiv:2406.00434).

Two clouds are drawn as one: moving Gaussians, whose means live in the canonical space and are carried by the motion,
and still ones, which have no need of it. Sizes stay. So do orientations in the published method; here they turn as the
motion does, unless the config says no.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.data.scene import MaskMeaning, Scene
from rilievo.engine.gaussian_module import GaussianModel
from rilievo.engine.method import Rendering
from rilievo.engine.render import HIT
from rilievo.engine.view_render import through_lens
from rilievo.errors import UserError
from rilievo.fields.motion import InvertibleMotion
from rilievo.gaussians.cloud import GaussianCloud
from rilievo.gaussians.rows import Gaussians
from rilievo.geometry.mesh import TriMesh
from rilievo.motion.pair_table import UnitBox
from rilievo.motion.turning import cells, quaternion_product, turning
from rilievo.renderers.splat import SplatRender, render_splats

from .config import ModgsConfig
from .holes import filled
from .moment import Moments

JUDGES = 8
"""Gaussians around a point that decide whether it moves."""
TURN_STEP = 0.02
"""Over which the motion's rotation is felt, in half sides of the box of what moves."""
TURN_CELL = 0.05
"""Side of the cells whose Gaussians turn alike, in the same unit."""
SOLID = 0.1
"""Opacity from which they have a say."""


class ModgsModel(GaussianModel):
    """Clouds, motion, and the box that the motion's coordinates are measured in.

    `gaussians` are those that move, in canonical coordinates of the scene's normalised world; `still` the others.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, config: ModgsConfig, scene: Scene, motion: InvertibleMotion, box: UnitBox | None = None) -> None:
        super().__init__(config.sh_degree, config.sh_every)
        self.config = config
        self.gaussians = Gaussians(GaussianCloud.empty(config.sh_degree))
        self.still = Gaussians(GaussianCloud.empty(config.sh_degree))
        self.motion = motion
        self.register_buffer("center", torch.zeros(3) if box is None else box.center.float())
        self.register_buffer("scale", torch.tensor(1.0 if box is None else box.scale))
        self.surrounded = scene.coverage is None or scene.mask_meaning is not MaskMeaning.OBJECT
        poses, times = scene.cameras.world_from_cam, scene.times
        self.moments = Moments(poses[:0], torch.zeros(0)) if times is None else Moments(poses, times)

    def clouds(self) -> dict[str, Gaussians]:
        return {"gaussians": self.gaussians, "still": self.still}

    def to_canonical(self, x: Float[Tensor, "n 3"], time: float) -> Float[Tensor, "n 3"]:
        """Canonical places of world points seen at a time."""
        return self._outside(self.motion.to_canonical(self._inside(x)[None], x.new_tensor([time]))[0])

    def to_time(self, y: Float[Tensor, "n 3"], time: float) -> Float[Tensor, "n 3"]:
        """Where canonical points are in the world at a time."""
        return self._outside(self.motion.to_time(self._inside(y)[None], y.new_tensor([time]))[0])

    def cloud_at(self, time: float) -> GaussianCloud:
        """All Gaussians in the world at a time: the moving ones first."""
        moving = self.gaussians.cloud
        carried = dict(moving.items())
        if len(moving):
            carried["means"] = self.to_time(moving.means, time)
            if self.config.turn:
                carried["quats"] = quaternion_product(self._turned(moving.means, time), moving.quats)
        return GaussianCloud.concatenate([GaussianCloud(**carried), self.still.cloud])

    def forward(self, camera: Cameras, time: float, background: Float[Tensor, "3"] | None = None) -> SplatRender:
        """What a pinhole camera, alone in its batch, sees at a time."""
        cloud = self.cloud_at(time)
        eye = camera.centers[0].to(cloud.means.device, torch.float32)
        return self._draw(cloud, self.colors(cloud, eye), camera, background)

    @torch.no_grad()
    def render(self, cameras: Cameras, index: int, time: float | None = None) -> Rendering:
        """The view of a camera with any lens at a time in [0, 1]; what no Gaussian covers is white where the capture is
        of a cut-out object, and otherwise like what is around it.

        Without a time, a camera of the capture is shown at the time of its photo (`moment`).
        """
        when = self.moments.of(cameras, index) if time is None else time

        def draw(pinhole: Cameras) -> Float[Tensor, "h w 5"]:
            seen = self(pinhole, when)
            return torch.cat((seen.features, seen.alpha[..., None], seen.depth[..., None]), dim=-1)

        seen = through_lens(draw, cameras, index).cpu()
        rgb, opacity, depth = seen[..., :3], seen[..., 3], seen[..., 4]
        return Rendering(
            rgb=(filled(rgb, opacity) if self.surrounded else rgb + (1 - opacity[..., None])).clamp(0, 1),
            opacity=opacity.clamp(0, 1),
            depth=torch.where(opacity > HIT, depth / opacity.clamp_min(HIT), 0),
        )

    @torch.no_grad()
    def displacement(self, cameras: Cameras, index: int, from_time: float, to_time: float) -> Float[Tensor, "h w 3"]:
        """How far in the world what a camera sees at one time will have gone at another, mean of the Gaussians seen; 0
        where nothing is seen.
        """
        cloud = self.cloud_at(from_time)
        steps = self.cloud_at(to_time).means - cloud.means

        def draw(pinhole: Cameras) -> Float[Tensor, "h w 4"]:
            seen = self._draw(cloud, steps, pinhole)
            return torch.cat((seen.features, seen.alpha[..., None]), dim=-1)

        seen = through_lens(draw, cameras, index).cpu()
        step, opacity = seen[..., :3], seen[..., 3:]
        return torch.where(opacity > HIT, step / opacity.clamp_min(HIT), 0)

    @torch.no_grad()
    def track(
        self, points: Float[Tensor, "n 3"], from_time: float, to_times: Float[Tensor, "m"]
    ) -> Float[Tensor, "m n 3"]:
        """Where points of the normalised world, seen at one time, are at others.

        Points among still Gaussians stay; all others are carried.
        """
        moves = self._moves(points, from_time)[:, None]
        canonical = self.to_canonical(points, from_time)
        return torch.stack([torch.where(moves, self.to_time(canonical, t), points) for t in to_times.tolist()])

    def extract_mesh(self, resolution: int) -> TriMesh:
        """Gaussians have no surface. Raises `UserError`, always."""
        raise UserError(
            "modgs: expected a method with a surface, got a cloud of Gaussians that moves, which has none; "
            "fit neus to photos of a still scene for a mesh"
        )

    def _draw(
        self,
        cloud: GaussianCloud,
        features: Float[Tensor, "n c"],
        camera: Cameras,
        background: Float[Tensor, "c"] | None = None,
    ) -> SplatRender:
        """Gaussians with any features, as a pinhole camera sees them."""
        device = cloud.means.device
        width, height = camera.sizes_px[0].tolist()
        return render_splats(
            cloud,
            features,
            camera.cam_from_world[0].to(device),
            camera.K[0].to(device),
            (width, height),
            background=background,
            antialiased=self.config.antialiased,
        )

    @torch.no_grad()
    def _turned(self, y: Float[Tensor, "n 3"], time: float) -> Float[Tensor, "n 4"]:
        """How canonical points are turned at a time, as quaternions: as the middle of the cell around each is."""
        unit = 1 / float(self.scale)
        middles, of = cells(y, TURN_CELL * unit)
        return turning(lambda at: self.to_time(at, time), middles, self.to_time(middles, time), TURN_STEP * unit)[of]

    def _moves(self, points: Float[Tensor, "n 3"], time: float) -> Bool[Tensor, "n"]:
        """Whether most of the solid Gaussians around a point are moving ones."""
        cloud, count = self.cloud_at(time), len(self.gaussians)
        if count in (0, len(cloud)):
            return torch.full((len(points),), count > 0, device=points.device)
        solid = (cloud.opacities > SOLID).nonzero()[:, 0]
        if not len(solid):
            solid = torch.arange(len(cloud), device=points.device)
        judges = min(JUDGES, len(solid))
        nearest = [
            torch.cdist(part, cloud.means[solid]).topk(judges, largest=False).indices for part in points.split(1024)
        ]
        return (solid[torch.cat(nearest)] < count).float().mean(1) >= 0.5

    def _inside(self, x: Tensor) -> Tensor:
        return (x - self.center) * self.scale

    def _outside(self, x: Tensor) -> Tensor:
        return x / self.scale + self.center
