"""The learned sharpness and its cap."""

import numpy as np
import pytest
import torch

from rilievo.fields.variance import InverseDeviation, SharpnessCap


def test_sharpness_is_exponential_in_what_is_learned():
    sharpness = InverseDeviation(0.3)
    sharpness.inv_s.backward()
    assert float(sharpness.inv_s.detach().log()) == pytest.approx(3.0)
    assert float(sharpness.raw.grad) == pytest.approx(10 * float(sharpness.inv_s.detach()))


def test_a_capped_sharpness_is_the_same_after_a_resume():
    cap = SharpnessCap(start_step=10, reach_step=50, max_inv_s=100.0)
    unbroken = InverseDeviation(0.3, cap)
    for step in range(31):
        unbroken.raw.data.fill_(0.3 + 0.01 * step)
        unbroken.set_step(step)
    resumed = InverseDeviation(0.3, cap)
    resumed.load_state_dict(unbroken.state_dict())
    resumed.set_step(30)
    assert torch.equal(resumed.inv_s, unbroken.inv_s)
    assert float(resumed.inv_s.detach()) < float((10 * resumed.raw.detach()).exp())


@pytest.mark.golden
def test_capped_sharpness_is_the_published_one(golden):
    data = np.load(golden / "neus_alpha.npz")
    settings = {key: data[f"modulate/{key}"].item() for key in ("mod_start_steps", "reach_max_steps", "max_inv_s")}
    cap = SharpnessCap(settings["mod_start_steps"], settings["reach_max_steps"], settings["max_inv_s"])
    sharpness = InverseDeviation(float(data["modulate/init_val"]), cap if data["modulate/modulate"] else None)
    for step, raw, expected in zip(data["modulate/step"], data["modulate/raw_variance"], data["modulate/inv_s"]):
        sharpness.raw.data.fill_(float(raw))
        sharpness.set_step(int(step))
        np.testing.assert_allclose(sharpness.inv_s.detach(), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.golden
def test_initial_sharpness_is_the_published_one(golden):
    data = np.load(golden / "neus_alpha.npz")
    inv_s = InverseDeviation(float(data["variance/init_val"])).inv_s.detach()
    np.testing.assert_allclose(inv_s.expand(5, 1), data["variance/forward_of_5"], atol=1e-6, rtol=1e-5)
