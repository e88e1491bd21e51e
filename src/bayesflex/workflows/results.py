"""FitResult: what a fit found, and the files that hold it."""

from __future__ import annotations

import warnings
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
from bayesflex.carrying import Carrier, make_carrier
from bayesflex.clusters import Cluster
from bayesflex.config import FitConfig
from bayesflex.config_files import config_to_toml
from bayesflex.convergence import Convergence, write_convergence
from bayesflex.density_map import DensityMap
from bayesflex.domain_motions import DomainMotion, write_domain_motions
from bayesflex.html_tables import html_list, html_table
from bayesflex.io.maps import write_map
from bayesflex.io.output_folder import make_folder, require_new_or_empty
from bayesflex.io.structures import fits_pdb, write_ensemble, write_structure
from bayesflex.io.tables import write_json
from bayesflex.io.trajectories import write_trajectory
from bayesflex.metrics import MetricsTable, metric_columns, metrics_table, write_metrics
from bayesflex.normal_modes import NormalModes
from bayesflex.plots import PLOTS, save_figure
from bayesflex.plots.shells import plot_shells
from bayesflex.plots.uncertainty import plot_uncertainty
from bayesflex.protocols import Record
from bayesflex.sampling import DomainPose
from bayesflex.structure import Structure
from bayesflex.trace import Trace, save_trace
from bayesflex.uncertainty import ResidueUncertainty
from bayesflex.validation import Validation, compared_rows
from bayesflex.workflows.assessment import Assessment
from bayesflex.workflows.docking_report import POSES_FILE
from bayesflex.workflows.domain_poses import DOMAIN_POSES_FILE, write_domain_poses
from bayesflex.workflows.mode_choice import MODE_SCORES_FILE, ModeChoice, write_mode_scores
from bayesflex.workflows.report import KnownInputs, report_or_warning
from bayesflex.workflows.run_files import (
    CONFIG_FILE,
    DOMAIN_MOTIONS_FILE,
    ENSEMBLE_SIZE,
    METRICS_FILE,
    SUMMARY_FILE,
    TRACE_FILE,
    write_text,
)
from bayesflex.workflows.uncertainty_files import (
    mmcif_category,
    residue_rows,
    with_b_factors,
    write_attributes,
    write_shells,
    write_uncertainty,
)
from bayesflex.workflows.validate import write_validation
from bayesflex.workflows.views import write_views

Array = NDArray[np.float64]

#: Atoms of all models of an ensemble together, above which only CA are written: 90 bytes a line, some 50 MB.
_ENSEMBLE_ATOMS = 550_000

#: Packages whose versions can change the numbers of a fit.
_PACKAGES = ("numpy", "numba", "scipy", "gemmi")


@dataclass(frozen=True, eq=False)
class FitResult:
    """What a fit found.

    Parameters
    ----------
    start
        The model as it was given, or where docking put it.
    config
        Settings with every choice filled in.
    trace
        Draws of all chains.
    mean
        Posterior mean of the CA trace over the chains used; B-factors hold the posterior variance.
    fitted
        All atoms of the model, carried along with that mean relaxed in the posterior.
    fitted_map
        Density of the fitted model on the map's own grid, with its header.
    density
        The map that was fitted.
    modes
        Normal modes of the start, or None in "local".
    residual_map
        What the fit leaves of the map, in standard deviations of the noise, on the part of its grid that was fitted.
    records
        Every iteration of every chain.
    convergence
        R-hat and effective sample size over all chains.
    clusters
        Draws by the conformation that they hold; the first makes up the answer.
    other_models
        A fitted model for each of the other clusters, as far as they are written.
    assessment
        Uncertainty of each residue, and what the fit leaves of the map.
    domain_motions
        How each domain of the start turned and shifted; empty where there is but one.
    validation
        Of the model as given ("start") and of ``fitted``; empty where a model cannot be judged, which is then a
        warning.
    warnings
        Sentences for the user.
    summary
        The numbers of ``summary.json``, see the page on outputs.
    inputs
        Names (and for files hashes) of what was read.
    mode_choice
        How the number of modes was chosen, or None where it was given.
    domain_poses
        Poses of domains that were compared before chains started, none where no domain was searched.
    docking_poses
        Content of ``poses.csv``, empty where the model was not docked.
    """

    start: Structure
    config: FitConfig
    trace: Trace
    mean: Structure
    fitted: Structure
    fitted_map: DensityMap
    density: DensityMap
    modes: NormalModes | None
    residual_map: DensityMap
    records: tuple[Record, ...]
    convergence: Convergence
    clusters: tuple[Cluster, ...]
    other_models: tuple[Structure, ...]
    assessment: Assessment
    domain_motions: tuple[DomainMotion, ...]
    validation: Mapping[str, Validation]
    warnings: tuple[str, ...]
    summary: Mapping[str, Any]
    inputs: Mapping[str, str]
    mode_choice: ModeChoice | None = None
    domain_poses: tuple[DomainPose, ...] = ()
    docking_poses: str = ""

    @property
    def metrics(self) -> MetricsTable:
        """What was recorded in every iteration of every chain."""
        return metrics_table(self.records, self.metric_columns)

    @property
    def metric_columns(self) -> tuple[str, ...]:
        """Columns of numbers of ``metrics.csv``."""
        return metric_columns(self.trace.mode_numbers.tolist(), "rmsd_to_reference" in self.summary)

    @property
    def chains_used(self) -> tuple[int, ...]:
        """Numbers of the chains that have draws in the answer, counted from 0."""
        return self.clusters[0].chains

    @property
    def uncertainty(self) -> ResidueUncertainty:
        """Of each residue of the CA trace."""
        return self.assessment.uncertainty

    @cached_property
    def carrier(self) -> Carrier:
        """What carries all atoms of the model along with a CA trace."""
        return make_carrier(self.start)

    def ensemble(self) -> Array:
        """Return CA positions of at most ``ENSEMBLE_SIZE`` draws of the answer, (n, n_ca, 3), Å.

        They are taken evenly over the chains used, and over the draws that each has in it.
        """
        per_chain = max(1, ENSEMBLE_SIZE // len(self.chains_used))
        chosen = []
        for chain in self.chains_used[:ENSEMBLE_SIZE]:
            draws = self.trace.coords[chain][self.clusters[0].members[chain]]
            last_first = np.linspace(len(draws) - 1, 0, min(len(draws), per_chain)).round().astype(int)
            chosen.append(draws[last_first[::-1]])
        return np.concatenate(chosen).astype(np.float64)

    def _repr_html_(self) -> str:
        summary = self.summary
        correlation = summary["cc_centred"]
        rows = [
            ("correlation, centred", f"{correlation['start']:.3f} → {correlation['fitted']:.3f}"),
            ("moved by", f"{summary['rmsd_start_to_fitted']:.2f} Å RMSD"),
            ("uncertainty of a CA", f"SD {summary['sd']['median']:.2f} Å, at most {summary['sd']['max']:.2f} Å"),
            ("chains used", f"{len(self.chains_used)} of {self.trace.n_chains}"),
            ("R-hat, effective draws", f"at most {summary['r_hat_max']:.2f}, at least {summary['ess_min']:.0f}"),
        ]
        page = html_table(rows, caption=f"{self.start.name}, fitted")
        if self.validation:
            table = compared_rows({name: found.numbers() for name, found in self.validation.items()})
            page += html_table(table[1:], headings=table[0], caption="Validation")
        return page + html_list(self.warnings)

    def save(self, out: str | Path) -> None:
        """Write every file of a fit but the log into a folder that is new or empty.

        A page that cannot be made is a warning of Python's: every other file is there by then.

        Raises
        ------
        InputError
            If the folder holds anything, or a file cannot be written.
        """
        out = Path(out)
        require_new_or_empty(out)
        make_folder(out)
        write_text(out / CONFIG_FILE, saved_config(self.config, self.inputs))
        write_result(self, out)
        report_or_warning(out, KnownInputs(self.start, self.density, self.summary), _warn)
        write_summary(self.summary, out)


def _warn(text: str) -> None:
    warnings.warn(text.removeprefix("Warning: "), stacklevel=4)


def write_result(result: FitResult, out: Path) -> None:
    """Write all files of a fit but its summary into a folder that is there.

    Raises
    ------
    InputError
        If a file cannot be written; that file is then absent, not half there.
    """
    write_structure(result.mean, out / "mean.cif")
    _write_models(result, out)
    _write_ensemble(result, out / "ensemble.cif")
    frames = result.trace.coords.reshape(-1, result.trace.n_ca, 3)
    write_trajectory(frames.astype(np.float64), result.mean, out / "trajectory.dcd")
    write_map(result.fitted_map, out / "fitted.mrc")
    write_map(result.residual_map, out / "residual_z.mrc")
    write_shells(result.assessment.residual.shells, out / "shells.csv")
    save_figure(plot_shells(result.assessment.residual.shells), out / "shells.png")
    if result.validation:
        write_validation(result.validation, out)
    modes = None if result.modes is None else (result.start.trace(), result.modes)
    write_views(out, result.inputs, result.density, result.fitted_map, result.fitted, result.config, modes)
    write_metrics(result.records, result.metric_columns, out / METRICS_FILE)
    save_trace(result.trace, out / TRACE_FILE)
    write_convergence(result.convergence, out / "diagnostics.csv")
    if result.domain_motions:
        write_domain_motions(result.domain_motions, out / DOMAIN_MOTIONS_FILE)
    if result.mode_choice is not None:
        write_mode_scores(result.mode_choice, out / MODE_SCORES_FILE)
    if result.domain_poses:
        write_domain_poses(result.domain_poses, out / DOMAIN_POSES_FILE)
    if result.docking_poses:
        write_text(out / POSES_FILE, result.docking_poses)
    table = result.metrics
    for name, plot in PLOTS.items():
        if plot.applies_to(table):
            save_figure(plot(table), out / f"{name}.png")


def write_summary(summary: Mapping[str, Any], out: Path) -> None:
    """Write ``summary.json``, the last file of a fit: where it is, the fit is whole.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    write_json(out / SUMMARY_FILE, summary)


def ensemble_has_all_atoms(result: FitResult) -> bool:
    """Tell whether ``ensemble.cif`` holds all atoms; large models have their CA trace written alone."""
    return len(result.ensemble()) * result.start.n_atoms <= _ENSEMBLE_ATOMS


def saved_config(config: FitConfig, inputs: Mapping[str, str]) -> str:
    """Return ``config.toml``: all settings, what was read and by which versions."""
    provenance = {"bayesflex": __version__, "python": python_version()}
    return config_to_toml(config, inputs, provenance | {name: version(name) for name in _PACKAGES})


def cluster_file(number: int) -> str:
    """Return the name of the model of a cluster, counted from 0; that of the first is ``fitted.cif``."""
    return f"cluster-{number + 1}.cif"


def _write_models(result: FitResult, out: Path) -> None:
    """Write the fitted models, and the uncertainty of each residue in every form."""
    rows = residue_rows(result.fitted, result.uncertainty, result.carrier.other_weights)
    fitted = result.fitted
    if result.config.uncertainty_as_b_factors:
        fitted = with_b_factors(fitted, rows)
    write_structure(fitted, out / "fitted.cif", categories=[mmcif_category(rows)])
    if fits_pdb(fitted):
        write_structure(fitted, out / "fitted.pdb")
    for number, model in enumerate(result.other_models, start=1):
        write_structure(model, out / cluster_file(number))
    write_uncertainty(rows, out / "uncertainty.csv")
    write_attributes(rows, out / "uncertainty.defattr")
    ca = result.mean
    save_figure(plot_uncertainty(ca.chain, result.uncertainty), out / "uncertainty.png")


def _write_ensemble(result: FitResult, path: Path) -> None:
    coords = result.ensemble()
    if ensemble_has_all_atoms(result):
        write_ensemble(result.start, np.array([result.carrier.carry(ca) for ca in coords]), path)
    else:
        write_ensemble(result.mean, coords, path)
