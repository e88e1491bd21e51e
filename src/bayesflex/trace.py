"""Trace: the draws of every chain as arrays, (chain, draw, ...) first, and their file.

A trace holds the draws kept after the warm-up. What happened in every iteration,
warm-up included, is a ``metrics.MetricsTable``. Names and groups follow ArviZ's
InferenceData, so that ArviZ reads the file without this package.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesflex.errors import InputError
from bayesflex.io.atomic import atomic_path

#: Units of the sample statistics whose names ArviZ's schema fixes; others are kept without a unit.
SAMPLE_STAT_UNITS = {
    "lp": "nats",  # log density of the draw
    "acceptance_rate": "1",
    "diverging": "1",
    "energy": "nats",  # the Hamiltonian H of the trajectory that led to the draw, not the potential energy
    "energy_error": "nats",
    "step_size": "1",
    "n_steps": "1",
    "cc_centred": "1",
}


@dataclass(frozen=True, eq=False)
class Trace:
    """Draws from the posterior.

    Parameters
    ----------
    coords
        CA positions, shape (n_chains, n_draws, n_ca, 3), Å, float32 or float64.
    amplitudes
        Mode amplitudes a_m = A_m·(r - r₀), shape (n_chains, n_draws, n_modes), Å.
    mode_numbers
        Numbers of the modes, counted from 7, shape (n_modes,).
    residues
        A label per CA ("A 152"), shape (n_ca,); see :attr:`bayesflex.structure.Structure.residue_labels`.
    sample_stats
        Arrays of shape (n_chains, n_draws) under ArviZ's names (see :data:`SAMPLE_STAT_UNITS`); ``lp`` must be there.
    log_likelihood
        log L of each draw, shape (n_chains, n_draws), nats.
    potential_energy
        U of each draw, shape (n_chains, n_draws), kcal/mol.

    Raises
    ------
    InputError
        If the shapes contradict each other, or ``lp`` is missing.
    """

    coords: NDArray[np.floating[Any]]
    amplitudes: NDArray[np.float64]
    mode_numbers: NDArray[np.int64]
    residues: NDArray[np.str_]
    sample_stats: Mapping[str, NDArray[Any]]
    log_likelihood: NDArray[np.float64]
    potential_energy: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.coords.ndim != 4 or self.coords.shape[3] != 3 or min(self.coords.shape[:2]) < 1:
            raise InputError(f"trace: coords have shape {self.coords.shape}, expected (n_chains, n_draws, n_ca, 3)")
        per_draw = self.coords.shape[:2]
        expected = {
            "amplitudes": (self.amplitudes, (*per_draw, len(self.mode_numbers))),
            "residues": (self.residues, (self.coords.shape[2],)),
            "log_likelihood": (self.log_likelihood, per_draw),
            "potential_energy": (self.potential_energy, per_draw),
        } | {f"sample_stats[{name!r}]": (values, per_draw) for name, values in self.sample_stats.items()}
        for name, (values, shape) in expected.items():
            if values.shape != shape:
                raise InputError(f"trace: {name} has shape {values.shape}, expected {shape} as coords have it")
        if "lp" not in self.sample_stats:
            raise InputError(
                f"trace: sample_stats has {sorted(self.sample_stats)} and no 'lp'; add the log density of each draw"
            )

    @property
    def n_chains(self) -> int:
        """Number of chains."""
        return int(self.coords.shape[0])

    @property
    def n_draws(self) -> int:
        """Number of draws per chain."""
        return int(self.coords.shape[1])

    @property
    def n_ca(self) -> int:
        """Number of CA atoms."""
        return int(self.coords.shape[2])

    @property
    def log_density(self) -> NDArray[Any]:
        """Log density of each draw, shape (n_chains, n_draws), nats: ``sample_stats["lp"]``."""
        return self.sample_stats["lp"]

    def chain_means(self) -> NDArray[np.float64]:
        """Return the mean positions of each chain, shape (n_chains, n_ca, 3), Å."""
        means: NDArray[np.float64] = self.coords.mean(axis=1, dtype=np.float64)
        return means


def import_arviz() -> Any:
    """Return the module ``arviz``, imported without its daily announcement; nothing else imports it.

    ArviZ takes seconds to import, so it is imported when it is needed. Version 0.23 raises a FutureWarning at
    its first import of a day, and notes the day in the user's cache folder, which need not be writable (in
    containers, on clusters): then it is given a temporary one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import arviz
        except OSError:
            with _temporary_cache_folder():
                import arviz
    return arviz


@contextmanager
def _temporary_cache_folder() -> Iterator[None]:
    """Let programs that follow the XDG convention write their caches to a temporary folder."""
    before = os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ["XDG_CACHE_HOME"]
            else:
                os.environ["XDG_CACHE_HOME"] = before


def to_inference_data(trace: Trace) -> Any:
    """Return the trace as an ``arviz.InferenceData``.

    Groups: ``posterior`` (``position``: chain, draw, residue, xyz; ``amplitude``: chain, draw, mode),
    ``sample_stats`` (with ``potential_energy`` beside ArviZ's names) and ``log_likelihood`` (``map``).
    """
    data = import_arviz().from_dict(
        posterior={"position": trace.coords, "amplitude": trace.amplitudes},
        sample_stats={**trace.sample_stats, "potential_energy": trace.potential_energy},
        log_likelihood={"map": trace.log_likelihood},
        coords={"residue": trace.residues, "xyz": ["x", "y", "z"], "mode": trace.mode_numbers},
        dims={"position": ["residue", "xyz"], "amplitude": ["mode"]},
    )
    data.posterior["position"].attrs["units"] = "angstrom"
    data.posterior["amplitude"].attrs["units"] = "angstrom"
    data.log_likelihood["map"].attrs["units"] = "nats"
    data.sample_stats["potential_energy"].attrs["units"] = "kcal/mol"
    for name in trace.sample_stats:
        if name in SAMPLE_STAT_UNITS:
            data.sample_stats[name].attrs["units"] = SAMPLE_STAT_UNITS[name]
    for group in data.groups():
        # The same trace gives the same file, so the time of the conversion is left out.
        data[group].attrs.pop("created_at", None)
        data[group].attrs["inference_library"] = "bayesflex"
    return data


def save_trace(trace: Trace, path: Path) -> None:
    """Write a trace as compressed netCDF, which ``arviz.from_netcdf`` reads.

    Raises
    ------
    InputError
        If the file cannot be written; nothing is left behind then.
    """
    data = to_inference_data(trace)
    compressed = {
        f"/{group}": {name: {"zlib": True} for name in data[group].data_vars if data[group][name].size}
        for group in data.groups()
    }
    # Made in memory, since HDF5 takes the whole process down when a disk is full. Copied, since the view of a buffer
    # that xarray returns must not live on in the traceback of an error: Python 3.12 crashes when it collects it.
    content = bytes(data.to_datatree().to_netcdf(engine="h5netcdf", encoding=compressed))
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def load_trace(path: Path) -> Trace:
    """Read a trace that :func:`save_trace` wrote.

    Raises
    ------
    InputError
        If the file is missing, is not netCDF, or holds something else.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; expected a trace (trace.nc) that a fit wrote")
    try:
        data = import_arviz().from_netcdf(str(path), engine="h5netcdf")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not netCDF ({error}); expected a trace (trace.nc) that a fit wrote") from error
    try:
        statistics = {str(name): values.to_numpy() for name, values in data.sample_stats.data_vars.items()}
        return Trace(
            coords=data.posterior["position"].to_numpy(),
            amplitudes=data.posterior["amplitude"].to_numpy(),
            mode_numbers=data.posterior["mode"].to_numpy().astype(np.int64),
            residues=data.posterior["residue"].to_numpy().astype(np.str_),
            potential_energy=statistics.pop("potential_energy"),
            sample_stats=statistics,
            log_likelihood=data.log_likelihood["map"].to_numpy(),
        )
    except (KeyError, AttributeError) as error:
        raise InputError(
            f"{path}: {error} not found; expected a trace (trace.nc) that a fit wrote, with groups posterior, "
            f"sample_stats and log_likelihood, got {data.groups()}"
        ) from error
    finally:
        data.close()
