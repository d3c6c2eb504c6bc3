"""Chains of parts that lead from what a user has to what a user wants.

`pointmap_align` leads from photographs to a scene folder by way of pointmaps: `network_photos` are the photos and masks
as a network sees them, `pair_plan` says which pairs are compared and what that takes, `pair_results` compares them
(`fine_matching` once more, in larger pictures) and says which photos belong together, `pointmap_views` aligns them,
`pointmap_folder` writes the scene and `pointmap_exports` what else is wanted of it.

`feature_localization` and `pointmap_localization` place new photos in a scene that is there (`anchor_scene`), by SIFT
features or by what a network says.

`relight` shows a run of nero-material under a panorama: `relight_job` is what `relight_mitsuba` and `relight_blender`
are asked for, and `blender_scene` runs inside Blender.
"""
