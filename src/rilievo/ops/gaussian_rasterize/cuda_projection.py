"""The derivative of the projection in plain torch, all Gaussians at once, for the GPU: formulas as in `projection`.

An operator's kernel runs where torch records nothing, so the derivative is written out.
"""

import torch
from torch import Tensor

from rilievo.geometry.so3 import matrix_from_quaternion
from rilievo.ops.gaussian_rasterize.reference import MIN_COMPENSATION, jacobian, slope_limits


def project_gaussians_backward(
    grad_means2d: Tensor,
    grad_depths: Tensor,
    grad_conics: Tensor,
    grad_compensation: Tensor,
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    cam_from_world: Tensor,
    K: Tensor,
    radii: Tensor,
    width: int,
    height: int,
    blur: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    chosen = (radii > 0).all(dim=1).nonzero()[:, 0]
    W, focal, centre = cam_from_world[:3, :3], K[(0, 1), (0, 1)], K[:2, 2]
    t = means[chosen] @ W.T + cam_from_world[:3, 3]
    J = jacobian(t, focal[0], focal[1], centre[0], centre[1], width, height)
    R, s = matrix_from_quaternion(quats[chosen]), scales[chosen, None]
    M, stretched = J @ W, R * s
    N = M @ stretched

    to_N = 2 * _covariance_backward(N @ N.mT, blur, grad_conics[chosen], grad_compensation[chosen]) @ N
    to_stretched, to_M = M.mT @ to_N, to_N @ stretched.mT
    to_J = to_M @ W.T

    z, slopes = t[:, 2:], t[:, :2] / t[:, 2:]
    low, high = slope_limits(focal, centre, t.new_tensor([width, height]))
    held = torch.minimum(torch.maximum(slopes, low), high)
    tilt, stretch = to_J[:, :, 2], torch.diagonal(to_J[:, :, :2], dim1=1, dim2=2)
    to_slopes = focal * (grad_means2d[chosen] - tilt / z * ((low <= slopes) & (slopes <= high)))
    to_z = (focal / (z * z) * (held * tilt - stretch) - to_slopes * slopes / z).sum(dim=1)
    to_t = torch.cat((to_slopes / z, (to_z + grad_depths[chosen])[:, None]), dim=1)

    to_camera = torch.zeros_like(cam_from_world)
    to_camera[:3, :3] = (J.mT @ to_M).sum(dim=0) + to_t.T @ means[chosen]
    to_camera[:3, 3] = to_t.sum(dim=0)

    def spread(values: Tensor) -> Tensor:
        return values.new_zeros(len(means), values.shape[1]).index_put((chosen,), values)

    to_quats, to_scales = _quaternion_backward(quats[chosen], to_stretched * s), (to_stretched * R).sum(dim=1)
    return spread(to_t @ W), spread(to_quats), spread(to_scales), to_camera


def _covariance_backward(sharp: Tensor, blur: float, grad_conics: Tensor, grad_compensation: Tensor) -> Tensor:
    """V = ∂L/∂Σ₂, symmetric."""
    covariance = sharp + blur * torch.eye(2, dtype=sharp.dtype, device=sharp.device)
    det, sharp_det = torch.linalg.det(covariance)[:, None, None], torch.linalg.det(sharp)[:, None, None]
    A = _adjugate(covariance) / det
    half = grad_conics * grad_conics.new_tensor([1, 0.5, 1])
    V = -A @ half[:, (0, 1, 1, 2)].unflatten(1, (2, 2)) @ A
    ratio = sharp_det / det
    slope = grad_compensation[:, None, None] / (2 * ratio.clamp_min(MIN_COMPENSATION**2).sqrt() * det)
    return V + slope * (ratio >= MIN_COMPENSATION**2) * (_adjugate(sharp) - ratio * _adjugate(covariance))


def _adjugate(matrix: Tensor) -> Tensor:
    (a, b), (c, d) = (row.unbind(-1) for row in matrix.unbind(-2))
    return torch.stack((d, -b, -c, a), dim=-1).unflatten(-1, (2, 2))


def _quaternion_backward(quats: Tensor, to_R: Tensor) -> Tensor:
    """The gradient of quaternions of any length, from that of their matrices."""
    length = torch.linalg.vector_norm(quats, dim=1, keepdim=True)
    unit = quats / length
    w, v = unit[:, :1], unit[:, 1:]
    skew = torch.stack([to_R[:, (k + 2) % 3, (k + 1) % 3] - to_R[:, (k + 1) % 3, (k + 2) % 3] for k in range(3)], dim=1)
    both, trace = to_R + to_R.mT, to_R.diagonal(dim1=1, dim2=2).sum(dim=1, keepdim=True)
    to_v = 2 * (w * skew + (both @ v[:, :, None])[:, :, 0] - 2 * trace * v)
    to_unit = torch.cat((2 * (v * skew).sum(dim=1, keepdim=True), to_v), dim=1)
    return (to_unit - unit * (unit * to_unit).sum(dim=1, keepdim=True)) / length
