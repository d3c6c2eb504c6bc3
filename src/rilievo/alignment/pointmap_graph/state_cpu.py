"""The misfit of a `GraphState` and its gradient with respect to the free numbers, on a processor.

`GraphState.loss` through autograd is the definition. An iteration there is some hundred small operations around the one
large pass over the points (`misfit_cpu`), and for a handful of photos these cost more than the pass; here they are few,
with their adjoints written out. With inverse focal length u = 1/f and the columns R₀, R₁, R₂ of a view's rotation,

    N = [u R₀, u R₁, R₂ − u (c_x R₀ + c_y R₁)],      A = [σa R₀, σa R₁, σb R₂],

a translation τ has ∂t/∂τ = e^|τ|, and the gradient with respect to the logarithms λ of scales that are normalised to
their geometric mean loses its own mean.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from rilievo.alignment.chain_cpu import rotations, rotations_adjoint
from rilievo.alignment.pointmap_graph import misfit_cpu
from rilievo.alignment.pointmap_graph.state import ADAPTOR_BREAK, CENTER_BREAK_PX, FOCAL_BREAK, MEAN_SCALE, GraphState
from rilievo.ops.threading import array

STRETCH = np.array([[1.0, 1.0, -2.0], [-1.0, -1.0, 2.0]]) / (3 * ADAPTOR_BREAK)
"""From an edge's two adaptors to the logarithms of a, a and b."""


class CompiledMisfit:
    """Loss of a state on the processor as it is at each call; the gradient appears in its parameters' `grad`."""

    def __init__(self, state: GraphState, parameters: list[Tensor], squared: bool) -> None:
        graph = state.graph
        self._views, self._squared = graph.n_views, squared
        self._normalised = state.normalised
        self._rotations, self._shifts = _live(state.rotations), _live(state.shifts)
        self._log_scales, self._log_depth = _live(state.log_scales), _live(state.log_depth)
        self._log_focals, self._adaptors = _live(state.log_focals), _live(state.adaptors)
        self._center_shifts = _live(state.center_shifts)
        self._free_pose = ~state.known_pose.numpy()
        self._free_focal = ~state.known_focal.numpy()
        self._free_center = ~state.known_center.numpy()[:, None]
        self._known_poses = state.known_poses.double().numpy()
        self._known_focals = state.known_focals.double().numpy()
        self._base_centers = state.base_centers.double().numpy()
        self._given = [array(each) for each in (state.pixels, graph.X, graph.weights, state.slot_view)]
        gradients = {id(parameter): torch.zeros_like(parameter) for parameter in parameters}
        for parameter in parameters:
            parameter.grad = gradients[id(parameter)]
        names = ("rotations", "shifts", "log_scales", "log_depth", "log_focals", "center_shifts", "adaptors")
        owners = {name: id(getattr(state, name)) for name in names}
        self._gradients = {name: gradients[owner].numpy() for name, owner in owners.items() if owner in gradients}

    def __call__(self) -> float:
        """The loss; gradients are renewed."""
        n, dtype = self._views, self._log_depth.dtype
        R = rotations(self._rotations.astype(np.float64))
        reach = np.exp(np.abs(self._shifts.astype(np.float64)))  # e^|τ|
        t = np.copysign(reach - 1, self._shifts)
        R_views = np.where(self._free_pose[:, None, None], R[:n], self._known_poses[:, :3, :3])
        t_views = np.where(self._free_pose[:, None], t[:n], self._known_poses[:, :3, 3])
        u = 1 / np.where(self._free_focal, np.exp(self._log_focals / FOCAL_BREAK), self._known_focals)
        c = self._base_centers + CENTER_BREAK_PX * self._center_shifts * self._free_center
        scales = self._scales()
        stretch = scales[:, None] * np.exp(self._adaptors @ STRETCH)
        depth = np.exp(self._log_depth)
        aside = (R_views[:, :, :2] * c[:, None]).sum(-1)
        N = R_views * np.stack((u, u, np.ones_like(u)), -1)[:, None]
        N[:, :, 2] -= u[:, None] * aside
        poses = (N, t_views, R[n:] * stretch[:, None], t[n:] * scales[:, None])
        inputs = [depth, *(part.astype(dtype) for part in poses), *self._given]
        loss, g_depth, g_N, g_t, g_A, g_t_edges = misfit_cpu.slopes(inputs, self._squared)
        g_ahead = u[:, None] * g_N[:, :, 2]
        g_R = np.empty_like(R)
        g_R[:n] = g_N
        g_R[:n, :, :2] *= u[:, None, None]
        g_R[:n, :, :2] -= g_ahead[:, :, None] * c[:, None]
        g_R[n:] = g_A * stretch[:, None]
        g_u = (g_N[:, :, :2] * R_views[:, :, :2]).sum((1, 2)) - (g_N[:, :, 2] * aside).sum(1)
        g_c = -(g_ahead[:, :, None] * R_views[:, :, :2]).sum(1)
        g_log_stretch = (g_R[n:] * R[n:]).sum(1)
        g_log_scales = g_log_stretch.sum(1) + scales * (g_t_edges * t[n:]).sum(1)
        g_R[:n] *= self._free_pose[:, None, None]
        g_shift = np.concatenate((g_t * self._free_pose[:, None], g_t_edges * scales[:, None]))
        self._keep("rotations", rotations_adjoint(self._rotations.astype(np.float64), g_R))
        self._keep("shifts", g_shift * reach)
        self._keep("log_scales", g_log_scales - g_log_scales.mean() if self._normalised else g_log_scales)
        self._keep("log_depth", g_depth * depth)
        self._keep("log_focals", -g_u * u * self._free_focal / FOCAL_BREAK)
        self._keep("center_shifts", CENTER_BREAK_PX * g_c * self._free_center)
        self._keep("adaptors", g_log_stretch @ STRETCH.T)
        return loss

    def _scales(self) -> np.ndarray:
        log_scales = self._log_scales.astype(np.float64)
        if self._normalised:
            log_scales += math.log(MEAN_SCALE) - log_scales.mean()
        return np.exp(log_scales)

    def _keep(self, name: str, gradient: np.ndarray) -> None:
        if name in self._gradients:
            self._gradients[name][...] = gradient


def _live(parameter: Tensor) -> np.ndarray:
    """The parameter's own memory."""
    return parameter.detach().numpy()
