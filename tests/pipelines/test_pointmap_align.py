"""Photos to a scene through pointmaps that an oracle predicts: right cameras, masks that count, work that is kept."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rilievo.alignment.config import SparseConfig
from rilievo.cli import main
from rilievo.data.load import load_scene
from rilievo.data.scene import MaskMeaning
from rilievo.pipelines.pair_plan import PROGRAM_BYTES
from rilievo.pipelines.pointmap_align import PointmapSettings, align, plan_alignment
from rilievo.sfm.photos import find_photos

from .asked import assert_one_sentence, errors_of, told_by
from .oracle import ENLARGED, OraclePredictor, round_room

FEW = SparseConfig(coarse_iterations=100, fine_iterations=60)


@pytest.fixture(scope="module")
def aligned(main_world, tmp_path_factory):
    """The main scene through the command line, and what it printed."""
    folder = tmp_path_factory.mktemp("main")
    photos = main_world.write(folder / "photos")
    with pytest.MonkeyPatch.context() as patch:
        told_by(patch, OraclePredictor(main_world))
        assert main(["align", str(photos), "-o", str(folder / "scene"), "--method", "mast3r"]) == 0
    return folder / "scene"


@pytest.mark.golden
def test_cameras_and_intrinsics_come_out_in_the_photos_own_resolution(aligned, main_world):
    scene, errors = errors_of(aligned, main_world)
    assert errors.rotation_deg <= 1
    assert errors.center_percent <= 1
    assert [tuple(size) for size in scene.cameras.sizes_px.tolist()] == [(192, 144)] * len(scene)
    K, true = scene.cameras.K[0].double(), main_world.photo_K
    assert float(K[0, 0]) == pytest.approx(float(true[0, 0]), rel=0.02)
    torch.testing.assert_close(K[:2, 2], true[:2, 2], rtol=0, atol=0.02 * 192)
    assert not scene.cameras.distortion.any()


@pytest.mark.golden
def test_the_scene_is_whole_and_its_points_lie_where_its_cameras_see_their_colours(aligned, main_world):
    assert sorted(p.name for p in aligned.iterdir()) == ["depth", "images", "points.ply", "transforms.json"]
    scene = load_scene(aligned)
    assert len(scene.points.xyz) > 1000
    depth = np.load(aligned / "depth" / "000.npy")
    true = main_world.depth[0].numpy()
    assert depth.shape == true.shape
    known = depth > 0
    assert known.mean() > 0.5
    ratio = np.log(depth[known] / true[known])
    assert np.quantile(np.abs(ratio - np.median(ratio)), 0.75) < 0.05


def test_what_it_takes_is_told_before_it_is_begun(tmp_path, monkeypatch, capsys):
    world = round_room(4, turn=1.0)
    predictor = told_by(monkeypatch, OraclePredictor(world))

    def stop(photos, pairs):
        raise KeyboardInterrupt

    monkeypatch.setattr(predictor, "predict", stop)
    photos = world.write(tmp_path / "photos")
    assert main(["align", str(photos), "-o", str(tmp_path / "out"), "--method", "mast3r", "--graph", "oneref"]) == 130
    said = capsys.readouterr()
    assert "graph oneref; 4 photos, 3 pairs: at most 0.00 GB on disk and" in said.out
    assert "licence: none needed" in said.out
    assert "goes on" in said.err


@pytest.mark.golden
def test_on_a_masked_turntable_the_object_decides_and_without_masks_the_room_does(
    turntable_world, tmp_path, monkeypatch, capsys
):
    photos = turntable_world.write(tmp_path / "photos", tmp_path / "seen")
    told_by(monkeypatch, OraclePredictor(turntable_world))
    words = ["align", str(photos), "--method", "mast3r"]
    masked = ["-o", str(tmp_path / "masked"), "--masks", str(tmp_path / "seen"), "--turntable"]
    assert main([*words, *masked]) == 0
    scene, errors = errors_of(tmp_path / "masked", turntable_world)
    assert errors.rotation_deg <= 1
    assert errors.center_percent <= 1
    assert scene.mask_meaning is MaskMeaning.OBJECT
    for v, mask in enumerate(turntable_world.masks):
        assert not np.load(tmp_path / "masked" / "depth" / f"{v:03d}.npy")[~mask.numpy()].any()
        np.testing.assert_array_equal(scene.coverage[v][1::ENLARGED, 1::ENLARGED] > 127, mask)
    capsys.readouterr()
    assert main([*words, "-o", str(tmp_path / "bare")]) == 0
    assert "do not move" in capsys.readouterr().out
    _, errors = errors_of(tmp_path / "bare", turntable_world)
    assert errors.rotation_deg > 5


@pytest.mark.golden
@pytest.mark.parametrize("masked", [False, True])
def test_pointmaps_alone_align_too(main_world, turntable_world, tmp_path, monkeypatch, masked):
    world = turntable_world if masked else main_world
    photos = world.write(tmp_path / "photos", tmp_path / "seen" if masked else None)
    told_by(monkeypatch, OraclePredictor(world, descriptors=False))
    words = ["align", str(photos), "-o", str(tmp_path / "out"), "--method", "dust3r"]
    words += ["--masks", str(tmp_path / "seen"), "--mask-meaning", "ignore"] if masked else []
    assert main(words) == 0
    scene, errors = errors_of(tmp_path / "out", world)
    assert errors.rotation_deg <= (3 if masked else 1.5)
    assert errors.center_percent <= (6 if masked else 2)
    assert scene.mask_meaning is (MaskMeaning.IGNORE if masked else None)


@pytest.mark.golden
@pytest.mark.parametrize("method", ["mast3r", "dust3r"])
def test_known_cameras_are_kept(main_world, tmp_path, monkeypatch, method, aligned):
    photos = main_world.write(tmp_path / "photos")
    told_by(monkeypatch, OraclePredictor(main_world, descriptors=method == "mast3r"))
    K = main_world.photo_K
    lens = ",".join(str(float(v)) for v in (K[0, 0], K[1, 1], K[0, 2], K[1, 2]))
    words = ["--method", method, "--intrinsics", lens, "--poses", str(aligned)]
    assert main(["align", str(photos), "-o", str(tmp_path / "out"), *words]) == 0
    found, given = load_scene(tmp_path / "out"), load_scene(aligned)
    torch.testing.assert_close(found.cameras.K.double(), K.expand(len(found), 3, 3), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.cameras.world_from_cam, given.cameras.world_from_cam, rtol=1e-5, atol=1e-5)


def test_an_interrupted_run_goes_on_and_leaves_nothing_half_written(tmp_path, monkeypatch):
    world = round_room(5, turn=1.0)
    photos, out = world.write(tmp_path / "photos"), tmp_path / "out"
    predictor = told_by(monkeypatch, OraclePredictor(world))
    words = ["align", str(photos), "-o", str(out), "--method", "mast3r"]
    said = world.predict

    def tired(i, j):
        if len(predictor.asked) > 8:
            raise KeyboardInterrupt
        return said(i, j)

    with monkeypatch.context() as patched:
        patched.setattr(world, "predict", tired)
        assert main(words) == 130
    assert [p.name for p in out.iterdir()] == [".align"]
    assert len(list((out / ".align" / "pairs").glob("*.npz"))) == 4
    predictor.asked.clear()
    assert main(words) == 0
    assert len(predictor.asked) == 2 * (10 - 4)
    assert "transforms.json" in {p.name for p in out.iterdir()}
    assert ".align" not in {p.name for p in out.iterdir()}


def test_an_edited_photo_costs_its_own_pairs_alone(tmp_path):
    world = round_room(4, turn=1.0)
    photos, out = world.write(tmp_path / "photos"), tmp_path / "out"
    settings = PointmapSettings(sparse=FEW)

    def compared():
        from rilievo.pipelines.pair_results import compare, open_store

        predictor = OraclePredictor(world)
        plan = plan_alignment(find_photos(photos), predictor, settings)
        compare(open_store(out, plan, predictor, settings.matching), plan, predictor, settings.matching)
        return {tuple(sorted(pair)) for pair in predictor.asked}

    assert len(compared()) == 6
    assert compared() == set()
    image = Image.open(photos / "001.png").convert("RGB")
    image.putpixel((0, 0), (255, 0, 255))
    image.save(photos / "001.png")
    assert compared() == {(0, 1), (1, 2), (1, 3)}


def test_a_photo_of_something_else_is_left_out_with_its_reason(tmp_path, monkeypatch, capsys):
    world = round_room(5, turn=1.0)
    elsewhere = round_room(1, seed=3)
    world.images.append(elsewhere.images[0])
    world.world_from_cam = torch.cat((world.world_from_cam, elsewhere.world_from_cam))
    world.world_from_cam[5, :3, 3] += 100
    world.depth.append(elsewhere.depth[0])
    world.named.append(elsewhere.named[0] + 100)
    photos = world.write(tmp_path / "photos")
    (photos / "006.png").write_bytes((photos / "001.png").read_bytes()[:600])
    told_by(monkeypatch, OraclePredictor(world))
    assert main(["align", str(photos), "-o", str(tmp_path / "out"), "--method", "mast3r"]) == 0
    said = capsys.readouterr().out
    assert "5 of 6 photos aligned" in said
    assert "dropped 005.png: nothing surely joins it to the others" in said
    assert "dropped 006.png: it cannot be read" in said
    _, errors = errors_of(tmp_path / "out", world)
    assert errors.rotation_deg <= 1
    assert errors.center_percent <= 1


def test_photos_without_overlap_and_masks_without_object_are_told(tmp_path, monkeypatch, capsys):
    apart = round_room(3)
    for v in range(3):
        apart.world_from_cam[v, :3, 3] += 100 * v
        apart.named[v] += 100 * v
    told_by(monkeypatch, OraclePredictor(apart))
    photos = apart.write(tmp_path / "apart")
    assert main(["align", str(photos), "-o", str(tmp_path / "out"), "--method", "mast3r"]) == 2
    assert_one_sentence(capsys, "pictures of the same things from different places")
    world = round_room(3, turn=0.5)
    told_by(monkeypatch, OraclePredictor(world))
    world.masks = [torch.zeros(48, 64, dtype=torch.bool)] * 3
    photos = world.write(tmp_path / "hidden", tmp_path / "black")
    words = ["--method", "mast3r", "--masks", str(tmp_path / "black")]
    assert main(["align", str(photos), "-o", str(tmp_path / "none"), *words]) == 2
    assert_one_sentence(capsys, "nothing but background in all of them")
    assert not (tmp_path / "none" / "transforms.json").exists()


def test_an_empty_mask_costs_its_own_photo_alone(tmp_path, monkeypatch, capsys):
    world = round_room(5, turn=1.0)
    world.masks = [torch.ones(48, 64, dtype=torch.bool) for _ in range(5)]
    world.masks[2][:] = False
    photos = world.write(tmp_path / "photos", tmp_path / "seen")
    told_by(monkeypatch, OraclePredictor(world))
    words = ["--method", "mast3r", "--masks", str(tmp_path / "seen")]
    assert main(["align", str(photos), "-o", str(tmp_path / "out"), *words]) == 0
    assert "dropped 002.png: its mask leaves nothing of it" in capsys.readouterr().out
    _, errors = errors_of(tmp_path / "out", world)
    assert errors.rotation_deg <= 1


def resident_peak(work):
    """Bytes of memory that this process grew by at most while doing the work; None where that cannot be told."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    before = _status("VmRSS")
    work()
    return max(0, _status("VmHWM") - before)


def _status(name):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def test_a_hundred_photos_stay_within_what_was_estimated(tmp_path):
    few, many = round_room(3, (16, 32), turn=0.3), round_room(100, (16, 32))
    settings = PointmapSettings(graph="retrieval-3-3", sparse=SparseConfig(coarse_iterations=30, fine_iterations=5))

    def run(world, name):
        predictor = OraclePredictor(world)
        found = find_photos(world.write(tmp_path / name))
        plan = plan_alignment(found, predictor, settings)
        written = []
        aligned = []

        def work():
            def notice(label, done, total):
                if label == "pairs" and done == total:
                    files = (tmp_path / f"{name}-out" / ".align" / "pairs").iterdir()
                    written.append(sum(file.stat().st_size for file in files))

            out = tmp_path / f"{name}-out"
            aligned.append(align(plan, found, predictor, out, settings, progress=notice))

        return plan, resident_peak(work), written[0], aligned[0]

    run(few, "few")  # libraries have their memory now
    plan, peak, written, aligned = run(many, "many")
    assert 99 < len(plan.pairs) < 400
    assert f"100 photos, {len(plan.pairs)} pairs" in str(plan)
    assert written <= plan.budget.disk_bytes
    assert written >= 0.3 * plan.budget.disk_bytes
    if peak is not None:
        assert peak <= plan.budget.peak_memory_bytes - PROGRAM_BYTES
    assert len(aligned.photos) > 90
    assert aligned.views.world_from_cam.isfinite().all()
