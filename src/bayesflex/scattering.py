"""Density of all atoms from electron scattering factors: what a map of the model would look like without noise.

For maps that are written out or serve as a target. The densities a fit renders again and again, one Gaussian per
bead, come from ``rendering``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import gemmi
import numpy as np
from numpy.typing import NDArray
from scipy import fft

from bayesflex.density_map import DensityMap
from bayesflex.errors import ConfigError, InputError
from bayesflex.structure import Structure
from bayesflex.units import b_factor_of_variance, sigma_of_resolution

Array = NDArray[np.float64]

#: Multiply a density (Å⁻²) by it for the electrostatic potential in V: h²/(2 pi m_e e), Peng et al. (1996), eq. 2.
VOLT_SQUARE_ANGSTROM = 47.87801
#: Gaussians at least so many voxels wide are sampled without aliasing: at the Nyquist frequency their
#: transform is exp(-pi² 1.2² / 2) = 8e-4. What is wider is blurred further by Fourier transform, which is faster.
_SAMPLED_SIGMA = 1.2
#: Atoms are drawn out to this fraction of the peak of a carbon, and the Fourier blur is padded by so many sigma.
_CUTOFF = 1e-6
_PADDING = 5.0


def scattering_map(
    structure: Structure, grid_of: DensityMap, resolution: float, *, use_b_factors: bool = False
) -> DensityMap:
    """Return the electron scattering density of all atoms of a model, blurred to a resolution.

    rho(x) = Σ_n occ_n Σ_j a_j (2 pi s_nj²)^(-3/2) exp(-|x - r_n|² / 2 s_nj²),
    s_nj² = (b_j + B_n) / (8 pi²) + sigma²,

    with the five Gaussians (a_j in Å, b_j in Å²) of each element of Peng, Ren, Dudarev and Whelan (1996), Acta Cryst.
    A52, 257, and sigma that of :func:`bayesflex.units.sigma_of_resolution`. Values are those at the voxels' positions,
    in Å⁻²; their integral is Σ_n occ_n f_n(0) in Å.

    Parameters
    ----------
    structure
        Atoms may lie outside the grid; they are not wrapped around.
    grid_of
        A map whose grid is used; its values are not read.
    resolution
        In Å.
    use_b_factors
        Add the B-factors of the model. By default they count as 0: the resolution stands for all blur, and the
        column holds something else in predicted models.

    Raises
    ------
    ConfigError
        If the resolution is not positive.
    InputError
        If an element has no scattering factors, or a coordinate, occupancy or B-factor is not finite.
    """
    if not (math.isfinite(resolution) and resolution > 0):
        raise ConfigError(f"resolution is {resolution} Å; expected a positive number")
    b_factors = structure.b_factor if use_b_factors else np.zeros(structure.n_atoms)
    _check_atoms(structure, b_factors)
    check_elements(structure)
    sigma = sigma_of_resolution(resolution)
    drawn_sigma = min(sigma, _SAMPLED_SIGMA * float(grid_of.voxel_size.max()))
    blur_sigma = math.sqrt(sigma**2 - drawn_sigma**2)

    calculator = gemmi.DensityCalculatorE()
    calculator.blur = b_factor_of_variance(drawn_sigma**2)
    calculator.cutoff = _CUTOFF * gemmi.Element("C").c4322.calculate_density_iso(0.0, calculator.blur)
    radius = _largest_radius(calculator, structure.element, float(b_factors.max(initial=0.0)))
    reach = radius + _PADDING * blur_sigma

    # Atoms further than the reach from the box leave nothing in it; the padding keeps the rest from wrapping into it.
    shape = np.array(grid_of.shape_xyz)
    padding = np.ceil(reach / grid_of.voxel_size).astype(int) + 1
    padded = np.array([fft.next_fast_len(int(n), real=True) for n in shape + 2 * padding])
    corner = grid_of.origin - padding * grid_of.voxel_size
    far_corner = grid_of.origin + (shape - 1) * grid_of.voxel_size
    near = np.all((structure.coords > grid_of.origin - reach) & (structure.coords < far_corner + reach), axis=1)

    edges = (padded * grid_of.voxel_size).tolist()
    calculator.grid.set_unit_cell(gemmi.UnitCell(edges[0], edges[1], edges[2], 90.0, 90.0, 90.0))
    calculator.grid.set_size(*padded.tolist())
    _draw(calculator, structure.select(near), b_factors[near], corner)
    values = np.asarray(calculator.grid.array, dtype=np.float64).transpose(2, 1, 0)  # (nx, ny, nz) -> (nz, ny, nx)
    if blur_sigma > 0.0:
        values = _blurred(values, blur_sigma / grid_of.voxel_size)
    inner = tuple(slice(int(p), int(p + n)) for p, n in zip(padding[::-1], shape[::-1], strict=True))
    return DensityMap(
        np.ascontiguousarray(values[inner]),
        grid_of.voxel_size.copy(),
        grid_of.origin.copy(),
        name=f"map of {structure.name}",
    )


def scattering_lengths(element: NDArray[np.str_]) -> Array:
    """Return f(0) of each element symbol, Å (Peng et al. 1996), shape (n,); carbon's where it is not known.

    Heavy elements have far less of it than in proportion to their electrons, and oxygen less than carbon.
    """
    return _of_symbols(element, lambda factor: float(sum(factor.a)))


def scattering_variances(element: NDArray[np.str_]) -> Array:
    """Return the mean square distance from the atom, per direction, of its scattering density, Å², shape (n,).

    Σ a_j b_j / (8 pi² Σ a_j) with the Gaussians of Peng et al. (1996); carbon's where the element is not known.
    """
    return _of_symbols(
        element,
        lambda factor: sum(a * b for a, b in zip(factor.a, factor.b, strict=True)) / (8.0 * math.pi**2 * sum(factor.a)),
    )


def _of_symbols(element: NDArray[np.str_], value: Callable[[Any], float]) -> Array:
    """Return a value of the scattering factor of each element symbol, shape (n,); carbon's where it is not known."""
    symbols, index = np.unique(element, return_inverse=True)
    carbon = gemmi.Element("C")
    values = []
    for symbol in symbols.tolist():
        found = gemmi.Element(symbol)
        known = found.atomic_number > 0 and found.c4322 is not None
        values.append(float(value((found if known else carbon).c4322)))
    return np.array(values)[index]


def check_elements(structure: Structure) -> None:
    """Raise InputError, naming the atom, if an element has no scattering factors or is not known."""
    for symbol in np.unique(structure.element):
        element = gemmi.Element(str(symbol))
        # gemmi gives unknown elements the coefficients of oxygen.
        if element.atomic_number == 0 or element.c4322 is None:
            atoms = np.flatnonzero(structure.element == symbol)
            first = atoms[0]
            raise InputError(
                f"{structure.name}: no electron scattering factors for element '{symbol}' of {len(atoms)} atom(s), "
                f"the first of which is {structure.atom_name[first]} of {structure.residue_name[first]} "
                f"{structure.residue_number[first]} in chain '{structure.chain[first]}'; "
                "correct the element column or remove these atoms"
            )


def atomic_numbers(elements: NDArray[np.str_]) -> Array:
    """Return the atomic number of each element symbol, 0 for an unknown one, shape (n_atoms,)."""
    symbols, index = np.unique(elements, return_inverse=True)
    return np.array([gemmi.Element(str(symbol)).atomic_number for symbol in symbols], dtype=np.float64)[index]


def _check_atoms(structure: Structure, b_factors: Array) -> None:
    """Raise InputError unless all that is drawn is finite."""
    for label, column in (
        ("coordinate", structure.coords),
        ("occupancy", structure.occupancy),
        ("B-factor", b_factors),
    ):
        if not np.all(np.isfinite(column)):
            raise InputError(f"{structure.name}: a {label} is not finite; remove or correct that atom")
    if np.any(b_factors < 0):
        raise InputError(f"{structure.name}: {np.sum(b_factors < 0)} B-factors are negative; correct or ignore them")


def _largest_radius(calculator: gemmi.DensityCalculatorE, elements: Iterable[str], b_factor: float) -> float:
    """Return the radius (Å) to which the widest of the atoms is drawn."""
    radius = 0.0
    for symbol in np.unique(np.asarray(elements)):
        atom = gemmi.Atom()
        atom.element = gemmi.Element(str(symbol))
        atom.b_iso = b_factor
        radius = max(radius, calculator.estimate_radius(atom))
    return radius


def _draw(calculator: gemmi.DensityCalculatorE, structure: Structure, b_factors: Array, corner: Array) -> None:
    """Add atoms to the calculator's grid, whose voxel (0, 0, 0) is at ``corner``."""
    elements = {str(symbol): gemmi.Element(str(symbol)) for symbol in np.unique(structure.element)}
    atom = gemmi.Atom()
    for symbol, occupancy, b_factor, position in zip(
        structure.element.tolist(),
        structure.occupancy.tolist(),
        b_factors.tolist(),
        (structure.coords - corner).tolist(),
        strict=True,
    ):
        atom.element = elements[symbol]
        atom.occ = occupancy
        atom.b_iso = b_factor
        atom.pos = gemmi.Position(*position)
        calculator.add_atom_density_to_grid(atom)


def _blurred(values: Array, sigma: Array) -> Array:
    """Return values (nz, ny, nx) convolved, periodically, with a Gaussian of widths (x, y, z) in voxels."""
    nz, ny, nx = values.shape
    transform = fft.rfftn(values)
    for axis, frequency, width in (
        (0, fft.fftfreq(nz), sigma[2]),
        (1, fft.fftfreq(ny), sigma[1]),
        (2, fft.rfftfreq(nx), sigma[0]),
    ):
        factor = np.exp(-2.0 * (math.pi * width * frequency) ** 2)
        transform *= np.expand_dims(factor, [a for a in range(3) if a != axis])
    return fft.irfftn(transform, s=values.shape)
