"""The task behind ``bayesflex validate``: a model judged in a map, as tables, numbers and figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path

from bayesflex.density_map import DensityMap, require_same_grid
from bayesflex.errors import ConfigError
from bayesflex.io.maps import read_map
from bayesflex.io.output_folder import make_folder, require_new_or_empty
from bayesflex.io.structures import read_structure
from bayesflex.io.tables import write_csv, write_json
from bayesflex.plots.fsc import plot_fsc
from bayesflex.plots.residue_scores import plot_residue_scores
from bayesflex.plots.style import save_figure
from bayesflex.validation import ChainScores, ResidueScores, Validation, validate
from bayesflex.validation.shells import half_map_resolution

VALIDATION_FILE, SHELLS_FILE = "validation.json", "validation_fsc.csv"


def run_validate(
    model_path: Path,
    map_path: Path,
    out: Path,
    resolution: float | None,
    *,
    half_maps: tuple[Path, Path] | None = None,
    mask: Path | None = None,
    voxel: float | None = None,
    origin: str | None = None,
    say: Callable[[str], None] | None = None,
) -> Validation:
    """Judge a model in a map, from files to a folder.

    Parameters
    ----------
    model_path, map_path
        What to read.
    out
        Folder to write, new or empty.
    resolution
        Of the map, Å; None for that at which its half maps correlate by 0.143.
    half_maps, mask
        Files of what :func:`bayesflex.validation.validate` takes under these names.
    voxel, origin
        As for :func:`bayesflex.io.maps.read_map`, applied to all maps.
    say
        Told what was read and what is done.

    Raises
    ------
    ConfigError
        If there is no resolution and there are no half maps, or they nowhere correlate so much.
    InputError
        As :func:`bayesflex.validation.validate`; also if a file cannot be read or written, or the folder is not empty.
    """
    require_new_or_empty(out)

    def read_placed(path: Path) -> DensityMap:
        return read_map(path, voxel=voxel, origin=origin)

    tell = (lambda text: None) if say is None else say
    structure, density = read_structure(model_path), read_placed(map_path)
    tell(f"read {structure.name}: {structure.size_in_words()}")
    tell(f"read {density.name}: {' × '.join(str(n) for n in density.shape_xyz)} voxels")
    halves = None if half_maps is None else (read_placed(half_maps[0]), read_placed(half_maps[1]))
    if resolution is None:
        resolution = _resolution_of(density, halves)
        tell(f"the half maps correlate to {resolution:.2f} Å")
    found = validate(structure, density, resolution, halves, None if mask is None else read_placed(mask))
    tell("judged")
    make_folder(out)
    write_validation({"model": found}, out)
    return found


def write_validation(validations: Mapping[str, Validation], out: Path) -> None:
    """Write the files of the validation of one model or several in one map into a folder that is there.

    The tables of chains and residues are those of the last one.

    Parameters
    ----------
    validations
        By what the models are called: "model", or "start" and "fitted".
    out
        The folder.

    Raises
    ------
    InputError
        If a file cannot be written.
    """
    last = list(validations.values())[-1]
    write_csv(out / "validation_chains.csv", _names(ChainScores), map(_values, last.chains))
    write_csv(out / "validation_residues.csv", _names(ResidueScores), map(_values, last.residues))
    _write_shells(validations, out / SHELLS_FILE)
    save_figure(plot_fsc(validations), out / "validation_fsc.png")
    save_figure(plot_residue_scores(validations), out / "validation_residues.png")
    write_json(out / VALIDATION_FILE, {name: found.numbers() for name, found in validations.items()})


def _resolution_of(density: DensityMap, halves: tuple[DensityMap, DensityMap] | None) -> float:
    """Return the resolution (Å) of a map from its half maps."""
    if halves is None:
        raise ConfigError("no resolution was given, and no half maps to tell it; give it with --resolution")
    for half in halves:
        require_same_grid(half, density, "half map")
    resolution = half_map_resolution(halves[0].values, halves[1].values, density.voxel_size)
    if resolution is None:
        raise ConfigError(
            f"{halves[0].name}, {halves[1].name}: the half maps correlate by less than 0.143 in every Fourier shell, "
            "so that they tell no resolution; check the files, or give one with --resolution"
        )
    return resolution


def _write_shells(validations: Mapping[str, Validation], path: Path) -> None:
    """Write the Fourier shell correlations, a row per shell."""
    last = list(validations.values())[-1]
    columns = {"frequency": last.map_model.frequency}
    for name, found in validations.items():
        columns |= {f"{name}_masked": found.map_model.masked, f"{name}_unmasked": found.map_model.unmasked}
    for found in validations.values():
        if found.half_maps is not None:
            columns |= {"half_maps_masked": found.half_maps.masked, "half_maps_unmasked": found.half_maps.unmasked}
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    write_csv(path, list(columns), rows)


def _names(row: type[ChainScores | ResidueScores]) -> list[str]:
    return [item.name for item in fields(row)]


def _values(row: ChainScores | ResidueScores) -> list[object]:
    return [getattr(row, item.name) for item in fields(row)]
