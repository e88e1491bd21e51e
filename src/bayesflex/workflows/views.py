"""Files that show a fit in the programs of others: scripts for ChimeraX and VMD, and the modes for NMWiz."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from bayesflex.config import FitConfig
from bayesflex.contour import contour_level
from bayesflex.density_map import DensityMap
from bayesflex.io.nmd import write_nmd
from bayesflex.io.view_scripts import Scene, can_be_named, write_chimerax, write_vmd
from bayesflex.normal_modes import NormalModes
from bayesflex.structure import Structure

#: What ``uncertainty.defattr`` holds that the fitted model is coloured by.
_ATTRIBUTES = ("uncertainty.defattr", "bayesflex_sd")


def write_views(
    out: Path,
    inputs: Mapping[str, str],
    density: DensityMap,
    simulated: DensityMap,
    fitted: Structure,
    config: FitConfig,
    modes: tuple[Structure, NormalModes] | None,
) -> None:
    """Write ``view.cxc`` and ``view.tcl``, and ``modes.nmd`` where there are modes, beside the files of a fit.

    The map and the model as given are named where they are; where they came from no file, the map of the fitted model
    is shown in place of the map, and no start.

    Parameters
    ----------
    out
        Folder with the other files.
    inputs
        What was read, as in ``config.toml``.
    density
        The map.
    simulated
        That of the fitted model.
    fitted
        The fitted model.
    config
        Settings: ``contour`` is the value of the surface where it is given.
    modes
        CA trace and modes of the start, or None.

    Raises
    ------
    InputError
        If a file cannot be written.
    """
    map_file, start = (_name_of(inputs, name, out) for name in ("map", "model"))
    overruled = map_file is not None and (config.voxel is not None or config.origin is not None)
    sites = fitted.trace().coords
    # What is given for the map is no value of the one that stands for it.
    level = contour_level(simulated, sites) if map_file is None else config.contour
    if level is None:
        level = contour_level(density, sites)
    x, y, z = density.voxel_size.tolist()
    place = density.origin.tolist()
    scene = Scene(
        density="fitted.mrc" if map_file is None else map_file,
        contour=level,
        fitted="fitted.cif",
        fitted_pdb="fitted.pdb" if (out / "fitted.pdb").is_file() else None,
        start=start,
        attributes=_ATTRIBUTES,
        voxel_size=(x, y, z) if overruled else None,
        origin=(place[0], place[1], place[2]) if overruled else None,
    )
    write_chimerax(scene, out / "view.cxc")
    write_vmd(scene, out / "view.tcl")
    if modes is not None:
        write_nmd(out / "modes.nmd", *modes)


def _name_of(inputs: Mapping[str, str], name: str, out: Path) -> str | None:
    """Return the path of a file that was read, seen from the folder; None where there is none that can be named."""
    if f"{name}_sha256" not in inputs:
        return None
    path = Path(inputs[name]).resolve()
    try:
        text = os.path.relpath(path, out.resolve())
    except ValueError:  # on another drive
        text = str(path)
    return Path(text).as_posix() if can_be_named(text) else None
