"""The page of a run, from the files of its folder: the task behind ``bayesflex report``.

A fit writes its page this way too, so that what is shown is what was written.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from bayesflex.config import FitConfig
from bayesflex.config_files import load_config, load_records
from bayesflex.density_map import DensityMap
from bayesflex.docking.pose import moved
from bayesflex.errors import BayesflexError, InputError
from bayesflex.io.maps import read_map
from bayesflex.io.structures import read_structure
from bayesflex.io.tables import read_csv, read_json
from bayesflex.metrics import MetricsTable, read_metrics
from bayesflex.report import RunData, render_page
from bayesflex.structure import Structure
from bayesflex.trace import load_trace
from bayesflex.uncertainty import thinned
from bayesflex.workflows.run_files import (
    CONFIG_FILE,
    ENSEMBLE_SIZE,
    METRICS_FILE,
    REPORT_FILE,
    SUMMARY_FILE,
    TRACE_FILE,
    write_text,
)
from bayesflex.workflows.validate import SHELLS_FILE, VALIDATION_FILE

#: Tables with a row per residue, and the columns of them that are shown.
_RESIDUE_TABLES = {
    "uncertainty.csv": ("sd", "radius_90", "contraction", "support", "prior_only"),
    "validation_residues.csv": ("cc_residue", "smoc", "q_score", "ca_distance_outlier", "ca_angle_outlier", "ca_clash"),
}
_RESIDUE_KEYS = ("chain", "number", "insertion_code", "name")

#: Flags that name inputs, by their name among the inputs saved with the settings; the model and the map have none.
_INPUT_FLAGS = {name: f"--{name}" for name in ("reference", "mask", "fixed", "half1", "half2")}

#: What is shown where the map is not found.
_STAND_IN = "fitted.mrc (simulated from the fitted model)"

Array = NDArray[np.float64]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class KnownInputs:
    """What the caller has read already, so that it need not be found again.

    Parameters
    ----------
    start
        The model as given, or None.
    density
        The map, or None.
    summary
        The numbers of a fit whose ``summary.json``, the last of its files, is still to be written, or None.
    """

    start: Structure | None = None
    density: DensityMap | None = None
    summary: Mapping[str, Any] | None = None


def write_report(folder: Path, known: KnownInputs | None = None, say: Callable[[str], None] | None = None) -> Path:
    """Write ``report.html`` into the folder of a run, in place of the one that is there, and return its path.

    Parameters
    ----------
    folder
        What a fit wrote, also of one that is not finished.
    known
        The model and the map, where the caller has them.
    say
        Told what the page lacks, and its size.

    Raises
    ------
    InputError
        If the folder holds no run, a file in it is damaged, or the page cannot be written.
    """
    run = read_run(folder, known)
    page = render_page(run)
    if say is not None:
        for text in (*run.notes, f"a page of {len(page) / 1e6:.1f} MB"):
            say(text)
    write_text(folder / REPORT_FILE, page)
    return folder / REPORT_FILE


def report_or_warning(folder: Path, known: KnownInputs, say: Callable[[str], None]) -> None:
    """Write the page of a fit that is being saved, before its summary; a failure is told and costs nothing else."""
    try:
        write_report(folder, known)
    except Exception as error:  # no defect of its page may end a fit
        say(f"Warning: {REPORT_FILE} was not written ({error}). All other files of the fit are in {folder}.")


def read_run(folder: Path, known: KnownInputs | None = None) -> RunData:
    """Return what the folder of a run holds, with notes on what it lacks.

    The model and the map are read from where the configuration says they were, and taken where their content is what
    the fit was given.

    Raises
    ------
    InputError
        If the folder holds no run, or a file in it is damaged.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected one that bayesflex fit wrote.")
    if not (folder / CONFIG_FILE).is_file():
        raise InputError(
            f"{folder}: expected the folder of a fit, got one without {CONFIG_FILE}. Give the folder that was named "
            "with -o to bayesflex fit."
        )
    known = KnownInputs() if known is None else known
    notes: list[str] = []
    records = load_records(folder / CONFIG_FILE)
    settings, config = _settings(folder, notes)
    inputs = records["input"]
    summary = _read(folder / SUMMARY_FILE, read_json) if known.summary is None else known.summary
    fitted = _read(folder / "fitted.cif", read_structure)
    start = known.start
    if start is None:
        start = _input(folder, inputs, "model", read_structure, notes)
        if start is not None and config is not None and config.pose:
            # What the fit began with is the model where docking put it.
            start = start.with_coords(moved(start.coords, config.pose))
    start = _comparable(start, fitted, notes)
    density, density_name = _density(folder, inputs, known, config, notes)
    return RunData(
        name=folder.resolve().name,
        settings=settings,
        inputs=inputs,
        provenance=records["provenance"],
        command=command_of(inputs, folder / CONFIG_FILE),
        summary=summary,
        start=start,
        fitted=fitted,
        density=density,
        density_name=density_name,
        # What stands for the map has other values.
        contour=None if config is None or density_name == _STAND_IN else config.contour,
        ensemble=_ensemble(folder, summary),
        residues={} if fitted is None else _residue_columns(folder, fitted, notes),
        validation=_read(folder / VALIDATION_FILE, read_json) or {},
        shells=_shells(folder),
        metrics=_metrics(folder),
        notes=tuple(notes),
    )


def command_of(inputs: Mapping[str, Any], config: Path) -> str | None:
    """Return the command that repeats a run, quoted for a shell; None where its inputs were no files."""
    if "model_sha256" not in inputs or "map_sha256" not in inputs:
        return None
    words = ["bayesflex", "fit", str(inputs["model"]), str(inputs["map"]), "--config", str(config)]
    for name, flag in _INPUT_FLAGS.items():
        if name in inputs:
            words += [flag, str(inputs[name])]
    return shlex.join([*words, "-o", "again"])


def _settings(folder: Path, notes: list[str]) -> tuple[dict[str, Any], FitConfig | None]:
    """Return the settings of a run; those of another version may have names that this one does not know."""
    try:
        config = load_config(folder / CONFIG_FILE, {})
    except BayesflexError as error:
        notes.append(f"The settings of this run cannot be read by this version ({error})")
        return {}, None
    return {item.name: getattr(config, item.name) for item in fields(config)}, config


def _read(path: Path, reader: Callable[[Path], T]) -> T | None:
    """Return what a file holds, or None where it is not there yet."""
    return reader(path) if path.is_file() else None


def _residue_columns(folder: Path, fitted: Structure, notes: list[str]) -> dict[str, Array]:
    """Return columns of the tables of residues, shape (n_residues,), NaN where a table has no number for a residue."""
    first = np.flatnonzero(np.diff(fitted.residue_index, prepend=-1))
    # As a table has them: in words.
    place = {tuple(map(str, key)): index for index, key in enumerate(fitted.select(first).residue_keys)}
    columns: dict[str, Array] = {}
    for file, wanted in _RESIDUE_TABLES.items():
        table = _read(folder / file, read_csv)
        if table is None:
            continue
        missing = [name for name in _RESIDUE_KEYS if name not in table]
        if missing:
            raise InputError(f"{folder / file}: expected a table of residues, got one without {', '.join(missing)}.")
        rows = [place.get(key, -1) for key in zip(*(table[name] for name in _RESIDUE_KEYS), strict=True)]
        if min(rows, default=0) < 0:
            notes.append(f"{file} has residues that fitted.cif has not, so it is not shown.")
            continue
        for name in wanted:
            if name in table:
                columns[name] = np.full(len(first), np.nan)
                columns[name][rows] = _numbers(folder / file, name, table[name])
        if "ramachandran" in table:
            columns["ramachandran_outlier"] = np.full(len(first), np.nan)
            columns["ramachandran_outlier"][rows] = [float(text == "outlier") for text in table["ramachandran"]]
    return columns


def _shells(folder: Path) -> dict[str, Array]:
    """Return the columns of the Fourier shell correlations, shape (n_shells,), or none where there are none yet."""
    table = _read(folder / SHELLS_FILE, read_csv) or {}
    if table and "frequency" not in table:
        raise InputError(f"{folder / SHELLS_FILE}: expected a table of Fourier shells, got one without frequency.")
    return {name: _numbers(folder / SHELLS_FILE, name, texts) for name, texts in table.items()}


def _numbers(path: Path, name: str, texts: list[str]) -> Array:
    try:
        return np.array([float(text or "nan") for text in texts])
    except ValueError as error:
        raise InputError(f"{path}: column {name} holds something that is no number ({error}).") from error


def _input(
    folder: Path, inputs: Mapping[str, Any], name: str, reader: Callable[[Path], T], notes: list[str]
) -> T | None:
    """Return what was read as an input, from its file if that still has the content it had; else None, and a note."""
    recorded, digest = str(inputs.get(name, "")), inputs.get(f"{name}_sha256")
    if digest is None:
        notes.append(f"The folder does not say which file the {name} was, so it is not shown.")
        return None
    # As it was given, seen from here; and beside the run, where a folder that was moved may have it.
    given = Path(recorded)
    changed = False
    for path in (given, folder / given.name, folder / "inputs" / given.name, folder.parent / given.name):
        if not path.is_file():
            continue
        with path.open("rb") as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == digest
        if same:
            return reader(path)
        changed = True
    found = "has other content now" if changed else "was not found"
    notes.append(f"The {name} of this run ({recorded}) {found}, so it is not shown. Put it into the folder of the run.")
    return None


def _comparable(start: Structure | None, fitted: Structure | None, notes: list[str]) -> Structure | None:
    """Return the start where it has the atoms of the fitted model."""
    if start is None or fitted is None:
        return start
    if start.n_atoms == fitted.n_atoms and np.array_equal(start.atom_name, fitted.atom_name):
        return start
    notes.append("The initial model has other atoms than fitted.cif, so it is not shown.")
    return None


def _density(
    folder: Path, inputs: Mapping[str, Any], known: KnownInputs, config: FitConfig | None, notes: list[str]
) -> tuple[DensityMap | None, str]:
    """Return the map that is shown and its name: the target, or the one simulated from the fitted model."""
    if known.density is not None:
        return known.density, Path(str(inputs.get("map", known.density.name))).name

    def reader(path: Path) -> DensityMap:
        placed = config or FitConfig(resolution=1.0)
        return read_map(path, voxel=placed.voxel, origin=placed.origin)

    density = _input(folder, inputs, "map", reader, notes)
    if density is not None:
        return density, density.name
    simulated = _read(folder / "fitted.mrc", read_map)
    if simulated is not None:
        notes.append("Shown in its place is fitted.mrc, which the fit simulated from the fitted model.")
        return simulated, _STAND_IN
    return None, ""


def _ensemble(folder: Path, summary: Mapping[str, Any] | None) -> Array | None:
    """Return CA positions of draws of the chains used, evenly chosen, shape (n, n_ca, 3), Å, or None."""
    if summary is None or not (folder / TRACE_FILE).is_file():
        return None
    coords = load_trace(folder / TRACE_FILE).coords
    used = [chain for chain in summary.get("chains_used", range(len(coords))) if 0 <= chain < len(coords)]
    draws = coords[used or slice(None)].reshape(-1, *coords.shape[2:])
    return np.asarray(thinned(draws, ENSEMBLE_SIZE), dtype=np.float64)


def _metrics(folder: Path) -> MetricsTable | None:
    """Return what was recorded so far; a run that goes on has it in a file of another name."""
    for name in (METRICS_FILE, f"{METRICS_FILE}.part"):
        if (folder / name).is_file():
            return read_metrics(folder / name)
    return None
