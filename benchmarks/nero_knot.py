"""How good materials and new light are on a capture that knows the truth (material_test/, relight/).

* materials: a run of `nero-material` at the pixels of the held-out views that both it and the truth call surface. What
  light and albedo leave free, one factor per channel, is taken from the albedo by least squares first;
* pictures: those that `rilievo relight RUN --envmap SCENE/envmap_relight.exr --rows poles --path test --transparent`
  wrote, best with the printed `--albedo-scale`: PSNR and SSIM of whole pictures over white.

    python benchmarks/nero_knot.py SCENE [--run RUN] [--relit DIR] [--against DIR]
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from rilievo.engine.run import open_run
from rilievo.methods.nero_material.model import NeroMaterialModel
from rilievo.metrics.image import psnr, ssim
from rilievo.shading.brdf import Material

METAL = 0.5


def at_pixels(
    model: NeroMaterialModel, folder: Path, cameras, views: list[int], names: list[str]
) -> tuple[Material, Material]:
    """What was found and what is true, row by row, on the surface that the held-out views see."""
    found, true = [], []
    for view, name in zip(views, names):
        truth = np.load(folder / "material_test" / f"{name}.npz")
        depth = np.load(folder / "depth_test" / f"{name}.npz")["depth"]
        rays = cameras.view_rays(view)
        met = model.surface.meet(rays.origins, rays.directions)
        seen = met.hit & torch.from_numpy(depth.astype(np.float32) > 0).flatten()
        with torch.no_grad():
            found.append(model.material(met.points[seen]))
        rows = {key: torch.from_numpy(truth[key].astype(np.float32)).reshape(len(seen), -1)[seen] for key in truth}
        true.append(Material(rows["albedo"], rows["metallic"], rows["roughness"]))
    return joined(found), joined(true)


def joined(parts: list[Material]) -> Material:
    return Material(*(torch.cat([getattr(p, name) for p in parts]) for name in ("albedo", "metallic", "roughness")))


def albedo_scale(found: Float[Tensor, "n 3"], true: Float[Tensor, "n 3"]) -> Float[Tensor, "3"]:
    return (found * true).sum(0) / found.square().sum(0)


def report_materials(folder: Path, run_folder: Path) -> None:
    run = open_run(run_folder, device="cpu")
    model = run.model
    assert isinstance(model, NeroMaterialModel)
    views = list(run.scene.test_views)
    names = [Path(run.scene.names[i]).stem for i in views]
    found, true = at_pixels(model, folder, run.scene.cameras, views, names)
    scale = albedo_scale(found.albedo, true.albedo)
    metal = true.metallic[:, 0] > METAL
    right = (found.metallic[:, 0] > METAL) == metal
    error = (found.albedo * scale - true.albedo).abs().mean(-1)
    rough = (found.roughness - true.roughness).abs()[:, 0]
    print(f"{len(metal)} pixels of {len(views)} views, {metal.float().mean():.0%} of them metal")
    print("--albedo-scale " + " ".join(f"{s:.4f}" for s in scale.tolist()))
    for name, chosen in (("all", torch.ones_like(metal)), ("metal", metal), ("not metal", ~metal)):
        print(
            f"{name:<10} albedo off by {error[chosen].mean():.4f}  roughness {rough[chosen].mean():.4f}  "
            f"metal or not right {right[chosen].float().mean():.1%}"
        )
    for low, high in ((0.0, 0.1), (0.1, 0.2), (0.2, 0.35), (0.35, 1.0)):
        band = (true.roughness[:, 0] >= low) & (true.roughness[:, 0] < high)
        if band.any():
            mean = found.roughness[band].mean()
            print(f"roughness {low:.2f} to {high:.2f}: {band.float().mean():.0%}, found {mean:.3f} on average")


def over_white(path: Path) -> Float[Tensor, "h w 3"]:
    pixels = np.asarray(Image.open(path).convert("RGBA"), dtype=np.float32) / 255
    return torch.from_numpy(pixels[..., :3] * pixels[..., 3:] + 1 - pixels[..., 3:])


def report_pictures(pairs: list[tuple[Path, Path]]) -> None:
    scores = [(float(psnr(a, b)), float(ssim(a, b))) for a, b in ((over_white(p), over_white(q)) for p, q in pairs)]
    for (path, _), (decibel, similar) in zip(pairs, scores):
        print(f"{path.name:<14} PSNR {decibel:6.2f} dB  SSIM {similar:.4f}")
    decibel, similar = np.mean(scores, axis=0)
    print(f"{'mean':<14} PSNR {decibel:6.2f} dB  SSIM {similar:.4f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scene", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--relit", type=Path)
    parser.add_argument("--against", type=Path, help="pictures of another renderer instead of the true ones")
    asked = parser.parse_args()
    if asked.run is not None:
        report_materials(asked.scene, asked.run)
    if asked.relit is not None:
        listed = json.loads((asked.scene / "relight" / "index.json").read_text())["files"]
        true = [asked.scene / name for name in listed]
        pairs = [(asked.relit / p.name, p if asked.against is None else asked.against / p.name) for p in true]
        report_pictures([pair for pair in pairs if all(path.is_file() for path in pair)])


if __name__ == "__main__":
    main()
