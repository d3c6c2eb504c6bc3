"""Against DUSt3R's published global aligner: functions, first state, losses at stored states, errors against the truth.

The published code counts pixel centres from 0; principal points here are larger by 0.5.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from rilievo.alignment.cleaning import clean_pointcloud
from rilievo.alignment.focal import FocalFrom, focal_from_pointmap
from rilievo.alignment.pointmap_graph.align import (
    PointmapGraphConfig,
    align_pointmaps,
    aligned,
    first_state,
    learning_rate,
)
from rilievo.alignment.pointmap_graph.confidence import loss_weight
from rilievo.alignment.pointmap_graph.graph import PointmapGraph
from rilievo.alignment.pointmap_graph.known import KnownViews
from rilievo.alignment.pointmap_graph.pose_alignment import align_multiple_poses
from rilievo.alignment.pointmap_graph.spanning import spanning_edges
from rilievo.alignment.pointmap_graph.start import register
from rilievo.alignment.pointmap_graph.state import GraphState, Start, inverse_signed_expm1, signed_expm1
from rilievo.alignment.pointmap_graph.two_views import align_two_views
from rilievo.geometry import se3, sim3
from rilievo.geometry.alignment import camera_errors
from rilievo.geometry.pnp import solve_pnp
from rilievo.matching.pair_result import PairPrediction

from .conftest import Oracle, predictions_of

pytestmark = pytest.mark.golden

RUNS = {
    "main_cosine300": {},
    "main_linear100": {"schedule": "linear"},
    "main_l2": {"distance": "l2"},
    "main_conf_m1_pp": {"worth": "minus_one", "optimise_centers": True},
    "main_preset_focal": {},
    "main_known_poses": {},
    "main_adaptors": {"adaptors": True},
    "main_swin2": {},
    "main_steps10": {},
    "mixed_cosine100": {},
}

NOISE = 1.03
"""Published runs stop before the least of their loss, ours nearer to it, and errors against the truth differ by where
on its flat floor a run stopped. On the main scene the least itself (3000 steps of ours, loss 0.0289358) is off by
0.1613° and 0.3016 %, our 300 steps (0.0289359) by 0.1613° and 0.3016 %, the published 300 (0.0289394) by 0.1612° and
0.2995 %; over a window of two (swin2) the least (0.027839) by 0.2458° and 0.3518 %, our 100 steps (0.027870) by 0.2423°
and 0.3702 %, the published 100 (0.027921) by 0.2416° and 0.3944 %. Inputs that differ by 1e-6 move the published poses
by 2.7e-4 (`main_cosine300_1e-6_input_noise`), some hundredth of a degree."""


@pytest.fixture(scope="session")
def stored(mast3r):
    with np.load(mast3r / "dust3r_ga.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="session")
def functions(mast3r):
    with np.load(mast3r / "dust3r_functions.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.fixture(scope="session")
def summary(mast3r):
    return json.loads((mast3r / "dust3r_ga_summary.json").read_text())


def cases(functions: dict[str, torch.Tensor], prefix: str) -> list[dict[str, torch.Tensor]]:
    names = sorted({name.split("/")[0] for name in functions if name.startswith(f"{prefix}_")})
    return [{k.split("/")[1]: v for k, v in functions.items() if k.startswith(f"{name}/")} for name in names]


def edges_of(stored: dict[str, np.ndarray], name: str) -> np.ndarray | None:
    return stored.get(f"{name}/edges")


def state_of(stored: dict[str, np.ndarray], name: str, oracle: Oracle, worth="log") -> GraphState:
    """A stored state, over the graph it belongs to."""
    return state_over(stored, name, PointmapGraph.of(oracle.edges, oracle.predictions, worth=worth))


def state_over(stored: dict[str, np.ndarray], name: str, graph: PointmapGraph) -> GraphState:
    depth = torch.ones(graph.n_views, graph.X.shape[-1])
    for v, (h, w) in enumerate(graph.sizes_hw):
        depth[v, : h * w] = torch.from_numpy(stored[f"{name}/depth_{v}"]).flatten()
    get = {k: torch.from_numpy(stored[f"{name}/{k}"]) for k in ("cam2w", "focals", "pps", "pw_poses")}
    state = GraphState(graph, Start(get["cam2w"], get["focals"][:, 0], get["pps"] + 0.5, depth, get["pw_poses"]))
    state.normalised = False  # stored scales are the final ones
    return state


def errors(world_from_cam: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    found = camera_errors(world_from_cam, truth)
    return {"rotation": found.rotation_deg, "centre": found.center_percent}


def published_errors(stored: dict[str, np.ndarray], name: str, truth: torch.Tensor) -> dict[str, float]:
    """Of the stored poses, measured as ours are."""
    return errors(torch.from_numpy(stored[f"{name}/cam2w"]).double(), truth)


def known_of(name: str, oracle: Oracle) -> KnownViews:
    focals = {v: float(f) for v, f in enumerate(oracle.focals_px)}
    if name == "main_preset_focal":
        return KnownViews(focals_px=focals)
    if name == "main_known_poses":
        return KnownViews(world_from_cam=dict(enumerate(oracle.world_from_cam)), focals_px=focals)
    return KnownViews()


def test_focal_lengths_are_the_published_ones(functions):
    for case in cases(functions, "focal"):
        h, w, _ = case["pts"].shape
        center = torch.tensor([(w + 1) / 2, (h + 1) / 2])
        for mode in FocalFrom:
            f = focal_from_pointmap(case["pts"], torch.ones(h, w), center, mode)
            torch.testing.assert_close(f, case[mode.value].squeeze(), rtol=1e-4, atol=1e-5)
        usual = focal_from_pointmap(case["pts"], torch.ones(h, w), center)
        torch.testing.assert_close(usual, case["estimate_focal_scalar"], rtol=1e-4, atol=1e-5)


def test_weighted_similarities_are_the_published_ones(functions):
    for case in cases(functions, "rigid"):
        p1, p2 = (case[k].reshape(-1, 3).T for k in ("p1", "p2"))
        S = register(p1, p2, case["w"].flatten())
        s, R, t = sim3.split(S)
        torch.testing.assert_close(s.float(), case["s"], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(R.float(), case["R"], rtol=1e-4, atol=1e-5)
        # The published translation is a difference of means in single precision, and off by some of its last digits.
        rounding = 8 * float(torch.finfo(torch.float32).eps * p2.abs().max())
        torch.testing.assert_close(t.float(), case["T"], rtol=1e-4, atol=1e-5 + rounding)
        torch.testing.assert_close(S.float(), case["sRT_4x4"], rtol=1e-4, atol=1e-5 + rounding)
        ours, theirs = (misplaced(each, p1, p2, case["w"].flatten()) for each in (S, case["sRT_4x4"].double()))
        assert ours <= theirs * (1 + 1e-6)


def misplaced(S: torch.Tensor, p1: torch.Tensor, p2: torch.Tensor, w: torch.Tensor) -> float:
    """Weighted squares of what a similarity leaves between the points."""
    return float((sim3.apply(S, p1.mT.double()) - p2.mT).square().sum(-1) @ w.double())


def test_poses_by_pnp_are_the_published_ones(functions):
    for case in cases(functions, "pnp"):
        h, w, _ = case["pts3d"].shape
        used = (case["conf"] > 2).flatten()
        y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        pixels = torch.stack((x, y), -1).reshape(-1, 2)[used] + 0.5
        center = torch.tensor([(w + 1) / 2, (h + 1) / 2])
        found = solve_pnp(case["pts3d"].reshape(-1, 3)[used], pixels, float(case["focal"]), center, iterations=10)
        assert found.inliers.all()  # so whatever RANSAC drew, the pose is that of all points
        torch.testing.assert_close(found.world_from_cam.float(), case["cam2w"], rtol=1e-4, atol=1e-5)


def test_alignment_of_poses_is_the_published_one(functions):
    S = align_multiple_poses(functions["align/src"].double(), functions["align/dst"].double())
    for mine, name in zip(sim3.split(S), "sRT"):
        torch.testing.assert_close(mine.float(), functions[f"align/{name}"], rtol=1e-4, atol=1e-5)


def test_cleaned_confidences_are_the_published_ones(functions):
    K = functions["clean/K"].clone()
    K[:, :2, 2] += 0.5
    given = [list(functions[f"clean/{k}"]) for k in ("conf_in", "depth", "pts3d")]
    runs = [name for name in functions if name.startswith("clean/out_")]
    assert runs
    for name in runs:
        tolerance, bad = (float(part.strip("_tolbad")) for part in name.removeprefix("clean/out_").split("_"))
        poses = se3.inverse(functions["clean/w2cam"].double())
        out = clean_pointcloud(given[0], K, poses, given[1], given[2], tolerance=tolerance, bad=bad)
        differ = (torch.stack(out) - functions[name]).abs() > 1e-5 + 1e-4 * functions[name].abs()
        assert differ.float().mean() <= 1e-4  # a projection may lie half way between two pixels


def test_small_functions_are_the_published_ones(functions):
    x, C, t = functions["commons/x"], functions["commons/conf_in"], functions["commons/t"]
    torch.testing.assert_close(signed_expm1(x), functions["commons/signed_expm1"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(inverse_signed_expm1(x), functions["commons/signed_log1p"], rtol=1e-4, atol=1e-5)
    for worth, name in (("log", "log"), ("sqrt", "sqrt"), ("minus_one", "m1"), ("plain", "id")):
        expected = functions[f"commons/conf_{name}"].nan_to_num(nan=0.0, neginf=0.0).clamp_min(0)
        torch.testing.assert_close(loss_weight(C, worth), expected, rtol=1e-4, atol=1e-5)
    for schedule in ("cosine", "linear"):
        config = PointmapGraphConfig(steps=100_000, rate=0.01, last_rate=1e-6, schedule=schedule)
        rates = torch.tensor([learning_rate(config, round(float(s) * config.steps)) for s in t])
        torch.testing.assert_close(rates, functions[f"commons/{schedule}_.01_1e-6"], rtol=1e-4, atol=1e-9)


def test_the_first_state_is_the_published_one(oracle, stored):
    graph = oracle("main").graph
    tree = graph.edges[spanning_edges(graph.edges, graph.strengths)]
    assert {tuple(e) for e in tree.tolist()} == {tuple(e) for e in stored["main_init_only/mst_edges"].tolist()}
    result = aligned(GraphState(graph, first_state(graph, KnownViews())))
    np.testing.assert_allclose(result.world_from_edge, stored["main_init_only/pw_poses"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(result.world_from_cam, stored["main_init_only/cam2w"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(result.K[:, 0, 0], stored["main_init_only/focals"][:, 0], rtol=1e-4)
    unscaled = torch.from_numpy(stored["main_init_only/mst_im_poses_before_rescale"]).double()
    assert camera_errors(result.world_from_cam, unscaled).rotations_deg.max() < 0.05
    assert camera_errors(result.world_from_cam, unscaled).centers_percent.max() < 0.1
    np.testing.assert_allclose(result.K[:, :2, 2] - 0.5, stored["main_init_only/pps"], atol=1e-4)
    for v in range(graph.n_views):
        np.testing.assert_allclose(result.depth[v], stored[f"main_init_only/depth_{v}"], rtol=3e-4)
        np.testing.assert_allclose(result.points[v], stored[f"main_init_only/pts3d_{v}"], rtol=3e-4, atol=3e-4)
        np.testing.assert_array_equal(result.confident[v], stored[f"main_init_only/mask_{v}"] > 0)
    loss = float(GraphState(graph, first_state(graph, KnownViews())).loss().detach())
    assert loss == pytest.approx(float(stored["main_init_only/loss_value"]), rel=1e-4)


def test_the_loss_of_the_stored_first_state_is_the_published_one(oracle, stored):
    loss = float(state_of(stored, "main_init_only", oracle("main")).loss().detach())
    assert loss == pytest.approx(float(stored["main_init_only/loss_value"]), rel=1e-4)


@pytest.mark.parametrize(
    ("name", "worth", "squared"),
    [
        ("main_cosine300", "log", False),
        ("main_preset_focal", "log", False),
        ("main_known_poses", "log", False),
        ("main_swin2", "log", False),
        ("main_l2", "log", True),
        ("main_conf_m1_pp", "minus_one", False),
        ("mixed_cosine100", "log", False),
        ("turntable_ignored", "log", False),
    ],
)
def test_losses_of_stored_last_states_are_the_published_ones(oracle, stored, name, worth, squared):
    case = oracle(name.split("_")[0], edges_of(stored, name))
    loss = float(state_of(stored, name, case, worth).loss(squared=squared).detach())
    # The published loss is that before the last step, whose rate is next to nothing.
    assert loss == pytest.approx(float(stored[f"{name}/loss_last"]), rel=2e-4)


@pytest.mark.parametrize("name", RUNS)
def test_poses_are_as_near_to_the_truth_as_the_published_ones(oracle, stored, summary, name):
    case = oracle(name.split("_")[0], edges_of(stored, name))
    config = PointmapGraphConfig(steps=int(stored[f"{name}/n_iters"]), **RUNS[name])
    result = align_pointmaps(case.edges, case.predictions, known=known_of(name, case), config=config)
    assert result.losses[0] > result.losses[-1] or name == "main_steps10"
    assert min(result.losses) <= NOISE * summary[name]["final_loss"]
    published = published_errors(stored, name, case.world_from_cam)
    for measure, mine in errors(result.world_from_cam, case.world_from_cam).items():
        assert mine <= NOISE * published[measure] + 1e-5, measure
    focal_error = float((result.K[:, 0, 0] / case.focals_px - 1).abs().max())
    assert focal_error <= max(NOISE * summary[name]["focal_rel_err_max"], 5e-3)


def test_a_background_of_confidence_one_weighs_nothing(oracle, stored):
    case = oracle("turntable")
    graph = PointmapGraph.of(case.edges, background_at(case, 1.0))
    loss = float(state_over(stored, "turntable_bgconf1", graph).loss().detach())
    assert loss == pytest.approx(float(stored["turntable_bgconf1/loss_last"]), rel=2e-4)


def test_a_background_of_confidence_zero_leaves_numbers_where_the_published_poses_are_none(oracle, summary):
    case = oracle("turntable")
    assert summary["turntable_bgconf0"]["losses"][-1] == "nan"
    result = align_pointmaps(case.edges, background_at(case, 0.0), config=PointmapGraphConfig(steps=30))
    assert np.isfinite(result.losses).all()
    assert errors(result.world_from_cam, case.world_from_cam)["rotation"] < 2


def background_at(case: Oracle, C: float) -> list[PairPrediction]:
    """The predictions with this confidence outside the masks."""
    return [
        replace(
            pair,
            C_1=torch.where(case.masks[i], pair.C_1, C),
            C_2=torch.where(case.masks[j], pair.C_2, C),
        )
        for (i, j), pair in zip(case.edges, case.predictions)
    ]


def test_masked_turntable_poses_are_right_and_unmasked_ones_are_not(oracle, stored):
    case = oracle("turntable")
    config = PointmapGraphConfig(steps=int(stored["turntable_bgconf1/n_iters"]))
    masked = align_pointmaps(case.edges, case.predictions, masks=case.masks, config=config)
    found = errors(masked.world_from_cam, case.world_from_cam)
    assert found["rotation"] < 1
    assert found["centre"] < 1
    published = published_errors(stored, "turntable_bgconf1", case.world_from_cam)
    for measure, mine in found.items():
        assert mine < published[measure]
    everything = align_pointmaps(case.edges, case.predictions, config=PointmapGraphConfig(steps=50))
    assert errors(everything.world_from_cam, case.world_from_cam)["rotation"] > 5


def test_pairs_are_as_in_the_published_viewer(oracle, stored):
    names = sorted({name.split("/")[0] for name in stored if name.startswith("pairviewer_")})
    assert names
    for name in names:
        case = oracle(name.split("_")[1])
        i, j = (int(v) for v in stored[f"{name}/source_views"])
        result = align_two_views(*predictions_of(case.stored, [(i, j), (j, i)]))
        np.testing.assert_allclose(result.K[:, 0, 0], stored[f"{name}/focals"], rtol=1e-4)
        np.testing.assert_allclose(result.K[:, :2, 2] - 0.5, stored[f"{name}/pps"], atol=1e-5)
        np.testing.assert_allclose(result.world_from_cam, stored[f"{name}/cam2w"], rtol=1e-4, atol=1e-4)
        for v in (0, 1):
            np.testing.assert_allclose(result.depth[v], stored[f"{name}/depth_{v}"], rtol=3e-4)
            np.testing.assert_allclose(result.points[v], stored[f"{name}/pts3d_{v}"], rtol=3e-4, atol=3e-4)
            np.testing.assert_array_equal(result.confident[v], stored[f"{name}/mask_{v}"] > 0)
        truth = case.world_from_cam[[i, j]]
        turned = errors(result.world_from_cam, truth)["rotation"]
        assert turned <= published_errors(stored, name, truth)["rotation"] + 0.01
