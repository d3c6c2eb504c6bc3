"""Chains of parts that lead from what a user has to what a user wants.

`pointmap_align` leads from photographs to a scene folder by way of pointmaps: `network_photos` are the photos and masks
as a network sees them, `pair_plan` says which pairs are compared and what that takes, `pair_results` compares them and
says which photos belong together, `pointmap_views` aligns them, `pointmap_folder` writes the scene.
"""
