"""Networks that look at two photos and say, for every pixel of both, where in the first camera's frame it lies.

`config` describes a network as its checkpoint does; `rope`, `attention`, `blocks`, `patches` and `backbone` are the
transformer, `heads`, `dpt_head` and `activations` turn its tokens into pointmaps, `network` puts them together.
`checkpoint` reads published weights, `weights` finds them, `photo` prepares photos as published, and `predictor` is the
door that alignment uses: anything behind it that answers for pairs of photos can drive it.
"""
