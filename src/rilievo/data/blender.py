"""The layout of NeRF's synthetic scenes: `transforms_{train,test,val}.json`, camera-to-world in OpenGL axes.

Mildenhall et al. 2020. Photos are cut out by their alpha, which is straight and means *object*. The principal point is
the image centre (w/2, h/2) where the file has no cx, cy; loaders that round it down to whole pixels differ by half a
pixel for odd sizes.
"""

from __future__ import annotations

from pathlib import Path

from rilievo.data.frame import CV_FROM_GL, Frame, Listing, Split, pose_matrix
from rilievo.data.image_files import find_image, size_if_readable
from rilievo.data.intrinsics import read_intrinsics
from rilievo.data.json_file import frames_of, read_object
from rilievo.data.scene import Dropped, MaskMeaning


def is_blender(folder: Path) -> bool:
    return (folder / "transforms_train.json").is_file()


def list_blender(folder: Path) -> Listing:
    """Training views, then test views (validation views where there is no test file)."""
    held_out = next((name for name in ("test", "val") if (folder / f"transforms_{name}.json").is_file()), None)
    frames, dropped = _frames(folder, "train", Split.TRAIN)
    notes: list[str] = []
    if held_out is not None:
        test_frames, test_dropped = _frames(folder, held_out, Split.TEST)
        frames, dropped = frames + test_frames, dropped + test_dropped
    if held_out == "test" and (folder / "transforms_val.json").is_file():
        notes.append("the views of transforms_val.json are not used")
    return Listing(
        "Blender (NeRF-synthetic) transforms_*.json",
        tuple(frames),
        mask_meaning=MaskMeaning.OBJECT,
        dropped=tuple(dropped),
        notes=tuple(notes),
    )


def _frames(folder: Path, name: str, split: Split) -> tuple[list[Frame], list[Dropped]]:
    path = folder / f"transforms_{name}.json"
    content = read_object(path)
    frames: list[Frame] = []
    dropped: list[Dropped] = []
    for entry in frames_of(content, path):
        listed = str(entry.get("file_path", ""))
        image = find_image(folder, listed)
        if image is None:
            dropped.append(Dropped(listed, "its file is missing"))
            continue
        lens = read_intrinsics(content, entry, path, size_if_readable(image))
        frames.append(
            Frame(
                image.relative_to(folder).as_posix(),
                image,
                pose_matrix(entry.get("transform_matrix")) @ CV_FROM_GL,
                lens.K,
                lens.size_px,
                lens.distortion,
                lens.fisheye,
                split=split,
            )
        )
    return frames, dropped
