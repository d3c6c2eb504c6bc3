"""Where published weights are: a file or folder of the user's, the hub's cache on this machine, or the hub itself.

Nothing here is part of this package, and nothing is fetched unless a hub id is asked for. The cache is looked at first,
without the network; where offline work is declared (`HF_HUB_OFFLINE=1`) the answer is given at once.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from rilievo.errors import UserError, clear

HUB_IDS = {
    "mast3r": "naver/MASt3R_ViTLarge_BaseDecoder_512_catmlpdpt_metric",
    "dust3r": "naver/DUSt3R_ViTLarge_BaseDecoder_512_dpt",
}
"""The weights that a method's name stands for."""

CONFIG_FILE, STATE_FILE = "config.json", "model.safetensors"
"""What the hub's folder of a network holds."""

PICKLE_SUFFIXES = frozenset({".pth", ".pt"})

_NAVER = "CC BY-NC-SA 4.0 (no commercial use)"
LICENCES = {
    "mast3r": f"{_NAVER}, and the terms of the training sets, of which Map-free's are restrictive "
    "(see CHECKPOINTS_NOTICE of github.com/naver/mast3r)",
    "dust3r": _NAVER,
}
UNKNOWN_LICENCE = f"not known for this file; weights published by Naver are under {_NAVER}"


@dataclass(frozen=True)
class WeightFiles:
    """Files that hold one network."""

    state: Path
    """A .pth, or a .safetensors."""
    config: Path | None
    """The config.json beside a .safetensors."""
    licence: str
    """What may be done with the weights; to be shown to whoever uses them."""


def find_weights(weights: str | Path) -> WeightFiles:
    """The files meant by a path, a hub id, or one of the names in `HUB_IDS`.

    Raises `UserError` where there are none; offline, the sentence names the hub id and what works without it.
    """
    given = str(weights)
    path = Path(weights).expanduser()
    if path.is_dir():
        return _with_config(path / STATE_FILE, given)
    if path.is_file():
        return (
            WeightFiles(path, None, _licence(path.name))
            if path.suffix in PICKLE_SUFFIXES
            else _with_config(path, given)
        )
    hub_id = HUB_IDS.get(given, given)
    if isinstance(weights, Path) or not _is_hub_id(hub_id):
        raise clear(
            f"weights {given}",
            expected="a .pth file, a .safetensors file with its config.json beside it, or a hub id such as "
            + HUB_IDS["mast3r"],
            got="nothing there",
            do="check the path",
        )
    state, config = (_from_hub(hub_id, name) for name in (STATE_FILE, CONFIG_FILE))
    return WeightFiles(state, config, _licence(hub_id))


def _with_config(state: Path, given: str) -> WeightFiles:
    config = state.parent / CONFIG_FILE
    missing = [file.name for file in (state, config) if not file.is_file()]
    if missing or state.suffix != ".safetensors":
        raise clear(
            f"weights {given}",
            expected=f"a .pth file, or a .safetensors file with its {CONFIG_FILE} beside it",
            got=f"no {' and no '.join(missing)}" if missing else f"a file {state.name}",
            do=f"download both {STATE_FILE} and {CONFIG_FILE} from the network's page, or give the official .pth",
        )
    return WeightFiles(state, config, _licence(str(state.resolve())))


def _from_hub(hub_id: str, name: str) -> Path:
    try:
        from huggingface_hub import constants, hf_hub_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError
    except ModuleNotFoundError as error:
        raise _absent(hub_id, "no package huggingface_hub to fetch it with") from error
    try:
        return Path(hf_hub_download(hub_id, name, local_files_only=True))
    except LocalEntryNotFoundError:
        if constants.HF_HUB_OFFLINE:
            raise _absent(hub_id, f"no {name} in the local cache, and HF_HUB_OFFLINE forbids the network") from None
    except HFValidationError as error:
        raise _absent(hub_id, "a name that is no hub id") from error
    try:
        return Path(hf_hub_download(hub_id, name))
    except OSError as error:  # what every failure of the hub is: no network, no such repository, no such file
        raise _absent(hub_id, f"no {name} in the local cache, and {_first_line(error)}") from error


def _absent(hub_id: str, got: str) -> UserError:
    return clear(
        f"weights {hub_id}",
        expected=f"{STATE_FILE} and {CONFIG_FILE} of that name in the Hugging Face cache, or a network to fetch them",
        got=got,
        do=f"download them from https://huggingface.co/{hub_id} on a connected machine and pass their folder (or the "
        "official .pth) with --weights, or use --method sfm, which needs no weights",
    )


def _is_hub_id(name: str) -> bool:
    return bool(re.fullmatch(r"[\w.-]+/[\w.-]+", name)) and Path(name).suffix not in {*PICKLE_SUFFIXES, ".safetensors"}


def _licence(name: str) -> str:
    for family, licence in LICENCES.items():
        if f"{family}_vitlarge" in name.lower():
            return licence
    return UNKNOWN_LICENCE


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
