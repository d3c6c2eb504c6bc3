"""What is shown where there are no Gaussians."""

import torch

from rilievo.methods.modgs.holes import filled


def test_a_covered_picture_stays_as_it_is():
    rgb = torch.rand(13, 18, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(filled(rgb, torch.ones(13, 18)), rgb)


def test_a_hole_in_one_colour_takes_that_colour():
    color = torch.tensor([0.2, 0.5, 0.7])
    opacity = torch.ones(21, 34)
    opacity[4:17, 10:] = 0
    torch.testing.assert_close(filled(opacity[..., None] * color, opacity), color.expand(21, 34, 3))


def test_a_hole_looks_like_the_nearer_side():
    opacity = torch.ones(32, 64)
    opacity[:, 16:48] = 0
    rgb = opacity[..., None] * torch.tensor([1.0, 0.0, 0.0])
    rgb[:, 48:] = torch.tensor([0.0, 0.0, 1.0])
    picture = filled(rgb, opacity)
    assert (picture[:, 16:24, 0] > picture[:, 16:24, 2]).all()
    assert (picture[:, 40:48, 2] > picture[:, 40:48, 0]).all()


def test_an_empty_picture_is_white():
    torch.testing.assert_close(filled(torch.zeros(5, 7, 3), torch.zeros(5, 7)), torch.ones(5, 7, 3))
