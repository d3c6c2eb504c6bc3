"""Materials and light on a known surface (NeRO, Liu et al. 2023, arXiv:2305.17398, section 3.5), with exact sampling.

A point is seen as the mean of f_r (n·l) L(l) / p(l) over directions l drawn with density p by the reflectance itself
(`shading.brdf`). The published sum (`shading.monte_carlo`) counts mirrors about twice, which its light then makes up
for; here materials mean what they say, and another renderer can use them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.cameras.rays import Rays
from rilievo.engine import build
from rilievo.engine.method import Rendering
from rilievo.engine.ray_model import RayModel
from rilievo.engine.render import render_rays
from rilievo.engine.settings import MlpConfig
from rilievo.fields.encoding import CompositeEncoding
from rilievo.fields.frequency import FrequencyEncoding
from rilievo.fields.material import MaterialField
from rilievo.fields.mlp import MLP
from rilievo.geometry.mesh import TriMesh
from rilievo.shading import brdf
from rilievo.shading.brdf import Material
from rilievo.shading.color import linear_to_srgb
from rilievo.shading.monte_carlo import even_squares
from rilievo.shading.traced_light import TracedLight

from .config import NeroMaterialConfig
from .features import SurfaceFeatures
from .surface import KnownSurface, facing, lifted

LEAST_DENSITY = 1e-3
"""Directions that are hardly ever drawn do not outshine the rest."""


@dataclass(frozen=True)
class MaterialRender:
    """What rays saw; rows of the inner fields belong to rays that met the surface."""

    rgb: Float[Tensor, "rays 3"]
    hit: Bool[Tensor, "rays"]
    points: Float[Tensor, "hits 3"]
    normals: Float[Tensor, "hits 3"]
    material: Material
    light: Float[Tensor, "hits directions 3"]
    distance: Float[Tensor, "rays"]
    n_samples: int


class NeroMaterialModel(RayModel):
    """Albedo, metallic and roughness over a mesh, and light from all sides."""

    def __init__(self, config: NeroMaterialConfig, surface: KnownSurface) -> None:
        super().__init__()
        self.config, self.surface = config, surface
        generator = torch.Generator().manual_seed(config.fit.seed)
        features = SurfaceFeatures(build.hash_grid(config.grid, generator))

        def network(shape: MlpConfig, inputs: int, outputs: int) -> MLP:
            return MLP(inputs, outputs, width=shape.width, hidden_layers=shape.hidden, generator=generator)

        self.material = MaterialField(
            features, *(network(config.material, features.output_dim + 3, n) for n in (3, 1, 1))
        )
        place = CompositeEncoding(FrequencyEncoding(config.place_octaves), scale=1.0, offset=0.0)
        blurred = 2 * sum(2**i + 1 for i in range(config.degree))
        self.light = TracedLight(
            network(config.light, blurred, 3),
            network(config.light, blurred + place.output_dim, 3),
            None,
            encode_points=place,
            degree=config.degree,
            max_exponent=config.max_exponent,
            indirect_max_exponent=config.max_exponent,
        )

    def set_step(self, step: int) -> None:
        """Nothing here follows the step."""

    def update_occupancy(self, *, seed: int, fraction: float) -> None:
        """The surface is known, and what is not on it is empty."""

    def forward(
        self, rays: Rays, behind: Float[Tensor, "3"], directions: int, shift: Float[Tensor, "_ 2"] | None = None
    ) -> MaterialRender:
        """The surface before the colour `behind`. `shift` moves the even squares that directions are drawn from, for
        each ray or for all alike."""
        met = self.surface.meet(rays.origins, rays.directions)
        hit, view = met.hit, -rays.directions[met.hit]
        points, normals = met.points[hit], facing(met.normals[hit], view)
        material = self.material(points)
        squares = even_squares(directions).to(points)[None]
        if shift is not None:
            squares = (squares + (shift if len(shift) == 1 else shift[hit])[:, None]) % 1
        color, light = self._seen(points, normals, view, material, squares.expand(len(points), -1, -1))
        rgb = behind.expand_as(rays.origins).masked_scatter(hit[:, None], linear_to_srgb(color))
        return MaterialRender(
            rgb, hit, points, normals, material, light, met.distance[:, 0] * hit, len(points) * directions
        )

    def _seen(
        self, points: Tensor, normals: Tensor, view: Tensor, material: Material, squares: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Linear colour [n, 3], and the light that made it [n, s, 3]."""
        spread = Material(material.albedo[:, None], material.metallic[:, None], material.roughness[:, None])
        n, v = normals[:, None], view[:, None]
        with torch.no_grad():
            heading = brdf.sample(spread, n, v, squares)
            density = brdf.pdf(spread, n, v, heading).clamp_min(LEAST_DENSITY)
        light = self.light(lifted(points, normals), heading, self.surface.meet)
        return (brdf.evaluate(spread, n, v, heading) * light / density).mean(1), light

    def render(self, cameras: Cameras, index: int, time: float | None = None) -> Rendering:
        """The view of a camera; what is not the surface is white."""
        device = next(self.parameters()).device
        white = torch.ones(3, device=device)

        def look(rays: Rays) -> dict[str, Tensor]:
            out = self(rays, white, self.config.render_directions, torch.zeros(1, 2, device=device))
            opacity = out.hit.float()
            normals = torch.zeros_like(rays.origins).masked_scatter(out.hit[:, None], out.normals)
            return {"rgb": out.rgb, "opacity": opacity, "distance": out.distance, "normals": normals}

        return render_rays(look, cameras, index, device)

    @torch.no_grad()
    def vertex_materials(self) -> Material:
        """At the vertices of the mesh."""
        vertices = torch.from_numpy(self.surface.mesh.vertices).float()
        return self.material(vertices.to(next(self.parameters()).device))

    @torch.no_grad()
    def panorama(self, height: int, directions: Float[Tensor, "n 3"]) -> Float[Tensor, "h w 3"]:
        """Linear light from the given directions, two times as many columns as rows."""
        light = self.light.surroundings(torch.zeros_like(directions), directions)
        return light.view(height, 2 * height, 3)

    def extract_mesh(self, resolution: int) -> TriMesh:
        """The mesh that was given, whatever the resolution, coloured by its albedo."""
        albedo = linear_to_srgb(self.vertex_materials().albedo).cpu().numpy()
        mesh = self.surface.mesh
        return TriMesh(mesh.vertices, mesh.faces, mesh.vertex_normals, (albedo * 255 + 0.5).astype("uint8"))
