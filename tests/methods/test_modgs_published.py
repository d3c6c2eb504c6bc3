"""The preset `paper` of modgs has the settings that the published code ships."""

import json

import pytest

from rilievo.methods.modgs.config import PRESETS

pytestmark = pytest.mark.golden

PAPER = PRESETS["paper"]


@pytest.fixture(scope="module")
def shipped(shared):
    return json.loads((shared / "golden" / "dynamic" / "configs.json").read_text())


def test_motion_is_trained_as_shipped(shipped):
    template, motion = shipped["stage1"]["template"], PAPER.motion
    assert motion.steps == template["stage1_max_steps"]
    assert (motion.time_rate, motion.space_rate) == (template["lr_feature"], template["lr_deform"])
    assert motion.final == pytest.approx(template["lrate_decay_factor"] ** motion.steps, rel=0.01)
    assert motion.frequencies == template["pe_freq"]
    assert motion.smoothness == template["local_smoothness_loss"]
    assert motion.neighbors == template["neighbor_K"] - 1  # a point is not its own neighbour
    assert motion.forgive is None
    assert PAPER.clip.reach == ()
    assert not PAPER.clip.split


def test_gaussians_are_trained_as_shipped(shipped):
    template, rates, densify = shipped["stage2"]["template"], PAPER.rates, PAPER.densify
    assert PAPER.fit.steps == template["iterations"] == template["position_lr_max_steps"]
    assert (rates.means, rates.means_final) == (template["position_lr_init"], template["position_lr_final"])
    assert (rates.sh_dc, rates.opacity_logits) == (template["feature_lr"], template["opacity_lr"])
    assert (rates.log_scales, rates.quats) == (template["scaling_lr"], template["rotation_lr"])
    motion = PAPER.motion
    assert motion.joint_time * motion.time_rate == pytest.approx(template["lr_feature"])
    assert motion.joint_space * motion.space_rate == pytest.approx(template["lr_deform"])
    assert (densify.start, densify.end) == (template["densify_from_iter"], template["densify_until_iter"])
    assert (densify.every, densify.reset_every) == (
        template["densification_interval"],
        template["opacity_reset_interval"],
    )
    assert (densify.grad_threshold, densify.dense) == (template["densify_grad_threshold"], template["percent_dense"])
    assert PAPER.sh_degree == template["sh_degree"]
    assert PAPER.background_color == ("random" if template["random_background"] else "white")


def test_losses_weigh_as_shipped(shipped):
    template, losses = shipped["stage2"]["template"], PAPER.losses
    assert losses.rgb_l1(0) == template["lambda_recon"]
    assert losses.dssim(0) == template["lambda_dssim"]
    assert losses.order(0) == template["lambda_depthOderLoss"]
    assert losses.depth(0) == template["lambda_depthloss"]
    assert PAPER.depth_order == template["depth_order_loss_type"]
    assert losses.pairs(0) == losses.opacity(0) == losses.scale(0) == 0
