"""New photos placed in an aligned scene that has depth maps, by what a network with descriptors says.

Each new photo is compared with the scene's photos that resemble it most; a pixel matched with one of theirs shows the
point at that one's depth.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rilievo.alignment.localization import lift_matches
from rilievo.errors import clear
from rilievo.geometry import se3, sim3
from rilievo.matching.correspondences import match_photo
from rilievo.matching.retrieval import similarity
from rilievo.pipelines.anchor_scene import AnchorScene, Localized, Sighted, place_all
from rilievo.pipelines.network_photos import NetworkPhoto, PhotoPredictor, prepare_photos
from rilievo.pipelines.pair_plan import global_descriptors
from rilievo.pipelines.pointmap_align import Progress
from rilievo.pipelines.pointmap_folder import read_depth
from rilievo.sfm.align import WORK
from rilievo.sfm.lens import Belief, unproject
from rilievo.sfm.photos import PhotoSet

NEAREST = 10
"""Photos of the scene that a new one is compared with."""
LEAST_CONFIDENCE = 1.001
"""Published least confidence of matches that place a photo."""


def localize_photos(
    found: PhotoSet, anchors: AnchorScene, predictor: PhotoPredictor, out: Path, lens: Belief | None, progress: Progress
) -> Localized:
    """Place `found` in the scene `anchors` and write the scene folder `out`.

    Raises `UserError` where the scene has no depth maps, no photo has a place, or the folder cannot be written.
    """
    photos, _ = prepare_photos(anchors.photos, predictor.prepare)
    number = {photo: k for k, photo in enumerate(anchors.photos)}
    places = [_world_points(photo, anchors, number[photo.photo]) for photo in photos]
    known = [k for k, place in enumerate(places) if place is not None]
    if not known:
        raise clear(
            f"--onto {anchors.folder}",
            expected="a scene with depth maps, as align --method mast3r or dust3r writes",
            got="none in its folder depth/",
            do="align it so, or place the photos by --method sfm",
        )
    new, dropped = prepare_photos(found.photos, predictor.prepare)
    if not new:
        raise clear(
            "photos", expected="one that can be used", got=f"{dropped[0].name}: {dropped[0].reason}", do="give others"
        )
    everything = [*photos, *new]
    alike = similarity(global_descriptors(everything, predictor))
    sighted = []
    for k in range(len(new)):
        nearest = sorted(known, key=lambda v: -float(alike[len(photos) + k, v]))[:NEAREST]
        sighted.append(_sighted(everything, len(photos) + k, nearest, places, predictor))
        progress("photos", k + 1, len(new))
    usable = PhotoSet(tuple(photo.photo for photo in new), found.dropped + tuple(dropped), found.mask_meaning)
    placed = place_all(usable, sighted, anchors, lens, out, out / WORK / "scene")
    shutil.rmtree(out / WORK, ignore_errors=True)
    return placed


def _sighted(
    photos: Sequence[NetworkPhoto],
    new: int,
    nearest: Sequence[int],
    places: Sequence[Float[Tensor, "_h _w 3"] | None],
    predictor: PhotoPredictor,
) -> Sighted:
    """What photo `new` shows of the points of the photos `nearest`."""
    pictures = [photo.prepared for photo in photos]
    points, pixels = [torch.zeros(0, 3)], [torch.zeros(0, 2)]
    for (_, anchor), said in predictor.predict(pictures, [(new, anchor) for anchor in nearest]):
        own, other, place = said.descriptors_1, said.descriptors_2, places[anchor]
        if own is None or other is None or place is None:
            continue  # nothing to match by, or nothing to lift to
        matches = match_photo(own, other, masks=(photos[new].mask, photos[anchor].mask))
        matches = matches.where(matches.confidence > LEAST_CONFIDENCE)
        lifted = lift_matches(matches.swapped(), place.to(matches.xy_i))
        points.append(lifted[0].cpu())
        pixels.append(lifted[1].cpu())
    in_photo = photos[new].prepared.photo_from_input
    at = torch.cat(pixels).double() @ in_photo[:2, :2].mT + in_photo[:2, 2]
    return Sighted(torch.cat(points), at, float(in_photo[0, 0]))


def _world_points(photo: NetworkPhoto, anchors: AnchorScene, view: int) -> Float[Tensor, "_h _w 3"] | None:
    """The scene's points at the pixels of the network's picture, NaN where depth is not known; None without a map."""
    depth = read_depth(anchors.folder, photo.photo)
    if depth is None:
        return None
    h, w = photo.size_hw
    row, column = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
    in_photo = photo.prepared.photo_from_input
    centres = torch.stack((column, row), -1).reshape(-1, 2).double()
    pixels = (centres @ in_photo[:2, :2].mT + in_photo[:2, 2]).numpy()
    scale = np.array(depth.shape[::-1]) / np.array(photo.photo.size_px)
    x, y = np.clip((pixels * scale).astype(int), 0, np.array(depth.shape[::-1]) - 1).T
    z = np.where(depth[y, x] > 0, depth[y, x], np.nan)
    plane = unproject(pixels, np.tile(anchors.lenses[view].mean, (len(pixels), 1)))
    in_cam = torch.from_numpy(np.column_stack((plane, np.ones(len(plane)))) * z[:, None])
    world_from_cam = se3.inverse(torch.from_numpy(anchors.cam_from_world[view]))
    return sim3.apply(world_from_cam, in_cam).reshape(h, w, 3).float()
