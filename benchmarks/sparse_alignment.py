"""Seconds of the sparse alignment on the oracle scenes, beside those of the published implementation.

python benchmarks/sparse_alignment.py GOLDEN_MAST3R_FOLDER [--threads 1] [--repeat 3]

Both clocks run over all that follows the network: canonical views, the tree, both stages at the same numbers of
iterations. The published seconds were taken on one thread of a shared machine, so ratios are indicative.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from rilievo.alignment.condense import condense
from rilievo.alignment.config import SparseConfig
from rilievo.alignment.solve import solve
from rilievo.geometry.alignment import camera_errors
from rilievo.matching.pair_result import Correspondences, PairPrediction, PairResult, score_of


def pairs_of(arrays: dict[str, torch.Tensor]) -> dict[tuple[int, int], PairResult]:
    """The oracle predictions and matches of a scene."""

    def prediction(i: int, j: int) -> PairPrediction:
        return PairPrediction(*(arrays[f"pred/{i}_{j}/{part}"] for part in ("X_i", "C_i", "X_j", "C_j")))

    results = {}
    for i, j in sorted({(min(pair), max(pair)) for pair in arrays["pairs"].tolist()}):
        ij, ji = prediction(i, j), prediction(j, i)
        matches = Correspondences(*(arrays[f"corres/{i}_{j}/{part}"].float() for part in ("xy_i", "xy_j", "conf")))
        results[i, j] = PairResult(ij, ji, matches, score_of(ij, ji, matches))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("golden", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    summary = json.loads((asked.golden / "sparse_ga_summary.json").read_text())
    print(f"{asked.threads} threads, median of {asked.repeat}; rotation in degrees, centres in % of extent")
    print(f"{'scene':<8}{'variant':<20}{'ours s':>8}{'published s':>12}{'ratio':>7}   errors, ours and published")
    for scene in ("main", "mixed"):
        with np.load(asked.golden / f"sparse_ga_{scene}.npz") as file:
            arrays = {name: torch.from_numpy(np.ascontiguousarray(file[name])) for name in file.files}
        truth = arrays["gt/cam2w"].double()
        sizes = [tuple(arrays[f"gt/depth_{i}"].shape) for i in range(len(truth))]
        for variant, run in summary[f"sparse_ga_{scene}"].items():
            args = run["args"]
            if not args["niter1"] or set(args) - {"lr1", "niter1", "lr2", "niter2", "matching_conf_thr",
                                                  "shared_intrinsics", "opt_depth"}:  # fmt: skip
                continue
            config = SparseConfig(
                coarse_iterations=args["niter1"],
                coarse_rate=args["lr1"],
                fine_iterations=args["niter2"],
                fine_rate=args["lr2"],
                matching_confidence=args["matching_conf_thr"],
                shared_intrinsics=args.get("shared_intrinsics", False),
                optimise_depth=args.get("opt_depth", True),
            )
            pairs = pairs_of(arrays)
            solution = solve(condense(pairs, sizes, config).problem, config.form, config.stages)  # loads compiled code
            times = []
            for _ in range(asked.repeat):
                start = time.perf_counter()
                solution = solve(condense(pairs, sizes, config).problem, config.form, config.stages)
                times.append(time.perf_counter() - start)
            seconds = statistics.median(times)
            ours = camera_errors(solution.geometry.world_from_cam.double(), truth)
            theirs = camera_errors(arrays[f"res/{variant}/cam2w"].double(), truth)
            print(
                f"{scene:<8}{variant:<20}{seconds:8.2f}{run['seconds']:12.2f}{seconds / run['seconds']:7.2f}   "
                f"{ours.rotation_deg:.2f}° {ours.center_percent:.2f} %, "
                f"{theirs.rotation_deg:.2f}° {theirs.center_percent:.2f} %"
            )


if __name__ == "__main__":
    main()
