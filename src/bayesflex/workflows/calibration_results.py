"""CalibrationResult: ranks and coverage over all replicates, what they mean, and the files that hold them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesflex import __version__
from bayesflex.calibration import LEVELS, Coverage, corrected, coverage, uniformity_p_values
from bayesflex.io.tables import write_csv
from bayesflex.plots import save_figure
from bayesflex.plots.calibration import plot_calibration
from bayesflex.workflows.calibration_replicate import N_DRAWS, Replicate
from bayesflex.workflows.run_files import write_text

Array = NDArray[np.float64]

NUMBERS_FILE, TABLE_FILE, RANKS_FILE, FIGURE_FILE = (
    "calibration.json",
    "calibration.csv",
    "ranks.csv",
    "calibration.png",
)

#: CA whose coordinates are tested one by one; the coverage is that of all.
_N_TESTED_CA = 8

#: Ranks count as uniform above this p-value, and 90 % intervals as honest within these shares.
P_LIMIT, LEAST_COVERED, MOST_COVERED = 0.01, 0.86, 0.94

#: Fewest replicates of which a verdict is given: the standard error of a pooled coverage is then some 2 %.
FEWEST = 50

_PACKAGES = ("numpy", "numba", "scipy")


@dataclass(frozen=True, eq=False)
class CalibrationResult:
    """All replicates of a calibration.

    Parameters
    ----------
    settings
        What was calibrated, by name.
    coordinates, amplitudes, others
        Names of the quantities ranked, in the order of the ranks.
    replicates
        In the order of their numbers.
    seconds
        Time that they took.
    """

    settings: Mapping[str, Any]
    coordinates: tuple[str, ...]
    amplitudes: tuple[str, ...]
    others: tuple[str, ...]
    replicates: tuple[Replicate, ...]
    seconds: float

    @property
    def names(self) -> tuple[str, ...]:
        """All quantities."""
        return (*self.coordinates, *self.amplitudes, *self.others)

    @cached_property
    def ranks(self) -> NDArray[np.int64]:
        """Ranks, shape (n_replicates, n_quantities)."""
        return np.array([replicate.ranks for replicate in self.replicates], dtype=np.int64)

    def coverage(self, level: int, group: str = "coordinates") -> Coverage:
        """Return the coverage of the central intervals of a level in percent, pooled over a group of quantities."""
        first = len(self.coordinates)
        columns = slice(0, first) if group == "coordinates" else slice(first, first + len(self.amplitudes))
        return coverage(self.ranks[:, columns], N_DRAWS, level / 100.0)

    @cached_property
    def tested(self) -> NDArray[np.int64]:
        """Indices of the quantities whose ranks are tested: a set of CA, all amplitudes, and the rest."""
        n_ca = len(self.coordinates) // 3
        ca = np.unique(np.linspace(0, n_ca - 1, min(_N_TESTED_CA, n_ca)).round().astype(np.int64))
        return np.concatenate([(3 * ca[:, None] + np.arange(3)).ravel(), np.arange(3 * n_ca, len(self.names))])

    @cached_property
    def p_values(self) -> Array:
        """P-value of each quantity tested."""
        # The stream is for the test alone: the same ranks give the same p-values.
        return uniformity_p_values(self.ranks[:, self.tested], N_DRAWS, np.random.default_rng(20180418))

    @cached_property
    def corrected_p_values(self) -> Array:
        """The same, corrected for their number."""
        return corrected(self.p_values)

    @property
    def is_calibrated(self) -> bool | None:
        """Whether ranks are uniform and intervals honest; None where the replicates are too few to tell."""
        if len(self.replicates) < FEWEST:
            return None
        covered = [self.coverage(90, group).share for group in ("coordinates", "amplitudes")]
        honest = min(covered) >= LEAST_COVERED and max(covered) <= MOST_COVERED
        return honest and bool(self.corrected_p_values.min() > P_LIMIT)

    @property
    def verdict(self) -> str:
        """What came out, in a sentence or two."""
        shares = [self.coverage(90, group).share for group in ("coordinates", "amplitudes")]
        covered = f"90 % intervals hold {shares[0]:.1%} of the true coordinates and {shares[1]:.1%} of the amplitudes"
        uneven = [
            self.names[index] for index, p in zip(self.tested, self.corrected_p_values, strict=True) if not p > P_LIMIT
        ]
        least = f"least corrected p {self.corrected_p_values.min():.2g}"
        ranks = f"ranks of all {len(self.tested)} quantities tested are uniform ({least})"
        if uneven:
            others = f" and {len(uneven) - 3} more" if len(uneven) > 3 else ""
            ranks = f"ranks of {', '.join(uneven[:3])}{others} are not uniform ({least} of {len(self.tested)})"
        if self.is_calibrated is None:
            n = len(self.replicates)
            return f"Too few replicates for a verdict ({n} of at least {FEWEST}): {covered}; {ranks}."
        if self.is_calibrated:
            return f"Calibrated: {covered}; {ranks}."
        width = ""
        if min(shares) < LEAST_COVERED:
            width = ", too few: they are too narrow"
        elif max(shares) > MOST_COVERED:
            width = ", too many: they are too wide"
        return f"Not calibrated: {covered}{width}; {ranks}."

    def numbers(self) -> dict[str, Any]:
        """Return what ``calibration.json`` holds."""
        names = [self.names[index] for index in self.tested]
        values = {
            name: np.array([getattr(replicate, name) for replicate in self.replicates], dtype=np.float64)
            for name in (
                "observations",
                "noise",
                "spread",
                "prior_spread",
                "iterations",
                "ess",
                "acceptance",
                "divergent",
            )
        }
        groups = {
            group: {level: self.coverage(level, group) for level in LEVELS} for group in ("coordinates", "amplitudes")
        }
        return {
            "calibrated": self.is_calibrated,
            "verdict": self.verdict,
            "coverage": {str(level): found.share for level, found in groups["coordinates"].items()},
            "coverage_error": {str(level): found.error for level, found in groups["coordinates"].items()},
            "amplitude_coverage": {str(level): found.share for level, found in groups["amplitudes"].items()},
            "amplitude_coverage_error": {str(level): found.error for level, found in groups["amplitudes"].items()},
            "p_values": dict(zip(names, self.p_values.tolist(), strict=True)),
            "p_values_corrected": dict(zip(names, self.corrected_p_values.tolist(), strict=True)),
            "p_value_least_corrected": float(self.corrected_p_values.min()),
            "replicates": len(self.replicates),
            "draws_ranked": N_DRAWS,
            "settings": dict(self.settings),
            "fits": {
                "observations_median": float(np.median(values["observations"])),
                "spread_median": float(np.median(values["spread"])),
                "prior_spread_median": float(np.median(values["prior_spread"])),
                "iterations_median": float(np.median(values["iterations"])),
                "acceptance_mean": float(values["acceptance"].mean()),
                "divergent": int(values["divergent"].sum()),
                "ess_least": float(values["ess"].min()),
                "too_few_effective_draws": int(np.sum(values["ess"] < N_DRAWS)),
            },
            "seconds": self.seconds,
            "versions": {"bayesflex": __version__, "python": python_version()}
            | {name: version(name) for name in _PACKAGES},
        }

    def rows(self) -> list[tuple[str, ...]]:
        """Return a table for people: coverage by level and group, headings first."""
        table: list[tuple[str, ...]] = [("central interval", "coordinates", "mode amplitudes")]
        for level in LEVELS:
            found = [self.coverage(level, group) for group in ("coordinates", "amplitudes")]
            table.append((f"{level} %", *(f"{share:.1%} ± {error:.1%}" for share, error in found)))
        return table


def write_calibration(result: CalibrationResult, out: Path) -> None:
    """Write numbers, tables and figure into a folder that is there; the numbers last.

    Raises
    ------
    InputError
        If a file cannot be written.
    """
    ranks = ([row.index, row.noise, row.scale, *row.ranks] for row in result.replicates)
    write_csv(out / RANKS_FILE, ["replicate", "noise", "scale", *result.names], ranks, digits=6)
    names = ["quantity", *(f"coverage_{level}" for level in LEVELS), "mean_rank", "p", "p_corrected"]
    write_csv(out / TABLE_FILE, names, _table(result), digits=4)
    tested = [result.names[index] for index in result.tested]
    covered = {
        group: [(level / 100.0, *result.coverage(level, name)) for level in LEVELS]
        for group, name in (("coordinates", "coordinates"), ("mode amplitudes", "amplitudes"))
    }
    figure = plot_calibration(result.ranks[:, result.tested], N_DRAWS, tested, result.corrected_p_values, covered)
    save_figure(figure, out / FIGURE_FILE)
    write_text(out / NUMBERS_FILE, json.dumps(result.numbers(), indent=2, ensure_ascii=False) + "\n")


def _table(result: CalibrationResult) -> list[list[object]]:
    """Return a row for each quantity: coverage, mean rank over the largest, and p-values where it was tested."""
    tested = dict(
        zip(result.tested.tolist(), zip(result.p_values, result.corrected_p_values, strict=True), strict=True)
    )
    rows: list[list[object]] = []
    for index, name in enumerate(result.names):
        ranks = result.ranks[:, index : index + 1]
        shares = [coverage(ranks, N_DRAWS, level / 100.0).share for level in LEVELS]
        rows.append([name, *shares, float(ranks.mean()) / N_DRAWS, *tested.get(index, (None, None))])
    return rows
