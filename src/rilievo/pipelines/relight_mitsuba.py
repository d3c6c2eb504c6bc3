"""New light by Mitsuba 3 (mitsuba-renderer.org), an independent path tracer: extra `relight`.

The mesh goes over with its materials at the vertices, as a `principled` surface: GGX with α = roughness² and a
reflectance of 0.04 for what is no metal, as ours. Mitsuba's cameras have x to the left and y up, and its panoramas have
y up and their first and last rows at the poles.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float32

from rilievo.errors import clear
from rilievo.io.mesh_file import read_mesh
from rilievo.shading.environment import Rows, texel_directions

from .relight_job import RelightJob, resampled, vertex_material

VARIANT = "scalar_rgb"
"""The one that needs neither LLVM nor a GPU."""
FLIP_XY = np.diag([-1.0, -1.0, 1.0, 1.0])
"""Mitsuba's camera axes from ours."""


def render(job: RelightJob) -> Iterator[Float32[np.ndarray, "h w 4"]]:
    """The pictures of a job, one after the other. Raises `UserError` where Mitsuba is not installed."""
    try:
        import mitsuba as mi
    except ImportError as error:
        raise clear(
            "--backend mitsuba",
            expected="the package mitsuba",
            got="none",
            do="pip install 'rilievo[relight]', or use native",
        ) from error
    mi.set_variant(VARIANT)
    scene = mi.load_dict(
        {
            "type": "scene",
            "integrator": {"type": "path", "max_depth": job.bounces + 2, "hide_emitters": True},
            "object": _body(mi, job),
            "light": {
                "type": "envmap",
                "bitmap": mi.Bitmap(panorama(job)),
                "to_world": mi.ScalarTransform4f().rotate([1, 0, 0], 90),
            },
        }
    )
    for i in range(len(job.cameras)):
        picture = mi.render(scene, sensor=mi.load_dict(_sensor(mi, job, i)), spp=job.samples, seed=i)
        yield np.asarray(picture, dtype=np.float32)[..., :4]


def panorama(job: RelightJob) -> Float32[np.ndarray, "h w 3"]:
    """The light, z up, with its rows as Mitsuba has them."""
    environment = job.environment
    if environment.rows is Rows.POLES and environment.turn == 0:
        return environment.radiance.cpu().numpy().astype(np.float32)
    rows = 2 * environment.radiance.shape[0]
    return resampled(environment, texel_directions(rows, Rows.POLES), rows)


def _body(mi: Any, job: RelightJob) -> Any:
    mesh = read_mesh(job.folder / "surface.ply")
    albedo, metallic, roughness = vertex_material(job)
    looks = {
        "type": "principled",
        "base_color": {"type": "mesh_attribute", "name": "vertex_albedo"},
        "metallic": {"type": "mesh_attribute", "name": "vertex_metallic"},
        "roughness": {"type": "mesh_attribute", "name": "vertex_roughness"},
        "specular": 0.5,
    }
    properties = mi.Properties()
    properties["bsdf"] = mi.load_dict(looks)
    body = mi.Mesh(
        "object",
        vertex_count=len(mesh.vertices),
        face_count=len(mesh.faces),
        has_vertex_normals=True,
        has_vertex_texcoords=False,
        props=properties,
    )
    held = mi.traverse(body)
    held["vertex_positions"] = mesh.vertices.astype(np.float32).ravel()
    held["vertex_normals"] = mesh.vertex_normals.astype(np.float32).ravel()
    held["faces"] = mesh.faces.astype(np.uint32).ravel()
    held.update()
    for name, values in (("albedo", albedo), ("metallic", metallic), ("roughness", roughness)):
        body.add_attribute(f"vertex_{name}", values.shape[1], values.astype(np.float32).ravel())
    return body


def _sensor(mi: Any, job: RelightJob, i: int) -> dict[str, Any]:
    width, height = job.cameras.sizes_px[i].tolist()
    K = job.cameras.K[i].numpy()
    pose = job.cameras.world_from_cam[i].numpy() @ FLIP_XY
    return {
        "type": "perspective",
        "fov": 2 * math.degrees(math.atan(width / (2 * K[0, 0]))),
        "fov_axis": "x",
        "principal_point_offset_x": 0.5 - K[0, 2] / width,
        "principal_point_offset_y": 0.5 - K[1, 2] / height,
        "near_clip": 1e-3,
        "far_clip": 1e4,
        "to_world": mi.ScalarTransform4f(pose),
        "film": {
            "type": "hdrfilm",
            "width": width,
            "height": height,
            "pixel_format": "rgba",
            "rfilter": {"type": "box"},
        },
        "sampler": {"type": "independent", "sample_count": job.samples},
    }
