"""Density support: how much density of its own each residue has in the map.

The fitted model is scaled to the map as a whole. Here each residue gets a scale of its own: 1 where the map holds the
density that the model puts there, 0 where it holds none. A loop that the map does not show has little, wherever the fit
put it: also where it was drawn into the density of others, who then have less for themselves.

Not to be confused with the spread of the draws: a likelihood with a density for every residue pulls such a loop into
some density, and holds it there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array, csr_array, diags_array
from scipy.sparse.linalg import cg
from scipy.spatial import cKDTree

from bayesflex.chain import bonded_to_next
from bayesflex.map_comparison import Comparison
from bayesflex.posterior_predictive import Residual
from bayesflex.residue_runs import averaged, stretches
from bayesflex.structure import Structure

Array = NDArray[np.float64]

#: Prior of a residue's scale about 1: its standard deviation, and that of the difference between residues in a row.
_SPREAD, _STEP = 1.0, 0.58

#: Beads further apart than this many resolutions share no density worth counting.
_REACH = 3.0

#: A stretch has no density of its own where at least so many residues, each averaged with two on either side, have less
#: than this share of the density that others have, and the stretch by so many standard errors. Residues beside it with
#: less than the last share belong to it.
FEWEST_RESIDUES, LEAST_SUPPORT, _CERTAIN, _EDGE_SUPPORT = 3, 0.6, 3.0, 0.7


@dataclass(frozen=True, eq=False)
class DensitySupport:
    """Density of its own that each residue has.

    Parameters
    ----------
    support
        Scale of each residue's density relative to the model's median, shape (n_ca,): 1 as expected, 0 for none.
    absent
        True in stretches that have none of their own, beyond the noise.
    """

    support: Array
    absent: NDArray[np.bool_]


def density_support(comparison: Comparison, residual: Residual, ca: Structure) -> DensitySupport:
    """Return the density support of each residue of a fitted CA trace.

    The scales o minimise |rho - beta - alpha Σ o_i g_i|² under the noise model, g_i the density of residue i, with a
    Gaussian prior about 1 that lets neighbours in the chain differ little: at low resolution the density of a single
    residue cannot be told from its neighbours'.

    Parameters
    ----------
    comparison
        The map, near the fitted model.
    residual
        What the fit left of it.
    ca
        The fitted trace.
    """
    n_ca = ca.n_atoms
    beads = comparison.beads
    positions = beads.place(ca.coords)
    # Ligands and ions, which ride on a residue's site, are no density of its own: they keep the model's scale.
    own = np.arange(len(positions) - beads.n_others)
    member = csr_array((np.ones(len(own)), (beads.residue[own], own)), (n_ca, len(positions)))
    precision = comparison.weight / comparison.config.copies
    if not comparison.noise_is_known:
        precision = precision / residual.level
    slope = np.asarray(
        residual.scale * (member @ (_overlaps(comparison, residual, positions, precision) * beads.weights))
    )
    curvature = residual.scale**2 * (member @ _products(comparison, positions, precision) @ member.T)
    bonded = np.flatnonzero(bonded_to_next(ca))
    steps = coo_array(
        (np.repeat([-1.0, 1.0], len(bonded)), (np.tile(np.arange(len(bonded)), 2), np.r_[bonded, bonded + 1])),
        (len(bonded), n_ca),
    ).tocsr()
    system = csr_array(curvature + diags_array(np.full(n_ca, _SPREAD**-2)) + _STEP**-2 * (steps.T @ steps))
    support = 1.0 + _solve(system, slope)
    middle = float(np.median(support))
    relative = support / middle if middle > 0.0 else support
    labels = ca.residue_labels
    absent = np.zeros(n_ca, dtype=bool)
    for part in stretches(averaged(relative, labels) < LEAST_SUPPORT, labels):
        size = part.stop - part.start
        if size < FEWEST_RESIDUES:
            continue
        mean = np.zeros(n_ca)
        mean[part] = 1.0 / size
        error = np.sqrt(float(mean @ _solve(system, mean)))
        absent[part] = middle - float(mean @ support) > _CERTAIN * error
    for part in stretches(absent | (relative < _EDGE_SUPPORT), labels):
        absent[part] = absent[part].any()
    return DensitySupport(relative, absent)


def _overlaps(comparison: Comparison, residual: Residual, positions: Array, precision: Array) -> Array:
    """Return (R, P g) of the residual with a bead of weight 1 at each position, shape (n_beads,)."""
    grid, target = comparison.grid, comparison.target
    profile = np.exp(-2.0 * (np.pi * target.sigma * grid.frequency) ** 2) / float(np.prod(target.voxel_size))
    judged = np.where(comparison.judged, residual.values, 0.0)
    field = grid.backward(grid.forward(judged) * (precision * profile))
    index = (positions - target.origin) / target.voxel_size
    return np.asarray(ndimage.map_coordinates(field, index[:, ::-1].T, output=np.float64, order=3, mode="grid-wrap"))


def _products(comparison: Comparison, positions: Array, precision: Array) -> csr_array:
    """Return (g_a, P g_b) of all beads, shape (n_beads, n_beads), from a table of their distance."""
    target, weights = comparison.target, comparison.beads.weights
    reach = _REACH * comparison.config.resolution
    frequency, power = _radial(comparison.grid.frequency, precision, comparison.grid.step)
    r = np.linspace(0.0, reach, 512)
    spectrum = power * np.exp(-4.0 * (np.pi * target.sigma * frequency) ** 2) * 4.0 * np.pi * frequency**2
    table = np.asarray(np.trapezoid(spectrum * np.sinc(2.0 * r[:, None] * frequency), frequency, axis=1))
    table /= float(np.prod(target.voxel_size))
    pairs = cKDTree(positions).query_pairs(reach, output_type="ndarray")
    distance = np.linalg.norm(positions[pairs[:, 0]] - positions[pairs[:, 1]], axis=1)
    values = np.interp(distance, r, table) * weights[pairs[:, 0]] * weights[pairs[:, 1]]
    own = np.arange(len(positions))
    rows = np.concatenate([pairs[:, 0], pairs[:, 1], own])
    columns = np.concatenate([pairs[:, 1], pairs[:, 0], own])
    data = np.concatenate([values, values, table[0] * weights**2])
    return coo_array((data, (rows, columns)), (len(positions), len(positions))).tocsr()


def _radial(frequency: Array, values: Array, step: float) -> tuple[Array, Array]:
    """Return values given on the half transform as a function of frequency alone, at even steps from zero."""
    fine = 0.5 * step
    bins = np.rint(frequency / fine).astype(np.int64).ravel()
    counts = np.bincount(bins)
    means = np.bincount(bins, values.ravel()) / np.maximum(counts, 1)
    centres = np.arange(len(counts), dtype=np.float64) * fine
    return centres, np.interp(centres, centres[counts > 0], means[counts > 0])


def _solve(system: csr_array, right: Array) -> Array:
    preconditioner = diags_array(1.0 / system.diagonal())
    solution, _ = cg(system, right, rtol=1e-6, maxiter=2000, M=preconditioner)
    return np.asarray(solution)
