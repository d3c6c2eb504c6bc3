"""Which pairs of photos are compared."""

import pytest
import torch

from rilievo.errors import UserError
from rilievo.matching.retrieval import farthest_points, retrieval_pairs
from rilievo.matching.scene_graph import make_pairs, unordered

GRAPHS = ["complete", "swin", "swin-2", "swin-3-noncyclic", "logwin-4", "logwin-3-noncyclic", "oneref", "oneref-1"]


def both(pairs):
    return {frozenset(pair) for pair in pairs}


@pytest.mark.parametrize("photos", [2, 3, 5, 9])
@pytest.mark.parametrize("graph", GRAPHS)
def test_no_photo_meets_itself_and_no_pair_comes_twice(graph, photos):
    once = make_pairs(photos, graph, symmetrise=False)
    assert all(i != j for i, j in once)
    assert len(both(once)) == len(once)
    twice = make_pairs(photos, graph)
    assert twice == once + [(j, i) for i, j in once]
    assert len(set(twice)) == len(twice)


@pytest.mark.parametrize("graph", GRAPHS)
def test_every_photo_is_reached_from_every_other(graph):
    reached, pairs = {0}, make_pairs(9, graph)
    for _ in range(9):
        reached |= {j for i, j in pairs if i in reached}
    assert reached == set(range(9))


def test_pairs_of_sliding_windows_by_hand():
    assert set(make_pairs(5, "swin-1", symmetrise=False)) == {(0, 1), (1, 2), (2, 3), (3, 4), (0, 4)}
    assert set(make_pairs(5, "swin-1-noncyclic", symmetrise=False)) == {(0, 1), (1, 2), (2, 3), (3, 4)}
    apart = {j - i for i, j in make_pairs(12, "logwin-3-noncyclic", symmetrise=False)}
    assert apart == {1, 2, 4}


def test_what_is_computed_is_each_pair_once():
    assert unordered(make_pairs(3)) == [(0, 1), (0, 2), (1, 2)]


@pytest.mark.parametrize(
    ("photos", "graph", "prefilter", "message"),
    [
        (1, "complete", None, "at least two"),
        (4, "ring", None, "scene graph: expected complete, swin-W"),
        (4, "swin-x", None, "scene graph"),
        (4, "swin-2-cyclic", None, "scene graph"),
        (4, "oneref-4", None, "from 0 to 3"),
        (4, "retrieval-2-1", None, "similarities of all 4 photos, got none"),
        (4, "complete", "seq", "prefilter"),
        (9, "oneref-0", "seq0", "at least one pair"),
        (4, "swin-0", None, "at least one pair"),
    ],
)
def test_what_cannot_be_paired_is_refused_in_one_sentence(photos, graph, prefilter, message):
    with pytest.raises(UserError, match=message):
        make_pairs(photos, graph, prefilter=prefilter)


@pytest.mark.golden
def test_pairs_are_the_published_ones(published_pairs):
    assert published_pairs["dust3r_equals_mast3r"]  # so one list stands for both
    for case in published_pairs["mast3r"]:
        expected = [(i, j) for i, j in case["pairs"] if i != j]
        pairs = make_pairs(case["n"], case["scene_graph"], symmetrise=case["symmetrize"], prefilter=case["prefilter"])
        wraps = len(expected) != len(case["pairs"]) or len(set(expected)) != len(expected)
        if case["symmetrize"]:
            assert set(pairs) >= set(expected), case
            assert both(pairs) == both(expected), case
        else:
            assert both(pairs) == both(expected), case
        if not wraps and len(both(expected)) * (1 + case["symmetrize"]) == len(expected):
            assert set(pairs) == set(expected), case
        if case["scene_graph"].startswith(("complete", "oneref")):
            assert pairs == expected, case


@pytest.mark.golden
def test_retrieval_graphs_are_the_published_ones(published_pairs):
    assert published_pairs["retrieval"]
    for case in published_pairs["retrieval"]:
        similarity = torch.tensor(case["sim_mat"])
        assert similarity.shape == (case["n"], case["n"])
        if case["Na"]:
            anchors = farthest_points(1 - similarity, case["Na"], first=case["first_anchor"])
            assert anchors == case["anchors"]
        pairs = retrieval_pairs(similarity, anchors=case["Na"], nearest=case["k"], first=case["first_anchor"])
        assert both(pairs) == both(case["pairs_sorted"]), case
        assert len(both(pairs)) == len(pairs)
        expected = {tuple(pair) for pair in case["make_pairs_symmetrized_sorted"]}
        assert {(i, j) for pair in both(pairs) for i, j in [sorted(pair), sorted(pair)[::-1]]} == expected
