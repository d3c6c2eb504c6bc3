"""NeRO's published first stage, its stored networks in our layers, for tests."""

from __future__ import annotations

import json

import numpy as np
import torch
from tests.fields.published_nerf import published_nerf
from tests.shading.shipped_table import shipped_table
from torch.nn.functional import normalize

from rilievo.fields.encoding import CompositeEncoding, pullback
from rilievo.fields.frequency import FrequencyEncoding
from rilievo.fields.mlp import MLP
from rilievo.fields.skip_mlp import SkipMLP
from rilievo.losses import glossy
from rilievo.methods.nero_shape.dense import DenseRender, render_dense
from rilievo.methods.nero_shape.maps import SurfaceMaps, surface_maps
from rilievo.renderers.occlusion import counts_for_occlusion, find_crossings
from rilievo.shading.appearance import shade
from rilievo.shading.brdf import Material
from rilievo.shading.light import LightField
from rilievo.shading.reflection import dot


def embedder(octaves: int) -> CompositeEncoding:
    return CompositeEncoding(FrequencyEncoding(octaves), scale=1.0, offset=0.0)


class Published:
    """The stored networks and rays."""

    def __init__(self, path) -> None:
        raw = np.load(path)
        self.config = json.loads(str(raw["cfg/json"]))
        self.data = {key: torch.from_numpy(raw[key]) for key in raw.files if raw[key].dtype.kind in "fib"}
        self.names = {key: raw[key].tolist() for key in raw.files if key.endswith("grad/names")}
        self.stored = {key[3:]: value for key, value in self.data.items() if key.startswith("sd/")}
        self.encoding = embedder(self.config["sdf_freq"])
        self.sdf_network = self._filled(
            SkipMLP(self.encoding.output_dim, self.config["sdf_d_out"], hidden_layers=self.config["sdf_n_layers"]),
            "sdf_network.lin{}",
        )
        self.predictors = {
            name: self._predictor(f"color_network.{name}")
            for name in sorted({k.split(".")[1] for k in self.stored if k.startswith("color_network.")})
        }
        self.variance = self.stored["deviation_network.variance"].clone().requires_grad_()
        self.outside, self.outside_names = published_nerf(self.stored, "outer_nerf.")

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.data[name]

    @property
    def inv_s(self) -> torch.Tensor:
        return (10 * self.variance).exp().clamp(1e-6, 1e6)

    @property
    def lights(self) -> LightField:
        shader, nets = self.config["shader_config"], self.predictors
        return LightField(
            nets["outer_light"],
            nets["inner_light"],
            nets["inner_weight"],
            nets.get("human_light_predictor"),
            encode_points=embedder(shader["light_pos_freq"]),
            encode_directions=embedder(6),
            from_sphere=shader["sphere_direction"],
            max_exponent=shader["light_exp_max"],
        )

    def level(self, points):
        return self.sdf_network(self.encoding(points))[:, 0]

    def sdf(self, points):
        raw, by_features = self.sdf_network.value_and_pullback(self.encoding(points))
        return raw[:, 0], pullback(self.encoding, points, by_features), raw[:, 1:]

    def shade(self, points, gradients, features, ray):
        seen = torch.cat([features, points], -1)
        albedo, metallic, roughness = (
            torch.sigmoid(self.predictors[f"{name}_predictor"](seen)) for name in ("albedo", "metallic", "roughness")
        )
        view, frames = -self["in/rays_d"][ray], self["in/human_poses"][ray]
        cos = dot(normalize(gradients, dim=-1), normalize(view, dim=-1))
        table = shipped_table().around(cos, roughness)
        return shade(points, gradients, view, Material(albedo, metallic, roughness), self.lights, table, frames)

    def rendered(self, cos_anneal: float) -> DenseRender:
        return render_dense(
            self["in/rays_o"],
            self["in/rays_d"],
            self["sample_ray/z_vals"],
            self.sdf,
            self.shade,
            self.outside,
            self.inv_s,
            cos_anneal,
        )

    def maps(self, t: torch.Tensor, weights: torch.Tensor, sdf_fn) -> SurfaceMaps:
        origins, directions = self["in/rays_o"], self["in/rays_d"]
        return surface_maps(origins, directions, t, weights, sdf_fn, self.shade, self.level, self.inv_s)

    @property
    def parameters(self) -> dict[str, torch.Tensor]:
        """By the names under which they are stored."""
        named = {"deviation_network.variance": self.variance}
        for part, value in self.sdf_network.named_parameters():
            _, layer, kind = part.split(".")
            named[f"sdf_network.lin{layer}.{kind}"] = value
        for name, mlp in self.predictors.items():
            for part, value in mlp.named_parameters():
                _, layer, kind = part.split(".")
                named[f"color_network.{name}.{2 * int(layer)}.{kind}"] = value
        outside = dict(self.outside.named_parameters())
        named |= {f"outer_nerf.{theirs}": outside[ours] for ours, theirs in self.outside_names.items()}
        return named

    def occlusion(self, out: DenseRender) -> torch.Tensor:
        chosen = counts_for_occlusion(out.points, out.sdf, out.sdf_grad, out.directions, self.config["occ_sdf_thresh"])
        reflected = out.appearance.reflected[chosen].detach()
        marched = find_crossings(out.points[chosen], reflected, self.level, self.inv_s.detach()).probability
        return glossy.occlusion(out.appearance.incoming.occlusion[chosen], marched)

    def _predictor(self, name: str) -> MLP:
        numbers = sorted({int(k.split(".")[2]) for k in self.stored if k.startswith(f"{name}.")})
        first = self.stored[f"{name}.0.weight_v"]
        outputs = len(self.stored[f"{name}.{numbers[-1]}.bias"])
        mlp = MLP(first.shape[1], outputs, width=len(first), hidden_layers=len(numbers) - 1, weight_norm=True)
        return self._filled(mlp, name + ".{}", step=2)

    def _filled(self, mlp, pattern: str, step: int = 1):
        parts = ("bias", "weight_g", "weight_v")
        mlp.load_state_dict(
            {
                f"layers.{k}.{p}": self.stored[f"{pattern.format(step * k)}.{p}"]
                for k in range(len(mlp.layers))
                for p in parts
            }
        )
        return mlp
