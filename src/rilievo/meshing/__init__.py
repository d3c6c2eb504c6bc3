"""From fields to triangle meshes."""

from rilievo.meshing.cleanup import cleaned
from rilievo.meshing.surface import Progress, density_field, extract_surface

__all__ = ["Progress", "cleaned", "density_field", "extract_surface"]
