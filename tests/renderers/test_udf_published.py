"""Unsigned fields rendered by their published networks: pictures, depth, normals, regularisers and gradients."""

import json

import numpy as np
import pytest
import torch

from rilievo import losses
from rilievo.cameras.rays import Rays
from rilievo.fields.inverted_sphere import inverted
from rilievo.fields.udf import Sharpness
from rilievo.methods.udf.config import PublishedBackground
from rilievo.methods.udf.outside import InvertedSphereVolume
from rilievo.ops.packed import PackedSamples
from rilievo.ops.ray_weights import accumulate
from rilievo.renderers.alpha import alpha_from_sdf
from rilievo.renderers.patch_blend import SourceViews
from rilievo.renderers.udf_alpha import LEAST_LIGHT, alpha_from_udf, continuous_alpha
from rilievo.renderers.udf_patches import PatchTarget, SampleRows, blend_from_sources
from rilievo.renderers.udf_surface import Widths, packed_visibility, render_unsigned
from rilievo.renderers.udf_upsampling import UpsamplingKind, packed, upsampled
from rilievo.shading.ray_sphere import near_far

from ..fields.published_nerf import published_nerf
from ..fields.published_udf import published_colors, published_udf_network

CASES = ["plain", "flip", "none_anneal_flip1", "background", "theorical", "white_bg", "blend"]
HALF_PIXEL = torch.tensor([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])
RELAXED = 1.2
"""Gradients count within this radius, as published."""
NEAR = 0.05
"""Samples with a distance below this are near the surface, as published."""


class Published:
    """One rendering: its networks as ours, and its arrays as tensors."""

    def __init__(self, path):
        self.arrays = np.load(path)
        self.field = published_udf_network(self.arrays, "sd/udf_network")
        self.colors, self.color_names = published_colors(self.arrays, "sd/color_network")
        inv_s, beta, gamma = (
            self.number(f"sd/{name}")
            for name in ("deviation_network/variance", "beta_network/beta", "beta_network/gamma")
        )
        self.sharpness = Sharpness(inv_s, beta, gamma)
        self.rays = Rays(self["in/rays_o"], self["in/rays_d"])
        self.last_dt = self.number("cfg/sample_dist")
        self.outside = InvertedSphereVolume(
            PublishedBackground(samples=int(self.number("cfg/n_outside"))), self.last_dt, torch.Generator()
        )
        self.outside.nerf, self.outside_names = published_nerf(self.arrays, "sd/nerf/")

    def __getitem__(self, name):
        return torch.from_numpy(self.arrays[name])

    def number(self, name):
        return float(self.arrays[name].reshape(-1)[0])

    def config(self, case):
        return json.loads(str(self.arrays[f"core/{case}/cfg_json"]))

    def points(self, t):
        return self.rays.origins[:, None] + self.rays.directions[:, None] * t[..., None]

    def render(self, t, config):
        """Everything that our renderer says of samples at t."""

        def colors(feature, ray, normals):
            seen = self.colors(feature[:, :3], feature[:, 3:], self.rays.directions[ray])
            return torch.cat([seen.color, seen.base], -1)

        def udf(points):
            sample = self.field(points)
            return sample.udf, sample.gradient, torch.cat([points, sample.feature], -1)

        opacity = continuous_alpha if config.get("tp") == "theorical" else alpha_from_sdf
        samples = self.samples(t)
        unit_slope = config.get("use_norm", False)
        return render_unsigned(
            self.rays, samples, udf, colors, self.widths(config), unit_slope=unit_slope, opacity=opacity
        )

    def widths(self, config):
        sharp = self.sharpness
        saturation, anneal = config["flip_saturation"], config["cos_anneal_ratio"]
        return Widths(sharp.inv_s, sharp.beta, sharp.gamma, saturation, anneal, LEAST_LIGHT)

    def samples(self, t):
        """Intervals on every ray that begin at t."""
        return packed(t, torch.full_like(t[:, :1], self.last_dt), torch.ones(len(t), dtype=torch.bool))

    def behind(self):
        """Colour of the background beyond the samples of the surface, as if nothing were before it."""
        t = self["outside/z_vals_feed"][:, self["core/z_vals"].shape[1] :]
        return self.outside(self.rays, self.samples(t)).rgb

    def far_colors(self, points, ray):
        """Of the background, at single points."""
        return self.outside.nerf(inverted(points), self.rays.directions[ray])[1]

    def composited(self, out, config):
        """Colour and base colour, over the background where there is one."""
        through = 1 - out.opacity[:, None]
        if config.get("bg"):
            behind = self.behind() * through
            return out.rgb + behind, out.extra + behind
        return out.rgb + float(config.get("white", False)) * through, out.extra


@pytest.fixture(scope="module")
def published(golden):
    return Published(golden / "udf_render.npz")


def close(found, expected, atol=2e-5, rtol=1e-4):
    torch.testing.assert_close(found.detach(), expected, atol=atol, rtol=rtol)


def regularisers(published, out):
    """Mean errors of gradients, of those near the surface, and the sum of sparsity along a ray."""
    error = losses.eikonal(out.sdf_grad)
    inside, near = out.points.norm(dim=-1) < RELAXED, out.sdf < NEAR
    return (
        error[inside].mean(),
        error[near].mean(),
        losses.sparsity(out.sdf, published.number("cfg/sparse_scale_factor")).sum() / len(published.rays.origins),
    )


def slopes(out, directions):
    """Direction · ∇u of the samples."""
    ray = torch.repeat_interleave(torch.arange(len(directions)), out.offsets.diff())
    return (out.sdf_grad * directions[ray]).sum(-1)


def facing(out, directions):
    """∇u turned towards the eye: as published, not of length one."""
    away = slopes(out, directions)[:, None] > 0
    return torch.where(away, -out.sdf_grad, out.sdf_grad)


def seen_normals(out, directions):
    """Σ w ∇u, turned towards the eye."""
    return accumulate(out.weights, facing(out, directions), out.offsets)


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES)
def test_published_pictures_depth_and_normals(published, case):
    config, core = published.config(case), f"core/{case}/"
    t = published["core/z_vals"]
    with torch.no_grad():
        out = published.render(t, config)
        rgb, base = published.composited(out, config)
        eikonal, near, sparse = regularisers(published, out)
    close(out.sdf.view_as(t), published[core + "udf"], 1e-5, 1e-4)
    close(out.midpoints.view_as(t), published[core + "mid_z_vals"], 1e-6, 1e-5)
    close(out.weights.view_as(t), published[core + "weights"][:, : t.shape[1]])
    close(out.distance[:, None], published[core + "depth"])
    close(rgb, published[core + "color"])
    close(base, published[core + "color_base"])
    close(seen_normals(out, published.rays.directions), published[core + "normals"])
    for found, name in ((eikonal, "gradient_error"), (near, "gradient_error_near_surface"), (sparse, "sparse_error")):
        close(found, published[core + name], 1e-5, 1e-3)


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES)
def test_published_slopes_and_places_of_samples(published, case):
    config, core = published.config(case), f"core/{case}/"
    with torch.no_grad():
        out = published.render(published["core/z_vals"], config)
    close(out.sdf_grad.norm(dim=-1).view_as(out.sdf), published[core + "gradient_mag"].flatten(), 1e-5, 1e-3)
    close(out.intervals, published[core + "dists"].flatten(), 1e-6, 1e-5)
    assert torch.equal(out.points.norm(dim=-1) < 1, published[core + "inside_sphere"].flatten() > 0.5)
    if core + "gradients" in published.arrays:
        close(out.sdf_grad, published[core + "gradients"].flatten(0, 1), 1e-5, 1e-3)
        close(facing(out, published.rays.directions), published[core + "gradients_flip"].flatten(0, 1), 1e-5, 1e-3)


@pytest.mark.golden
def test_published_stretch_of_rays(published):
    near, far = near_far(published.rays.origins, published.rays.directions)
    close(near, published["in/near"][:, 0], 1e-6, 1e-5)
    close(far, published["in/far"][:, 0], 1e-6, 1e-5)


@pytest.mark.golden
def test_published_background(published):
    """At all samples of the rays, those before the sphere among them."""
    t = published["outside/z_vals_feed"]
    samples = published.samples(t)
    with torch.no_grad():
        out = published.outside(published.rays, samples)
        points = published.points(samples.midpoints.view_as(t)).flatten(0, 1)
        colors = published.far_colors(points, samples.ray_index)
    close(colors.view(*t.shape, 3), published["outside/sampled_color"])
    close(out.weights.view_as(t), published["outside/weights"])
    alone = PackedSamples(torch.arange(t.numel() + 1), samples.t_starts, samples.t_ends)  # whose weight is its opacity
    with torch.no_grad():
        alpha = published.outside(published.rays[samples.ray_index], alone).weights
    close(alpha.view_as(t), published["outside/alpha"])
    close(out.rgb, published["outside/color"])


@pytest.mark.golden
def test_published_samples_of_the_background(published):
    """Beyond where published rays end, one unit behind their middle; ours end where the ball does."""
    samples = published.outside.march(published.rays, published["in/far"][:, 0])
    expected = published["outside/z_vals_outside"]
    close(samples.t_starts.view_as(expected), expected, 1e-6, 1e-5)


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES)
def test_published_visibility_is_that_of_packed_samples(published, case):
    core = f"core/{case}/"
    udf, cos, dt = (published[core + name] for name in ("udf", "true_cos", "dists"))
    rays, samples = udf.shape
    ray = torch.arange(rays).repeat_interleave(samples)
    offsets = torch.arange(rays + 1) * samples
    widths = published.widths(published.config(case))
    visible = packed_visibility(udf.flatten(), cos.flatten(), dt.flatten(), ray, offsets, widths)
    close(visible.view_as(udf), published[core + "vis_prob"])


@pytest.mark.golden
@pytest.mark.parametrize("case", CASES)
def test_published_gradients_of_a_loss(published, case):
    core, config, t = f"core/{case}/", published.config(case), published["core/z_vals"]
    names = [k for k in published.arrays.files if k.startswith(core + "grad_norm/")]
    parts = (published.field, published.colors, published.sharpness, published.outside)
    for part in parts:
        part.zero_grad()
    out = published.render(t, config)
    rgb, base = published.composited(out, config)
    eikonal, near, sparse = regularisers(published, out)
    loss = rgb.mean() + 0.5 * base.mean() + 0.1 * eikonal + 0.2 * near + 0.3 * sparse + 0.4 * out.distance.mean()
    if config.get("blend"):
        pixel, patches = blended(published, out, config, t)
        loss = loss + pixel.mean() + patches.mean()
    close(loss, published[core + "test_loss"], 1e-5, 1e-4)
    loss.backward()
    for name in names:
        network, parameter = name.removeprefix(core + "grad_norm/").split("/")
        found = ours(published, network, parameter).grad
        norm = 0.0 if found is None else float(found.norm())
        assert norm == pytest.approx(published.number(name), abs=1e-5, rel=2e-3), name


def ours(published, network, parameter):
    """Our parameter of a published name."""
    if network == "udf_network":
        return published.field.network.get_parameter("layers." + parameter.removeprefix("lin"))
    if network == "color_network":
        name = next(ours for ours, theirs in published.color_names.items() if theirs == parameter)
        return published.colors.get_parameter(name)
    if network == "nerf":
        name = next(ours for ours, theirs in published.outside_names.items() if theirs == parameter)
        return published.outside.nerf.get_parameter(name)
    return published.sharpness.raw_inv_s if parameter == "variance" else published.sharpness.raw_beta


def blended(published, out, config, t):
    """Pixel colours, over the background, and patch colours from the source views, of all samples."""
    rows, target = sample_rows(published, out, t), patch_target(published)
    patches = blend_from_sources(rows, target).patches
    inside = out.points.norm(dim=-1) < 1
    kept = SampleRows(rows.points, rows.normals, rows.logits, rows.weights * inside, rows.ray)
    beyond = (out.weights * ~inside)[:, None] * published.far_colors(out.points, rows.ray)
    through = (1 - out.opacity)[:, None]
    pixel = blend_from_sources(kept, target).pixel + beyond.view(*t.shape, 3).sum(1) + published.behind() * through
    return pixel, patches


def sample_rows(published, out, t):
    ray = torch.arange(len(t)).repeat_interleave(t.shape[1])
    sample = published.field(out.points)
    logits = published.colors(out.points, sample.feature, published.rays.directions[ray]).logits
    normals = torch.nn.functional.normalize(out.sdf_grad.detach(), dim=-1)
    facing = torch.where((normals * published.rays.directions[ray]).sum(-1, keepdim=True) > 0, -normals, normals)
    return SampleRows(out.points, facing, logits, out.weights, ray)


def patch_target(published):
    """As published, the camera of the rays has the intrinsics of the first source."""
    K = published["blend_in/intrinsics"][:, :3, :3] + HALF_PIXEL
    images = published["blend_in/color_maps"]
    height, width = images.shape[2:]
    last = torch.tensor([width - 1, height - 1])
    pixels = (published["blend_in/rays_uv"] + 1) / 2 * last + 0.5
    half = int(published.number("cfg/h_patch_size"))
    sources = SourceViews(images, K, published["blend_in/w2cs"])
    return PatchTarget(pixels, half, K[0], torch.linalg.inv(published["blend_in/query_c2w"]), sources)


@pytest.mark.golden
def test_published_colours_from_source_views(published):
    config, t = published.config("blend"), published["core/z_vals"]
    with torch.no_grad():
        out = published.render(t, config)
        pixel, patches = blended(published, out, config, t)
        seen = blend_from_sources(sample_rows(published, out, t), patch_target(published)).patch_seen
    close(pixel, published["core/blend/color_pixel"])
    close(patches, published["core/blend/patch_colors"])
    assert torch.equal(seen, published["core/blend/patch_mask"] > 0.5)


WHOLE = {"flip_saturation": 0.9, "cos_anneal_ratio": 0.4, "bg": True}
"""Settings of the stored calls from end to end."""


@pytest.mark.golden
@pytest.mark.parametrize("kind", list(UpsamplingKind))
def test_published_pictures_of_published_samples(published, kind):
    whole = f"render/{kind.value}/"
    t, t_behind = published[whole + "z_vals"], published["outside/z_vals_outside"]
    with torch.no_grad():
        out = published.render(t, WHOLE)
        rgb, base = published.composited(out, WHOLE)
        errors = regularisers(published, out)
    close(out.weights.view_as(t), published[whole + "weights"][:, : t.shape[1]])
    close(out.distance[:, None], published[whole + "depth"])
    close(seen_normals(out, published.rays.directions), published[whole + "normals"])
    close(rgb, published[whole + "color"])
    close(base, published[whole + "color_base"])
    behind = published.outside(published.rays, published.samples(t_behind)).weights.detach().view_as(t_behind)
    weights = torch.cat([out.weights.view_as(t), (1 - out.opacity)[:, None] * behind], dim=1)
    close(weights, published[whole + "weights"])
    close(weights.sum(1, keepdim=True), published[whole + "weight_sum_fg_bg"])
    drawn = int(published.number("cfg/n_samples") + published.number("cfg/n_importance"))  # of which some may be lost
    close(weights[:, :drawn].sum(1, keepdim=True), published[whole + "weight_sum"])
    ray = torch.repeat_interleave(torch.arange(len(t)), t.shape[1])
    cos, widths = slopes(out, published.rays.directions), published.widths(WHOLE)
    visible = packed_visibility(out.sdf, cos, out.intervals, ray, out.offsets, widths).detach()
    close(visible.view_as(t), published[whole + "vis_prob"])
    alpha = alpha_from_udf(out.sdf, cos, out.intervals, widths.inv_s, visible, cos_anneal=widths.cos_anneal)
    close(alpha.view_as(t), published[whole + "alpha"])
    names = ("gradient_error", "gradient_error_near_surface", "sparse_error")
    for found, name in zip(errors, names):
        close(found, published[whole + name], 1e-5, 1e-3)
    assert 1 / float(published.sharpness.inv_s.detach()) == pytest.approx(
        published.number(whole + "variance"), rel=1e-5
    )
    assert 1 / float(published.sharpness.beta.detach()) == pytest.approx(published.number(whole + "beta"), rel=1e-5)
    assert float(published.sharpness.gamma) == pytest.approx(published.number(whole + "gamma"), rel=1e-5)


@pytest.mark.golden
@pytest.mark.parametrize("kind", list(UpsamplingKind))
def test_published_sparsity_of_points_anywhere(published, kind):
    """Of those near the surface, where there are more than ten."""
    whole = f"render/{kind.value}/"
    with torch.no_grad():
        udf = published.field.udf(published[whole + "rand_points_unit"] * 2 - 1)
    near = udf[udf < 0.01]
    scale = published.number("cfg/sparse_scale_factor")
    found = losses.sparsity(near, scale).mean() if len(near) > 10 else torch.zeros(())
    close(found, published[whole + "sparse_random_error"].reshape(()), 1e-5, 1e-3)


@pytest.mark.golden
@pytest.mark.parametrize("kind", list(UpsamplingKind))
def test_published_pictures_of_our_own_samples(published, kind):
    """On rays that reach the surface."""

    def udf_along(t):
        return published.field.udf(published.points(t).reshape(-1, 3)).view(t.shape)

    whole = f"render/{kind.value}/"
    with torch.no_grad():
        t = upsampled(
            published["coarse/z_vals"],
            udf_along,
            lambda t: published.points(t).norm(dim=-1) < 1,
            last_dt=published.last_dt,
            count=int(published.number("cfg/n_importance")),
            rounds=int(published.number("cfg/up_sample_steps")),
            kind=kind,
            gamma=float(published.sharpness.gamma),
        )
        out = published.render(t, WHOLE)
        rgb, base = published.composited(out, WHOLE)
    reaching = published["coarse/udf"].min(dim=1).values < 0.1
    assert reaching.any()
    normals = seen_normals(out, published.rays.directions)
    found = {"depth": out.distance[:, None], "normals": normals, "color": rgb, "color_base": base}
    for name, values in found.items():
        close(values[reaching], published[whole + name][reaching], 2e-3, 0)
