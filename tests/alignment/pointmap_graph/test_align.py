"""Exact pointmaps give exact cameras, in whatever units, sizes and order; what has no vote has no influence."""

from dataclasses import replace

import pytest
import torch

from rilievo.alignment.pointmap_graph.align import PointmapGraphConfig, align_pointmaps
from rilievo.alignment.pointmap_graph.confidence import WORTHS, loss_weight, vote
from rilievo.alignment.pointmap_graph.graph import PointmapGraph
from rilievo.alignment.pointmap_graph.known import KnownViews
from rilievo.alignment.pointmap_graph.spanning import spanning_edges
from rilievo.alignment.pointmap_graph.start import start_from_tree
from rilievo.alignment.pointmap_graph.state import GraphState, Start, _matrices, signed_expm1
from rilievo.alignment.pointmap_graph.two_views import align_two_views
from rilievo.errors import UserError
from rilievo.geometry import se3, sim3, so3
from rilievo.geometry.alignment import camera_errors
from rilievo.matching.pair_result import PairPrediction

FEW = PointmapGraphConfig(steps=5)


def known_poses(scene, *views: int) -> dict[int, torch.Tensor]:
    return {v: scene.world_from_cam[v] for v in views}


def assert_exact(result, scene, tolerance: float = 0.02) -> None:
    found = camera_errors(result.world_from_cam, scene.world_from_cam)
    assert found.rotations_deg.max() < tolerance
    assert found.centers_percent.max() < tolerance
    torch.testing.assert_close(result.K[:, 0, 0], scene.focals_px.double(), rtol=1e-3, atol=0)


def halved(scene) -> list[torch.Tensor]:
    """Masks without the left third of every photo."""
    masks = [torch.ones(p.shape[:2], dtype=torch.bool) for p in scene.points]
    for mask in masks:
        mask[:, : mask.shape[1] // 3] = False
    return masks


def spoilt(scene, masks, value: float) -> list[PairPrediction]:
    """Predictions that are nonsense outside the masks, with the confidence `value` there."""
    out = []
    for (i, j), pair in zip(scene.edges, scene.predictions()):
        X_1, X_2, C_1, C_2 = (x.clone() for x in (pair.X_1, pair.X_2, pair.C_1, pair.C_2))
        for X, C, mask in ((X_1, C_1, masks[i]), (X_2, C_2, masks[j])):
            X[~mask], C[~mask] = X[~mask].flip(0) * 3 + 1, value
        out.append(replace(pair, X_1=X_1, X_2=X_2, C_1=C_1, C_2=C_2))
    return out


def test_exact_pointmaps_of_any_unit_and_size_give_exact_cameras(scene):
    result = align_pointmaps(scene.edges, scene.predictions(), config=FEW)
    assert_exact(result, scene)
    for v, points in enumerate(result.points):
        assert points.shape == scene.points[v].shape
    scale = sim3.split(result.world_from_edge.double())[0]
    assert float(scale.log().mean().exp()) == pytest.approx(0.5, rel=1e-4)


def test_points_are_depths_on_the_pixels_rays(scene):
    result = align_pointmaps(scene.edges, scene.predictions(), config=FEW)
    for v, points in enumerate(result.points):
        in_cam = sim3.apply(se3.inverse(result.world_from_cam[v]), points.double())
        torch.testing.assert_close(in_cam[..., 2].float(), result.depth[v], rtol=1e-4, atol=1e-5)
        image = in_cam @ result.K[v].T
        y, x = torch.meshgrid(*(torch.arange(n).double() + 0.5 for n in points.shape[:2]), indexing="ij")
        torch.testing.assert_close(image[..., :2] / image[..., 2:], torch.stack((x, y), -1), rtol=0, atol=1e-3)


@pytest.mark.parametrize("value", [1.0, 0.0, float("nan")])
def test_what_is_worth_nothing_has_no_influence_at_all(scene, value):
    masks = halved(scene)
    assert_exact(align_pointmaps(scene.edges, spoilt(scene, masks, value), config=FEW), scene)


def test_a_mask_hides_nonsense_of_high_confidence(scene):
    masks = halved(scene)
    nonsense = spoilt(scene, masks, 50.0)
    result = align_pointmaps(scene.edges, nonsense, masks=masks, config=FEW)
    assert_exact(result, scene)
    assert all(
        (C[~mask] == 0).all() and not ok[~mask].any() for C, ok, mask in zip(result.confidence, result.confident, masks)
    )
    bare = align_pointmaps(scene.edges, nonsense, config=FEW)
    assert camera_errors(bare.world_from_cam, scene.world_from_cam).rotation_deg > 1


def test_points_that_are_not_numbers_are_left_out(scene):
    predictions = scene.predictions()
    for pair in predictions:
        pair.X_1[0, :4], pair.X_2[-1, -3:, 2] = torch.nan, torch.inf
    assert_exact(align_pointmaps(scene.edges, predictions, config=FEW), scene)


def test_an_empty_mask_or_one_pixel_is_told_not_computed(scene):
    for pixels in (0, 1):
        masks = [torch.ones(p.shape[:2], dtype=torch.bool) for p in scene.points]
        masks[2] = torch.zeros_like(masks[2])
        masks[2].view(-1)[:pixels] = True
        with pytest.raises(UserError, match=rf"photo 2 \({pixels} such points\) apart"):
            align_pointmaps(scene.edges, scene.predictions(), masks=masks, config=FEW)


def test_pairs_in_pieces_are_told(scene):
    edges = [(0, 1), (2, 3)]
    pairs = [scene.predict(i, j, 1.0, 5.0) for i, j in edges]
    with pytest.raises(UserError, match="photos to align: expected all connected"):
        align_pointmaps(edges, pairs)


def test_contradicting_sizes_and_missing_photos_are_told(scene):
    small = scene.predict(0, 1, 1.0, 5.0)
    cut = replace(small, X_1=small.X_1[:-1], C_1=small.C_1[:-1])
    with pytest.raises(UserError, match="photo 0: expected pointmaps of one size"):
        PointmapGraph.of([(0, 1), (0, 1)], [small, cut])
    with pytest.raises(UserError, match="every photo from 0 to 3"):
        PointmapGraph.of([(0, 3)], [scene.predict(0, 3, 1.0, 5.0)])
    with pytest.raises(UserError, match="one prediction per pair"):
        PointmapGraph.of([], [])
    with pytest.raises(UserError, match="masks: expected one per photo"):
        PointmapGraph.of([(0, 1)], [small], masks=[torch.ones(18, 24, dtype=torch.bool)])


def test_a_chain_of_pairs_suffices(scene):
    edges = [(1, 0), (1, 2), (3, 2)]
    pairs = [scene.predict(i, j, 0.5 + k / 4, 5.0) for k, (i, j) in enumerate(edges)]
    known = KnownViews(focals_px={0: float(scene.focals_px[0]), 2: float(scene.focals_px[2])})
    assert_exact(align_pointmaps(edges, pairs, known=known, config=FEW), scene)


@pytest.mark.parametrize("views", [(0,), (2,), (1, 3), (0, 1, 2, 3)])
def test_known_poses_are_the_frame_and_stay(scene, views):
    known = KnownViews(world_from_cam=known_poses(scene, *views))
    result = align_pointmaps(scene.edges, scene.predictions(), known=known, config=FEW)
    assert_exact(result, scene)
    for v in views:
        torch.testing.assert_close(result.world_from_cam[v], scene.world_from_cam[v], rtol=0, atol=1e-6)
    if len(views) > 1:  # the scale is known too
        torch.testing.assert_close(result.world_from_cam, scene.world_from_cam, rtol=0, atol=5e-3)
        torch.testing.assert_close(result.points[0].double(), scene.points[0], rtol=0, atol=2e-2)


def test_known_cameras_give_depths_in_their_own_world(scene):
    known = KnownViews(known_poses(scene, 0, 1, 2, 3), {v: float(f) for v, f in enumerate(scene.focals_px)})
    result = align_pointmaps(scene.edges, scene.predictions(), known=known, config=FEW)
    for found, true in zip(result.points, scene.points):
        torch.testing.assert_close(found.double(), true, rtol=0, atol=2e-2)


def test_known_focals_and_centers_stay_and_others_move(scene):
    center = torch.tensor([12.5, 9.5])
    known = KnownViews(focals_px={1: float(scene.focals_px[1])}, centers_px={1: center})
    config = PointmapGraphConfig(steps=5, optimise_centers=True)
    result = align_pointmaps(scene.edges, scene.predictions(), known=known, config=config)
    assert float(result.K[1, 0, 0]) == pytest.approx(float(scene.focals_px[1]), rel=1e-6)
    torch.testing.assert_close(result.K[1, :2, 2].float(), center)


def test_impossible_known_cameras_are_told(scene):
    for known, what in (
        (KnownViews(focals_px={4: 10.0}), "photos 0 to 3"),
        (KnownViews(focals_px={0: -10.0}), "known focal length of photo 0"),
        (KnownViews(world_from_cam={0: 2 * torch.eye(4)}), "known pose of photo 0"),
    ):
        with pytest.raises(UserError, match=what):
            align_pointmaps(scene.edges, scene.predictions(), known=known)


def test_the_state_returned_is_never_worse_than_the_first(scene):
    g = torch.Generator().manual_seed(0)
    noisy = [replace(p, X_1=p.X_1 + 0.03 * torch.randn(p.X_1.shape, generator=g)) for p in scene.predictions()]
    graph = PointmapGraph.of(scene.edges, noisy)
    first = float(GraphState(graph, start_from_tree(graph)).loss().detach())
    losses = []
    for steps in (0, 3, 60):
        result = align_pointmaps(scene.edges, noisy, config=PointmapGraphConfig(steps=steps))
        start = Start(
            result.world_from_cam,
            result.K[:, 0, 0],
            result.K[:, :2, 2],
            torch.stack(
                [torch.nn.functional.pad(d.flatten(), (0, 18 * 24 - d.numel()), value=1.0) for d in result.depth]
            ),
            result.world_from_edge,
        )
        losses.append(float(GraphState(graph, start).loss().detach()))
    assert losses[0] == pytest.approx(first, rel=1e-4)
    assert losses[1] <= first * 1.0001
    assert losses[2] < 0.9 * first  # most of it is noise that no camera explains


def test_two_views_agree_with_the_truth(scene):
    result = align_two_views(scene.predict(0, 1, 0.8, 5.0), scene.predict(1, 0, 1.3, 4.0))
    relative = se3.inverse(scene.world_from_cam[0]) @ scene.world_from_cam[1]
    relative[:3, 3] *= 0.8
    torch.testing.assert_close(result.world_from_cam[1], relative, rtol=0, atol=1e-4)
    torch.testing.assert_close(result.K[:, 0, 0], scene.focals_px[:2].double(), rtol=1e-3, atol=0)
    assert torch.equal(result.world_from_cam[0], torch.eye(4, dtype=torch.float64))
    swapped = align_two_views(scene.predict(0, 1, 0.8, 4.0), scene.predict(1, 0, 1.3, 5.0))
    assert torch.equal(swapped.world_from_cam[1], torch.eye(4, dtype=torch.float64))


def test_the_tree_takes_the_strongest_edges_that_close_no_circle():
    edges = torch.tensor([[0, 1], [1, 0], [1, 2], [0, 2], [2, 3], [3, 4]])
    strengths = torch.tensor([2.0, 5.0, 4.0, 4.5, 1.0, 3.0])
    assert spanning_edges(edges, strengths) == [1, 3, 4, 5]
    assert spanning_edges(edges, strengths * (torch.arange(6) != 4)) == [1, 3]


@pytest.mark.parametrize("worth", WORTHS)
def test_no_confidence_has_a_weight_below_zero_or_undefined(worth):
    C = torch.tensor([0.0, 0.5, 1.0, 2.0, -1.0, torch.nan, torch.inf])
    w = loss_weight(C, worth)
    assert (w >= 0).all()
    assert w.isfinite().all()
    assert torch.equal(vote(C, worth) > 0, w > 0)


def test_quaternions_of_any_length_are_the_same_rotation():
    q = torch.randn(20, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(_matrices(3 * q), so3.matrix_from_quaternion(q), rtol=0, atol=1e-6)


def test_translations_can_leave_zero():
    x = torch.tensor([0.0, 1e-3, -2.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(signed_expm1(x).sum(), x)
    torch.testing.assert_close(slope, x.detach().abs().exp())
