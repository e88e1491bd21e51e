"""How the domains of a model turned and shifted in a fit, measured on its draws.

A domain's motion is that which superposes its residues at the start on the same residues of a draw: it is told of the
structures alone, whatever unknowns they were sampled in. Not to be confused with ``Deformation.motions``, the unknowns
of rigid bodies, which are counted from the structure that the warm-up reached and mean nothing by themselves where
local displacements can make the same motion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesflex.domains import Domains
from bayesflex.geometry import nearest_rotation
from bayesflex.io.tables import write_csv
from bayesflex.residue_runs import in_words

Array = NDArray[np.float64]

#: Ends of the intervals, percent of the draws.
_LOW, _HIGH = 5.0, 95.0


@dataclass(frozen=True)
class DomainMotion:
    """Motion of one domain from the start to the draws, in the frame of the map.

    The fields are the columns of ``domain_motions.csv``, in degrees and Å: see the page on outputs.
    """

    domain: int
    residues: str
    n_residues: int
    angle: float
    angle_low: float
    angle_high: float
    axis_x: float
    axis_y: float
    axis_z: float
    axis_within: float
    shift: float
    shift_low: float
    shift_high: float
    shift_x: float
    shift_y: float
    shift_z: float
    relative_angle: float
    relative_angle_low: float
    relative_angle_high: float


def measured_motions(
    domains: Domains, start: Array, draws: NDArray[np.floating[Any]], labels: Sequence[str] | NDArray[np.str_]
) -> tuple[DomainMotion, ...]:
    """Return the motion of each domain, the largest first.

    Parameters
    ----------
    domains
        Of the start. Residues of linkers bend and do not count, where a domain has others.
    start
        Shape (n_ca, 3), Å.
    draws
        Shape (n_draws, n_ca, 3), Å.
    labels
        Names of the residues, "chain number".
    """
    found = []
    frame = None
    for domain in range(domains.n_domains):
        whole = domains.labels == domain
        inside = whole & ~domains.linker
        residues = inside if np.count_nonzero(inside) > 2 else whole
        rotations, shifts = _rigid_motions(start[residues], draws[:, residues].astype(np.float64))
        frame = rotations if frame is None else frame
        vectors, angles = _vectors_and_angles(rotations)
        relative = _vectors_and_angles(np.swapaxes(frame, 1, 2) @ rotations)[1]
        mean_vector, _ = _vectors_and_angles(nearest_rotation(rotations.mean(axis=0))[None])
        axis = mean_vector[0]
        length, middle = np.linalg.norm(shifts, axis=1), np.median(shifts, axis=0)
        found.append(
            DomainMotion(
                domain + 1,
                in_words(whole, labels),
                int(np.count_nonzero(whole)),
                *_middle_and_interval(angles),
                float(axis[0]),
                float(axis[1]),
                float(axis[2]),
                float(np.percentile(np.degrees(np.arccos(np.clip(vectors @ axis, -1.0, 1.0))), 90.0)),
                *_middle_and_interval(length),
                float(middle[0]),
                float(middle[1]),
                float(middle[2]),
                *_middle_and_interval(relative),
            )
        )
    return tuple(found)


def write_domain_motions(motions: Sequence[DomainMotion], path: Path) -> None:
    """Write ``domain_motions.csv``, a row per domain.

    Raises
    ------
    InputError
        If the file cannot be written; nothing is left behind then.
    """
    names = [item.name for item in fields(DomainMotion)]
    write_csv(path, names, ([getattr(row, name) for name in names] for row in motions))


def _rigid_motions(start: Array, draws: Array) -> tuple[Array, Array]:
    """Return the rotations (n_draws, 3, 3) that superpose points on draws, and the shifts of their centroid."""
    centre, centres = start.mean(axis=0), draws.mean(axis=1)
    covariance = np.einsum("dni,nj->dij", draws - centres[:, None], start - centre)
    return nearest_rotation(covariance), centres - centre


def _vectors_and_angles(rotations: Array) -> tuple[Array, Array]:
    """Return the unit axes (n, 3) and the angles (n,), degrees from 0 to 180, of rotations (n, 3, 3)."""
    twice_sine = np.stack(
        [
            rotations[:, 2, 1] - rotations[:, 1, 2],
            rotations[:, 0, 2] - rotations[:, 2, 0],
            rotations[:, 1, 0] - rotations[:, 0, 1],
        ],
        axis=1,
    )
    length = np.linalg.norm(twice_sine, axis=1)
    angles = np.degrees(np.arctan2(length, np.trace(rotations, axis1=1, axis2=2) - 1.0))
    # The eigenvector of eigenvalue 1 is the axis also at half a turn, where the difference above vanishes.
    _, vectors = np.linalg.eigh(rotations + np.swapaxes(rotations, 1, 2))
    axes = vectors[:, :, -1]
    axes *= np.where(np.sum(axes * twice_sine, axis=1) < 0.0, -1.0, 1.0)[:, None]
    return axes, angles


def _middle_and_interval(values: Array) -> tuple[float, float, float]:
    low, middle, high = np.percentile(values, [_LOW, 50.0, _HIGH]).tolist()
    return middle, low, high
