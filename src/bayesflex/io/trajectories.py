"""Writing trajectories (DCD) with their topology, through mdtraj.

For films and for programs that analyse trajectories; the draws themselves are in ``trace``.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bayesflex.errors import InputError
from bayesflex.io.atomic import atomic_path
from bayesflex.io.structures import fits_pdb, write_structure
from bayesflex.structure import Structure


def write_trajectory(coords: NDArray[np.float64], topology: Structure, path: str | Path) -> Path:
    """Write frames as DCD and, beside them, a topology of the same name as PDB (mmCIF where PDB cannot hold it).

    Parameters
    ----------
    coords
        Positions, shape (n_frames, n_atoms, 3), Å. The DCD format keeps them in single precision.
    topology
        The atoms, in the same order; the topology file shows the first frame.
    path
        File to write, ending in ".dcd".

    Returns
    -------
    Path
        The topology file.

    Raises
    ------
    InputError
        If the suffix is another, the shape does not fit the topology, a coordinate is not finite, or a file
        cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".dcd":
        raise InputError(f"{path}: trajectories are written as DCD; give a name that ends in .dcd.")
    if coords.ndim != 3 or len(coords) == 0 or coords.shape[1:] != (topology.n_atoms, 3):
        raise InputError(
            f"{path}: a trajectory of {topology.name} needs coordinates of shape (n_frames, {topology.n_atoms}, 3), "
            f"got {coords.shape}."
        )
    if not np.isfinite(coords).all():
        raise InputError(f"{path}: a coordinate of the trajectory is not a finite number; leave such frames out.")
    with atomic_path(path) as temporary:
        _write_dcd(coords.astype(np.float32), temporary)  # in Å, as the format has them
    first_frame = replace(topology, coords=np.array(coords[0], dtype=np.float64))
    topology_path = path.with_suffix(".pdb" if fits_pdb(first_frame) else ".cif")
    write_structure(first_frame, topology_path)
    return topology_path


def _write_dcd(frames: NDArray[np.float32], path: Path) -> None:
    """Write frames, shape (n_frames, n_atoms, 3), Å."""
    # mdtraj takes about a second to import, which commands without a trajectory should not wait for.
    from mdtraj.formats import DCDTrajectoryFile

    # Its C code opens files by names of ASCII letters alone.
    with tempfile.TemporaryDirectory() if not str(path).isascii() else nullcontext(path.parent) as folder:
        written = Path(folder) / path.name.encode("ascii", "replace").decode().replace("?", "_")
        with DCDTrajectoryFile(str(written), "w") as file:
            file.write(frames)
        if written != path:
            shutil.copyfile(written, path)
