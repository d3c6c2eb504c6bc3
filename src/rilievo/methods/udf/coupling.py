"""Field and Gaussians learn from each other (GaussianUDF, Li et al. 2025, arXiv:2503.19458).

What the field is taught by the Gaussians, each with a weight of its own in `UdfLosses`:

* near, side, direction, far: distances to the points that they agreed on when they were trained, and which side of them
  is the inside of something, if any is (`guide`, `enclosure`);
* pull, discs: to all of them, where they are now, as published (`discs`);
* depth, normal: at the pixels of the batch, where the Gaussians see the surface now and how it is turned there, as far
  as they are opaque and the two do not contradict each other altogether.

What the Gaussians are taught meanwhile: the photographs, as before, and by *projection* to lie on the field's zero set.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from rilievo.engine.patch_sampler import PatchBatch
from rilievo.engine.ray_sampler import step_seed
from rilievo.fields.udf import UdfField
from rilievo.losses.gaussian_udf import height_error, projection_distance
from rilievo.renderers.planar_splat import planes_at_pixels
from rilievo.renderers.udf_surface import UnsignedRender

from .config import UdfConfig
from .discs import disc_error, drawn_discs, far_error, pulled_points, within
from .guide import SurfaceGuide, Taught
from .witness_module import WitnessModule

REGION = 1.0
"""Half side of the box in which Gaussians are listened to, in region radii."""
UNCERTAIN = 0.002
"""Distance, in region radii, up to which seen points do not tell the two sides of a surface apart."""
CONTRADICTION = 0.05
"""Difference in depth, in region radii, at which the Gaussians are believed half; far beyond it, not at all."""


class Coupling(nn.Module):
    """Gaussians beside a field, and the losses between them."""

    def __init__(self, config: UdfConfig, witness: WitnessModule, guide: SurfaceGuide) -> None:
        super().__init__()
        self.config, self.witness, self.guide = config, witness, guide

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The Gaussians' parameters with the rates at which their own training ended."""
        rates, extent = self.config.gaussians.rates, self.witness.extent
        return [
            {
                "params": [parameter],
                "name": f"gaussians.{name}",
                "lr": rates.means_final * extent if name == "means" else getattr(rates, name) * rates.final,
                "weight_decay": 0.0,
            }
            for name, parameter in self.witness.model.gaussians.named_parameters()
        ]

    def taught(self, field: UdfField, step: int, *, part: int, parts: int) -> dict[str, Float[Tensor, "_"]]:
        """What the seen points say of the field; process `part` of `parts` takes its share of them."""
        weights, device = self.config.losses, next(field.parameters()).device
        generator = torch.Generator().manual_seed(step_seed(self.config.fit.seed + 5, step))
        values: dict[str, Tensor] = {}

        def own(taught: Taught) -> Taught:
            mine = slice(part, None, parts)
            return Taught(*(getattr(taught, entry.name)[mine].to(device) for entry in fields(taught)))

        if weights.near(step) or weights.side(step) or weights.direction(step):
            taught = own(self.guide.near(self.config.near_points, generator))
            said = field(taught.points)
            values["near"] = taught.known * height_error(taught.side * said.raw, taught.distance)
            values["side"] = (-taught.side * said.raw).clamp_min(0)
            cosine = (F.normalize(said.gradient, dim=-1) * taught.direction).sum(-1)
            values["direction"] = torch.where(taught.known & (taught.distance > UNCERTAIN), 1 - cosine, 0)
        if weights.far(step):
            taught = own(self.guide.anywhere(self.config.far_points, generator))
            turned = taught.side * field.raw(taught.points)
            values["far"] = torch.where(taught.known, height_error(turned, taught.distance), (-turned).clamp_min(0))
        return values | self._by_all(field, step, part=part, parts=parts)

    def _by_all(self, field: UdfField, step: int, *, part: int, parts: int) -> dict[str, Float[Tensor, "_"]]:
        """What every Gaussian in the region teaches, where it is now."""
        weights, pull = self.config.losses, self.config.pull
        if not (weights.pull(step) or weights.discs(step)):
            return {}
        generator = torch.Generator().manual_seed(step_seed(self.config.fit.seed + 7, step))
        cloud = within(self.witness.model.cloud, REGION)
        values: dict[str, Tensor] = {}
        if len(cloud) and weights.pull(step):
            points = pulled_points(cloud.means, pull, REGION, generator)
            values["pull"] = far_error(field, points[part::parts], cloud.means)[0][None]
        if len(cloud) and weights.discs(step):
            chosen = drawn_discs(cloud, pull.discs, generator)[part::parts]
            values["discs"] = disc_error(field, cloud[chosen], pull, generator)
        return values

    def compared(self, batch: PatchBatch, surface: UnsignedRender, step: int) -> dict[str, Float[Tensor, "r"]]:
        """What the Gaussians see at the pixels of a batch, against what the field shows there."""
        weights = self.config.losses
        if not (weights.depth(step) or weights.normal(step)):
            return {}
        view = int(batch.view[0])
        camera = self.witness.others.pictures[view].camera
        world_rays = batch.rays
        R = camera.cam_from_world[0, :3, :3].to(world_rays.directions)
        in_camera = world_rays.directions @ R.T
        with torch.no_grad():
            pixels, _ = camera.project(0, world_rays.at(torch.ones_like(surface.opacity)).double().cpu())
            width, height = camera.sizes_px[0].tolist()
            last = torch.tensor([width - 1, height - 1])
            inside = torch.minimum(pixels.floor().long().clamp_min(0), last)
            planes = planes_at_pixels(
                self.witness.model.cloud,
                camera.cam_from_world[0].to(R),
                camera.K[0].to(R),
                (width, height),
                inside.to(R.device),
            )
            slant = in_camera[:, 2:]
            t = planes.depth(in_camera / slant) / slant[:, 0]
            found = surface.distance / surface.opacity.clamp_min(1e-3)
            apart = (found - t) / CONTRADICTION
            sure = planes.alpha * (t > 0) * (surface.opacity > 0.1) / (1 + apart.square())
            towards = F.normalize(planes.normals, dim=-1) @ R
        return {
            "depth": sure * (surface.distance - surface.opacity * t).abs(),
            "normal": sure * (surface.opacity - (surface.normals * towards).sum(-1)),
        }

    def photographed(self, field: UdfField, step: int) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, "_"]]]:
        """What the Gaussians are to learn at a step: their own sum of losses, and how far off the zero set they are."""
        witness, last = self.witness, self.witness.config.fit.steps
        every = self.config.gaussians.every
        if not every or step % every:  # zeros and not nothing: processes wait for a gradient of every parameter
            return sum((0 * p.sum() for p in witness.parameters()), torch.zeros((), device=witness.device)), {}
        batch = witness.sampler.batch(last + step, device=witness.device)
        out = witness.render_batch(batch)
        own = sum(
            (witness.weight(name, last) * values.mean() for name, values in witness.losses(batch, out, last).items()),
            out.alpha.new_zeros(()),
        )
        if not self.config.losses.projection(step):
            return own, {}
        generator = torch.Generator().manual_seed(step_seed(self.config.fit.seed + 6, step))
        means = witness.model.gaussians.cloud.means
        some = torch.randint(len(means), (self.config.projected,), generator=generator).to(means.device)
        with torch.no_grad():
            said = field(means[some])
            udf = field.distance(means[some])
        return own, {"projection": projection_distance(means[some], udf, said.gradient)}
