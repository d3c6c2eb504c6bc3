"""Results on disk: found again, never taken for others, one at a time in memory."""

import weakref
from pathlib import Path

import pytest
import torch

from rilievo.errors import UserError
from rilievo.matching.correspondences import MatchingConfig
from rilievo.matching.pair_budget import PairBudget, estimate
from rilievo.matching.pair_file import Precision
from rilievo.matching.pair_key import content_key
from rilievo.matching.pair_store import PairStore
from rilievo.matching.retrieval import similarity
from rilievo.matching.scene_graph import make_pairs, unordered

from .oracle import matched, result

SETTINGS = (MatchingConfig(),)
PHOTOS = [content_key(bytes([k])) for k in range(5)]


def store(folder, photos=PHOTOS, settings=SETTINGS, precision=Precision.HALF):
    return PairStore(folder, photos, settings, precision)


@pytest.fixture
def computed():
    """A way to compute pairs that remembers what it was asked for."""

    def compute(i, j):
        compute.asked.append((i, j))
        return result(10 * i + j)

    compute.asked = []
    return compute


def test_each_pair_is_computed_once_and_found_again(tmp_path, computed):
    filled = store(tmp_path).fill(make_pairs(5), computed)
    assert computed.asked == unordered(make_pairs(5))
    assert (filled.computed, filled.reused, filled.repaired) == (10, 0, 0)
    assert filled.disk_bytes == sum(file.stat().st_size for file in tmp_path.iterdir())
    again = store(tmp_path).fill(make_pairs(5), computed)
    assert (again.computed, again.reused) == (0, 10)
    assert len(computed.asked) == 10


def test_the_pair_seen_from_the_other_side_is_the_same_pair(tmp_path, computed):
    kept = store(tmp_path)
    kept.fill([(1, 3)], computed)
    there, back = kept.load(1, 3), kept.load(3, 1)
    assert torch.equal(there.ij.X_1, back.ji.X_1)
    assert torch.equal(there.correspondences.xy_i, back.correspondences.xy_j)
    torch.testing.assert_close(there.ij.X_1, result(13).ij.X_1, rtol=2**-11, atol=1e-6)
    torch.testing.assert_close(there.correspondences.xy_j, result(13).correspondences.xy_j)


def test_reordered_photos_find_their_results(tmp_path, computed):
    store(tmp_path).fill(make_pairs(5), computed)
    order = [3, 0, 4, 2, 1]
    moved = store(tmp_path, [PHOTOS[k] for k in order])
    assert moved.fill(make_pairs(5), computed).reused == 10
    for i in range(5):
        for j in range(5):
            if i != j:
                assert torch.equal(moved.load(i, j).ij.X_2, store(tmp_path).load(order[i], order[j]).ij.X_2)


def test_an_edited_photo_needs_its_own_pairs_anew_and_no_others(tmp_path, computed):
    store(tmp_path).fill(make_pairs(5), computed)
    edited = [*PHOTOS[:2], content_key(b"edited"), *PHOTOS[3:]]
    filled = store(tmp_path, edited).fill(make_pairs(5), computed)
    assert (filled.computed, filled.reused) == (4, 6)


def test_other_settings_find_nothing(tmp_path, computed):
    store(tmp_path).fill([(0, 1)], computed)
    for other in (store(tmp_path, settings=(MatchingConfig(4),)), store(tmp_path, precision=Precision.SINGLE)):
        assert other.find(0, 1) is None
    with pytest.raises(UserError, match=r"photos 0 and 2: .* got none"):
        store(tmp_path).load(0, 2)


def test_a_damaged_result_is_noticed_and_computed_again(tmp_path, computed):
    kept = store(tmp_path)
    kept.fill(make_pairs(5), computed)
    path = kept.path(2, 4)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(UserError, match="got a damaged one"):
        kept.load(2, 4)
    filled = kept.fill(make_pairs(5), computed)
    assert (filled.computed, filled.repaired, filled.reused) == (0, 1, 9)
    assert computed.asked[-1] == (2, 4)
    assert kept.load(2, 4).score == result(24).score
    assert "damaged ones computed again" in str(filled)


def test_interrupted_work_goes_on_where_it_stopped(tmp_path, computed):
    def interrupted(i, j):
        if len(computed.asked) == 4:
            raise KeyboardInterrupt
        return computed(i, j)

    with pytest.raises(KeyboardInterrupt):
        store(tmp_path).fill(make_pairs(5), interrupted)
    assert len(list(tmp_path.iterdir())) == 4  # whole files only
    told = []
    filled = store(tmp_path).fill(make_pairs(5), computed, on_pair=lambda done, total: told.append((done, total)))
    assert (filled.computed, filled.reused) == (6, 4)
    assert told == [(k, 10) for k in range(1, 11)]


def test_two_identical_photos_make_a_pair_like_any_other(tmp_path, computed):
    twins = store(tmp_path, [PHOTOS[0], PHOTOS[0], PHOTOS[1]])
    assert twins.fill(make_pairs(3), computed).computed == 2  # the third pair is the first of them once more
    torch.testing.assert_close(twins.load(0, 1).ij.X_1, result(1).ij.X_1, rtol=2**-11, atol=1e-6)


def test_a_folder_that_cannot_be_written_is_the_users_to_mend(tmp_path, computed):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot write"):
        store(tmp_path / "file").fill([(0, 1)], computed)


@pytest.mark.parametrize("pairs", [3, 30])
def test_only_one_pair_is_in_memory_however_many_there_are(tmp_path, pairs):
    alive, most = weakref.WeakSet(), 0

    def compute(i, j):
        nonlocal most
        fresh = result(i + j)
        alive.add(fresh.ij.X_1)
        most = max(most, len(alive))
        return fresh

    wanted = make_pairs(pairs + 1, "swin-1-noncyclic", symmetrise=False)
    assert len(wanted) == pairs
    kept = store(tmp_path, [content_key(bytes([k])) for k in range(pairs + 1)])
    kept.fill(wanted, compute)
    assert most == 1
    alive.clear()
    most = 0
    for _, loaded in kept.load_all(wanted):
        alive.add(loaded.ij.X_1)
        most = max(most, len(alive))
    assert most <= 2  # the one at hand while the next is read


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


def test_memory_stays_within_the_estimate_and_does_not_grow_with_the_pairs(tmp_path):
    size, step = (160, 224), 32
    store(tmp_path).fill([(0, 1)], lambda i, j: matched(0, size, step=step))  # libraries have their memory now
    peaks = []
    for pairs in (3, 12):
        photos = [content_key(bytes([k])) for k in range(pairs + 1)]
        kept = store(tmp_path / str(pairs), photos)
        wanted = make_pairs(pairs + 1, "swin-1-noncyclic", symmetrise=False)
        peaks.append(resident_peak(lambda: kept.fill(wanted, lambda i, j: matched(i, size, step=step))))  # noqa: B023
    if None in peaks:
        pytest.skip("this system does not tell a process its peak memory")
    budget = estimate(13, 12, size, step=step, photos_held=0)
    assert max(peaks) <= budget.peak_memory_bytes
    assert peaks[1] <= peaks[0] + 0.25 * budget.peak_memory_bytes


@pytest.mark.parametrize("precision", list(Precision))
@pytest.mark.parametrize(("size", "step"), [((48, 64), 8), ((37, 51), 4), ((24, 16), 1)])
def test_disk_is_what_was_estimated(tmp_path, size, step, precision):
    kept = store(tmp_path, precision=precision)
    filled = kept.fill(make_pairs(5), lambda i, j: matched(7 * i + j, size, d=6, step=step))
    budget = estimate(5, 10, size, step=step, precision=precision)
    assert 0.5 * budget.disk_bytes < filled.disk_bytes <= budget.disk_bytes


def test_a_hundred_photos_stay_within_what_was_told_before_starting(tmp_path):
    size, photos = (24, 32), 100
    generator = torch.Generator().manual_seed(0)
    alike = similarity(torch.randn(photos, 6, generator=generator))
    pairs = make_pairs(photos, "retrieval-6-1", similarity=alike)
    budget = estimate(photos, len(unordered(pairs)), size, descriptor_dim=8)
    assert budget.pairs == 6 * 5 // 2 + 94  # of 4950
    assert str(budget).startswith(f"100 photos, {budget.pairs} pairs: at most 0.0")
    budget.require_room(tmp_path / "not" / "there" / "yet")
    kept = store(tmp_path, [content_key(bytes([k])) for k in range(photos)])
    filled = kept.fill(pairs, lambda i, j: matched(i * photos + j, size, d=8))
    assert filled.computed == budget.pairs
    assert filled.disk_bytes <= budget.disk_bytes


def test_a_disk_without_room_is_told_before_starting(tmp_path):
    with pytest.raises(UserError, match=r"room in .*expected 1000000.00 GB for 10 pairs"):
        PairBudget(5, 10, 10**15, 0).require_room(tmp_path)


def test_half_precision_takes_half_and_memory_does_not_depend_on_pairs():
    few, many = (estimate(100, pairs, (384, 512)) for pairs in (100, 4950))
    assert few.peak_memory_bytes == many.peak_memory_bytes
    single = estimate(100, 100, (384, 512), precision=Precision.SINGLE)
    assert few.disk_bytes < 0.55 * single.disk_bytes
    assert few.disk_bytes / 100 < 7e6
