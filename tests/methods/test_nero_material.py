"""NeRO's second stage learns materials on a given surface; new light falls on them as physics says."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from rilievo.cli import main
from rilievo.cli.evaluate import image_metrics
from rilievo.demo.capture import true_surface
from rilievo.engine import config_file
from rilievo.engine.run import open_run
from rilievo.geometry.mesh import TriMesh
from rilievo.io.exr import write_exr_rgb
from rilievo.io.mesh_file import read_mesh, write_mesh
from rilievo.methods.nero_material.config import PRESETS, NeroMaterialConfig, TextureConfig
from rilievo.methods.nero_material.export import write_materials
from rilievo.methods.nero_material.published import PublishedModel
from rilievo.methods.nero_material.relight import PlacedLight, outgoing
from rilievo.methods.nero_material.surface import KnownSurface
from rilievo.shading.brdf import Material
from rilievo.shading.environment import Environment, read_environment


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """The surface of the capture, in a file."""
    path = tmp_path_factory.mktemp("mesh") / "surface.ply"
    write_mesh(path, true_surface(32))
    return path


@pytest.fixture(scope="module")
def learned(fit, capture, given):
    return fit("nero-material", capture, "--mesh", str(given))


def test_forty_steps_gain_a_decibel_on_a_photograph_that_was_held_out(learned, fit, capture, given):
    start = image_metrics(fit("nero-material", capture, "--mesh", str(given), "--steps", "1"))["mean"]["psnr"]
    assert image_metrics(learned)["mean"]["psnr"] > start + 1


def test_what_is_left_belongs_to_the_surface(learned):
    folder = learned.workspace.folder
    mesh = read_mesh(folder / "surface.ply")
    for name, channels in (("albedo", 3), ("metallic", 1), ("roughness", 1)):
        values = np.load(folder / "materials" / f"{name}.npy")
        assert values.shape == (len(mesh.vertices), channels)
        assert ((values >= 0) & (values <= 1)).all()
    assert read_environment(folder / "materials" / "light.exr").radiance.isfinite().all()
    body = trimesh.load(folder / "material.glb", force="mesh", process=False)
    assert body.visual.material.metallicRoughnessTexture is not None
    np.testing.assert_allclose(np.ptp(body.vertices[:, 1]), np.ptp(mesh.vertices[:, 2]), rtol=1e-2)  # y is up there


def test_other_programs_get_fewer_faces_and_a_normal_map_or_the_whole_surface_and_none(learned, tmp_path):
    folder, texture = learned.workspace.folder, learned.model.config.texture
    mesh = read_mesh(folder / "surface.ply")
    body = trimesh.load(folder / "material.glb", force="mesh", process=False)
    assert len(body.faces) == pytest.approx(texture.faces, rel=0.05)
    assert len(body.faces) < len(mesh.faces) / 2
    assert body.visual.material.normalTexture.size == (texture.size, texture.size)
    model = learned.model
    config, model.config = model.config, replace(model.config, texture=TextureConfig(size=64, faces=0))
    write_materials(tmp_path, model, learned.scene)
    model.config = config
    whole = trimesh.load(tmp_path / "material.glb", force="mesh", process=False)
    assert len(whole.faces) == len(mesh.faces)
    assert whole.visual.material.normalTexture is None
    assert not (tmp_path / "material_normal.png").exists()


def test_pictures_under_new_light_are_written(learned, tmp_path):
    light = np.full((8, 16, 3), 0.5, np.float32)
    light[1, 3] = -0.01
    write_exr_rgb(tmp_path / "light.exr", light)
    command = ["relight", str(learned.workspace.folder), "--envmap", str(tmp_path / "light.exr")]
    assert main([*command, "-o", str(tmp_path / "new"), "--transparent", "--directions", "4"]) == 0
    pictures = list((tmp_path / "new").iterdir())
    assert len(pictures) == len(learned.scene.test_views)
    assert Image.open(pictures[0]).mode == "RGBA"


def test_mistakes_are_told(capture, given, learned, fit, tmp_path, capsys):
    command = ["fit", "nero-material", str(capture), "-o", str(tmp_path / "run"), "--preset", "smoke"]
    assert main(command) == 2
    assert "--mesh" in capsys.readouterr().err
    far = read_mesh(given)
    write_mesh(tmp_path / "far.ply", TriMesh(far.vertices + 100, far.faces))
    assert main([*command[:4], str(tmp_path / "far"), *command[5:], "--mesh", str(tmp_path / "far.ply")]) == 2
    assert "frame" in capsys.readouterr().err
    write_mesh(tmp_path / "empty.ply", TriMesh(far.vertices, far.faces[:0]))
    assert main([*command, "--mesh", str(tmp_path / "empty.ply")]) == 2
    assert "faces" in capsys.readouterr().err
    assert main([*command, "--mesh", str(tmp_path / "none.ply")]) == 2
    assert "nothing there" in capsys.readouterr().err
    for flags in (["--texture.faces", "-1"], ["--texture.faces", "5"], ["--texture.size", "0"]):
        with pytest.raises(SystemExit, match="2"):
            main([*command, "--mesh", str(given), *flags])
        assert flags[0] in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "far").exists()
    write_exr_rgb(tmp_path / "light.exr", np.ones((8, 16, 3), np.float32))
    other = fit("neus", capture, "--steps", "1").workspace.folder
    assert main(["relight", str(other), "--envmap", str(tmp_path / "light.exr"), "-o", str(tmp_path / "p")]) == 2
    assert "nero-material" in capsys.readouterr().err


@pytest.mark.parametrize("preset", PRESETS)
def test_settings_survive_the_run_folder(preset):
    assert config_file.parse(NeroMaterialConfig, config_file.render(PRESETS[preset])) == PRESETS[preset]


def bowl() -> KnownSurface:
    """The lower half of a ball, seen from inside, and a plate beside it."""
    body = trimesh.creation.icosphere(subdivisions=3, radius=0.8)
    faces = np.array(body.faces)
    lower = faces[(body.vertices[faces][:, :, 2] < 0.01).all(1)][:, ::-1]
    return KnownSurface(TriMesh(np.array(body.vertices, np.float32), np.ascontiguousarray(lower)))


def white(metallic: float, roughness: float):
    def look_up(points: torch.Tensor) -> Material:
        one = torch.ones_like(points[:, :1])
        return Material(torch.ones_like(points), metallic * one, roughness * one)

    return look_up


def light_of(surface_: KnownSurface, material, level: float, *, bounces: int, directions: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    around = PlacedLight(Environment(torch.full((8, 16, 3), level)), torch.eye(3))
    angle = torch.linspace(0, 2 * math.pi, 41)[:-1]
    points = 0.79 * torch.stack([0.6 * angle.cos(), 0.6 * angle.sin(), torch.full_like(angle, -0.8)], -1)
    normals = torch.nn.functional.normalize(-points, dim=-1)
    return outgoing(
        surface_, material, around, points, normals, normals, generator, directions=directions, bounces=bounces
    )


def test_a_white_matte_bowl_in_a_white_room_is_darker_the_fewer_bounces_and_never_brighter_than_the_room():
    dark, lit, brighter = (
        light_of(bowl(), white(0.0, 0.9), 1.0, bounces=bounces, directions=32).mean() for bounces in (0, 1, 2)
    )
    assert dark < lit < brighter < 1.02


def test_twice_the_light_is_twice_as_bright():
    once, twice = (light_of(bowl(), white(1.0, 0.4), level, bounces=1, directions=8) for level in (1.0, 2.0))
    torch.testing.assert_close(2 * once, twice)


def test_a_point_in_the_open_shows_the_room_through_its_reflectance():
    """A lone metal plate in a white room: its split sum, within what the directions scatter."""
    from rilievo.shading.split_sum import reflectance_integral

    plate = KnownSurface(
        TriMesh(np.array([[-1, -1, 0], [1, -1, 0], [0, 1, 0]], np.float32) * 0.1, np.array([[0, 1, 2]]))
    )
    around = PlacedLight(Environment(torch.ones(8, 16, 3)), torch.eye(3))
    up = torch.tensor([[0.0, 0.0, 1.0]]).expand(200, 3)
    seen = outgoing(
        plate,
        white(1.0, 0.5),
        around,
        torch.zeros(200, 3),
        up,
        up,
        torch.Generator().manual_seed(1),
        directions=32,
        bounces=0,
    )
    exact = reflectance_integral(torch.ones(1).double(), torch.full((1,), 0.5).double()).sum()
    error = float(seen[:, 0].std()) / math.sqrt(len(seen))
    assert abs(float(seen[:, 0].mean()) - float(exact)) < 4 * error + 1e-3


def test_the_published_networks_learn_and_are_opened_again(capture, given, tmp_path):
    flags = "--preset paper --fit.steps 2 --fit.rays 32 --fit.max-rays 32 --fit.log-every 1 --fit.preview-every 9"
    small = "--directions 6 --material.width 16 --light.width 16 --degree 2 --optim.warmup-steps 1"
    command = ["fit", "nero-material", str(capture), "-o", str(tmp_path / "run"), "--mesh", str(given)]
    assert main([*command, *flags.split(), *small.split()]) == 0
    opened = open_run(tmp_path / "run", device="cpu")
    assert isinstance(opened.model, PublishedModel)
    seen = opened.model.render(opened.scene.cameras.resized(width=8), 0)
    assert seen.rgb.isfinite().all()
    assert np.load(tmp_path / "run" / "materials" / "albedo.npy").std() > 0
