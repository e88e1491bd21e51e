"""Comparison: what local, global and combined fitting of one model found, and the files that hold it.

A :class:`Comparison` is data of several approaches side by side; that of a single fit is ``results.FitResult``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesflex.config import FitConfig
from bayesflex.errors import ConfigError
from bayesflex.geometry import rmsd, superposed_rmsd
from bayesflex.io.output_folder import make_folder
from bayesflex.io.structures import write_ensemble, write_structure
from bayesflex.io.tables import write_csv
from bayesflex.metrics import (
    AMPLITUDE_PREFIX,
    REFERENCE_COLUMN,
    MetricsTable,
    metric_columns,
    metrics_cells,
    metrics_table,
    write_metrics,
)
from bayesflex.plots import PLOTS, save_figure
from bayesflex.plots.comparison import plot_compared, plot_compared_amplitudes
from bayesflex.plots.structure import plot_structures
from bayesflex.protocols import Record
from bayesflex.sampling import correlations
from bayesflex.sampling.adapting import SAMPLING
from bayesflex.structure import Structure
from bayesflex.workflows.preparation import PreparedFit
from bayesflex.workflows.results import saved_config
from bayesflex.workflows.run_files import CONFIG_FILE, METRICS_FILE, write_text

Array = NDArray[np.float64]

#: The fit that starts at the known answer: what it ends at is the error of the model itself.
FLOOR = "floor"

#: The final value is reached where the mean over the runs stays within this share of it.
_REACHED = 0.01

#: Quantities of the summary, as far as they were recorded.
_QUANTITIES = ("cc_uncentred", "cc_centred", REFERENCE_COLUMN)

TABLE_FILE, NUMBERS_FILE = "comparison.csv", "comparison.json"


@dataclass(frozen=True)
class Domain:
    """A stretch of residues by their numbers, in every chain; both ends belong to it."""

    name: str
    first: int
    last: int

    def of(self, ca: Structure) -> NDArray[np.bool_]:
        """Return which CA of a trace belong to it, shape (n_ca,)."""
        mask: NDArray[np.bool_] = (ca.residue_number >= self.first) & (ca.residue_number <= self.last)
        return mask


@dataclass(frozen=True, eq=False)
class ApproachRuns:
    """What the runs of one approach left.

    Parameters
    ----------
    name
        "local", "global", "combined" or :data:`FLOOR`.
    config
        Its settings, with every choice filled in.
    records
        Every iteration of every run.
    final
        CA positions after the last iteration of each run, shape (n_runs, n_ca, 3), Å.
    seconds, cpu_seconds
        Wall-clock time of all runs, and time of all processors.
    n_gradients
        Gradients evaluated in the iterations of all runs.
    r_hat_max, ess_min
        Over all coordinates and the log density, of the iterations labelled "sampling".
    """

    name: str
    config: FitConfig
    records: tuple[Record, ...]
    final: Array
    seconds: float
    cpu_seconds: float
    n_gradients: int
    r_hat_max: float
    ess_min: float

    @property
    def averaged(self) -> Array:
        """The final structures averaged over the runs, shape (n_ca, 3), Å: what the paper shows."""
        return np.asarray(self.final.mean(axis=0))

    @property
    def table(self) -> MetricsTable:
        """What was recorded, as a table."""
        return metrics_table(self.records)


@dataclass(frozen=True, eq=False)
class AmplitudeCost:
    """Time of one gradient, and of the part of it that the mode amplitudes need, in milliseconds."""

    gradient: float
    amplitudes: float

    @property
    def share(self) -> float:
        """Part of the time that the amplitudes take."""
        return self.amplitudes / self.gradient


@dataclass(frozen=True, eq=False)
class Comparison:
    """What the approaches found.

    Parameters
    ----------
    prepared
        What they shared, made for "combined".
    approaches
        Their runs.
    domains
        Stretches of residues whose RMSD is reported; the first one is coloured in the picture.
    cost
        Of the amplitudes in "combined".
    inputs
        Names (and for files hashes) of what was read.
    """

    prepared: PreparedFit
    approaches: tuple[ApproachRuns, ...]
    domains: tuple[Domain, ...]
    cost: AmplitudeCost
    inputs: Mapping[str, str]

    @property
    def tables(self) -> dict[str, MetricsTable]:
        """What was recorded, by approach."""
        return {runs.name: runs.table for runs in self.approaches}

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of numbers of ``comparison.csv``."""
        problem = self.prepared.problem
        numbers = () if problem.modes is None else self.prepared.config.modes
        return metric_columns(numbers, problem.reference is not None)

    def summary(self) -> dict[str, Any]:
        """Return the numbers of ``comparison.json``; lengths in Å."""
        config, target = self.prepared.config, self.prepared.problem.target
        return {
            "resolution": config.resolution,
            "sigma": target.sigma,
            "likelihood": config.likelihood,
            "noise_sd": config.noise_sd,
            "modes": list(config.modes),
            "runs": config.chains,
            "iterations": config.warmup_iterations + config.iterations,
            "iterations_adapting": config.warmup_iterations,
            "leapfrog_steps": config.steps,
            "seed": config.seed,
            "n_ca": self.prepared.ca.n_atoms,
            "seconds_modes": self.prepared.seconds_modes,
            "amplitudes": {
                "milliseconds_per_gradient": self.cost.gradient,
                "milliseconds_of_amplitudes": self.cost.amplitudes,
                "share_of_time": self.cost.share,
            },
            "approaches": {runs.name: self._summary_of(runs) for runs in self.approaches},
            "warnings": list(self.prepared.warnings),
        }

    def _summary_of(self, runs: ApproachRuns) -> dict[str, Any]:
        table = runs.table
        summary: dict[str, Any] = {
            "final": {name: _spread(_by_run(table, name)[:, -1]) for name in _QUANTITIES if table.has(name)},
            "iteration_within_1_percent": {
                name: reached(_by_run(table, name).mean(axis=0)) for name in _QUANTITIES if table.has(name)
            },
            "acceptance": float(np.mean(table.values["acceptance"][table.stage == SAMPLING])),
            "divergent": int(np.nansum(table.values["divergent"])),
            # JSON has no word for what is not finite: too few draws to judge by.
            "r_hat_max": runs.r_hat_max if math.isfinite(runs.r_hat_max) else None,
            "ess_min": runs.ess_min if math.isfinite(runs.ess_min) else None,
            "n_gradients": runs.n_gradients,
            "seconds": runs.seconds,
            "cpu_seconds": runs.cpu_seconds,
        }
        problem = self.prepared.problem
        summary["average"] = correlations(problem.target, problem.beads, runs.averaged)
        if problem.reference is not None:
            summary["rmsd_of_average"] = self._distances(runs.averaged)
        return summary

    def _distances(self, coords: Array) -> dict[str, float]:
        """Return RMSDs (Å) to the reference: of all matched residues in place and superposed, and by domain."""
        problem = self.prepared.problem
        if problem.reference is None:
            return {}
        answer, matched = problem.reference
        found = coords[matched]
        distances = {"all": rmsd(found, answer), "all_superposed": superposed_rmsd(found, answer)}
        for domain in self.domains:
            inside = domain.of(self.prepared.ca)[matched]
            if inside.any():
                distances[domain.name] = rmsd(found[inside], answer[inside])
        return distances

    def start_distances(self) -> dict[str, float]:
        """Return the RMSDs (Å) of the start to the reference, empty where there is none."""
        return self._distances(self.prepared.problem.start)


def reached(values: Array, share: float = _REACHED) -> int:
    """Return the index from which a curve stays within a share of its last value.

    >>> reached(np.array([0.0, 0.5, 0.995, 1.0]))
    2
    """
    outside = np.flatnonzero(np.abs(values - values[-1]) > share * abs(values[-1]))
    return int(outside[-1]) + 1 if len(outside) else 0


def write_comparison(comparison: Comparison, out: Path) -> None:
    """Write all files of a comparison into a folder that is there; ``comparison.json`` comes last.

    Raises
    ------
    InputError
        If a file cannot be written.
    """
    for runs in comparison.approaches:
        _write_approach(comparison, runs, out / runs.name)
    _write_table(comparison, out / TABLE_FILE)
    tables = comparison.tables
    save_figure(plot_compared(tables, ("cc_uncentred", "cc_centred")), out / "cc.png")
    if comparison.prepared.problem.reference is not None:
        save_figure(plot_compared(tables, (REFERENCE_COLUMN,)), out / "rmsd.png")
    # The floor's amplitudes are counted from the answer, where it starts.
    fits = {name: table for name, table in tables.items() if name != FLOOR}
    if any(name.startswith(AMPLITUDE_PREFIX) for name in comparison.columns):
        save_figure(plot_compared_amplitudes(fits), out / "amplitudes.png")
    coloured = np.zeros(comparison.prepared.ca.n_atoms, dtype=bool)
    if comparison.domains:
        coloured = comparison.domains[0].of(comparison.prepared.ca)
    shown = {"initial": comparison.prepared.problem.start}
    shown |= {runs.name: runs.averaged for runs in comparison.approaches if runs.name != FLOOR}
    figure = plot_structures(comparison.prepared.inputs.density, comparison.prepared.ca, shown, coloured)
    save_figure(figure, out / "structures.png")
    summary = comparison.summary()
    if comparison.prepared.problem.reference is not None:
        summary["start"] = {"rmsd_to_reference": comparison.start_distances()}
    write_text(out / NUMBERS_FILE, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")


def _write_approach(comparison: Comparison, runs: ApproachRuns, folder: Path) -> None:
    make_folder(folder)
    ca = comparison.prepared.ca
    write_text(folder / CONFIG_FILE, saved_config(runs.config, comparison.inputs))
    write_metrics(runs.records, comparison.columns, folder / METRICS_FILE)
    write_structure(ca.with_coords(runs.averaged), folder / "averaged.cif")
    write_ensemble(ca, runs.final, folder / "runs.cif")
    table = runs.table
    for name, plot in PLOTS.items():
        if plot.applies_to(table):
            save_figure(plot(table), folder / f"{name}.png")


def _write_table(comparison: Comparison, path: Path) -> None:
    """Write a row per approach, run and iteration."""
    columns = comparison.columns
    rows = (
        [runs.name, *metrics_cells(row, columns)]
        for runs in comparison.approaches
        for row in sorted(runs.records, key=lambda row: (row.chain, row.iteration))
    )
    write_csv(path, ["approach", "run", "iteration", "stage", *columns], rows)


def _by_run(table: MetricsTable, name: str) -> Array:
    """Return a column as an array of shape (n_runs, n_iterations)."""
    return table.column(name).reshape(len(table.chains), -1)


def _spread(values: Array) -> dict[str, Any]:
    """Return mean and standard deviation over the runs, and each run's value."""
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(values.mean()), "sd": spread, "runs": values.tolist()}


def parse_domain(text: str) -> Domain:
    """Return the domain that a text such as "N=1-189" names.

    Raises
    ------
    ConfigError
        If it has another form.
    """
    found = re.fullmatch(r"(?P<name>[^=]+)=(?P<first>-?\d+)-(?P<last>-?\d+)", text.strip())
    if found is None or int(found["last"]) < int(found["first"]):
        raise ConfigError(f"domain: expected a name and residue numbers such as N=1-189, got {text!r}")
    return Domain(found["name"], int(found["first"]), int(found["last"]))
