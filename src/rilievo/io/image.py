"""8-bit pictures: the only place that decodes or encodes PNG, JPEG and their relatives (through Pillow).

Pixels are sRGB as stored, row-major, uint8. A photo is turned upright by its EXIF orientation unless told otherwise.
Grey, palette, two-level, CMYK and 16-bit files become 8-bit colour; alpha is straight (colour not multiplied by it).
Resampling is Pillow's bicubic, whose kernel widens when a picture shrinks, so that shrinking averages instead of
skipping; colour is weighed by alpha meanwhile, so that what lies under transparent pixels does not bleed in.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from rilievo.errors import clear
from rilievo.io.atomic import replacing

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})

ORIENTATION_TAG = 0x0112
SIDEWAYS = frozenset({5, 6, 7, 8})
"""EXIF orientations that swap width and height."""

_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow's decoders raise on broken files."""


@dataclass(frozen=True)
class ImageHeader:
    """What is known of a picture."""

    size_px: tuple[int, int]
    """Width and height once upright."""
    stored_size_px: tuple[int, int]
    """Width and height of the pixel array in the file, before EXIF orientation."""
    upright: bool
    """The stored pixels need no turning."""
    has_alpha: bool
    """There is an alpha channel; after a full decode, one that is not opaque everywhere."""


def read_header(path: Path, *, decode: bool = False) -> ImageHeader:
    """Size and kind of a picture; with `decode` the whole file is decoded, which proves it sound.

    Raises `UserError` naming the file when it is missing, is no picture, or (with `decode`) is damaged.
    """
    try:
        with Image.open(path) as image:
            # Pillow decodes a whole PNG in search of EXIF, unless it stands before the pixels
            searched = image.format != "PNG" or "exif" in image.info
            orientation = image.getexif().get(ORIENTATION_TAG, 1) if searched else 1
            has_alpha = "A" in image.getbands() or "transparency" in image.info
            if decode:
                image.load()
                has_alpha = has_alpha and bool(np.asarray(image.convert("RGBA"))[..., 3].min() < 255)
            width, height = image.size
    except _DECODER_ERRORS as error:
        raise _unreadable(path, error) from error
    upright_size = (height, width) if orientation in SIDEWAYS else (width, height)
    return ImageHeader(upright_size, (width, height), orientation == 1, has_alpha)


def read_color(
    path: Path, *, size_px: tuple[int, int] | None = None, orient: bool = True
) -> UInt8[np.ndarray, "h w 3"]:
    """The picture's colour, resampled to `size_px` (width, height) where given.

    `orient=False` leaves the pixels as stored, for cameras that were calibrated on the file before EXIF orientation.
    Raises `UserError` naming the file when it cannot be decoded.
    """
    return np.ascontiguousarray(_read(path, size_px, orient)[..., :3])


def read_alpha(path: Path, *, size_px: tuple[int, int] | None = None, orient: bool = True) -> UInt8[np.ndarray, "h w"]:
    """The picture's alpha, 255 everywhere when it has none."""
    pixels = _read(path, size_px, orient)
    if pixels.shape[2] == 3:
        return np.full(pixels.shape[:2], 255, dtype=np.uint8)
    return np.ascontiguousarray(pixels[..., 3])


def read_gray(path: Path, *, size_px: tuple[int, int] | None = None, orient: bool = True) -> UInt8[np.ndarray, "h w"]:
    """The picture as grey levels (ITU-R 601 luma), as masks are stored.

    A picture that is black (or white) all over in colour and carries its shape in the alpha channel is read by its
    alpha.
    """
    pixels = _read(path, size_px, orient)
    if pixels.shape[2] == 4 and pixels[..., :3].min() == pixels[..., :3].max():
        return np.ascontiguousarray(pixels[..., 3])
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels[..., :3])).convert("L"))


def write_image(
    path: Path, pixels: UInt8[np.ndarray, "h w 3"] | UInt8[np.ndarray, "h w 4"] | UInt8[np.ndarray, "h w"]
) -> None:
    """Write colour, colour with straight alpha, or grey, whole or not at all; the suffix names the format."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    with replacing(path) as temporary:
        if path.suffix.lower() in {".jpg", ".jpeg"}:
            image.save(temporary, quality=95, subsampling=0)
        else:
            image.save(temporary)


def _read(path: Path, size_px: tuple[int, int] | None, orient: bool) -> UInt8[np.ndarray, "h w c"]:
    """Colour (3 channels) or colour and alpha (4)."""
    try:
        with Image.open(path) as stored:
            image = _eight_bit(stored)
            if orient:
                image.info.update(stored.info)
                image = ImageOps.exif_transpose(image)
    except _DECODER_ERRORS as error:
        raise _unreadable(path, error) from error
    if size_px is not None and image.size != size_px:
        image = image.resize(size_px, Image.Resampling.BICUBIC)
    return np.asarray(image)


def _eight_bit(image: Image.Image) -> Image.Image:
    """RGB, or RGBA where the file has transparency."""
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip instead of scaling
        wide = np.asarray(image).astype(np.float64)
        return Image.fromarray(np.clip(np.rint(wide / 257), 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise ValueError("a floating-point picture; save it as 8 or 16 bits")
    if image.mode == "RGBA" or "transparency" in image.info or image.mode in {"LA", "PA", "La", "RGBa"}:
        return image.convert("RGBA")
    return image.convert("RGB")


def _unreadable(path: Path, error: BaseException) -> Exception:
    if isinstance(error, FileNotFoundError):
        return clear(f"image {path}", expected="a file", got="nothing there", do="check the name and the folder")
    return clear(
        f"image {path}",
        expected="a readable PNG, JPEG, TIFF, BMP or WebP",
        got=str(error).replace(str(path), path.name) or type(error).__name__,
        do="copy or export the file again, or remove it",
    )
