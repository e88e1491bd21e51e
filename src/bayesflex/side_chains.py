"""Side chains that sit elsewhere than the start model says: beads that settle into the map before a fit samples.

Beads ride in the frame of the trace as the start model has them, and another conformation has other rotamers. A fit
whose side chains cannot move makes up for that with its CA. So before the chains run, structure and displacements of
the beads are found together, those with a Gaussian prior as wide as side chains differ between conformations of one
protein; the displaced beads then ride as the others did.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from bayesflex.beads import BeadLikelihood, BeadModel, frame_coefficients
from bayesflex.protocols import EnergyTerm
from bayesflex.structure import Structure

Array = NDArray[np.float64]

#: By how much the centroid of a side chain differs between two conformations of a protein, in the frame of three CA:
#: root mean square per direction, Å, over AdK (1AKE, 4AKE), mGluR1 (1ISR, 1ISS) and GroEL (1OEL, 1SX4), 1077 side
#: chains. For other residues what is usual.
SIDE_CHAIN_SPREAD = {
    "ALA": 0.12,
    "ARG": 1.11,
    "ASN": 0.69,
    "ASP": 0.44,
    "CYS": 0.40,
    "GLN": 0.79,
    "GLU": 0.85,
    "HIS": 0.37,
    "ILE": 0.31,
    "LEU": 0.43,
    "LYS": 1.01,
    "MET": 0.73,
    "PHE": 0.62,
    "PRO": 0.20,
    "SER": 0.48,
    "THR": 0.26,
    "TRP": 0.31,
    "TYR": 0.35,
    "VAL": 0.24,
}
_OTHER_SIDE_CHAIN = 0.6

#: Beads of one side chain differ as if it turned about a point this far from its CA (CB is 1.5 Å away), where they are
#: no nearer to it than that, Å: in the same pairs lysine's two beads by 0.36 and 1.42 Å, glutamate's by 0.35 and 1.15.
_PIVOT, _SHORTEST = 1.2, 0.3

#: The same of the centroids of N, CA, C and O, and the share of a side chain's that a bead for the whole residue has.
_BACKBONE_SPREAD, _SHARE_OF_WHOLE = 0.15, 0.5

#: Iterations of L-BFGS; what comes after them is below a hundredth of an Å in the cases of ``benchmarks.accuracy``.
_ITERATIONS = 200


def of_side_chains(beads: BeadModel) -> NDArray[np.bool_]:
    """Return which of the residues' own beads are a side chain's or base's: those after the first, (n_own,)."""
    own = beads.residue[: len(beads.residue) - beads.n_others]
    side = np.zeros(len(own), dtype=bool)
    side[1:] = own[1:] == own[:-1]
    return side


def bead_spreads(beads: BeadModel, ca: Structure) -> Array:
    """Return how far each bead may be from its place, standard deviation per direction, Å, shape (n_beads,).

    Zero for beads on the sites themselves, and for nucleotides, ligands and ions, of which nothing was measured. Of a
    side chain in several beads those far from the CA go further, and all in the mean as far as the centroid.
    """
    out = np.zeros(len(beads.residue))
    if beads.on_ca:
        return out
    n_own = len(out) - beads.n_others
    residue = beads.residue[:n_own]
    side = of_side_chains(beads)
    of_several = np.isin(residue, residue[side])
    names = ca.residue_name[residue]
    spread = np.array([SIDE_CHAIN_SPREAD.get(name, _OTHER_SIDE_CHAIN) for name in names.tolist()])
    whole = np.where(names == "GLY", _BACKBONE_SPREAD, np.maximum(_SHARE_OF_WHOLE * spread, _BACKBONE_SPREAD))
    distance = np.linalg.norm(beads.place(ca.coords)[:n_own] - ca.coords[residue], axis=1)
    distance = np.maximum(distance - _PIVOT, _SHORTEST)
    weight, n_sites = np.where(side, beads.weights[:n_own], 0.0), len(ca.coords)
    mean = np.bincount(residue, weight * distance, n_sites) / np.maximum(np.bincount(residue, weight, n_sites), 1e-12)
    of_side = spread * distance / np.maximum(mean[residue], 1e-12)
    own = np.where(side, of_side, np.where(of_several, _BACKBONE_SPREAD, whole))
    out[:n_own] = np.where(ca.is_nucleotide_site[residue], 0.0, own)
    return out


class SettlingDensity:
    """Log density of the sites and of the displacements of beads together, and its gradient.

    Unknowns are a flat vector: the sites, (n_ca, 3) in Å, then the displacements of the beads that are free,
    (n_free, 3) in units of their spreads.

    Parameters
    ----------
    likelihood
        Of the bead positions, with the beads as they ride now.
    terms, thermal_energy
        The structural prior, and k_B T in kcal/mol.
    spreads
        Standard deviation of each bead's displacement, shape (n_beads,), Å; beads with zero ride as they are.
    """

    def __init__(
        self, likelihood: BeadLikelihood, terms: Sequence[EnergyTerm], thermal_energy: float, spreads: Array
    ) -> None:
        self._likelihood, self._terms, self._thermal_energy = likelihood, terms, thermal_energy
        self._free = np.flatnonzero(spreads > 0.0)
        self._width = spreads[self._free][:, None]

    def unknowns(self, sites: Array) -> Array:
        """Return the unknowns of sites (n_ca, 3), Å, with no bead displaced."""
        return np.concatenate([sites.ravel(), np.zeros(3 * len(self._free))])

    def places(self, flat: Array) -> tuple[Array, Array]:
        """Return the sites, (n_ca, 3), and the beads, (n_beads, 3), Å."""
        sites, units = self._parts(flat)
        positions = np.array(self._likelihood.beads.place(sites))
        positions[self._free] += self._width * units
        return sites, positions

    def __call__(self, flat: Array) -> tuple[float, Array]:
        """Return the log density (nats) and its gradient; -inf and zeros where it has none."""
        units = self._parts(flat)[1]
        sites, positions = self.places(flat)
        value, gradient = self._likelihood.likelihood.log_likelihood_and_gradient(positions)
        if not math.isfinite(value):
            return -math.inf, np.zeros_like(flat)
        of_energy = np.zeros_like(sites)
        energy = sum(term.add_to(sites, of_energy) for term in self._terms)
        value -= energy / self._thermal_energy + 0.5 * float(np.sum(units**2))
        of_sites = self._likelihood.beads.pull_back(sites, gradient) - of_energy / self._thermal_energy
        return value, np.concatenate([of_sites.ravel(), (self._width * gradient[self._free] - units).ravel()])

    def _parts(self, flat: Array) -> tuple[Array, Array]:
        n = flat.size - 3 * len(self._free)
        return np.ascontiguousarray(flat[:n].reshape(-1, 3)), flat[n:].reshape(-1, 3)


class Settled(NamedTuple):
    """Sites, (n_ca, 3), and beads, (n_beads, 3), Å, and their log density, nats."""

    sites: Array
    positions: Array
    log_density: float


def settled(density: SettlingDensity, sites: Array) -> Settled:
    """Return the sites and beads of highest density from sites (n_ca, 3), Å, on."""
    first = density.unknowns(sites)
    scale = abs(density(first)[0])
    scale = scale if math.isfinite(scale) and scale > 1.0 else 1.0

    def cost(flat: Array) -> tuple[float, Array]:
        value, gradient = density(flat)
        return -value / scale, -gradient / scale

    found = minimize(
        cost, first, jac=True, method="L-BFGS-B", options={"maxiter": _ITERATIONS, "ftol": 1e-12, "gtol": 1e-10}
    )
    return Settled(*density.places(np.asarray(found.x, dtype=np.float64)), -scale * float(found.fun))


def displaced(beads: BeadModel, ca: Array, positions: Array) -> BeadModel:
    """Return beads that ride where they are at positions (n_beads, 3), Å, when the sites are at ca (n_ca, 3), Å."""
    return replace(beads, coefficients=frame_coefficients(ca, beads.residue, beads.frame, positions))
