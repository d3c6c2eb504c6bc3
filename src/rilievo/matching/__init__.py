"""Which photos to compare, which of their pixels are the same point, and where the answers are kept.

`scene_graph` and `retrieval` choose pairs, `reciprocal` finds mutual nearest neighbours among descriptors,
`correspondences` makes matches of them under masks, `coarse_to_fine` does so at full resolution in `windows`, and
`pair_store` keeps results on disk. What passes between them is in `pair_result`.
"""
