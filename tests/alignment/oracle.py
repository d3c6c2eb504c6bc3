"""The golden scenes of the sparse aligner: predictions of a ray-cast room, and what the published code made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from rilievo.alignment.problem import Fixed, Matches, Problem, Regression, Sightings, median_depths
from rilievo.alignment.scene_state import Geometry
from rilievo.alignment.spanning_tree import KinematicTree
from rilievo.matching.pair_result import Correspondences, PairPrediction, PairResult, score_of

STEP = 8


class Case:
    """One scene's file, by name and as tensors."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as file:
            self.arrays = {name: file[name] for name in file.files}

    def __getitem__(self, name: str) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(self.arrays[name]))

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    @property
    def views(self) -> int:
        return len(self.arrays["gt/cam2w"])

    @property
    def masks(self) -> list[torch.Tensor]:
        return [self[f"gt/mask_{i}"] > 0 for i in range(self.views)]

    @property
    def images(self) -> list[torch.Tensor]:
        return [self[f"img/{i}"] for i in range(self.views)]

    def list(self, name: str) -> list[torch.Tensor]:
        return [self[f"{name}_{i}"] for i in range(self.views)]

    def prediction(self, i: int, j: int) -> PairPrediction:
        X_i, C_i, X_j, C_j = (self[f"pred/{i}_{j}/{part}"] for part in ("X_i", "C_i", "X_j", "C_j"))
        return PairPrediction(X_i, C_i, X_j, C_j)

    def pairs(self, among: list | None = None) -> dict[tuple[int, int], PairResult]:
        """Results of all pairs, or of those `among` ordered ones."""
        results = {}
        for i, j in sorted({(min(p), max(p)) for p in (self.arrays["pairs"].tolist() if among is None else among)}):
            xy_i, xy_j, confidence = (self[f"corres/{i}_{j}/{part}"].float() for part in ("xy_i", "xy_j", "conf"))
            ij, ji = self.prediction(i, j), self.prediction(j, i)
            matches = Correspondences(xy_i, xy_j, confidence)
            results[i, j] = PairResult(ij, ji, matches, score_of(ij, ji, matches))
        return results

    @property
    def sizes(self) -> list[tuple[int, int]]:
        return [tuple(depth.shape) for depth in self.list("gt/depth")]

    def tree(self, variant: str) -> KinematicTree:
        edges = tuple((int(a), int(b)) for a, b in self.arrays[f"{variant}/mst_edges"])
        return KinematicTree(int(self.arrays[f"{variant}/mst_root"]), edges)

    def problem(self, tree: KinematicTree, threshold: float, core_depth: list[torch.Tensor] | None = None) -> Problem:
        """The stored condensed data as a problem: every pair once, with the published targets of regression."""
        n, at = self.views, "inter/condensed"
        depth = core_depth or [self[f"{at}/core_depth_{i}"].reshape(-1) for i in range(n)]
        counts = torch.tensor([len(d) for d in depth])
        first_anchor = counts.cumsum(0) - counts
        hung = [[self[f"{at}/anchors_{i}/{part}"] for part in ("uv1", "idxs", "offsets")] for i in range(n)]
        seen = torch.tensor([len(parts[1]) for parts in hung])
        first_seen = (seen.cumsum(0) - seen).tolist()
        sightings = Sightings(
            torch.arange(n).repeat_interleave(seen),
            torch.cat([uv[:, :2].float() for uv, _, _ in hung]),
            torch.cat([idx.long() + first_anchor[i] for i, (_, idx, _) in enumerate(hung)]),
            torch.cat([o for _, _, o in hung]),
        )
        confidences, at_row = self[f"{at}/all_confs"], 0
        parts: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        weak: list[Regression] = []
        for i, a0, a1, j, b0, _ in self.arrays[f"{at}/slices"].tolist():
            rows = torch.arange(a1 - a0)
            confidence = confidences[at_row : at_row + len(rows)]
            at_row += len(rows)
            if confidence.max() > threshold:
                if i < j:
                    parts.append((first_seen[i] + a0 + rows, first_seen[j] + b0 + rows, confidence))
                continue
            own = first_seen[i] + torch.arange(seen[i])
            prediction = self.prediction(j, i)
            index = hung[i][1].long()
            target = prediction.X_2[::STEP, ::STEP].reshape(-1, 3)[index]
            weight = prediction.C_2[::STEP, ::STEP].reshape(-1)[index]
            weak.append(Regression(own, torch.full_like(own, j), target, weight))
        matches = Matches(*(torch.cat(part) for part in zip(*parts, strict=True))) if parts else _no_matches()
        regression = _joined(weak) if weak else Regression.none(torch.zeros(0))
        anchor_view = torch.arange(n).repeat_interleave(counts)
        usable = torch.ones_like(anchor_view, dtype=torch.bool)
        sizes = self[f"{at}/imsizes_wh"].float()
        return Problem(
            sizes=sizes,
            principal_points=self[f"{at}/pps"],
            base_focals=self[f"{at}/base_focals"],
            anchor_view=anchor_view,
            anchor_pixel=torch.cat([block_centres(*size) for size in self.arrays[f"{at}/imsizes_wh"].tolist()]),
            core_depth=torch.cat(depth),
            median_depth=median_depths(torch.cat(depth), anchor_view, usable, n),
            sightings=sightings,
            matches=matches,
            regression=regression,
            tree=tree,
            confidence=torch.stack([self[f"inter/canon_{i}/conf"].mean() for i in range(n)]),
            fixed=Fixed.nothing(sizes),
        )

    def geometry(self, variant: str, problem: Problem) -> Geometry:
        """The cameras and depths that the published code returned."""
        pose, focal = self[f"{variant}/cam2w"], self[f"{variant}/focals"]
        depth = torch.cat(self.list(f"{variant}/depthmap"))
        pp = self[f"{variant}/pps"]
        return Geometry(focal, pp, problem.base_focals / focal, pose[:, :3, :3], pose[:, :3, 3], depth)


def block_centres(width: int, height: int) -> torch.Tensor:
    y = torch.arange(STEP // 2, height, STEP)
    x = torch.arange(STEP // 2, width, STEP)
    return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1).reshape(-1, 2).float()


def _no_matches() -> Matches:
    index = torch.zeros(0, dtype=torch.int64)
    return Matches(index, index, torch.zeros(0))


def _joined(parts: list[Regression]) -> Regression:
    return Regression(*(torch.cat([getattr(p, k) for p in parts]) for k in ("sighting", "frame", "target", "weight")))
