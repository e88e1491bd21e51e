"""Dock models from random poses into their own maps: ``python -m benchmarks.docking``.

A model is turned and shifted at random, by up to twice the map's box along each axis, so that most starts lie wholly
outside the map. Docked, its CA should lie where the structure has them that the map was made from: RMSD in place, the
least over permutations of equal chains. Times are processor time of one thread.
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.spatial.transform import Rotation

from bayesflex.density_map import DensityMap
from bayesflex.docking.pose import Pose, moved
from bayesflex.docking.solutions import dock
from bayesflex.docking.symmetry import equivalents, model_symmetry
from bayesflex.geometry import rmsd
from bayesflex.io.maps import read_map
from bayesflex.io.structures import read_structure
from bayesflex.structure import Structure
from bayesflex.workflows.simulate import simulate

#: What counts as found, Å.
FOUND = 2.0

SEED = 1


@dataclass(frozen=True)
class DockingCase:
    """A model, and the map of the same structure. ``load`` reads both below BAYESFLEX_DATA."""

    name: str
    resolution: float
    load: Callable[[Path, float], tuple[Structure, DensityMap]]


@dataclass(frozen=True)
class Attempt:
    """One docking; the fields are the columns of the CSV file. Lengths in Å, times in s."""

    case: str
    resolution: float
    start: int
    rmsd_before: float
    rmsd: float
    cc_local: float
    gap: float
    gap_z: float
    processor_seconds: float


def adenylate_kinase(data: Path, resolution: float) -> tuple[Structure, DensityMap]:
    """Return 1AKE, chain A with its ligand, and its computed map."""
    both = read_structure(data / "adk" / "1ake.pdb")
    chain = both.select(both.chain == "A")
    return chain, simulate(chain, resolution=resolution)


def groel(data: Path, resolution: float) -> tuple[Structure, DensityMap]:
    """Return the subunit 1OEL and the map beside it, which has 10 Å."""
    return read_structure(data / "groel" / "1oel.pdb"), read_map(data / "groel" / "1oel.ccp4")


def p97(data: Path, resolution: float) -> tuple[Structure, DensityMap]:
    """Return the hexamer 5FTM and its computed map."""
    hexamer = read_structure(data / "p97" / "5ftm.pdb.gz")
    return hexamer, simulate(hexamer, resolution=resolution)


CASES = (
    DockingCase("adk", 5.0, adenylate_kinase),
    DockingCase("adk", 10.0, adenylate_kinase),
    DockingCase("groel", 10.0, groel),
    DockingCase("p97", 5.0, p97),
    DockingCase("p97", 10.0, p97),
)


def attempts(case: DockingCase, data: Path, n: int, seed: int = SEED) -> Iterator[Attempt]:
    """Yield the outcomes of n dockings from random poses; the first of them are the same for every n."""
    structure, density = case.load(data, case.resolution)
    truth = structure.trace().coords
    pivot = truth.mean(axis=0)
    symmetry = model_symmetry(structure.trace(), pivot)
    permuted = [each.apply(truth) for each in equivalents(Pose(np.eye(3), pivot, pivot), symmetry)]
    rng = np.random.default_rng(seed)
    for number in range(n):
        turn = Rotation.random(random_state=rng).as_rotvec()
        shift = rng.uniform(-2.0, 2.0, 3) * density.box_size
        start = structure.with_coords(moved(structure.coords, np.concatenate([turn, shift]).tolist()))
        began = time.process_time()
        found = dock(start, density, case.resolution)
        seconds = time.process_time() - began
        placed = found.best.apply(start.trace().coords)
        yield Attempt(
            case.name,
            case.resolution,
            number,
            min(rmsd(start.trace().coords, other) for other in permuted),
            min(rmsd(placed, other) for other in permuted),
            found.best.score,
            found.solutions[0].gap,
            found.solutions[0].gap_z,
            seconds,
        )


def summary_row(outcomes: Sequence[Attempt]) -> tuple[str, ...]:
    """Return the row of the table for the attempts of one case."""
    rmsds = [outcome.rmsd for outcome in outcomes]
    n_found = sum(value < FOUND for value in rmsds)
    return (
        outcomes[0].case,
        f"{outcomes[0].resolution:g} Å",
        f"{n_found} of {len(outcomes)}",
        f"{np.median(rmsds):.2f} Å",
        f"{max(rmsds):.2f} Å",
        f"{np.median([outcome.cc_local for outcome in outcomes]):.3f}",
        f"{min(outcome.gap for outcome in outcomes):.3f}",
        f"{np.median([outcome.processor_seconds for outcome in outcomes]):.1f} s",
    )


HEADINGS = ("case", "map", f"within {FOUND:g} Å", "RMSD, median", "worst", "cc_local", "least gap", "time, median")


def write_attempts(outcomes: Sequence[Attempt], path: Path) -> None:
    """Write a CSV file with a row for each attempt."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([item.name for item in fields(Attempt)])
        for outcome in outcomes:
            writer.writerow([f"{value:.4f}" if isinstance(value, float) else value for value in astuple(outcome)])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.docking", description=__doc__)
    parser.add_argument("--poses", type=int, default=20, help="random poses of each case")
    parser.add_argument(
        "--case", action="append", help="a case by its name, or name and resolution (p97-5); repeatable"
    )
    parser.add_argument("--seed", type=int, default=SEED, help="of the random poses")
    parser.add_argument("-o", "--output", type=Path, help="CSV file to write, one row for each pose")
    arguments = parser.parse_args()
    folder = os.environ.get("BAYESFLEX_DATA")
    if not folder:
        parser.error("set BAYESFLEX_DATA to the folder of the reference data")
    wanted = arguments.case or [case.name for case in CASES]
    table, outcomes = Table(*HEADINGS), []
    for case in CASES:
        if case.name in wanted or f"{case.name}-{case.resolution:g}" in wanted:
            of_case = list(attempts(case, Path(folder), arguments.poses, arguments.seed))
            table.add_row(*summary_row(of_case))
            outcomes += of_case
            if arguments.output:
                write_attempts(outcomes, arguments.output)
    Console().print(table)


if __name__ == "__main__":
    main()
