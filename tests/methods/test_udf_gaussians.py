"""Gaussians as a second witness of an unsigned distance: what they saw, what they teach, and that runs resume."""

import dataclasses
import math

import pytest
import torch

from rilievo.cameras.camera import Cameras
from rilievo.cli import main
from rilievo.data.load import load_scene
from rilievo.engine import build, checkpoint
from rilievo.engine.schedules import Constant
from rilievo.engine.settings import HashGridConfig
from rilievo.engine.view_sampler import ViewSampler
from rilievo.engine.workspace import Record, SceneSource, Workspace
from rilievo.fields.encoding import CompositeEncoding
from rilievo.fields.mlp import MLP
from rilievo.fields.udf import UdfField, UdfSample
from rilievo.methods.udf import testimony, witness_module
from rilievo.methods.udf.config import PRESETS, PullConfig
from rilievo.methods.udf.coupling import Coupling
from rilievo.methods.udf.guide import SurfaceGuide
from rilievo.methods.udf.lifted import DepthPicture, SeenSurface, agreement, thinned, usual_count
from rilievo.methods.udf.model import asks_gaussians
from rilievo.methods.udf.module import UdfModule
from rilievo.methods.udf.witness import flat_cloud
from rilievo.methods.udf.witness_config import GaussiansConfig
from rilievo.methods.udf.witness_module import WitnessModule
from rilievo.methods.udf.witness_start import in_hull
from rilievo.renderers.planar_splat import facing_normals

CELL = 0.02


@pytest.fixture(scope="module")
def sheet():
    """A square of the plane z = 0.1 within ±0.5, seen from both sides at random."""
    line = torch.arange(-0.5, 0.5 + CELL / 2, CELL)
    x, y = torch.meshgrid(line, line, indexing="ij")
    points = torch.stack([x, y, torch.full_like(x, 0.1)], dim=-1).reshape(-1, 3)
    sides = torch.where(torch.rand(len(points), generator=torch.Generator().manual_seed(0)) < 0.5, -1.0, 1.0)
    two_sided = torch.ones(len(points), dtype=torch.bool)
    return SurfaceGuide(SeenSurface(points, torch.tensor([0.0, 0, 1]) * sides[:, None], two_sided), CELL, ~two_sided)


@pytest.fixture(scope="module")
def lid():
    """The same square, seen from above, with the inside of something below it."""
    line = torch.arange(-0.5, 0.5 + CELL / 2, CELL)
    x, y = torch.meshgrid(line, line, indexing="ij")
    points = torch.stack([x, y, torch.full_like(x, 0.1)], dim=-1).reshape(-1, 3)
    inside = torch.ones(len(points), dtype=torch.bool)
    return SurfaceGuide(SeenSurface(points, torch.tensor([0.0, 0, 1]).expand_as(points), ~inside), CELL, inside)


def test_distances_are_taught_on_both_sides_of_a_sheet(sheet):
    points = torch.tensor([[0.2, 0.1, 0.3], [-0.31, 0.22, 0.05], [0.013, 0.007, 0.1]])
    taught = sheet.fine.taught(points)
    torch.testing.assert_close(taught.distance, torch.tensor([0.2, 0.05, 0.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(taught.direction[:2], torch.tensor([[0.0, 0, 1], [0, 0, -1]]), atol=1e-4, rtol=0)


def test_beyond_the_edge_of_a_sheet_the_distance_taught_grows(sheet):
    points = torch.tensor([[0.6, 0.0, 0.1], [0.7, 0.0, 0.1], [0.9, 0.0, 0.1]])
    taught = sheet.fine.taught(points)
    assert (taught.distance <= points[:, 0] - 0.5).all()
    assert (taught.distance >= points[:, 0] - 0.5 - 2 * CELL).all()
    torch.testing.assert_close(taught.direction, torch.tensor([[1.0, 0, 0]]).expand(3, 3), atol=0.12, rtol=0)


def test_points_near_the_sheet_are_on_both_sides_and_the_same_again(sheet):
    first, again = (sheet.near(400, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first.points, again.points)
    above = (first.points[:, 2] > 0.1).float().mean()
    assert 0.4 < above < 0.6
    assert first.distance.median() < 0.05


def test_below_a_lid_the_number_is_negative_and_the_distance_known_close_to_it_alone(lid):
    taught = lid.fine.taught(torch.tensor([[0.2, 0.1, 0.3], [0.2, 0.1, 0.08], [0.2, 0.1, -0.3]]))
    assert taught.side.tolist() == [1, -1, -1]
    assert taught.known.tolist() == [True, True, False]
    torch.testing.assert_close(taught.distance[:2], torch.tensor([0.2, 0.02]), atol=1e-4, rtol=0)
    torch.testing.assert_close(taught.direction[1], torch.tensor([0.0, 0, -1]), atol=1e-4, rtol=0)


def test_below_a_lid_and_beside_it_nothing_is_taught(lid, sheet):
    beside = torch.tensor([[0.9, 0.0, 0.0]])
    for guide, side in ((lid, 0), (sheet, 1)):
        for planes in (guide.fine, guide.coarse):
            taught = planes.taught(beside)
            assert taught.side.tolist() == [side]
            assert taught.known.tolist() == [bool(side)]


def test_sheets_are_taught_to_be_positive_on_both_sides(sheet):
    taught = sheet.near(300, torch.Generator().manual_seed(5))
    assert (taught.side == 1).all()
    assert taught.known.all()


def test_many_points_of_a_cell_become_their_mean_and_few_become_none():
    points = torch.tensor([[0.1, 0.1, 0.1], [0.3, 0.1, 0.1], [0.2, 0.4, 0.1], [5.0, 5, 5]])
    normals = torch.tensor([[0.0, 0, 1], [0, 0, -1], [0, 0, 1], [1, 0, 0]])
    seen = thinned(points, normals, cell=1.0, least=2.0)
    torch.testing.assert_close(seen.points, torch.tensor([[0.2, 0.2, 0.1]]))
    torch.testing.assert_close(seen.normals, torch.tensor([[0.0, 0, 1]]))  # to where two of three point
    assert seen.two_sided.tolist() == [True]


def test_a_side_that_few_of_many_looked_at_was_not_seen():
    normals = torch.tensor([[0.0, 0, 1]]).repeat(20, 1)
    normals[:17] *= -1  # with the first one
    seen = thinned(torch.full((20, 3), 0.5), normals, cell=1.0, least=2.0)
    torch.testing.assert_close(seen.normals, torch.tensor([[0.0, 0, -1]]))
    assert seen.two_sided.tolist() == [False]


def test_what_is_usual_is_what_a_point_in_the_middle_of_all_sees_round_itself():
    crowd, pairs, alone = torch.zeros(9, 3) + 0.5, torch.arange(4).repeat_interleave(2)[:, None] + 20.5, 40.5
    points = torch.cat([crowd, pairs.expand(-1, 3), torch.full((1, 3), alone)])
    assert usual_count(points, 1.0) == 2  # eight of eighteen points in pairs, and one alone; nine together
    assert usual_count(points, 100.0) == 18
    assert usual_count(points[:0], 1.0) == 0


def test_a_view_agrees_with_points_at_the_depth_it_has():
    K = torch.tensor([[50.0, 0, 16], [0, 50, 16], [0, 0, 1]], dtype=torch.float64)[None]
    camera = Cameras.pinhole(torch.eye(4, dtype=torch.float64)[None], K, torch.tensor([[32, 32]]))
    depth = torch.full((32, 32), 2.0)
    depth[:, 20:] = 0
    picture = DepthPicture(camera, depth, torch.zeros(32, 32, 3), depth == 0)
    points = torch.tensor([[0.0, 0, 2.005], [0.0, 0, 2.2], [0.4, 0, 2], [9.0, 0, 2], [0, 0, -2]])
    assert agreement(picture, points, 0.01).tolist() == [True, False, False, False, False]


def test_discs_face_where_they_are_told_to():
    towards = torch.nn.functional.normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    towards[0] = torch.tensor([0.0, 0, -1])
    cloud = flat_cloud(torch.ones(20, 3), torch.zeros(20, 3), towards, torch.ones(20), 0, 0.1)
    normals, _ = facing_normals(cloud, torch.eye(4))
    torch.testing.assert_close((normals * towards).sum(-1).abs(), torch.ones(20))
    assert torch.allclose(cloud.log_scales[:, 2], torch.tensor(math.log(1e-4)))


def test_points_beside_the_object_in_some_picture_are_not_in_the_hull(capture):
    scene = load_scene(capture).normalised()
    sampler = ViewSampler(scene, random_background=False, seed=0)
    inside = in_hull(torch.tensor([[0.0, 0, 0], [0.68, 0.68, 0], [0.95, 0, 0]]), sampler)
    assert inside.tolist() == [True, False, False]


def test_gaussians_take_part_where_masks_leave_them_the_object(capture, uncut_capture):
    smoke = PRESETS["smoke"]
    cut = load_scene(capture).normalised()
    uncut = load_scene(uncut_capture, region=(0.0, 0.0, -0.2, 1.6)).normalised()
    assert asks_gaussians(smoke, cut)
    assert not asks_gaussians(smoke, uncut)
    assert not asks_gaussians(dataclasses.replace(smoke, gaussians=GaussiansConfig(use="off")), cut)
    assert not asks_gaussians(PRESETS["paper"], cut)


def same_state(one, other):
    assert one["state_dict"].keys() == other["state_dict"].keys()
    assert all(torch.equal(values, other["state_dict"][name]) for name, values in one["state_dict"].items())


def test_insides_are_looked_for_unless_there_are_to_be_none(capture, tmp_path, monkeypatch):
    smoke = PRESETS["smoke"]
    settings = dataclasses.replace(smoke.gaussians, steps=20, count=400)
    scene, inside = load_scene(capture), []
    monkeypatch.setattr(testimony, "enclosed", lambda seen, pictures, cell: torch.ones_like(seen.two_sided))
    for insides in ("auto", "none"):
        config = dataclasses.replace(smoke, gaussians=dataclasses.replace(settings, insides=insides))
        workspace = Workspace.create(tmp_path / insides, Record("udf", "smoke", SceneSource(str(capture))), config)
        inside.append(testimony.coupled_gaussians(config, scene.normalised(), workspace).guide.fine.enclosed)
    assert inside[0].all()
    assert not inside[1].any()


def searched_again(*_):
    pytest.fail("a start was searched for though a checkpoint has one")


def test_a_run_broken_off_in_either_of_its_parts_ends_like_an_unbroken_one(capture, tmp_path, monkeypatch):
    flags = ["--fit.checkpoint-every", "3", "--gaussians.checkpoint-every", "10", "--gaussians.steps", "20"]
    flags += ["--fit.steps", "8"]
    command = ["fit", "udf", str(capture), "--preset", "smoke"]
    for run in "ab":
        assert main([*command, "-o", str(tmp_path / run), *flags]) == 0
    whole = checkpoint.read(tmp_path / "a" / "checkpoints" / "step-8.ckpt")
    assert any(name.startswith("coupling.witness.model.gaussians") for name in whole["state_dict"])
    (tmp_path / "b" / "checkpoints" / "step-8.ckpt").unlink()
    monkeypatch.setattr(witness_module, "first_discs", searched_again)
    assert main([*command, "-o", str(tmp_path / "b"), *flags, "--resume"]) == 0
    same_state(whole, checkpoint.read(tmp_path / "b" / "checkpoints" / "step-8.ckpt"))
    for path in (tmp_path / "b" / "checkpoints").glob("*.ckpt"):
        path.unlink()
    (tmp_path / "b" / "gaussians" / "checkpoints" / "step-20.ckpt").unlink()
    assert main([*command, "-o", str(tmp_path / "b"), *flags, "--resume"]) == 0
    same_state(whole, checkpoint.read(tmp_path / "b" / "checkpoints" / "step-8.ckpt"))


def test_every_gaussian_teaches_where_that_is_wanted(capture, sheet):
    smoke = PRESETS["smoke"]
    wanted = dataclasses.replace(
        smoke,
        losses=dataclasses.replace(smoke.losses, pull=Constant(1.0), discs=Constant(1.0)),
        pull=PullConfig(close_points=50, wide_points=20, discs=20),
        gaussians=dataclasses.replace(smoke.gaussians, count=200),
    )
    scene = load_scene(capture).normalised()
    coupling = Coupling(wanted, WitnessModule(wanted, scene), sheet)
    field = UdfModule(wanted, scene, coupling).model.geometry
    values, again = (coupling.taught(field, 1, part=0, parts=1) for _ in range(2))
    for name in ("pull", "discs"):
        assert values[name].isfinite().all()
        assert torch.equal(values[name], again[name])
    unasked = Coupling(smoke, coupling.witness, sheet).taught(field, 1, part=0, parts=1)
    assert not {"pull", "discs"} & set(unasked)


class Level(UdfField):
    """A field whose number is the height over the plane z = 0.1, or its length."""

    def __init__(self, signed):
        grid = HashGridConfig(levels=1, log2_table=4, base=2, growth=1.5)
        encoding = CompositeEncoding(build.hash_grid(grid, torch.Generator().manual_seed(0)))
        super().__init__(encoding, MLP(encoding.output_dim, 2, width=4, hidden_layers=1))
        self.signed = signed

    def raw(self, points):
        height = points[:, 2] - 0.1
        return height if self.signed else height.abs()

    def forward(self, points):
        raw = self.raw(points)
        up = torch.tensor([0.0, 0, 1]).expand_as(points) * (points[:, 2:] - 0.1).sign()
        return UdfSample(raw.abs(), torch.zeros(len(points), 1), up, raw)


def test_a_field_that_changes_sign_is_right_about_a_lid_and_one_that_does_not_about_a_sheet(capture, lid, sheet):
    smoke = PRESETS["smoke"]
    config = dataclasses.replace(smoke, gaussians=dataclasses.replace(smoke.gaussians, count=200), near_points=2000)
    config = dataclasses.replace(config, losses=dataclasses.replace(config.losses, far=Constant(0.0)))
    witness = WitnessModule(config, load_scene(capture).normalised())
    for guide, right in ((lid, True), (sheet, False)):
        coupling = Coupling(config, witness, guide)
        good, bad = (coupling.taught(Level(signed), 1, part=0, parts=1) for signed in (right, not right))
        for name in ("near", "side", "direction"):
            assert good[name].mean() < 2e-3, name
        assert bad["side"].mean() > 0.01
        assert bad["near"].mean() > 3 * good["near"].mean()


@pytest.mark.parametrize(("every", "learning"), [(4, [0, 4]), (0, [])])
def test_gaussians_learn_at_some_steps_of_the_field_and_have_a_gradient_at_all(every, learning, capture, sheet):
    smoke = PRESETS["smoke"]
    config = dataclasses.replace(smoke, gaussians=dataclasses.replace(smoke.gaussians, count=200, every=every))
    scene = load_scene(capture).normalised()
    coupling = Coupling(config, WitnessModule(config, scene), sheet)
    field = UdfModule(config, scene, coupling).model.geometry
    for step in (0, 1, 4):
        coupling.zero_grad()
        coupling.photographed(field, step)[0].backward()
        means = coupling.witness.model.gaussians.means.grad
        assert means is not None
        assert bool(means.any()) == (step in learning)
