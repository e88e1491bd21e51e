"""Simulate the map of a model: its density at a resolution, with noise if wanted."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from bayesflex.density_map import DensityMap
from bayesflex.errors import ConfigError, InputError
from bayesflex.noise import SPECTRA, add_noise
from bayesflex.rendering import render
from bayesflex.scattering import atomic_numbers, check_elements, scattering_map
from bayesflex.structure import Structure
from bayesflex.units import sigma_of_resolution

Array = NDArray[np.float64]

#: What an atom looks like, and which atoms stand for the model under the Gaussian kernel.
KERNELS = ("scattering", "gaussian")
ATOMS = ("ca", "all")
#: Range of the voxel size that is chosen for the user, Å: archive maps lie within it.
_VOXEL_RANGE = (0.5, 4.0)
#: Room on each side of the model in a box chosen for the user, beyond 3 sigma, Å.
_MARGIN = 10.0


def simulate(
    structure: Structure,
    *,
    resolution: float,
    voxel: float | None = None,
    box: int | None = None,
    noise: float = 0.0,
    noise_spectrum: str = "band",
    noise_correlation: float | None = None,
    seed: int = 1,
    kernel: str = "scattering",
    atoms: str = "ca",
    grid_of: DensityMap | None = None,
) -> DensityMap:
    """Return the density map of a model.

    Parameters
    ----------
    structure
        The model; it stays where it is.
    resolution
        In Å; its Gaussian is that of :func:`bayesflex.units.sigma_of_resolution`.
    voxel
        Voxel size, Å; by default a third of the resolution, within 0.5 to 4 Å and rounded to 0.01 Å.
    box
        Voxels along each edge of the cube; by default what leaves 3 sigma + 10 Å around the model, rounded up to a
        size that is quick to transform. The cube is centred on the model to within a voxel: the origin is a multiple
        of the voxel size.
    noise, noise_spectrum, noise_correlation
        Level in units of the clean map's own standard deviation, spectrum, and the correlation length in Å of the
        "correlated" one: see :func:`bayesflex.noise.add_noise`.
    seed
        Of the noise.
    kernel
        "scattering": all atoms by their electron scattering factors, in Å⁻², see
        :func:`bayesflex.scattering.scattering_map`;
        "gaussian": one Gaussian per atom, eq. 3 of Vuillemot and Jonic, in weights per Å³.
    atoms
        For the Gaussian kernel, "ca": the CA trace, each of weight 1 (the paper's);
        "all": every atom, with its atomic number times its occupancy as its weight.
    grid_of
        A map whose grid is used, instead of ``voxel`` and ``box``. The model may reach out of it.

    Returns
    -------
    DensityMap
        Notes say how it was made.

    Raises
    ------
    ConfigError
        If a setting is unknown or outside its range, or the box is too small for the model.
    InputError
        If the model has no atoms of the kind asked for, none in the grid given, or an element of unknown scattering.
    """
    _check_choice("kernel", kernel, KERNELS)
    _check_choice("atoms", atoms, ATOMS)
    _check_choice("noise spectrum", noise_spectrum, SPECTRA)
    if not (math.isfinite(resolution) and resolution > 0):
        raise ConfigError(f"resolution is {resolution} Å; expected a positive number")
    drawn = structure.trace() if kernel == "gaussian" and atoms == "ca" else structure
    if drawn.n_atoms == 0:
        raise InputError(f"{structure.name}: the model has no atoms")
    if not np.all(np.isfinite(drawn.coords)):
        raise InputError(f"{structure.name}: a coordinate is not finite; remove or correct that atom")
    sigma = sigma_of_resolution(resolution)
    if grid_of is None:
        grid, placement = _cube_around(drawn, resolution, sigma, voxel, box)
    else:
        if voxel is not None or box is not None:
            raise ConfigError("voxel and box cannot be given along with a map whose grid is used; leave them out")
        grid, placement = grid_of, _placed_in(drawn, grid_of)
    coarsest = float(grid.voxel_size.max())
    if resolution < coarsest:
        raise ConfigError(
            f"resolution {resolution:g} Å is finer than one voxel ({coarsest:g} Å); "
            f"give a resolution of at least {2 * coarsest:g} Å or a smaller voxel"
        )

    if kernel == "scattering":
        values = scattering_map(drawn, grid, resolution).values
        made = "electron scattering factors of all atoms, B-factors not used, in 1/Å^2"
    else:
        nz, ny, nx = grid.values.shape
        values = render(drawn.coords, _weights(drawn, atoms), sigma, (nz, ny, nx), grid.voxel_size, grid.origin)
        made = f"a Gaussian per {'CA, of weight 1' if atoms == 'ca' else 'atom, of its atomic number'}, in 1/Å^3"
    density = DensityMap(
        values,
        grid.voxel_size.copy(),
        grid.origin.copy(),
        name=f"map of {structure.name}",
        notes=(f"Simulated at {resolution:g} Å (sigma {sigma:.3g} Å): {made}.", *placement),
        header=grid.header,
    )
    if noise == 0:
        return density
    density = add_noise(
        np.random.default_rng(seed),
        density,
        noise,
        spectrum=noise_spectrum,
        resolution=resolution,
        correlation=noise_correlation,
    )
    kind = noise_spectrum if noise_correlation is None else f"{noise_spectrum} over {noise_correlation:g} Å"
    note = f"Noise of {noise:g} times the map's standard deviation, spectrum {kind}, seed {seed}."
    return replace(density, notes=(*density.notes, note))


def _check_choice(label: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ConfigError(f"{label} is '{value}'; expected one of {', '.join(choices)}")


def _cube_around(
    drawn: Structure, resolution: float, sigma: float, voxel: float | None, box: int | None
) -> tuple[DensityMap, tuple[str, ...]]:
    """Return an empty cube around the atoms, and a sentence on where it lies."""
    if voxel is None:
        voxel = round(min(max(resolution / 3.0, _VOXEL_RANGE[0]), _VOXEL_RANGE[1]), 2)
    if not (math.isfinite(voxel) and voxel > 0):
        raise ConfigError(f"voxel is {voxel} Å; expected a positive number")
    low, high = drawn.coords.min(axis=0), drawn.coords.max(axis=0)
    extent = float(np.max(high - low))
    # Two more: one for counting both ends, one for an origin rounded to whole voxels.
    needed = math.ceil((extent + 6.0 * sigma) / voxel) + 2
    if box is None:
        box = fft.next_fast_len(math.ceil((extent + 6.0 * sigma + 2.0 * _MARGIN) / voxel) + 2, real=True)
    if not box >= 1:
        raise ConfigError(f"box is {box} voxels; expected a positive number")
    if box < needed:
        raise ConfigError(
            f"a box of {box} voxels of {voxel:g} Å is too small for {drawn.name}, which needs {needed} "
            f"({extent:.0f} Å and 3 sigma = {3.0 * sigma:.1f} Å on each side); give a larger box or voxel"
        )
    first = np.round(0.5 * (low + high) / voxel - 0.5 * (box - 1))
    grid = DensityMap(np.zeros((box, box, box)), np.full(3, float(voxel)), first * voxel)
    x, y, z = grid.origin
    return grid, (f"Cube of {box} voxels of {voxel:g} Å centred on the model; origin ({x:g}, {y:g}, {z:g}) Å.",)


def _placed_in(drawn: Structure, grid: DensityMap) -> tuple[str, ...]:
    """Return sentences on the grid used; InputError if no atom lies in it."""
    index = grid.to_index(drawn.coords)
    inside = np.all((index >= -0.5) & (index <= np.array(grid.shape_xyz) - 0.5), axis=1)
    if not np.any(inside):
        raise InputError(
            f"{drawn.name}: none of its {drawn.n_atoms} atoms lies in the grid of {grid.name}; "
            "check the map's origin, or leave the grid out"
        )
    sentence = f"Grid of {grid.name}."
    if not np.all(inside):
        sentence += f" {int(np.sum(~inside))} of {drawn.n_atoms} atoms lie outside it."
    return (sentence,)


def _weights(drawn: Structure, atoms: str) -> Array:
    """Return the weight of each Gaussian, shape (n_atoms,)."""
    if atoms == "ca":
        return np.ones(drawn.n_atoms)
    check_elements(drawn)
    return atomic_numbers(drawn.element) * drawn.occupancy
