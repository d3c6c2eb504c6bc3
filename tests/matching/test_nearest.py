"""The most similar descriptor."""

import pytest
import torch
from torch.nn.functional import normalize

from rilievo.matching.nearest import NOBODY, DescriptorSearch, comparable


def unit(seed, n, d=24, dtype=torch.float32):
    return normalize(torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype), dim=1)


@pytest.mark.parametrize("block", [(1, 1), (7, 11), (64, 300), None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_blocks_give_the_argmax_of_all_products(block, dtype):
    targets, queries = unit(1, 300, dtype=dtype), unit(2, 41, dtype=dtype)
    found = DescriptorSearch(targets, block).nearest(queries)
    assert torch.equal(found, (queries @ targets.mT).argmax(dim=1))


def test_of_equals_the_first_is_the_answer():
    targets = unit(3, 5).repeat(4, 1)
    assert torch.equal(DescriptorSearch(targets, (2, 3)).nearest(targets), torch.arange(5).repeat(4))


@pytest.mark.parametrize("block", [(8, 16), None])
def test_a_descriptor_that_cannot_be_compared_changes_nothing_for_the_others(block):
    targets, queries = unit(4, 100), unit(5, 50)
    best = (queries @ targets.mT).argmax(dim=1)
    spoiled, asked = targets.clone(), queries.clone()
    unused = [t for t in range(100) if t not in set(best.tolist())][:3]
    for place, value in zip(unused, (torch.nan, torch.inf, 0.0)):
        spoiled[place] = value
    spoiled[unused[0], 1:] = targets[unused[0], 1:]  # one NaN is enough
    asked[7], asked[20], asked[21, 3] = 0.0, -torch.inf, torch.nan
    found = DescriptorSearch(spoiled, block).nearest(asked)
    expected = best.clone()
    expected[[7, 20, 21]] = NOBODY
    assert torch.equal(found, expected)


def test_negative_products_have_a_largest_too():
    targets = torch.tensor([[-1.0, 0.1], [-0.5, 0.1], [-0.7, 0.0]])
    assert DescriptorSearch(targets).nearest(torch.tensor([[1.0, 0.0]])).tolist() == [1]


def test_where_nothing_can_be_compared_nobody_is_the_answer():
    nothing = torch.zeros(4, 3)
    assert DescriptorSearch(nothing).nearest(unit(1, 3, 3)).tolist() == [NOBODY] * 3
    assert DescriptorSearch(nothing[:0]).nearest(unit(1, 3, 3)).tolist() == [NOBODY] * 3
    assert DescriptorSearch(unit(1, 3, 3)).nearest(nothing[:0]).tolist() == []
    assert comparable(torch.tensor([[0.0, 0], [1, torch.nan], [0, 2]])).tolist() == [False, False, True]


def test_half_precision_is_compared_in_single():
    targets = unit(6, 200).half()
    assert torch.equal(DescriptorSearch(targets).nearest(targets.flip(0)), torch.arange(199, -1, -1))


def test_views_that_are_not_contiguous_are_searched_alike():
    both = unit(7, 200, 48)
    targets, queries = both[:, ::2], both[::3, ::2]
    expected = DescriptorSearch(targets.contiguous()).nearest(queries.contiguous())
    assert torch.equal(DescriptorSearch(targets).nearest(queries), expected)


def test_the_number_of_threads_does_not_change_the_answer():
    targets, queries, threads = unit(8, 5000), unit(9, 700), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = DescriptorSearch(targets).nearest(queries)
        torch.set_num_threads(2)
        two = DescriptorSearch(targets).nearest(queries)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(one, two)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_finds_what_the_processor_finds():
    targets, queries = unit(1, 40000), unit(2, 9000)
    targets[5], queries[5] = torch.nan, 0
    here = DescriptorSearch(targets).nearest(queries)
    there = DescriptorSearch(targets.cuda()).nearest(queries.cuda())
    assert there.device.type == "cuda"
    assert (there.cpu() == here).double().mean() > 0.999


@pytest.mark.golden
@pytest.mark.parametrize("kind", ["dot_bsNone", "dot_bs100", "l2_bsNone", "l2_bs100"])
def test_neighbours_are_the_published_ones(fast_nn, kind):
    A, B = (fast_nn[f"in/desc{view}"].flatten(0, 1)[::3] for view in ("11", "21"))
    for found, expected in (
        (DescriptorSearch(B).nearest(A), fast_nn[f"bruteforce/{kind}/nn_A"]),
        (DescriptorSearch(A, (10, 100)).nearest(B), fast_nn[f"bruteforce/{kind}/nn_B"]),
    ):
        assert (found == expected).double().mean() >= 0.99
