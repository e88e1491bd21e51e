"""Dock a model into a map: the task behind ``bayesflex dock``, from files to a folder."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bayesflex import __version__
from bayesflex.config import FitConfig
from bayesflex.density_map import DensityMap, require_same_grid
from bayesflex.docking.pose import moved
from bayesflex.docking.solutions import Docking, dock
from bayesflex.io.maps import read_map
from bayesflex.io.output_folder import make_folder, require_new_or_empty
from bayesflex.io.structures import fits_pdb, read_structure, write_structure
from bayesflex.placement import check_placement
from bayesflex.protocols import Reporter
from bayesflex.reporters import LogReporter, NullReporter
from bayesflex.sampling import thread_count
from bayesflex.structure import Structure
from bayesflex.workflows.compilation import announced_compilation
from bayesflex.workflows.docking_report import POSES_FILE, docking_warnings, poses_table, share_inside, solution_table
from bayesflex.workflows.preparation import with_usable_resolution
from bayesflex.workflows.run_files import LOG_FILE, SUMMARY_FILE, write_text
from bayesflex.workflows.run_folder import described_files


def docked_file(rank: int) -> str:
    """Return the name of the model of a solution, counted from 1."""
    return "docked.cif" if rank == 1 else f"docked-{rank}.cif"


@dataclass(frozen=True, eq=False)
class DockResult:
    """What a docking found, and the models that it was written as.

    Parameters
    ----------
    docking
        Solutions, ranked.
    models
        The whole structure at each solution.
    warnings
        Sentences for the user.
    summary
        The numbers of ``summary.json``.
    """

    docking: Docking
    models: tuple[Structure, ...]
    warnings: tuple[str, ...]
    summary: dict[str, Any]


def run_dock(
    model_path: Path,
    map_path: Path,
    out: Path,
    config: FitConfig,
    *,
    n_solutions: int = 5,
    fixed: Path | None = None,
    mask: Path | None = None,
    reporter: Reporter | None = None,
) -> DockResult:
    """Dock a model into a map, from files to a folder.

    Nothing is made before the search has ended.

    Parameters
    ----------
    model_path, map_path
        What to read.
    out
        Folder to write, new or empty.
    config
        ``resolution``, ``threads``, ``voxel`` and ``origin`` are used.
    n_solutions
        Distinct solutions to write, at most.
    fixed, mask
        Another model, whose part of the map is taken; a map that is above zero where the model may be.
    reporter
        Listener, told what was read, what happens and what came out.

    Raises
    ------
    InputError
        As :func:`bayesflex.docking.solutions.dock`; also if a file cannot be read or written, the folder is not empty,
        the mask is on another grid, or the resolution is finer than a voxel.
    """
    began = time.perf_counter()
    require_new_or_empty(out)
    shown: Reporter = NullReporter() if reporter is None else reporter
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        shown.message(text)

    with announced_compilation(say):
        structure = read_structure(model_path)
        density = read_map(map_path, voxel=config.voxel, origin=config.origin)
        mask_map = None if mask is None else read_map(mask, voxel=config.voxel, origin=config.origin)
        other = None if fixed is None else read_structure(fixed)
        config, warnings = with_usable_resolution(config, density)
        if mask_map is not None:
            require_same_grid(mask_map, density, "mask")
        found = dock(
            structure,
            density,
            config.resolution,
            n_solutions=n_solutions,
            fixed=other,
            mask=mask_map,
            n_threads=thread_count(config),
            on_progress=say,
        )
    say(solution_table(found, structure, density))
    models = tuple(structure.with_coords(moved(structure.coords, each.pose.motion)) for each in found.solutions)
    placement = check_placement(density, models[0].trace().coords)
    warnings = (*warnings, *docking_warnings(found, density.name), *placement.warnings)
    for warning in warnings:
        say(f"Warning: {warning}")
    files = described_files({"model": model_path, "map": map_path, "fixed": fixed, "mask": mask})
    summary = _summary(found, structure, density, config, warnings) | {
        "input": files,
        "version": __version__,
        "seconds": time.perf_counter() - began,
    }
    result = DockResult(found, models, warnings, summary)
    _write(result, structure, density, out, said)
    return result


def _write(result: DockResult, structure: Structure, density: DensityMap, out: Path, said: list[str]) -> None:
    """Write the folder; the summary is its last file."""
    make_folder(out)
    for rank, model in enumerate(result.models, start=1):
        write_structure(model, out / docked_file(rank))
    if fits_pdb(result.models[0]):
        write_structure(result.models[0], out / "docked.pdb")
    write_text(out / POSES_FILE, poses_table(result.docking, structure, density))
    log = LogReporter(out / LOG_FILE)
    for text in said:
        log.message(text)
    write_text(out / SUMMARY_FILE, json.dumps(result.summary, indent=2, ensure_ascii=False) + "\n")


def _summary(
    docking: Docking, structure: Structure, density: DensityMap, config: FitConfig, warnings: tuple[str, ...]
) -> dict[str, Any]:
    best = docking.solutions[0]
    return {
        "cc_local": best.pose.score,
        "gap": _number(best.gap),
        "gap_z": _number(best.gap_z),
        "ambiguous": docking.is_ambiguous,
        "pose": list(best.pose.motion),
        "ca_inside": share_inside(structure, density, best.pose),
        "n_solutions": len(docking.solutions),
        "n_places": 1 + len(best.places),
        "n_equivalents": len(docking.symmetry),
        "resolution": config.resolution,
        "levels": list(docking.levels),
        "n_rotations": docking.n_rotations,
        "covering_angle": math.degrees(docking.angle),
        "n_observations": docking.observations,
        "warnings": list(warnings),
    }


def _number(value: float) -> float | None:
    """Return a number, or None where there is none, since JSON has no word for it."""
    return value if math.isfinite(value) else None
