"""What is reported of the poses of domains that were searched: numbers, a table, and sentences for the user."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from bayesflex.geometry import rmsd
from bayesflex.io.tables import write_csv
from bayesflex.sampling import DomainPose, Starts

DOMAIN_POSES_FILE = "domain_poses.csv"

#: A pose with this share of the score of the one that was taken explains the map about as well. Next to right poses of
#: GroEL and p97 the others had 0.80 to 0.86; next to a right one in the real map of RF2, 0.89 and 1.15.
_ALIKE = 0.88


def summary_of_starts(starts: Starts, n_chains: int) -> dict[str, Any]:
    """Return where chains started, and what was compared on the way there."""
    first = starts.structures[0]
    return {
        "starts": [
            {
                "chains": list(range(number, n_chains, len(starts.structures))),
                "log_density": log_density,
                "rmsd": rmsd(structure, first),
            }
            for number, (structure, log_density) in enumerate(zip(starts.structures, starts.log_densities, strict=True))
        ],
        "domain_poses": [asdict(pose) for pose in starts.poses],
    }


def write_domain_poses(poses: Sequence[DomainPose], path: Path) -> None:
    """Write the table of the poses that were compared.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    rows = [[int(value) if isinstance(value, bool) else value for value in asdict(pose).values()] for pose in poses]
    write_csv(path, [each.name for each in fields(DomainPose)], rows)


def warnings_of_starts(starts: Starts) -> list[str]:
    """Return a sentence for each body of domains whose pose the map alone does not decide, and one for all starts."""
    found = []
    for step in sorted({pose.step for pose in starts.poses}):
        candidates = [pose for pose in starts.poses if pose.step == step]
        (taken,) = (pose for pose in candidates if pose.taken)
        alike = [pose for pose in candidates if not pose.taken and pose.score >= _ALIKE * taken.score]
        if alike:
            found.append(_doubt(taken, alike))
    if len(starts.structures) > 1:
        found.append(
            f"{len(starts.structures)} arrangements of the domains fit alike after relaxation, up to "
            f"{max(rmsd(each, starts.structures[0]) for each in starts.structures):.0f} Å RMSD apart. Chains started "
            "from each: where they ended in different conformations, look at each cluster-*.cif."
        )
    return found


def _doubt(taken: DomainPose, alike: Sequence[DomainPose]) -> str:
    """Say how a body was placed, that the map shows others about as well, and what decided."""
    other = max(alike, key=lambda pose: pose.score)
    nearest = max(alike, key=lambda pose: pose.log_density)
    text = (
        f"Residues {taken.residues} lay outside of their density and were put into it by a search, turned by "
        f"{taken.angle:.0f}° and shifted by {taken.shift:.0f} Å. The map alone does not decide that: "
        f"{len(alike)} other pose{'s' if len(alike) > 1 else ''} of these domains explain"
        f"{'s' if len(alike) == 1 else ''} their density about as well (score {taken.score:.1f}, another "
        f"{other.score:.1f}, {other.apart:.0f} Å away)"
    )
    if math.isfinite(nearest.log_density):
        text += (
            f"; the whole model, relaxed, spoke for the one that was taken, by "
            f"{taken.log_density - nearest.log_density:.0f} nats or more"
        )
    return f"{text}. Check it by what else is known; {DOMAIN_POSES_FILE} has all that were compared."
