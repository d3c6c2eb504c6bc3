"""How good a run of `modgs` is on a clip with ground truth, and how good others are that see the same frames.

* pictures: PSNR on held-out views, over the whole picture and over what moves where masks of them say so, beside a run
  of `splat` (`--splat RUN`; again with its holes filled as `modgs` fills its own) and a depth warp: each held-out view
  is drawn from the one frame of its moment, whose pixels are taken to their aligned monocular depth; holes show the
  nearest pixel;
* tracks: the capture's `tracks.npz` (points [t, n, 3], visible [t, n], label [n]; 0 stands still). A point is asked for
  where it is first visible, and compared in all other frames in which it is visible. Errors are shares of the diagonal
  of the box around all points.

    python benchmarks/modgs_dynamic.py RUN [--splat RUN] [--no-warp] [--pictures DIR]
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from rilievo.cameras.camera import Cameras
from rilievo.data.scene import Scene
from rilievo.engine.run import Run, open_run
from rilievo.geometry import sim3
from rilievo.io.image import write_image
from rilievo.methods.modgs.clip import read_clip
from rilievo.methods.modgs.holes import filled
from rilievo.methods.modgs.motion_file import FILE, load_stage
from rilievo.methods.modgs.stage1 import build_motion
from rilievo.metrics.image import psnr
from rilievo.motion.lift import point_map

TOLERANCE = 1.02
"""A pixel is drawn where it is at most this much farther than the nearest that falls on the same place."""


def depth_warp(
    rgb: Float[Tensor, "h w 3"], depth: Float[Tensor, "h w"], cameras: Cameras, source: int, target: int
) -> Float[Tensor, "h w 3"]:
    """The frame of camera `source` as camera `target` sees it; each pixel covers the four around its place."""
    points = point_map(depth, cameras.K[source], cameras.world_from_cam[source])
    at, z = cameras.project(target, points.xyz[points.known])
    color = rgb[points.known]
    width, height = cameras.sizes_px[target].tolist()
    corner = (at - 0.5).floor().long()
    share = (at - 0.5 - corner).to(color)
    nearest = torch.full((height * width,), float("inf"))
    drawn = torch.zeros(height * width, 4)
    corners = [(corner + torch.tensor([i, j]), (i, j)) for j in (0, 1) for i in (0, 1)]
    inside = [(c >= 0).all(1) & (c[:, 0] < width) & (c[:, 1] < height) & (z > 0) for c, _ in corners]
    for (c, _), fits in zip(corners, inside):
        nearest.scatter_reduce_(0, (c[:, 1] * width + c[:, 0])[fits], z[fits].float(), "amin")
    for (c, (i, j)), fits in zip(corners, inside):
        flat = (c[:, 1] * width + c[:, 0])[fits]
        weight = ((share[:, 0] if i else 1 - share[:, 0]) * (share[:, 1] if j else 1 - share[:, 1]))[fits]
        weight = weight * (z[fits] <= TOLERANCE * nearest[flat])
        drawn.index_add_(0, flat, torch.cat((color[fits] * weight[:, None], weight[:, None]), dim=1))
    seen = (drawn[:, 3] > 1e-3).view(height, width)
    picture = (drawn[:, :3] / drawn[:, 3:].clamp_min(1e-3)).view(height, width, 3)
    rows, columns = distance_transform_edt(~seen.numpy(), return_distances=False, return_indices=True)
    return picture[torch.from_numpy(rows).long(), torch.from_numpy(columns).long()]


def warped(run: Run) -> dict[int, Float[Tensor, "h w 3"]]:
    """Every held-out view from the frame whose time is nearest, with the depth that the run aligned."""
    scene, config = run.scene, run.config
    assert scene.times is not None, "a clip has times"
    clip = read_clip(scene, config.clip.depth)
    depths = load_stage(run.workspace.folder / FILE, build_motion(config.motion, config.fit.seed))[0].depths
    found = {}
    for view in scene.test_views:
        frame = int((clip.times - scene.times[view]).abs().argmin())
        rgb = clip.photos[frame].float() / 255
        found[view] = depth_warp(rgb, depths[frame], scene.cameras, clip.views[frame], view).clamp(0, 1)
    return found


def rendered(run: Run, *, fill: bool = False) -> dict[int, Float[Tensor, "h w 3"]]:
    """Held-out views; with `fill`, what is white where nothing is covered becomes like what is around it."""
    found = {}
    for view in run.scene.test_views:
        seen = run.model.render(run.scene.cameras, view)
        rgb, opacity = seen.rgb.cpu(), seen.opacity.cpu()
        found[view] = filled(rgb - (1 - opacity[..., None]), opacity).clamp(0, 1) if fill else rgb
    return found


def report_pictures(name: str, scene: Scene, pictures: dict[int, Float[Tensor, "h w 3"]], folder: Path | None) -> None:
    whole, moving, still = [], [], []
    for view, picture in pictures.items():
        photo = torch.from_numpy(scene.photograph(view))
        whole.append(float(psnr(picture, photo)))
        if scene.moving is not None and (mask := torch.tensor(scene.moving[view]) > 0).any():
            moving.append(float(psnr(picture, photo, mask)))
            still.append(float(psnr(picture, photo, ~mask)))
        if folder is not None:
            side_by_side = torch.cat((picture, photo), dim=1)
            write_image(folder / f"{name}_{view:03d}.png", np.rint(side_by_side.numpy() * 255).astype(np.uint8))
    parts = f", {np.mean(moving):.2f} where it moves, {np.mean(still):.2f} elsewhere" if moving else ""
    print(f"{name:6s} PSNR {np.mean(whole):.2f} dB{parts}   views {' '.join(f'{v:.1f}' for v in whole)}", flush=True)


def report_tracks(run: Run, path: Path) -> None:
    held = np.load(path)
    inverse = torch.linalg.inv(run.scene.capture_from_world)
    points = sim3.apply(inverse, torch.from_numpy(held["points"]).double()).float()
    visible, label = torch.from_numpy(held["visible"]), torch.from_numpy(held["label"])
    box = points.reshape(-1, 3)
    size = (box.amax(0) - box.amin(0)).norm()
    times = run.scene.times[list(run.scene.train_views)].sort().values
    errors = torch.full(visible.shape, torch.nan)
    first = torch.where(visible.any(0), visible.float().argmax(0), -1)
    for frame in first.unique().tolist():
        if frame < 0:
            continue
        chosen = (first == frame).nonzero()[:, 0]
        carried = run.model.track(points[frame, chosen], float(times[frame]), times)
        errors[:, chosen] = (carried - points[:, chosen]).norm(dim=-1) / size
    counted = visible & (torch.arange(len(points))[:, None] > first)
    stay = (points - points[first, torch.arange(len(first))]).norm(dim=-1) / size
    groups = {"all": label >= 0, "moving": label > 0}
    groups |= {f"label {k}": label == k for k in label.unique().tolist()}
    for name, which in groups.items():
        found, standing = errors[counted & which], stay[counted & which]
        if not len(found):
            continue
        print(
            f"tracks {name:8s} median {100 * found.median():.3f} %  90th {100 * found.quantile(0.9):.2f} %  "
            f"(standing still {100 * standing.median():.2f} %), {len(found)} positions",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--splat", type=Path, help="a run of splat on the same capture")
    parser.add_argument("--no-warp", action="store_true")
    parser.add_argument("--pictures", type=Path, help="folder for pictures, each beside its photo")
    options = parser.parse_args()
    run = open_run(options.run)
    if options.pictures is not None:
        options.pictures.mkdir(parents=True, exist_ok=True)
    if (tracks := run.scene.folder / "tracks.npz").is_file():
        report_tracks(run, tracks)
    report_pictures("modgs", run.scene, rendered(run), options.pictures)
    if options.splat is not None:
        other = open_run(options.splat)
        report_pictures("splat", other.scene, rendered(other), options.pictures)
        report_pictures("filled", other.scene, rendered(other, fill=True), options.pictures)
    if not options.no_warp:
        report_pictures("warp", run.scene, warped(run), options.pictures)


if __name__ == "__main__":
    main()
