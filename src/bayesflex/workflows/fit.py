"""Fit a model into a map: the task behind ``bayesflex fit``, in memory and from files to a folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from threadpoolctl import threadpool_limits

from bayesflex.config import FitConfig
from bayesflex.density_map import DensityMap
from bayesflex.io.maps import read_map
from bayesflex.io.structures import read_structure
from bayesflex.metrics import metric_columns
from bayesflex.protocols import Likelihood, Reporter
from bayesflex.reporters import LogReporter, MetricsReporter, NullReporter, Reporters
from bayesflex.sampling import (
    Starts,
    can_settle,
    chain_starts,
    load_scatterers,
    run_chains,
    save_scatterers,
    settle_scatterers,
    stage_likelihoods,
    thread_count,
)
from bayesflex.structure import Structure
from bayesflex.workflows.compilation import announced_compilation
from bayesflex.workflows.conclusion import Sampled, conclude
from bayesflex.workflows.docking_start import DockedInputs, docked
from bayesflex.workflows.mode_choice import ModeChoice, choose_modes
from bayesflex.workflows.preparation import Inputs, PreparedFit, as_table, prepare
from bayesflex.workflows.report import KnownInputs, report_or_warning
from bayesflex.workflows.results import FitResult, ensemble_has_all_atoms, write_result, write_summary
from bayesflex.workflows.run_files import LOG_FILE, METRICS_FILE
from bayesflex.workflows.run_folder import FitFiles, RunFolder, begun_fit, described_files

#: Among the checkpoints: what a pilot settled.
_SCATTERERS = "scatterers.npz"

__all__ = ["FitResult", "fit", "resume_fit", "run_fit"]


def fit(
    structure: Structure,
    density: DensityMap,
    config: FitConfig,
    *,
    reference: Structure | None = None,
    mask: DensityMap | None = None,
    fixed: Structure | None = None,
    half_maps: tuple[DensityMap, DensityMap] | None = None,
    reporters: Sequence[Reporter] = (),
) -> FitResult:
    """Fit a model into a map, in memory.

    Where ``config.modes`` is empty, their number is chosen first, see
    :func:`bayesflex.workflows.mode_choice.choose_modes`.

    Parameters
    ----------
    structure
        The model, in its place in the map; anywhere if ``config.dock``.
    density
        The map; ``config.voxel`` and ``config.origin`` are for files and are not applied to it.
    config
        Settings.
    reference
        A known answer: its RMSD is reported, nothing is fitted to it.
    mask
        On the map's grid: voxels above zero are scored, instead of those near the model or above the contour.
    fixed
        Another model, whose density is accounted for and not moved.
    half_maps
        The two half maps of the map, on its grid: the noise is then known, see
        :class:`bayesflex.likelihood.half_maps.HalfMapLikelihood`.
    reporters
        Listeners, told what was read, what happens and what came out.

    Raises
    ------
    InputError
        If the inputs do not go together, see :func:`bayesflex.workflows.preparation.prepare`.
    ConfigError
        If there are fewer modes than asked for.
    SamplingError
        If a chain finds no finite start.
    """
    began = time.perf_counter()
    listeners = Reporters(reporters)
    # Linear algebra on threads of its own gains nothing with matrices of this size, and its idle threads take the cores
    # from the chains.
    with threadpool_limits(1), announced_compilation(listeners.message, thread_count(config)):
        inputs = Inputs(structure, density, reference, mask, fixed, half_maps)
        placed = docked(inputs, config, listeners.message)
        inputs, config = placed.inputs, placed.config
        choice = None
        if config.modes:
            prepared = prepare(inputs, config, listeners.message)
        else:
            choice = choose_modes(inputs, config, listeners.message)
            prepared = prepare(inputs, choice.applied_to(config), _say_nothing)
        prepared = _after_docking(prepared, placed)
        prepared, sampled = _sample(prepared, listeners)
        concluded = conclude(prepared, sampled, {"model": structure.name, "map": density.name})
        result = _timed(_with_choice(concluded, choice), began)
    _tell(result, listeners.message)
    return result


def run_fit(
    model_path: Path,
    map_path: Path,
    out: Path,
    config: FitConfig,
    *,
    reference: Path | None = None,
    mask: Path | None = None,
    fixed: Path | None = None,
    half_maps: tuple[Path, Path] | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
) -> FitResult:
    """Fit a model into a map, from files to a folder.

    Nothing is made before the inputs were read and checked. An interrupted fit leaves checkpoints in the folder, from
    which ``resume`` goes on; its ``metrics.csv`` is then that of an uninterrupted fit.

    Parameters
    ----------
    model_path, map_path
        What to read.
    out
        Folder to write, new or empty.
    config
        Settings; ``voxel`` and ``origin`` are applied to the map, the mask and the half maps.
    reference, mask, fixed, half_maps
        Files of what :func:`fit` takes under these names.
    resume
        Go on with the interrupted fit in the folder.
    reporter
        Listener, told what was read, what happens and what came out.

    Raises
    ------
    InputError
        As :func:`fit`; also if a file cannot be read or written, or the folder is not empty, or does not hold this
        fit with ``resume``.
    ConfigError, SamplingError
        As :func:`fit`.
    KeyboardInterrupt
        Passed on once the chains have stopped.
    """
    files = FitFiles(model_path, map_path, reference, mask, fixed, half_maps)
    # One thread for linear algebra: the modes of a resumed fit are then the same to the last bit on any machine.
    with RunFolder(out, resume) as folder, threadpool_limits(1):
        return _fit_files(files, folder, config, NullReporter() if reporter is None else reporter)


def resume_fit(out: Path, settings: Mapping[str, object], reporter: Reporter | None = None) -> FitResult:
    """Go on with the interrupted fit in a folder, with the files and the settings that it was begun with.

    Parameters
    ----------
    out
        The folder.
    settings
        Laid over those of the fit; only what does not change its result, such as ``threads``, can be another.
    reporter
        Listener.

    Raises
    ------
    InputError, ConfigError, SamplingError, KeyboardInterrupt
        As :func:`run_fit`; also if a file of the fit is no longer where it was.
    """
    files, config = begun_fit(out, settings)
    with RunFolder(out, resume=True) as folder, threadpool_limits(1):
        return _fit_files(files, folder, config, NullReporter() if reporter is None else reporter)


def _fit_files(files: FitFiles, folder: RunFolder, config: FitConfig, shown: Reporter) -> FitResult:
    """Fit what files hold, in a folder that no other process writes."""
    began = time.perf_counter()
    out = folder.path
    log = LogReporter(out / LOG_FILE)
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        shown.message(text)

    def read_placed(path: Path) -> DensityMap:
        return read_map(path, voxel=config.voxel, origin=config.origin)

    def open_folder() -> None:
        folder.begin(prepared.config, described, config)
        for text in said:
            log.message(text)

    with announced_compilation(say, thread_count(config)):
        halves = files.half_maps
        given = Inputs(
            read_structure(files.model),
            read_placed(files.map),
            None if files.reference is None else read_structure(files.reference),
            None if files.mask is None else read_placed(files.mask),
            None if files.fixed is None else read_structure(files.fixed),
            None if halves is None else (read_placed(halves[0]), read_placed(halves[1])),
        )
        described = described_files(files.named())
        placed = docked(given, config, say)
        given, docked_config = placed.inputs, placed.config
        prepared, choice = _prepare_in(folder, described, given, docked_config, config, say)
        prepared = _after_docking(prepared, placed)
        numbers = () if prepared.problem.modes is None else prepared.config.modes
        metrics = MetricsReporter(out / METRICS_FILE, metric_columns(numbers, files.reference is not None))
        listeners = Reporters([shown, metrics, log])
        prepared, sampled = _sample(prepared, listeners, folder, open_folder)
        result = _with_choice(conclude(prepared, sampled, described), choice)
    if not ensemble_has_all_atoms(result):
        listeners.message("ensemble.cif holds CA atoms alone, since all atoms would make a file above 50 MB.")
    write_result(result, out)
    result = _timed(result, began)
    report_or_warning(out, KnownInputs(given.structure, given.density, result.summary), listeners.message)
    write_summary(result.summary, out)
    folder.end()
    _tell(result, listeners.message)
    return result


def _prepare_in(
    folder: RunFolder,
    files: Mapping[str, str],
    given: Inputs,
    config: FitConfig,
    asked: FitConfig,
    say: Callable[[str], None],
) -> tuple[PreparedFit, ModeChoice | None]:
    """Return a fit that can begin or go on in a folder, and how its modes were chosen, where they are to be.

    The model is docked; ``asked`` are the settings before that.
    """

    def begin(open_config: FitConfig) -> None:
        if folder.resume:
            folder.require_same(open_config, files)
        folder.begin(open_config, files, asked)

    choice = None
    settled = folder.settled(config) if folder.resume and not config.modes else None
    if settled is not None:
        config, choice = settled
        prepared = prepare(given, config, say)
    elif not config.modes:
        choice = choose_modes(given, config, say, begin, folder.checkpoints)
        prepared = prepare(given, choice.applied_to(config), _say_nothing)
        folder.settle(prepared.config, choice, files)
    else:
        prepared = prepare(given, config, say)
    if folder.resume:
        folder.require_same(prepared.config, files)
    return prepared, choice


def _after_docking(prepared: PreparedFit, placed: DockedInputs) -> PreparedFit:
    """Return a prepared fit with what docking has to tell."""
    return replace(prepared, warnings=(*placed.warnings, *prepared.warnings), docking_poses=placed.poses)


def _say_nothing(text: str) -> None:
    """Listen to a preparation whose inputs were described before."""


def _sample(
    prepared: PreparedFit,
    reporter: Reporter,
    folder: RunFolder | None = None,
    open_folder: Callable[[], None] | None = None,
) -> tuple[PreparedFit, Sampled]:
    """Run the chains; the folder is opened once nothing about the input can be wrong any more.

    The fit that is returned has the scatterers with which they ran.
    """
    likelihoods: Sequence[Likelihood] = stage_likelihoods(prepared.problem, prepared.stages)
    if open_folder is not None:
        open_folder()
    checkpoints = None if folder is None else folder.checkpoints
    began = time.perf_counter()
    try:
        starts = chain_starts(prepared.problem, prepared.stages, likelihoods, reporter, checkpoints)
        prepared, likelihoods, setting_out = _settle(prepared, likelihoods, starts, reporter, checkpoints)
        chains = run_chains(prepared.problem, prepared.stages, likelihoods, reporter, checkpoints, setting_out)
    finally:
        seconds = time.perf_counter() - began
        reporter.finish()
        if folder is not None:
            seconds += folder.seconds_before()
            folder.stopped_after(seconds)
    return prepared, Sampled(chains, likelihoods[-1], seconds, starts)


def _settle(
    prepared: PreparedFit,
    likelihoods: Sequence[Likelihood],
    starts: Starts,
    reporter: Reporter,
    checkpoints: Path | None,
) -> tuple[PreparedFit, Sequence[Likelihood], Starts]:
    """Return the fit with its scatterers settled, its likelihoods, and where its chains set out.

    A fit that is resumed goes on with those that it was begun with.
    """
    problem, stages = prepared.problem, prepared.stages
    if not can_settle(problem):
        return prepared, likelihoods, starts
    path = None if checkpoints is None else checkpoints / _SCATTERERS
    if path is not None and path.exists():
        found = load_scatterers(path)
    else:
        found = settle_scatterers(problem, stages, likelihoods, starts.structures[0])
        if path is not None:
            save_scatterers(found, path)
    for text in (*found.messages, *(f"Warning: {warning}" for warning in found.warnings)):
        reporter.message(text)
    if found.sites is not None:
        starts = replace(starts, structures=(found.sites, *starts.structures[1:]))
    prepared = prepared.with_scatterers(found)
    return prepared, stage_likelihoods(prepared.problem, stages), starts


def _with_choice(result: FitResult, choice: ModeChoice | None) -> FitResult:
    """Return a result that tells how its modes were chosen, and warns where none of them is of use."""
    if choice is None or not choice.is_of_no_use:
        return replace(result, mode_choice=choice)
    warnings = (choice.conclusion(), *result.warnings)
    summary = {**result.summary, "warnings": list(warnings)}
    return replace(result, mode_choice=choice, warnings=warnings, summary=summary)


def _timed(result: FitResult, began: float) -> FitResult:
    """Return a result with the time since the fit began."""
    seconds = result.summary["seconds"] | {"total": time.perf_counter() - began}
    return replace(result, summary={**result.summary, "seconds": seconds})


def _tell(result: FitResult, say: Callable[[str], None]) -> None:
    """Say what came out, as a table, then each warning about it."""
    summary = result.summary

    def change(name: str, digits: int, unit: str = "") -> str:
        # Adding zero turns a rounded -0 into 0.
        before, after = (round(summary[name][when], digits) + 0.0 for when in ("start", "fitted"))
        return f"{before:.{digits}f} -> {after:.{digits}f}{unit}"

    rows = [
        ("correlation, centred", change("cc_centred", 4)),
        ("correlation, uncentred", change("cc_uncentred", 4)),
        ("structural energy", change("energy", 0, " kcal/mol")),
        ("moved by", f"{summary['rmsd_start_to_fitted']:.2f} Å RMSD"),
    ]
    if "rmsd_to_reference" in summary:
        mean = summary["rmsd_to_reference"]["mean"]
        rows.append(("RMSD to the reference", f"{change('rmsd_to_reference', 2, ' Å')} (posterior mean {mean:.2f} Å)"))
    sd, radius = summary["sd"], summary["radius_90"]
    rows.append(
        (
            "uncertainty of a site",
            f"SD {sd['median']:.2f} Å, at most {sd['max']:.2f}; 90 % within {radius['median']:.2f} Å, at most "
            f"{radius['max']:.2f}",
        )
    )
    seconds = summary["seconds"]
    lowest = min(summary["acceptance_of_chains"])
    rows += [
        (
            "chains used",
            f"{len(result.chains_used)} of {result.trace.n_chains} (numbers {', '.join(map(str, result.chains_used))})",
        ),
        (
            "acceptance",
            f"{summary['acceptance']:.2f}, lowest chain {lowest:.2f}; {summary['n_divergent']} divergent",
        ),
        ("R-hat, effective draws", f"at most {summary['r_hat_max']:.2f}, at least {summary['ess_min']:.0f}"),
        ("time", f"{seconds['total']:.1f} s, of which {seconds['sampling']:.1f} s sampling"),
    ]
    say(as_table(rows))
    for finding in result.assessment.findings:
        say(finding)
    for warning in result.warnings:
        say(f"Warning: {warning}")
