"""Published weights into a network: the official .pth, or the hub's safetensors, without running what they hold.

A .pth is a pickle of {"args": argparse.Namespace, "model": names → tensors}; only plain values, tensors and the
namespace are let in, and of the namespace only `model`, the text of a constructor, is read. Tensors are mapped from the
file, not copied: the network is made without memory and takes them as they are. Tensors that go by two names (see
`dpt_head`) may be stored under one of them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from rilievo.errors import UserError, clear

from .config import NetworkConfig
from .network import PointmapNetwork
from .weights import PICKLE_SUFFIXES, find_weights

State = dict[str, Tensor]


@dataclass(frozen=True)
class LoadedNetwork:
    """A network with its published weights, in evaluation mode, without gradients."""

    network: PointmapNetwork
    origin: Path
    """The file its weights came from."""
    licence: str
    """What may be done with the weights; show it."""
    fingerprint: str
    """Differs between any two trainings and any two configs."""
    ignored: tuple[str, ...] = ()
    """Names in the file that the network has no use for."""


def load_network(weights: str | Path, device: torch.device | str = "cpu") -> LoadedNetwork:
    """The network meant by a path, a hub id, or a name in `weights.HUB_IDS`.

    Raises `UserError` where weights are absent, unsafe to read, damaged, incomplete, or of another network.
    """
    files = find_weights(weights)
    if files.state.suffix in PICKLE_SUFFIXES:
        config, state = read_pickle(files.state)
    else:
        assert files.config is not None, "find_weights gives a config with every safetensors"
        config, state = read_safetensors(files.state, files.config)
    network, ignored = network_with(config, state, files.state)
    return LoadedNetwork(network.to(device), files.state, files.licence, fingerprint(config, state), ignored)


def read_pickle(path: Path) -> tuple[NetworkConfig, State]:
    """Config and tensors of an official .pth. Raises `UserError` where it is damaged, unsafe or something else."""
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise _unreadable(path, "a pickle that is damaged or wants code to be run: " + _sentence(error)) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise _unreadable(path, "a damaged file: " + _sentence(error)) from error
    args = content.get("args") if isinstance(content, dict) else None
    text, state = getattr(args, "model", None), content.get("model") if isinstance(content, dict) else None
    if not isinstance(text, str) or not isinstance(state, dict):
        held = ", ".join(map(str, list(content)[:4])) if isinstance(content, dict) else type(content).__name__
        raise _unreadable(path, f"a file of {held}")
    return NetworkConfig.from_constructor(text), {k: v for k, v in state.items() if isinstance(v, Tensor)}


def read_safetensors(path: Path, config: Path) -> tuple[NetworkConfig, State]:
    """Config and tensors as the hub stores them. Raises `UserError` where either file is damaged."""
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise clear(
            f"weights {path}",
            expected="the package safetensors to read them with",
            got="none installed",
            do="pip install safetensors, or give the official .pth",
        ) from error
    try:
        arguments = json.loads(config.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise _unreadable(config, "no JSON: " + _sentence(error)) from error
    if not isinstance(arguments, dict):
        raise _unreadable(config, f"JSON that is a {type(arguments).__name__}")
    try:
        state = load_file(path, device="cpu")
    except (SafetensorError, OSError) as error:
        raise _unreadable(path, "a damaged file: " + _sentence(error)) from error
    return NetworkConfig.from_arguments({k: _tuples(v) for k, v in arguments.items()}), state


def network_with(config: NetworkConfig, state: State, origin: Path) -> tuple[PointmapNetwork, tuple[str, ...]]:
    """A network of that config that owns the tensors of `state`, and the names it had no use for.

    Raises `UserError` naming the first tensor that is missing or has another shape; `origin` is for that sentence.
    """
    with torch.device("meta"):
        network = PointmapNetwork(config)
    wanted = network.state_dict(keep_vars=True)
    state = _with_second_decoder(state)
    tied = {id(tensor): state[name] for name, tensor in wanted.items() if name in state}
    missing = [name for name, tensor in wanted.items() if id(tensor) not in tied]
    if missing:
        raise _mismatch(origin, len(wanted), f"{len(missing)} of them missing, the first being {missing[0]}")
    for name, tensor in wanted.items():
        found = tied[id(tensor)]
        if found.shape != tensor.shape:
            raise _mismatch(origin, len(wanted), f"{name} of {list(found.shape)} instead of {list(tensor.shape)}")
    network.load_state_dict({name: tied[id(tensor)].float() for name, tensor in wanted.items()}, assign=True)
    return network.eval().requires_grad_(False), tuple(sorted(set(state) - set(wanted)))


def fingerprint(config: NetworkConfig, state: State) -> str:
    """A name for these weights: a hash of the config and of both ends of every tensor, which every training changes."""
    digest = hashlib.sha256(repr(config).encode())
    for name, tensor in sorted(state.items()):
        flat = tensor.reshape(-1)
        ends = torch.cat((flat[:8], flat[-8:])).double()
        digest.update(f"{name}{list(tensor.shape)}".encode() + ends.numpy().tobytes())
    return digest.hexdigest()[:16]


def _with_second_decoder(state: State) -> State:
    """CroCo's checkpoints have one decoder: both start from it."""
    if any(name.startswith("dec_blocks2.") for name in state):
        return state
    copied = {
        name.replace("dec_blocks.", "dec_blocks2.", 1): t for name, t in state.items() if name.startswith("dec_blocks.")
    }
    return state | copied


def _tuples(value):
    return tuple(_tuples(part) for part in value) if isinstance(value, list) else value


def _sentence(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _unreadable(path: Path, got: str) -> UserError:
    return clear(
        f"weights {path}",
        expected="an official MASt3R or DUSt3R checkpoint (args with the constructor, and model with the tensors)",
        got=got,
        do="download it again from its authors",
    )


def _mismatch(path: Path, tensors: int, got: str) -> UserError:
    return clear(
        f"weights {path}",
        expected=f"the {tensors} tensors of the network that the file describes",
        got=got,
        do="download the checkpoint again, or give the one that belongs to this description",
    )
