"""Kernels: what neural rendering spends its time in.

Each kernel is a folder: `__init__` (contract and checks), `reference` (plain torch, the definition), `cpu` (Numba),
`cuda` (Triton) and `register` (torch.library: fake tensors, derivatives). Importing this package imports none of them.
"""
