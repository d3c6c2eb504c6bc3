"""The kinematic tree: the published one, a maximum one, and an honest word where photos do not meet."""

import itertools

import numpy as np
import pytest

from rilievo.alignment.spanning_tree import TreeKind, kinematic_tree, maximum_spanning_tree
from rilievo.errors import UserError


@pytest.mark.golden
def test_spanning_trees_are_the_published_ones(arrays):
    data = arrays("small_functions.npz")
    names = [name.split("/")[0] for name in data if name.endswith("/scores")]
    assert names
    for name in names:
        tree = maximum_spanning_tree(data[f"{name}/scores"])
        assert tree.root == data[f"{name}/root"]
        assert sorted(tree.edges) == sorted(map(tuple, data[f"{name}/edges"].tolist()))


@pytest.mark.golden
@pytest.mark.parametrize("scene", ["main_scene", "mixed_scene"])
def test_trees_of_both_kinds_are_the_published_ones_of_the_scenes(scene, request):
    case = request.getfixturevalue(scene)
    anchors = case.arrays["inter/condensed/imsizes_wh"].prod(axis=1) / 64.0
    for kind, variant in ((TreeKind.CLUSTERS, "res/unshared"), (TreeKind.SPANNING, "res/mst")):
        tree, published = kinematic_tree(case.arrays["inter/pairwise_scores"], kind, anchors), case.tree(variant)
        assert tree.root == published.root
        assert sorted(tree.edges) == sorted(published.edges)


def symmetric_scores(n, seed):
    scores = np.triu(np.random.default_rng(seed).uniform(1, 50, (n, n)), 1)
    return scores + scores.T


def test_no_other_tree_scores_higher():
    n, scores = 5, symmetric_scores(5, 1)
    ours = sum(scores[edge] for edge in maximum_spanning_tree(scores).edges)
    links = list(itertools.combinations(range(n), 2))
    for chosen in itertools.combinations(links, n - 1):
        label = list(range(n))
        for a, b in chosen:
            label = [label[a] if part == label[b] else part for part in label]
        if len(set(label)) == 1:
            assert sum(scores[edge] for edge in chosen) <= ours + 1e-9


@pytest.mark.parametrize("kind", list(TreeKind))
@pytest.mark.parametrize("n", [2, 3, 9])
def test_parents_come_before_their_children(kind, n):
    tree = kinematic_tree(symmetric_scores(n, n), kind, np.full(n, 48.0))
    reached = {tree.root}
    for parent, child in tree.edges:
        assert parent in reached
        assert child not in reached
        reached.add(child)
    assert reached == set(range(n))


def test_a_tree_told_from_another_view_has_the_same_links():
    tree = maximum_spanning_tree(symmetric_scores(7, 2))
    for root in range(7):
        other = tree.rerooted(root)
        assert other.parent[root] == -1
        assert {frozenset(edge) for edge in other.edges} == {frozenset(edge) for edge in tree.edges}


def test_photos_that_nothing_joins_are_named():
    scores = symmetric_scores(5, 4)
    scores[3:, :3] = scores[:3, 3:] = 0
    with pytest.raises(UserError, match=r"\[3, 4\]"):
        kinematic_tree(scores, TreeKind.SPANNING)
