"""DUSt3R's global alignment: one depth map and camera per photo that agree with the pointmaps of all pairs.

Wang et al. 2024, arXiv:2312.14132, §3.3-3.4, eq. 5. An edge e = (i, j) is an ordered pair of photos; the network gave
it the pointmaps X^{i,e} and X^{j,e}, both in camera i and in a unit of the edge's own, with confidences C. Sought are
for every view v a depth map D_v, a pose world_from_cam P_v and a pinhole K_v, and for every edge a similarity
σ_e P_e = world_from_edge, so that

    Σ_e Σ_{v in e} Σ_p  w(C_p^{v,e}) | χ_p^v − σ_e P_e X_p^{v,e} |      with   χ_p^v = P_v (D_v(p) K_v⁻¹ p̃)

is least. `graph` holds what is given, `state` what is sought, `misfit` is the sum (`misfit_cpu` and `state_cpu` are
compiled), `start` and `known_start` give a first state, `align` runs Adam. `two_views` answers for a single pair of
photos without any optimisation.

Pixel centres are at +0.5 throughout (the published code counts them from 0), so principal points are larger by 0.5.
"""
