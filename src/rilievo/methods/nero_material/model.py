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
from rilievo.fields.material import MaterialField
from rilievo.fields.mlp import MLP
from rilievo.geometry.mesh import TriMesh
from rilievo.shading import brdf
from rilievo.shading.brdf import Material
from rilievo.shading.color import linear_to_srgb
from rilievo.shading.directional_encoding import DirectionalEncoding
from rilievo.shading.monte_carlo import even_squares
from rilievo.shading.panorama_light import LearnedPanorama, PanoramaLight
from rilievo.shading.traced_light import TracedLight

from .config import NeroMaterialConfig
from .features import SurfaceFeatures
from .surface import KnownSurface, facing, lifted

LEAST_DENSITY = 1e-3
"""Directions that are hardly ever drawn do not outshine the rest."""
START_LIGHT = -0.7
"""Every light starts as half of white: its logarithm."""


@dataclass(frozen=True)
class MaterialRender:
    """What rays saw; rows of the inner fields belong to rays that met the surface."""

    rgb: Float[Tensor, "rays 3"]
    hit: Bool[Tensor, "rays"]
    points: Float[Tensor, "hits 3"]
    normals: Float[Tensor, "hits 3"]
    view_dirs: Float[Tensor, "hits 3"]
    material: Material
    estimates: Float[Tensor, "hits sets 3"]
    """Linear colour from each set of directions by itself; `rgb` is of their mean."""
    light: Float[Tensor, "hits directions 3"]
    distance: Float[Tensor, "rays"]
    n_samples: int


class NeroMaterialModel(RayModel):
    """Albedo, metallic and roughness over a mesh, and light from all sides."""

    def __init__(self, config: NeroMaterialConfig, surface: KnownSurface) -> None:
        super().__init__()
        self.config, self.surface = config, surface
        generator = torch.Generator().manual_seed(config.fit.seed)
        self.material = self._build_material(generator)
        self.light: TracedLight = self._build_light(generator)

    def set_step(self, step: int) -> None:
        """Nothing here follows the step."""

    def update_occupancy(self, *, seed: int, fraction: float) -> None:
        """The surface is known, and what is not on it is empty."""

    def forward(self, rays: Rays, behind: Float[Tensor, "3"], squares: Float[Tensor, "_ sets s 2"]) -> MaterialRender:
        """The surface before the colour `behind`. `squares` are the uniform numbers that directions are drawn from, in
        sets that each give an estimate; for each ray or for all alike."""
        met = self.surface.meet(rays.origins, rays.directions)
        hit, view = met.hit, -rays.directions[met.hit]
        points, normals = met.points[hit], facing(met.normals[hit], view)
        material = self.material(points)
        numbers = (squares if len(squares) == 1 else squares[hit]).expand(len(points), -1, -1, -1)
        estimates, light = self._seen(points, normals, view, material, numbers)
        color = linear_to_srgb(estimates.mean(1))
        rgb = behind.expand_as(rays.origins).masked_scatter(hit[:, None], color)
        return MaterialRender(
            rgb,
            hit,
            points,
            normals,
            view,
            material,
            estimates,
            light,
            met.distance[:, 0] * hit,
            light.shape[0] * light.shape[1],
        )

    def _seen(
        self, points: Tensor, normals: Tensor, view: Tensor, material: Material, squares: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Linear colour from each set of directions [n, sets, 3], and the light from all of them [n, s, 3]."""
        spread = Material(material.albedo[:, None], material.metallic[:, None], material.roughness[:, None])
        n, v = normals[:, None], view[:, None]
        with torch.no_grad():
            heading = brdf.sample(spread, n, v, squares.flatten(1, 2))
            density = brdf.pdf(spread, n, v, heading).clamp_min(LEAST_DENSITY)
        light = self.light(lifted(points, normals), heading, self.surface.meet)
        each = brdf.evaluate(spread, n, v, heading) * light / density
        return each.unflatten(1, squares.shape[1:3]).mean(2), light

    def _build_material(self, generator: torch.Generator) -> MaterialField:
        features = SurfaceFeatures(build.hash_grid(self.config.grid, generator))
        inputs = features.output_dim + 3
        parts = (_network(self.config.material, inputs, n, generator) for n in (3, 1, 1))
        return MaterialField(features, *parts, squared=False)

    def _build_light(self, generator: torch.Generator) -> TracedLight:
        config = self.config
        place = SurfaceFeatures(build.hash_grid(config.light_grid, generator))
        inputs = DirectionalEncoding(config.degree).output_dim + place.output_dim
        return PanoramaLight(
            LearnedPanorama(config.panorama_rows, START_LIGHT),
            _network(config.light, inputs, 3, generator),
            encode_points=place,
            degree=config.degree,
            max_exponent=config.max_exponent,
        )

    def _picture_squares(self, device: torch.device) -> Float[Tensor, "1 sets s 2"]:
        return even_squares(self.config.render_directions).to(device)[None, None]

    def render(self, cameras: Cameras, index: int, time: float | None = None) -> Rendering:
        """The view of a camera; what is not the surface is white."""
        device = next(self.parameters()).device
        white = torch.ones(3, device=device)
        squares = self._picture_squares(device)

        def look(rays: Rays) -> dict[str, Tensor]:
            out = self(rays, white, squares)
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


def _network(shape: MlpConfig, inputs: int, outputs: int, generator: torch.Generator) -> MLP:
    return MLP(inputs, outputs, width=shape.width, hidden_layers=shape.hidden, generator=generator)
