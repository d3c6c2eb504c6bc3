"""What projects Gaussians: the definition itself."""

from rilievo.ops.gaussian_rasterize import reference

project_gaussians = reference.project_gaussians
