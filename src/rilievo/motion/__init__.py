"""Motion of points in space: 3-D correspondences from depth, flow and cameras, and what trains on them."""
