"""Anything that answers for ordered pairs of photos is a predictor: the networks, and an oracle that reads answers."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch

from rilievo.io.image import write_image
from rilievo.matching.pair_result import Descriptors, PairPrediction
from rilievo.pointmaps.checkpoint import LoadedNetwork
from rilievo.pointmaps.config import DptConfig, NetworkConfig
from rilievo.pointmaps.network import PointmapNetwork
from rilievo.pointmaps.patches import Views
from rilievo.pointmaps.photo import Framing, PreparedPhoto, normalized
from rilievo.pointmaps.predictor import NetworkPredictor, Pair, PairPredictor

TINY = (
    "AsymmetricMASt3R(enc_embed_dim=16, enc_depth=1, enc_num_heads=2, dec_embed_dim=16, dec_depth=2, dec_num_heads=2, "
    "head_type='catmlp+dpt', output_mode='pts3d+desc4', two_confs=True, desc_conf_mode=('exp', 0, inf), img_size=64)"
)


class OraclePredictor:
    """Answers from a reference file's `pred/i_j` arrays, and its descriptors where it has them."""

    def __init__(self, data) -> None:
        self.data = data

    @property
    def key(self) -> str:
        return "oracle"

    @property
    def has_descriptors(self) -> bool:
        return False

    def predict(self, photos: Sequence[PreparedPhoto], pairs: Sequence[Pair]) -> Iterator[tuple[Pair, PairPrediction]]:
        for i, j in pairs:
            yield (
                (i, j),
                PairPrediction(
                    *(torch.from_numpy(self.data[f"pred/{i}_{j}/{k}"]) for k in ("X_i", "C_i", "X_j", "C_j"))
                ),
            )


def whole(pixels: np.ndarray) -> PreparedPhoto:
    size = (pixels.shape[1], pixels.shape[0])
    return PreparedPhoto(pixels, Framing(size, size, (0, 0, *size)))


@pytest.fixture(scope="module")
def photos() -> list[PreparedPhoto]:
    """Three landscapes and two portraits."""
    rng = np.random.default_rng(3)
    sizes = [(32, 48), (48, 32), (32, 48), (32, 48), (48, 32)]
    return [whole(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


@pytest.fixture(scope="module")
def loaded() -> LoadedNetwork:
    torch.manual_seed(4)
    config = replace(NetworkConfig.from_constructor(TINY), dpt=DptConfig((0, 1, 1, 2), (4, 4, 8, 8), 8, 8))
    network = PointmapNetwork(config).eval().requires_grad_(False)
    return LoadedNetwork(network, Path("random"), "ours", "abc")


def maps_of(prediction: PairPrediction) -> list[torch.Tensor]:
    descriptors = [part for d in (prediction.descriptors_1, prediction.descriptors_2) if d for part in (d.D, d.Q)]
    return [prediction.X_1, prediction.C_1, prediction.X_2, prediction.C_2, *descriptors]


@pytest.mark.golden
@pytest.mark.parametrize("scene", ["sparse_ga_main", "sparse_ga_mixed", "sparse_ga_turntable"])
def test_an_oracle_is_a_predictor(published, scene):
    data = np.load(published / f"{scene}.npz")
    pairs = [(int(i), int(j)) for i, j in data["pairs"]]
    images = [whole(data[f"img/{i}"]) for i in range(1 + max(map(max, pairs)))]
    oracle: PairPredictor = OraclePredictor(data)
    answered = dict(oracle.predict(images, pairs))
    assert set(answered) == set(pairs)
    for (i, j), prediction in answered.items():
        assert tuple(prediction.C_1.shape) == images[i].size_hw
        assert tuple(prediction.C_2.shape) == images[j].size_hw


@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_batches_of_pairs_answer_as_each_pair_alone(photos, loaded, batch_size):
    pairs = list(permutations(range(len(photos)), 2))
    predictor: PairPredictor = NetworkPredictor(loaded, batch_size=batch_size)
    answered = dict(predictor.predict(photos, pairs))
    assert set(answered) == set(pairs)
    assert predictor.has_descriptors
    for (i, j), prediction in answered.items():
        one, two = (Views.upright(normalized(torch.from_numpy(photos[k].pixels))[None]) for k in (i, j))
        alone = loaded.network(one, two)
        assert prediction.descriptors_2 is not None
        assert prediction.descriptors_2.size_hw == photos[j].size_hw
        want = [alone.first.X, alone.first.C, alone.second.X, alone.second.C]
        want += [alone.first.D, alone.first.Q, alone.second.D, alone.second.Q]
        for got, expected in zip(maps_of(prediction), want, strict=True):
            torch.testing.assert_close(got, expected[0], rtol=1e-4, atol=1e-5)


def test_every_photo_is_encoded_once(photos, loaded):
    seen: list[int] = []
    hook = loaded.network.patch_embed.register_forward_hook(lambda module, args, out: seen.append(len(out)))
    list(NetworkPredictor(loaded, batch_size=2).predict(photos, list(permutations(range(len(photos)), 2))))
    hook.remove()
    assert sum(seen) == len(photos)


def test_forgotten_photos_are_encoded_again(photos, loaded):
    pairs = [(0, 2), (2, 3), (3, 0), (0, 2)]
    few = NetworkPredictor(loaded, photos_remembered=2).predict(photos, pairs)
    many = NetworkPredictor(loaded).predict(photos, pairs)
    for (pair, a), (same_pair, b) in zip(few, many, strict=True):
        assert pair == same_pair
        for got, want in zip(maps_of(a), maps_of(b), strict=True):
            torch.testing.assert_close(got, want)


def test_predictions_may_enter_an_optimisation(photos, loaded):
    (_, prediction), *_ = NetworkPredictor(loaded).predict(photos, [(0, 1)])
    scale = torch.ones((), requires_grad=True)
    (scale * prediction.X_1).square().sum().backward()
    assert scale.grad is not None
    assert isinstance(prediction.descriptors_1, Descriptors)


def test_half_precision_moves_points_by_little_and_is_float32_outside(photos, loaded):
    (_, exact), (_, rough) = (
        next(NetworkPredictor(loaded, bfloat16=half).predict(photos, [(0, 1)])) for half in (False, True)
    )
    for got, want in zip(maps_of(rough), maps_of(exact), strict=True):
        assert got.dtype == torch.float32
        assert 0 < float((got - want).norm() / want.norm()) < 0.02


def test_keys_tell_settings_apart(loaded):
    keys = {
        NetworkPredictor(loaded).key,
        NetworkPredictor(loaded, square_ok=True).key,
        NetworkPredictor(loaded, image_px=128).key,
        NetworkPredictor(loaded, bfloat16=True).key,
    }
    assert len(keys) == 4
    assert NetworkPredictor(loaded, batch_size=7).key in keys


def test_photos_are_prepared_at_the_size_of_training(loaded, tmp_path):
    write_image(tmp_path / "a.png", np.zeros((300, 400, 3), dtype=np.uint8))
    assert NetworkPredictor(loaded).prepare(tmp_path / "a.png").size_hw == (48, 64)
