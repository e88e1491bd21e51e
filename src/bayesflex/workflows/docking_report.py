"""What is said about a docking: its solutions as tables, and warnings."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from bayesflex.density_map import DensityMap
from bayesflex.docking.pose import Pose
from bayesflex.docking.solutions import CLEAR_GAP, Docking
from bayesflex.geometry import rmsd
from bayesflex.structure import Structure

Array = NDArray[np.float64]

#: Local correlation below which even the best pose hardly resembles the map: the best of wrong ones reach 0.2 to 0.75.
_LEAST_SCORE = 0.4


POSES_FILE = "poses.csv"

#: Columns of ``poses.csv``.
_COLUMNS = (
    *("rank", "place", "cc_local", "gap", "gap_z", "equivalents", "ca_inside"),
    *("qw", "qx", "qy", "qz", "rx", "ry", "rz", "tx", "ty", "tz"),
)


def share_inside(structure: Structure, density: DensityMap, pose: Pose) -> float:
    """Return the share of the CA atoms that a pose puts into the map's box."""
    return float(np.mean(density.contains(pose.apply(structure.trace().coords))))


def solution_table(docking: Docking, structure: Structure, density: DensityMap) -> str:
    """Return what was searched, and the solutions in columns."""
    ca = structure.trace().coords
    best = docking.best.apply(ca)
    rows = [("solution", "cc_local", "below the best", "standard errors", "places", "CA inside", "RMSD from the best")]
    for rank, solution in enumerate(docking.solutions, start=1):
        below = (f"{solution.gap:.4f}", f"{solution.gap_z:.1f}") if rank > 1 else ("", "")
        rows.append(
            (
                str(rank),
                f"{solution.pose.score:.4f}",
                *below,
                str(1 + len(solution.places)),
                f"{share_inside(structure, density, solution.pose):.0%}",
                f"{rmsd(solution.pose.apply(ca), best):.1f} Å" if rank > 1 else "",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in rows]
    searched = (
        f"docked: {docking.n_rotations} orientations, none farther than {math.degrees(docking.angle):.0f}° from any, "
        f"at every place; resolutions {', '.join(f'{level:.1f}' for level in docking.levels)} Å"
    )
    if len(docking.symmetry) > 1:
        searched += (
            f"\nthe model coincides with itself in {len(docking.symmetry)} orientations: these are one solution each"
        )
    moved_by = f"solution 1 moves the model by {rmsd(best, ca):.1f} Å RMSD"
    return "\n".join([searched, *lines, moved_by])


def poses_table(docking: Docking, structure: Structure, density: DensityMap) -> str:
    """Return ``poses.csv``: a row for each solution, and for each further place that holds the same density."""
    lines = [",".join(_COLUMNS)]
    for rank, solution in enumerate(docking.solutions, start=1):
        for place, pose in enumerate((solution.pose, *solution.places), start=1):
            quaternion = Rotation.from_matrix(pose.rotation).as_quat(canonical=True, scalar_first=True)
            inside = share_inside(structure, density, pose)
            lines.append(
                f"{rank},{place},{pose.score:.6f},{_shown(solution.gap)},{_shown(solution.gap_z)},"
                f"{len(docking.symmetry)},{inside:.4f},"
                + ",".join(f"{value:.9g}" for value in (*quaternion.tolist(), *pose.motion))
            )
    return "\n".join(lines) + "\n"


def docking_warnings(docking: Docking, map_name: str) -> tuple[str, ...]:
    """Return sentences for the user."""
    warnings = []
    best = docking.solutions[0]
    if docking.is_ambiguous:
        advice = "look at both of their models"
        if len(docking.solutions) == 1:
            advice = "ask for at least two solutions and look at both"
        warnings.append(
            f"{map_name}: the map does not decide between solution 1 (cc_local {best.pose.score:.4f}) and solution 2 "
            f"({best.pose.score - best.gap:.4f}), which are {best.gap_z:.1f} standard errors apart where "
            f"{CLEAR_GAP:g} would be clear: {advice}"
        )
    if best.places:
        warnings.append(
            f"{map_name}: the map holds the same density in {1 + len(best.places)} places; the model is in one of them"
        )
    if best.pose.score < _LEAST_SCORE:
        warnings.append(
            f"{map_name}: the best pose hardly resembles the map (cc_local {best.pose.score:.2f}): check the model, "
            "the voxel size (--voxel) and the hand of the map"
        )
    return tuple(warnings)


def _shown(value: float) -> str:
    return f"{value:.6f}" if math.isfinite(value) else ""
