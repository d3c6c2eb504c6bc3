"""RAFT, the FlowNet family and some forty later networks by name, from PTLFlow (Morimitsu 2021, Apache-2.0), an
optional part; the networks' weights have licences of their own.

Its networks take a pair of BGR photographs, which its adapter pads and scales, and hand back flows [1, 1, 2, h, w].
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from rilievo.errors import clear


class PtlflowNetwork:
    """One of its networks, on the CPU."""

    def __init__(self, model: torch.nn.Module, adapter: Any) -> None:
        self.model, self.adapter = model.eval(), adapter

    @torch.no_grad()
    def __call__(
        self, first: UInt8[np.ndarray, "h w 3"], second: UInt8[np.ndarray, "h w 3"]
    ) -> Float32[np.ndarray, "h w 2"]:
        adapter = self.adapter(output_stride=self.model.output_stride, input_size=first.shape[:2])
        given = adapter.prepare_inputs([np.ascontiguousarray(photo[..., ::-1]) for photo in (first, second)])
        found = self.model(given)
        found["images"] = given["images"]
        flow: torch.Tensor = adapter.unscale(found)["flows"]
        return flow[0, 0].permute(1, 2, 0).cpu().numpy()


def ptlflow_network(name: str, weights: Path | None) -> PtlflowNetwork:
    """The network of that name with the weights in `weights`, a checkpoint of PTLFlow's.

    Raises `UserError` when PTLFlow is missing, knows no such network, or there are no weights: nothing is downloaded
    here, and nothing in the file is run.
    """
    try:
        import ptlflow
        from ptlflow.utils.io_adapter import IOAdapter
    except ImportError as error:
        raise clear(
            f"flow by {name}",
            expected="the Python module ptlflow",
            got="it is not installed",
            do="pip install 'rilievo[networks]', or use dis",
        ) from error
    if weights is None or not weights.is_file():
        raise clear(
            f"flow by {name}",
            expected="a checkpoint of that network from PTLFlow's model zoo",
            got="none" if weights is None else f"nothing at {weights}",
            do="give the file as --clip.flow-weights, or use dis, which needs none",
        )
    try:
        model = ptlflow.get_model(name)
    except (ValueError, KeyError) as error:
        raise clear(
            f"flow by {name}", expected="a network of PTLFlow", got=repr(name), do="raft or flownet2, say"
        ) from error
    try:
        with torch.serialization.safe_globals([Namespace]):  # which lists the settings of a training
            state = torch.load(weights, map_location="cpu", weights_only=True)
        model.load_state_dict(state.get("state_dict", state))
    except (RuntimeError, AttributeError, UnpicklingError) as error:
        raise clear(
            str(weights), expected=f"the weights of {name}", got="those of something else", do="give another file"
        ) from error
    return PtlflowNetwork(model, IOAdapter)
