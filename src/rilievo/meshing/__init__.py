"""From fields to triangle meshes."""

from rilievo.meshing.surface import Progress, density_field, extract_surface

__all__ = ["Progress", "density_field", "extract_surface"]
