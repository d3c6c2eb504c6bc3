"""Structural similarity in one pass over the rows: the definition's values and gradients, and the rules of kernels."""

import pytest
import torch

from rilievo.errors import UserError
from rilievo.metrics.image import C1, C2, ssim_map
from rilievo.ops.ssim import register, similarity

WINDOW = torch.softmax(-((torch.arange(11, dtype=torch.float64) - 5) ** 2) / 4.5, dim=0)
SIZES = [(6, 6), (7, 40), (23, 17)]


def draw(height, width, dtype=torch.float64):
    generator = torch.Generator().manual_seed(height)
    pictures = torch.rand(2, height, width, 3, generator=generator, dtype=torch.float64)
    return pictures[0].to(dtype), (0.7 * pictures[0] + 0.3 * pictures[1]).to(dtype)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_kernel_agrees_with_the_definition_in_value_and_gradient(size):
    image, target = draw(*size)
    image.requires_grad_()
    results = []
    for found in (similarity(image, target, WINDOW, C1, C2), ssim_map(image, target, border="black")):
        slope = torch.linspace(-1, 1, found.numel(), dtype=torch.float64).view_as(found)
        results.append((found, *torch.autograd.grad((found * slope).sum(), image)))
    for ours, defined in zip(*results):
        torch.testing.assert_close(ours, defined, rtol=1e-9, atol=1e-11)


def test_single_precision_loses_no_more_than_the_definition_does(assert_as_accurate_as):
    image, target = draw(30, 34, torch.float32)
    assert_as_accurate_as(
        lambda a, b: similarity(a, b, WINDOW, C1, C2),
        lambda a, b: ssim_map(a, b, border="black"),
        *(image.requires_grad_(), target),
        slack=4,
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_the_number_of_threads_and_gaps_in_memory_change_nothing(threads):
    image, target = draw(40, 33, torch.float32)
    results, before = [], torch.get_num_threads()
    for picture in (image, image.movedim(-1, 0).contiguous().movedim(0, -1)):
        picture = picture.detach().requires_grad_()
        found = similarity(picture, target, WINDOW, C1, C2)
        results.append((found.detach(), *torch.autograd.grad(found.square().sum(), picture)))
        torch.set_num_threads(threads)
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_operators_keep_the_rules_of_torch():
    image, target = draw(9, 8)
    torch.library.opcheck(register.similarity, (image.requires_grad_(), target, WINDOW, C1, C2))


def test_pictures_smaller_than_half_a_window_are_refused():
    image, target = draw(5, 30)
    with pytest.raises(UserError, match="at least 6 pixels a side, got 30 x 5"):
        similarity(image, target, WINDOW, C1, C2)
