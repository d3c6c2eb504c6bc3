"""What aligning photographs can be told: flags that `rilievo align` and `rilievo reconstruct` share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rilievo.errors import UserError, clear

Aligner = Literal["sfm", "mast3r", "dust3r"]

FEATURES_ONLY = ("features", "mapper", "pairs", "max_side")
NETWORKS_ONLY = ("weights", "graph", "bfloat16", "fuse", "glb")
DESCRIPTORS_ONLY = ("fine_side",)

LEAST_SIDE = 64


@dataclass(frozen=True)
class AlignmentOptions:
    """How photos are aligned."""

    masks: Path | None = None
    """Masks named after the photos (of a video after the number of the frame, 000012.png), white on the object, or on
    what moves: see --mask-meaning."""
    mask_meaning: Literal["object", "ignore", "moving"] | None = None
    """What lies outside a mask: nothing (object, the default), what nobody knows (ignore), or what stands still and
    tells where the camera was (moving: the masks of a clip mark what goes its own way)."""
    turntable: bool = False
    """The camera stood still and the object turned about one axis: not only tried where photos look like it, but held
    to. Masks help where the background has texture."""
    lenses: Literal["auto", "one", "each"] = "auto"
    """Which photos share intrinsics: those of one size and one EXIF setting, all of one size, none."""
    intrinsics: str | None = None
    """Known intrinsics, FX,FY,CX,CY[,K1,K2,P1,P2] in pixels (pixel centres at +0.5), or a JSON file that has them."""
    poses: Path | None = None
    """Known cameras, a scene or cameras.json whose names are the photos': points are triangulated only."""
    features: Literal["sift", "xfeat"] = "sift"
    """sfm: what is matched. xfeat is learned, an optional part: it finds more, and is more easily wrong."""
    mapper: Literal["incremental", "global"] = "incremental"
    """sfm: how poses are found first; the other way is tried where one leaves photos out."""
    pairs: Literal["auto", "all", "sequential"] = "auto"
    """sfm: which photos are compared with which."""
    max_side: int = 3200
    """sfm: larger photos are searched for features in this size; the result is for their own."""
    weights: str | None = None
    """mast3r, dust3r: a .pth, a .safetensors beside its config.json, or a hub id; the published ones of that name when
    left out."""
    graph: str = "auto"
    """mast3r, dust3r: which photos are compared: complete, swin-W, logwin-W, oneref-R, retrieval or retrieval-A-K;
    complete up to 20 photos and retrieval beyond when left out."""
    fine_side: int | None = None
    """mast3r: match again, crop by crop, in pictures with this long side at most: slower and more exact."""
    bfloat16: bool = False
    """mast3r, dust3r: let the network multiply in half precision: faster on GPUs, half a percent less exact."""
    fuse: int | None = None
    """mast3r, dust3r: fuse the depth maps into SCENE/fused.glb with this many voxels along its longest side."""
    glb: bool = False
    """mast3r, dust3r: write SCENE/scene.glb too, with the points and each camera with its photo."""
    frames: int = 80
    """Of a video: how many are used at most, the sharpest ones that moved."""
    threads: int = 2
    """For features and matches."""

    def given(self) -> list[str]:
        """The options that are not what they are by themselves."""
        return [option.name for option in dataclasses.fields(self) if getattr(self, option.name) != option.default]

    def require_fitting(self, method: Aligner) -> None:
        """Raise `UserError` for a number out of range, and for a flag that belongs to another method."""
        if self.threads < 1 or self.max_side < LEAST_SIDE or self.frames < 2:
            raise UserError(
                f"align: expected --threads >= 1, --max-side >= {LEAST_SIDE} and --frames >= 2; correct the one that "
                "is not"
            )
        for name, least in (("fuse", 8), ("fine_side", LEAST_SIDE)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise clear(
                    flag(name), expected=f"at least {least}", got=str(value), do="leave it out, or give a larger number"
                )
        self.refuse(FEATURES_ONLY if method != "sfm" else (), "--method sfm", f"--method {method}")
        self.refuse(NETWORKS_ONLY if method == "sfm" else (), "--method mast3r or dust3r", f"--method {method}")
        self.refuse(DESCRIPTORS_ONLY if method != "mast3r" else (), "--method mast3r", f"--method {method}")
        if self.turntable and method == "dust3r":
            raise clear("--turntable", expected="--method sfm or mast3r", got="dust3r", do="choose one of these")

    def refuse(self, names: tuple[str, ...], belongs: str, got: str) -> None:
        """Raise `UserError` where one of the options `names` was given."""
        for name in self.given():
            if name in names:
                raise clear(flag(name), expected=belongs, got=got, do=f"leave the flag out, or say {belongs}")


def flag(name: str) -> str:
    """An option's name on the command line."""
    return "--" + name.replace("_", "-")
