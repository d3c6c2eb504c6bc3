"""The only file that imports pycolmap, so that its traps are avoided in one place.

pycolmap's wheel exports its own zlib; where it is the first library to map one, later PNG encoders crash. Importing
`zlib` first keeps them apart. Its log goes to stderr line by line; only errors are let through.
"""

from __future__ import annotations

import zlib  # noqa: F401  before pycolmap, see above

from rilievo.errors import UserError

try:
    import pycolmap
except ImportError as error:
    raise UserError(
        "align --method sfm: expected pycolmap, got none; pip install pycolmap, or bring poses made by COLMAP elsewhere"
    ) from error

pycolmap.logging.minloglevel = pycolmap.logging.FATAL.value

__all__ = ["pycolmap"]
