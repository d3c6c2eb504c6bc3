"""Other renderers are asked in their own axes and give the same picture; where they are missing, that is said."""

import importlib.util
import math
import shutil
import sys

import numpy as np
import pytest
import torch
import trimesh

from rilievo.cameras.camera import Cameras
from rilievo.errors import UserError
from rilievo.geometry.mesh import TriMesh
from rilievo.io.exr import read_exr_rgb
from rilievo.io.mesh_file import write_mesh
from rilievo.methods.nero_material.relight import PlacedLight, relit
from rilievo.methods.nero_material.surface import KnownSurface
from rilievo.metrics.image import psnr
from rilievo.pipelines import relight_blender, relight_mitsuba
from rilievo.pipelines.relight import screened
from rilievo.pipelines.relight_job import RelightJob
from rilievo.shading.brdf import Material
from rilievo.shading.color import linear_to_srgb
from rilievo.shading.environment import Environment, Rows

ALBEDO, METALLIC, ROUGHNESS = (0.7, 0.5, 0.3), 0.0, 0.4


@pytest.fixture
def body() -> TriMesh:
    ball = trimesh.creation.icosphere(subdivisions=3, radius=0.5)
    return TriMesh(np.array(ball.vertices, np.float32), np.array(ball.faces))


@pytest.fixture
def folder(body, tmp_path):
    write_mesh(tmp_path / "surface.ply", body)
    (tmp_path / "materials").mkdir()
    count = len(body.vertices)
    for name, value in (("albedo", ALBEDO), ("metallic", (METALLIC,)), ("roughness", (ROUGHNESS,))):
        np.save(tmp_path / "materials" / f"{name}.npy", np.tile(np.float32(value), (count, 1)))
    (tmp_path / "material.glb").write_bytes(b"glTF")
    return tmp_path


@pytest.fixture
def cameras() -> Cameras:
    """One that looks from +y and a little above, its principal point off the centre."""
    eye = torch.tensor([0.3, 2.0, 0.6], dtype=torch.float64)
    forward = -eye / eye.norm()
    right = torch.linalg.cross(forward, torch.tensor([0.0, 0, 1], dtype=torch.float64))
    right = right / right.norm()
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward], -1)
    pose[:3, 3] = eye
    K = torch.tensor([[60.0, 0, 18], [0, 60, 14], [0, 0, 1]], dtype=torch.float64)
    return Cameras.pinhole(pose[None], K[None], torch.tensor([[32, 32]]))


@pytest.fixture
def environment() -> Environment:
    """A sky that is bright on one side, warm below."""
    up, along = torch.meshgrid(torch.linspace(1, -1, 16), torch.linspace(0, 2 * math.pi, 33)[:-1], indexing="ij")
    light = torch.stack([1.2 - 0.3 * up, 1 + 0.2 * up, 1 + 0.8 * up], -1) * (0.6 + 0.5 * along.sin())[..., None]
    return Environment(light.clamp_min(0.02))


def native(body: TriMesh, environment: Environment, cameras: Cameras) -> torch.Tensor:
    def look_up(points: torch.Tensor) -> Material:
        one = torch.ones_like(points[:, :1])
        return Material(torch.tensor(ALBEDO) * one, METALLIC * one, ROUGHNESS * one)

    around = PlacedLight(environment, torch.eye(3))
    return relit(KnownSurface(body), look_up, around, cameras, 0, directions=256, bounces=0)


def test_mitsuba_agrees_with_us(folder, body, cameras, environment):
    pytest.importorskip("mitsuba")
    turned = environment.turned(0.7)
    theirs = torch.from_numpy(next(relight_mitsuba.render(RelightJob(folder, turned, cameras, samples=256, bounces=0))))
    ours = native(body, turned, cameras)
    assert (theirs[..., 3] - ours[..., 3]).abs().mean() < 0.01
    agreed = psnr(linear_to_srgb(theirs[..., :3]), linear_to_srgb(ours[..., :3]))
    assert agreed > 25  # their matte ground follows Disney, ours Lambert beneath the mirror


def test_blender_is_asked_in_its_own_axes(folder, cameras, environment, tmp_path):
    """What is not known of Blender here is played by a program that looks at the job and paints its answer."""
    program = tmp_path / "blender"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, shutil, sys\n"
        "job = json.load(open(sys.argv[sys.argv.index('--') + 1]))\n"
        f"shutil.copy(job['light'], {str(tmp_path / 'light.exr')!r})\n"
        f"json.dump(job, open({str(tmp_path / 'asked.json')!r}, 'w'))\n"
        "sys.exit('out of paint')\n"
    )
    program.chmod(0o755)
    with pytest.raises(UserError, match="out of paint"):
        next(relight_blender.render(RelightJob(folder, environment, cameras), program))
    panorama = torch.from_numpy(read_exr_rgb(tmp_path / "light.exr"))
    rows = len(panorama)
    ahead = panorama[rows // 2 - 1 : rows // 2 + 1, rows - 1 : rows + 1].mean((0, 1))  # the middle of the picture
    expected = environment.radiance_towards(torch.tensor([[1.0, 0.0, 0.0]]))[0]
    torch.testing.assert_close(ahead, expected, atol=0.02, rtol=0.02)


def test_a_renderer_that_is_missing_is_named_with_what_to_install(folder, cameras, environment, monkeypatch):
    job = RelightJob(folder, environment, cameras)
    monkeypatch.setitem(sys.modules, "mitsuba", None)
    with pytest.raises(UserError, match=r"rilievo\[relight\]"):
        next(relight_mitsuba.render(job))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="apt install blender"):
        next(relight_blender.render(job))
    with pytest.raises(UserError, match="--blender"):
        next(relight_blender.render(job, folder / "nowhere"))


def test_other_renderers_refuse_lenses_that_they_do_not_know(folder, cameras, environment):
    bent = Cameras(
        cameras.world_from_cam,
        cameras.K,
        cameras.sizes_px,
        torch.tensor([[0.1, *[0.0] * 7]], dtype=torch.float64),
        cameras.fisheye,
    )
    with pytest.raises(UserError, match="native"):
        RelightJob(folder, environment, bent)


def test_a_panorama_with_its_rows_at_the_poles_goes_to_mitsuba_as_it_is(folder, cameras, environment):
    as_stored = Environment(environment.radiance, Rows.POLES)
    kept = relight_mitsuba.panorama(RelightJob(folder, as_stored, cameras))
    np.testing.assert_array_equal(kept, environment.radiance.numpy())


def test_half_a_pixel_of_object_shows_its_own_colour_and_half_of_what_is_behind():
    half = torch.tensor([[[0.5, 0.25, 0.0, 0.5]]])
    cut = screened(half, None)[0, 0]
    assert cut[3] == 128
    np.testing.assert_allclose(cut[:3] / 255, linear_to_srgb(torch.tensor([1.0, 0.5, 0.0])), atol=3e-3)
    over = screened(half, torch.ones(1, 1, 3))[0, 0]
    np.testing.assert_allclose(over / 255, linear_to_srgb(torch.tensor([1.0, 0.75, 0.5])), atol=3e-3)
