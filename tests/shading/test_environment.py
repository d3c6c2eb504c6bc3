"""Panoramas: which pixel is which direction, files, and what is refused."""

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from rilievo.errors import UserError
from rilievo.shading.environment import (
    Environment,
    Rows,
    read_environment,
    texel_directions,
    write_environment,
)


def random_radiance(seed: int, height: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).gamma(0.5, 2.0, (height, 2 * height, 3)).astype(np.float32)


def directions(n: int = 200) -> torch.Tensor:
    return normalize(torch.randn(n, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64), dim=-1)


@pytest.mark.parametrize("rows", list(Rows))
def test_each_texel_is_found_in_its_own_direction(rows):
    radiance = random_radiance(0)
    height, width = radiance.shape[:2]
    environment = Environment.checked(radiance, "test", rows)
    r, c = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    v = (r + 0.5) / height if rows is Rows.CENTERS else r / (height - 1)
    u, v = 2 * math.pi * (c + 0.5) / width, math.pi * v
    towards = np.stack([np.sin(v) * np.sin(u), np.sin(v) * np.cos(u), np.cos(v)], -1)
    seen = environment.radiance_towards(torch.from_numpy(towards)).numpy()
    inner = slice(None) if rows is Rows.CENTERS else slice(1, -1)  # all columns of a pole row are one direction
    np.testing.assert_allclose(seen[inner], radiance[inner], rtol=1e-5, atol=1e-6)


def test_uniform_light_is_seen_everywhere():
    environment = Environment(torch.full((6, 12, 3), 0.7))
    torch.testing.assert_close(environment.radiance_towards(directions()), torch.full((200, 3), 0.7).double())
    torch.testing.assert_close(
        environment.pdf(directions()), torch.full((200, 1), 1 / (4 * math.pi), dtype=torch.float64)
    )


def test_turning_the_surroundings_turns_what_is_seen():
    environment = Environment.checked(random_radiance(1), "test")
    angle, d = 0.9, directions()
    turned = d.clone()
    turned[:, 0] = math.cos(angle) * d[:, 0] - math.sin(angle) * d[:, 1]
    turned[:, 1] = math.sin(angle) * d[:, 0] + math.cos(angle) * d[:, 1]
    again = environment.turned(angle)
    torch.testing.assert_close(again.radiance_towards(turned), environment.radiance_towards(d))
    torch.testing.assert_close(again.pdf(turned), environment.pdf(d))


def test_light_can_be_learned_through_the_look_up():
    radiance = torch.rand(6, 12, 3, dtype=torch.float64, requires_grad=True)
    d = directions(6).requires_grad_()
    assert torch.autograd.gradcheck(lambda r, d: Environment(r).radiance_towards(d), (radiance, d))


@pytest.mark.parametrize("suffix", [".exr", ".hdr"])
def test_a_panorama_survives_its_file(tmp_path, suffix):
    environment = Environment.checked(random_radiance(2), "test")
    write_environment(tmp_path / f"light{suffix}", environment)
    again = read_environment(tmp_path / f"light{suffix}")
    brightest = environment.radiance.amax(-1, keepdim=True)
    lost = ((again.radiance - environment.radiance).abs() / brightest).max()
    assert lost <= (0 if suffix == ".exr" else 1 / 256)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda r: r[:, :9], "twice as wide"),
        (lambda r: np.where(np.arange(16)[:, None] == 3, np.nan, r), "NaN"),
        (lambda r: r - 1, "negative"),
        (lambda r: r * 0, "black"),
    ],
)
def test_an_unusable_panorama_is_refused_in_a_sentence(spoil, told):
    with pytest.raises(UserError, match=told):
        Environment.checked(spoil(random_radiance(3)), "light.exr")


def test_a_few_negative_pixels_beside_lights_become_black_and_are_counted():
    radiance = random_radiance(4)
    radiance[2, 3, 1] = -0.5
    environment = Environment.checked(radiance, "light.exr")
    assert environment.blackened == 1
    assert environment.radiance[2, 3, 1] == 0
    assert environment.radiance.min() >= 0


@pytest.mark.parametrize("rows", Rows)
def test_texel_directions_are_where_texels_are_looked_up(rows):
    environment = Environment.checked(random_radiance(5), "light.exr", rows)
    height = environment.radiance.shape[0]
    seen = environment.radiance_towards(texel_directions(height, rows))
    inner = slice(1, -1)  # at a pole all columns are one direction
    expected = environment.radiance.double()[inner]
    torch.testing.assert_close(seen.view(height, -1, 3)[inner], expected, atol=1e-6, rtol=1e-6)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "light.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"\.exr or \.hdr"):
        read_environment(tmp_path / "light.jpg")
