"""Losses at the published states, and gradients three ways: published, autograd, compiled."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from rilievo.alignment.condense import condense, matches_on_object
from rilievo.alignment.config import SparseConfig
from rilievo.alignment.depth_basis import LowRank
from rilievo.alignment.objective import CompiledObjective, Objective, Residual, loss_and_gradient
from rilievo.alignment.residuals import GammaLoss, points_of, projected
from rilievo.alignment.scene_state import DepthForm, Form, Geometry, Parametrisation, SceneState
from rilievo.alignment.schedule import Decay, rate

COARSE, FINE = Objective(Residual.POINTS, GammaLoss(1.5)), Objective(Residual.PIXELS, GammaLoss(0.5))


@pytest.mark.golden
def test_gamma_losses_schedules_and_projections_are_the_published_ones(arrays):
    data = arrays("small_functions.npz")
    x, y = (torch.from_numpy(data[f"loss/{part}"]) for part in "xy")
    gap = torch.linalg.vector_norm(x - y, dim=-1)
    for gamma in (0.5, 1, 1.1, 1.5):
        np.testing.assert_allclose(GammaLoss(float(gamma))(gap), data[f"loss/gamma{gamma}"], rtol=1e-4, atol=1e-5)
    clipped, stretched = GammaLoss(0.5)(gap.clamp_max(2)), GammaLoss(1.5)(2 * gap)
    np.testing.assert_allclose(clipped, data["loss/gamma0.5_clip2"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(stretched, data["loss/gamma1.5_mul2"], rtol=1e-4, atol=1e-5)
    for name in (n for n in data if n.startswith("schedule/") and n != "schedule/alpha"):
        decay, start, end = name.split("/")[1].split("_")
        ours = [rate(Decay(decay), float(a), float(start), float(end)) for a in data["schedule/alpha"]]
        np.testing.assert_allclose(ours, data[name], rtol=1e-4, atol=1e-7)


@pytest.mark.golden
def test_pixels_of_points_are_the_published_ones(arrays):
    data = {name: torch.from_numpy(value) for name, value in arrays("small_functions.npz").items()}
    camera = pinhole_of(data["reproj2d/mat34"].double())
    points = data["loss/x"].double()
    pixels = projected(camera, torch.zeros(len(points), dtype=torch.int64), points)
    np.testing.assert_allclose(pixels, data["reproj2d/uv"], rtol=1e-4, atol=1e-5)


def pinhole_of(projection):
    """The camera of a 3x4 matrix K (R | t) with square pixels."""
    M = projection[:, :3]
    KKt = M @ M.mT / (M[2] @ M[2])
    c = KKt[:2, 2]
    f = (KKt[0, 0] - c[0] ** 2).sqrt()
    K = torch.tensor([[f, 0, c[0]], [0, f, c[1]], [0, 0, 1]], dtype=projection.dtype)
    cam_from_world = torch.linalg.inv(K) @ projection / M[2].norm()
    R = cam_from_world[:, :3]
    np.testing.assert_allclose(R @ R.mT, torch.eye(3), atol=1e-6)
    one = torch.ones(1, dtype=projection.dtype)
    return Geometry(f[None], c[None], one, R.mT[None], -(R.mT @ cam_from_world[:, 3])[None], one)


def geometry_looking_along_z(focal=1.0):
    return Geometry(
        torch.tensor([focal]), torch.zeros(1, 2), torch.ones(1), torch.eye(3)[None], torch.zeros(1, 3), torch.ones(1)
    )


def test_points_beside_and_behind_the_camera_project_to_finite_pixels():
    points = torch.tensor([[1.0, 2.0, 4.0], [1.0, 1.0, 0.0], [1.0, 1.0, -2.0], [1e9, -1e9, 1.0]])
    pixels = projected(geometry_looking_along_z(), torch.zeros(4, dtype=torch.int64), points)
    assert torch.isfinite(pixels).all()
    assert pixels[0].tolist() == [0.25, 0.5]
    assert pixels[3].tolist() == [2000, -1000]


@pytest.mark.golden
@pytest.mark.parametrize("scene", ["main_scene", "mixed_scene"])
def test_loss_at_every_published_result_is_the_published_one(scene, request, summary):
    case = request.getfixturevalue(scene)
    results = {
        name: r for name, r in summary["sparse_ga_" + scene.split("_")[0]].items() if r["final_loss"] is not None
    }
    assert results
    for name, result in results.items():
        problem = case.problem(case.tree(f"res/{name}"), result["args"]["matching_conf_thr"])
        objective = FINE if result["args"]["niter2"] else COARSE
        loss = objective(problem, case.geometry(f"res/{name}", problem))
        assert float(loss) == pytest.approx(float(case.arrays[f"res/{name}/loss_last"]), rel=1e-5)


@pytest.mark.golden
def test_loss_at_the_results_of_other_graphs_is_the_published_one(arrays, main_scene, summary):
    graphs = arrays("sparse_ga_main_graphs.npz")
    main_scene.arrays.update({name: value for name, value in graphs.items() if name.startswith("res/")})
    names = [name.removeprefix("pairs/") for name in graphs if name.startswith("pairs/")]
    assert names
    for name in names:
        pairs = main_scene.pairs(graphs[f"pairs/{name}"].tolist())
        loss = loss_at(main_scene, name, pairs, summary["sparse_ga_main_graphs"][name]["args"])
        assert loss == pytest.approx(float(graphs[f"res/{name}/loss_last"]), rel=1e-5)


@pytest.mark.golden
def test_loss_at_the_results_of_a_turntable_is_the_published_one(turntable_scene, summary):
    case, results = turntable_scene, summary["sparse_ga_turntable"]
    assert results
    for name, result in results.items():
        pairs = case.pairs() if name.startswith("ignored") else filtered(case, dimmed=name.startswith("filtered"))
        loss = loss_at(case, name, pairs, result["args"])
        assert loss == pytest.approx(float(case.arrays[f"res/{name}/loss_last"]), rel=1e-5), name


def loss_at(case, variant, pairs, args):
    """The loss of a published result, on the problem that these pairs condense to."""
    problem = condense(pairs, case.sizes, SparseConfig(matching_confidence=args["matching_conf_thr"])).problem
    return float((FINE if args["niter2"] else COARSE)(problem, case.geometry(f"res/{variant}", problem)))


def filtered(case, dimmed):
    """Masks as one could give them to the published code: matches with both ends inside, background of confidence
    1.001 where `dimmed`."""
    pairs = {}
    for (i, j), result in case.pairs().items():
        matches = matches_on_object(result.correspondences, case.masks, i, j)
        dim = partial(dimmed_outside, case.masks) if dimmed else lambda prediction, i, j: prediction
        pairs[i, j] = replace(result, ij=dim(result.ij, i, j), ji=dim(result.ji, j, i), correspondences=matches)
    return pairs


def dimmed_outside(masks, prediction, i, j):
    C_1, C_2 = (torch.where(masks[v], C, 1.001) for v, C in ((i, prediction.C_1), (j, prediction.C_2)))
    return replace(prediction, C_1=C_1, C_2=C_2)


@pytest.mark.golden
@pytest.mark.parametrize("scene", ["main_scene", "mixed_scene"])
def test_the_start_is_the_published_one(scene, request):
    case = request.getfixturevalue(scene)
    parametrisation = Parametrisation(case.problem(case.tree("res/init"), 5.0), Form())
    start = parametrisation.geometry(parametrisation.start())
    np.testing.assert_allclose(start.world_from_cam, case["res/init/cam2w"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(start.focal, case["res/init/focals"], rtol=1e-5)
    np.testing.assert_allclose(start.depth, torch.cat(case.list("res/init/depthmap")), rtol=1e-5)
    points = [case[f"res/init/sparse_pts_{i}"] for i in range(case.views)]
    np.testing.assert_allclose(
        points_of(start, parametrisation.problem.sightings), torch.cat(points), rtol=1e-4, atol=1e-5
    )


def stored_state(data, at, views, shared):
    cameras = 1 if shared else views

    def parts(name, count, prefix=""):
        return [torch.from_numpy(data[f"{at}/{prefix}{name}_{i}"]) for i in range(count)]

    def state(prefix):
        have = [f"{at}/{prefix}{name}_0" in data for name in ("pp", "log_focal", "core_depth")]
        zeros = parts("pp", cameras), parts("log_focal", cameras), parts("core_depth", views)
        pp, log_focal, depth = (
            parts(name, count, prefix) if there else [torch.zeros_like(p) for p in like]
            for name, count, there, like in zip(
                ("pp", "log_focal", "core_depth"), (cameras, cameras, views), have, zeros, strict=True
            )
        )
        quaternion = torch.stack(parts("quat_xyzw", views, prefix))[:, [3, 0, 1, 2]]
        translation, size = torch.stack(parts("trans", views, prefix)), torch.cat(parts("log_size", views, prefix))
        return SceneState(torch.stack(pp), torch.cat(log_focal), quaternion, translation, size, torch.cat(depth)), have

    return state("")[0], *state("grad_")


@pytest.mark.golden
@pytest.mark.parametrize("compiled", [False, True])
def test_gradients_are_the_published_ones(arrays, main_scene, compiled):
    data = arrays("sparse_ga_gradients.npz")
    stages = sorted({name.split("/pp_0")[0] for name in data if name.endswith("first_iter/pp_0")})
    assert stages
    for at in stages:
        run, stage = at.split("/")
        threshold = 1e9 if run.startswith("thr_high") else 5.0
        form = Form(shared_intrinsics=run.startswith("shared"))
        parametrisation = Parametrisation(main_scene.problem(main_scene.tree("res/init"), threshold), form)
        state, theirs, (have_pp, have_focal, have_depth) = stored_state(
            data, at, main_scene.views, form.shared_intrinsics
        )
        objective = FINE if stage.startswith("fine") else COARSE
        ours = gradient_of(parametrisation, state, objective, compiled)
        given = dict.fromkeys(("rotation", "translation", "log_size"), True) | {
            "principal_point": have_pp,
            "log_focal": have_focal,
            "depth": have_depth,
        }
        for name in (name for name, there in given.items() if there):
            expected = getattr(theirs, name)
            largest = float(expected.abs().max())
            np.testing.assert_allclose(getattr(ours, name), expected, rtol=0, atol=1e-3 * largest)


@pytest.mark.golden
def test_losses_along_a_descent_are_the_published_ones(arrays, main_scene):
    """At the first state of each stage, and at the state that is returned."""
    data = arrays("sparse_ga_gradients.npz")
    runs = sorted({name.split("/")[0] for name in data if name.endswith("losses_all")})
    assert runs
    for run in runs:
        losses, threshold = data[f"{run}/losses_all"], 1e9 if run.startswith("thr_high") else 5.0
        form = Form(shared_intrinsics=run.startswith("shared"))
        problem = main_scene.problem(main_scene.tree("res/init"), threshold)
        parametrisation = Parametrisation(problem, form)
        stages = sorted({name.split("/")[1] for name in data if name.startswith(f"{run}/") and "first_iter" in name})
        for stage in stages:
            objective = FINE if stage.startswith("fine") else COARSE
            state, _, _ = stored_state(data, f"{run}/{stage}", main_scene.views, form.shared_intrinsics)
            loss = float(objective(problem, parametrisation.geometry(state)))
            at = 0 if stage == stages[0] else -1  # a fine stage is recorded at its only step
            assert loss == pytest.approx(float(losses[at]), rel=1e-5), (run, stage)
        last = FINE if stages[-1].startswith("fine") else COARSE
        returned = returned_geometry(data, run, problem)
        assert float(last(problem, returned)) == pytest.approx(float(losses[-1]), rel=1e-5), run


def returned_geometry(data, run, problem):
    pose, focal, pp = (torch.from_numpy(data[f"{run}/returned_{name}"]) for name in ("cam2w", "focals", "pps"))
    depth = torch.cat([torch.from_numpy(data[f"{run}/returned_depthmap_{i}"]).reshape(-1) for i in range(len(pose))])
    return Geometry(focal, pp, problem.base_focals / focal, pose[:, :3, :3], pose[:, :3, 3], depth)


def gradient_of(parametrisation, state, objective, compiled):
    if not compiled:
        return loss_and_gradient(parametrisation, state, objective)[1]
    live = state.like(state.flat().double())
    objective = CompiledObjective(parametrisation, live, objective)
    objective()
    return state.like(objective.gradient)


FORMS = {
    "plain": Form(),
    "shared": Form(shared_intrinsics=True),
    "multiplied logarithms": Form(depth=DepthForm.MULTIPLY, log_depth=True),
    "low rank": Form(low_rank=LowRank(12, 15.0, 0.5)),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
@pytest.mark.parametrize("objective", [COARSE, FINE], ids=["points", "pixels"])
@pytest.mark.parametrize("threshold", [5.0, 1e9], ids=["matched", "regressed"])
def test_the_compiled_gradient_is_that_of_the_definition(main_scene, form, objective, threshold):
    parametrisation = Parametrisation(main_scene.problem(main_scene.tree("res/init"), threshold), form)
    flat = parametrisation.start().flat()
    flat = flat + 0.05 * torch.randn(flat.shape, generator=torch.Generator().manual_seed(7))
    state = parametrisation.start().like(flat)
    loss, gradient = loss_and_gradient(parametrisation, state, objective)
    compiled = CompiledObjective(parametrisation, state.like(flat.double()), objective)
    assert compiled() == pytest.approx(float(loss), rel=1e-5)
    largest = float(gradient.flat().abs().max())
    np.testing.assert_allclose(compiled.gradient, gradient.flat(), rtol=0, atol=2e-5 * largest)
