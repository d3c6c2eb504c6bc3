"""NeRO's first stage, a whole step: colours, losses, gradients by every weight, and the pictures of a finished run.

The published table of the split sum is not stored; ours stands for it (`tests.shading.shipped_table`).
"""

import numpy as np
import pytest
import torch
from tests.methods.nero_published import Published

from rilievo.losses import glossy
from rilievo.losses.color import charbonnier
from rilievo.losses.distance import eikonal
from rilievo.methods.nero_shape.dense import DenseRender
from rilievo.shading.color import linear_to_srgb

COLOR = {"atol": 2e-5, "rtol": 1e-4}
MLP_VALUE = {"atol": 1e-5, "rtol": 1e-4}
MLP_GRADIENT = {"atol": 1e-5, "rtol": 1e-3}
PARAMETER_GRADIENT = {"atol": 1e-5, "rtol": 2e-3}
CLOSED_FORM = {"atol": 1e-6, "rtol": 1e-5}
OCCLUSION = 2e-4
START_TERMS_BEFORE = 1000
EVERYWHERE_WITHIN = 1.2
"""Radius up to which samples count for the start terms."""
EIKONAL_WEIGHT = 0.1


@pytest.fixture
def published(shared) -> Published:
    return Published(shared / "golden" / "neural" / "nero_shape_render.npz")


def cases(published: Published, kind: str) -> list[str]:
    found = sorted({key.split("/")[0] for key in published.data if key.startswith(kind)})
    assert found
    return found


def rendered(published: Published, case: str) -> DenseRender:
    return published.rendered(float(published[f"{case}/cos_anneal_ratio"]))


def start_terms(published: Published, out: DenseRender, case: str) -> dict[str, torch.Tensor]:
    points = out.all_points[out.all_points.norm(dim=-1) < EVERYWHERE_WITHIN]
    np.testing.assert_allclose(points, published[f"{case}/sdf_pts"], atol=2e-6)
    sdf = published.level(points)
    np.testing.assert_allclose(sdf.detach(), published[f"{case}/sdf_vals"], **MLP_VALUE)
    weight = glossy.start_weight(int(published[f"{case}/step"]))
    return {
        "loss_sdf_large": weight * glossy.start_outside(points, sdf),
        "loss_sdf_small": weight * glossy.start_inside(points, sdf),
    }


@pytest.mark.golden
def test_a_training_step_has_the_published_losses_and_gradients(published):
    for case in cases(published, "train_step_"):
        step, out = int(published[f"{case}/step"]), rendered(published, case)
        np.testing.assert_allclose(out.rgb.detach(), published[f"{case}/ray_rgb"], **COLOR)
        color = charbonnier(out.rgb, published["in/rgb_gt"])
        np.testing.assert_allclose(color.detach(), published[f"{case}/loss_rgb"], **COLOR)
        slope = eikonal(out.sdf_grad)
        np.testing.assert_allclose(slope.detach(), published[f"{case}/gradient_error"], **MLP_GRADIENT)
        deviation = 1 / published.inv_s
        for name in ("std", "loss/std"):
            np.testing.assert_allclose(deviation.detach(), published[f"{case}/{name}"], **CLOSED_FORM)
        terms = {"loss_rgb": color.mean(), "loss_eikonal": EIKONAL_WEIGHT * slope.mean()}
        if step < START_TERMS_BEFORE:
            terms |= start_terms(published, out, case)
        terms["loss_occ"] = torch.zeros(())
        if step >= published.config["occ_loss_step"]:
            terms["loss_occ"] = published.occlusion(out).mean()
        assert float(terms["loss_occ"].detach()) == pytest.approx(float(published[f"{case}/loss_occ"]), abs=OCCLUSION)
        _same_losses(terms, published, case)
        total = sum(terms.values())
        np.testing.assert_allclose(total.detach(), published[f"{case}/total_loss"], **COLOR)
        _same_gradients(total, published, case)


@pytest.mark.golden
def test_a_finished_run_shows_the_published_pictures(published):
    """Our points and normals are the published ones; what is seen there is compared at the stored ones, since encodings
    multiply their last digits by up to 2⁷."""
    for case in cases(published, "eval_step_"):
        with torch.no_grad():
            out = rendered(published, case)
            own = published.maps(published["sample_ray/z_vals"], out.weights, published.sdf)
            inside = own.inside[:, 0]

            def stored_normals(points, inside=inside, case=case):
                sdf, gradients, features = published.sdf(points)
                given = 2 * published[f"{case}/normal"] - 1
                return sdf, torch.where(inside[:, None], given, gradients), features

            depth = published[f"{case}/depth"]
            maps = published.maps(depth, torch.ones_like(depth), stored_normals)
        np.testing.assert_allclose(out.rgb, published[f"{case}/ray_rgb"], **COLOR)
        np.testing.assert_allclose(own.distance, depth, **COLOR)
        np.testing.assert_allclose(own.pictures()["normal"], published[f"{case}/normal"], **MLP_GRADIENT)
        hidden, expected = maps.hidden[inside], published[f"{case}/occ_prob_gt"][inside]
        np.testing.assert_allclose(hidden, expected, atol=OCCLUSION)
        pictures = maps.pictures()
        of_table = pictures.pop("specular_ref"), published[f"{case}/specular_ref"]
        np.testing.assert_allclose(*of_table, atol=TEXEL_NOISE)
        pictures["specular_color"] = linear_to_srgb(of_table[1] * maps.appearance.incoming.light)
        compared = [name for name in pictures if f"{case}/{name}" in published.data]
        assert len(compared) == len(pictures) - 1  # albedo is shown by us alone
        for name in compared:
            np.testing.assert_allclose(pictures[name], published[f"{case}/{name}"], **COLOR, err_msg=name)
        slope = eikonal(out.sdf_grad)
        np.testing.assert_allclose(slope, published[f"{case}/gradient_error"], **MLP_GRADIENT)
        loss = published.occlusion(out).mean()
        assert float(loss) == pytest.approx(float(published[f"{case}/loss_occ"]), abs=OCCLUSION)
        np.testing.assert_allclose(1 / published.inv_s.detach(), published[f"{case}/std"], **CLOSED_FORM)


TEXEL_NOISE = 6.1e-3
"""Largest error of the published table as an integral, stated with it; on average it is 4e-4."""


def _same_losses(terms: dict[str, torch.Tensor], published: Published, case: str) -> None:
    stored = {key.split("/")[-1] for key in published.data if key.startswith(f"{case}/loss/")} - {"std"}
    assert terms.keys() == stored
    tolerance = {"loss_rgb": COLOR, "loss_eikonal": MLP_GRADIENT, "loss_occ": {"atol": OCCLUSION}}
    for name, value in terms.items():
        expected = published[f"{case}/loss/{name}"]
        np.testing.assert_allclose(value.detach(), expected, **tolerance.get(name, MLP_VALUE), err_msg=name)


def _same_gradients(total: torch.Tensor, published: Published, case: str) -> None:
    parameters = published.parameters
    found = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    gradients = {
        name: torch.zeros_like(value) if gradient is None else gradient
        for (name, value), gradient in zip(parameters.items(), found)
    }
    names = published.names[f"{case}/grad/names"]
    assert gradients.keys() == set(names)
    norms = [gradients[name].norm().item() for name in names]
    np.testing.assert_allclose(norms, published[f"{case}/grad/norms"], **PARAMETER_GRADIENT)
    prefix = f"{case}/grad/full/"
    whole = [key.removeprefix(prefix) for key in published.data if key.startswith(prefix)]
    assert whole
    for name in whole:
        np.testing.assert_allclose(gradients[name], published[prefix + name], **PARAMETER_GRADIENT, err_msg=name)
