"""Which photos look alike."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from rilievo.errors import UserError
from rilievo.io.image import read_color
from rilievo.matching.retrieval import (
    describe,
    farthest_points,
    pooled_tokens,
    retrieval_pairs,
    similarity,
    thumbnail,
)
from rilievo.matching.scene_graph import make_pairs


@pytest.fixture
def ring():
    """Similarities of twelve photos around a circle: the cosine of the angle between them."""
    angle = torch.arange(12) * (2 * torch.pi / 12)
    return similarity(torch.stack((angle.cos(), angle.sin()), dim=1))


def picture(seed, h=60, w=80):
    """Smooth random colours."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (6, 8, 3))
    rows, columns = np.arange(h) * 6 // h, np.arange(w) * 8 // w
    return coarse[rows][:, columns].astype(np.uint8)


def test_anchors_lie_as_far_apart_as_can_be(ring):
    assert sorted(farthest_points(1 - ring, 4, first=0)) == [0, 3, 6, 9]
    assert farthest_points(1 - ring, 2, first=5) == [5, 11]
    assert sorted(farthest_points(1 - ring, 99, first=5)) == list(range(12))


def test_duplicated_photos_are_not_drawn_twice():
    same = torch.zeros(4, 4)
    assert sorted(farthest_points(same, 4, first=2)) == [0, 1, 2, 3]


def test_a_retrieval_graph_is_connected_and_grows_linearly(ring):
    pairs = make_pairs(12, "retrieval-3-1", symmetrise=False, similarity=ring)
    assert len(pairs) == 3 + 9
    reached = {0}
    for _ in range(12):
        reached |= {k for pair in pairs if reached & set(pair) for k in pair}
    assert reached == set(range(12))


def test_the_nearest_photos_are_joined(ring):
    pairs = {frozenset(pair) for pair in retrieval_pairs(ring, anchors=0, nearest=3)}
    assert pairs == {frozenset((i, (i + 1) % 12)) for i in range(12)}


def test_a_hundred_photos_need_far_fewer_pairs_than_all():
    places = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))
    pairs = make_pairs(100, "retrieval-20-10", symmetrise=False, similarity=similarity(places))
    assert 190 + 80 <= len(pairs) <= 190 + 80 + 900 < 4950


def test_scaling_a_descriptor_changes_no_similarity_and_zero_resembles_nothing():
    d = torch.randn(5, 7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(similarity(d * torch.arange(1.0, 6)[:, None]), similarity(d))
    d[2] = 0
    assert similarity(d)[2].tolist() == [0, 0, 1, 0, 0]
    d[4, 1] = torch.nan
    with pytest.raises(UserError, match="photo 4"):
        similarity(d)


def test_tokens_outside_the_mask_do_not_count():
    tokens = torch.randn(9, 5, generator=torch.Generator().manual_seed(2))
    inside = torch.arange(9) < 4
    other = tokens.clone()
    other[4:] = 100
    torch.testing.assert_close(pooled_tokens(other, inside), pooled_tokens(tokens, inside))
    torch.testing.assert_close(pooled_tokens(tokens[:4]), pooled_tokens(tokens, inside))
    torch.testing.assert_close(pooled_tokens(tokens, inside & False), pooled_tokens(tokens))


def test_a_thumbnail_ignores_size_and_exposure_but_not_content():
    one, other = picture(1), picture(2)
    larger = np.repeat(np.repeat(one, 3, axis=0), 3, axis=1)
    darker = (one * 0.6).astype(np.uint8)
    d = describe([one, larger, darker, other], thumbnail)
    alike = similarity(d)
    torch.testing.assert_close(d.norm(dim=1), torch.ones(4))
    assert alike[0, 1] > 0.98
    assert alike[0, 2] > 0.98
    assert alike[0, 3] < 0.6


def test_a_thumbnail_sees_only_what_the_mask_marks():
    mask = np.zeros((60, 80), dtype=bool)
    mask[20:44, 24:56] = True
    one, other = picture(1), picture(2)
    placed = np.where(mask[..., None], one, other)
    alike = similarity(torch.stack([thumbnail(one, mask), thumbnail(placed, mask), thumbnail(other, mask)]))
    assert alike[0, 1] > 0.95
    assert alike[0, 2] < 0.6


def test_photos_of_one_colour_have_a_thumbnail_too():
    flat = thumbnail(np.full((20, 30, 3), 128, dtype=np.uint8))
    assert flat.isfinite().all()


def test_real_photos_taken_side_by_side_look_more_alike_than_others(shared):
    """The photos of a facade were taken walking along it: the most similar one is a neighbour for most."""
    files = sorted((shared / "photos" / "fountain-P11").rglob("*.jpg")) + sorted(
        (shared / "photos" / "fountain-P11").rglob("*.png")
    )
    if len(files) < 8:
        pytest.skip("the photos are not there")
    alike = similarity(describe([read_color(file, size_px=(192, 128)) for file in files], thumbnail))
    nearest = alike.fill_diagonal_(-1).argmax(dim=1)
    apart = (nearest - torch.arange(len(files))).abs()
    assert (apart <= 2).double().mean() >= 0.8


def test_descriptors_of_any_kind_will_do():
    d = describe([picture(1), picture(2)], lambda photo: normalize(torch.tensor(photo).float().mean((0, 1)), dim=0))
    assert d.shape == (2, 3)
