"""Posteriors of small chains, real ones and one known in closed form, for the checks of the sampling kernels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from bayesflex.config import FitConfig
from bayesflex.deformation import Deformation
from bayesflex.energy import build_prior
from bayesflex.posterior import Posterior
from bayesflex.sampling import stage_likelihoods
from bayesflex.structure import Structure
from bayesflex.synthetic import two_domain_protein
from bayesflex.units import thermal_energy
from bayesflex.workflows.preparation import Inputs, prepare
from bayesflex.workflows.simulate import simulate

THERMAL_ENERGY = thermal_energy(300.0)


def helix(n_beads):
    """A helix of beads 3.8 Å apart, about its centroid."""
    turn = 1.745 * np.arange(n_beads)
    coords = np.column_stack([2.3 * np.cos(turn), 2.3 * np.sin(turn), 1.5 * np.arange(n_beads)])
    return coords - coords.mean(axis=0)


def ca_trace(coords):
    """A single chain of CA at these positions."""
    n = len(coords)
    return Structure(
        coords=coords,
        element=np.full(n, "C"),
        atom_name=np.full(n, "CA"),
        residue_name=np.full(n, "ALA"),
        residue_number=np.arange(1, n + 1),
        insertion_code=np.full(n, "", dtype="U1"),
        chain=np.full(n, "A"),
        occupancy=np.ones(n),
        b_factor=np.zeros(n),
        is_hetero=np.zeros(n, dtype=bool),
        name="beads",
    )


def local(coords):
    return Deformation("local", coords, np.zeros((0, *coords.shape)))


def bonded_chain(n_beads, **constants):
    """A chain with bonded terms alone and no map; a constant of zero leaves its term out."""
    start = helix(n_beads)
    constants = {"helix_stiffness": 1.0} | constants
    config = FitConfig(resolution=5.0, contact_energy=0.0, excluded_volume=0.0, **constants)
    terms = build_prior(ca_trace(start), config)
    return Posterior(None, terms, local(start), THERMAL_ENERGY, start.mean(axis=0), config.centre_sd)


HAIRPIN_CONFIG = FitConfig(
    resolution=6.0,
    modes=(7, 8, 9, 10),
    chains=4,
    threads=1,
    anneal=False,
    recompute_modes=False,
    iterations=400,
    warmup_iterations=100,
    steps=12,
)


@cache
def hairpin_fit(**changes):
    """Two helices of a protein, 30 residues, beside their own noisy map; and the likelihood."""
    protein = two_domain_protein(60)
    hairpin = protein.select(protein.residue_index < 30)
    density = simulate(hairpin, resolution=6.0, noise=0.5, seed=3)
    prepared = prepare(Inputs(hairpin, density), replace(HAIRPIN_CONFIG, **changes), lambda text: None)
    (likelihood,) = stage_likelihoods(prepared.problem, prepared.stages)
    return prepared, likelihood


def hairpin_posterior(approach, rigid=False):
    prepared, likelihood = hairpin_fit()
    problem = prepared.problem
    deformation = Deformation.tethered(approach, problem.start, problem.mode_vectors, rigid)
    terms = [term.clone() for term in problem.terms]
    return problem.posterior(likelihood.clone(), terms, deformation)


@dataclass(frozen=True, eq=False)
class Springs:
    """Energy ½ k_B T Σ |b_i − b⁰_i|² / s² of the vectors b between neighbours along the chain."""

    bonds: np.ndarray
    bond_sd: float
    name: str = "bonds"

    def clone(self):
        return self

    def energy_and_gradient(self, coords):
        gradient = np.zeros_like(coords)
        return self.add_to(coords, gradient), gradient

    def add_to(self, coords, gradient):
        stretch = np.diff(coords, axis=0) - self.bonds
        stiffness = THERMAL_ENERGY / self.bond_sd**2
        gradient[1:] += stiffness * stretch
        gradient[:-1] -= stiffness * stretch
        return 0.5 * stiffness * float(np.sum(stretch**2))


class LinearDensity:
    """log L = −|ρ − ρ_sim(r₀) − J (r − r₀)|² / 2σ²: the map of beads, linear in their displacements.

    J is the derivative of one Gaussian of width ``sigma`` per bead (eq. 3) at the points of a grid.
    """

    name = "linear"

    def __init__(self, start, sigma, noise_sd, voxel=2.0):
        self.start, self.noise_sd = start, noise_sd
        edges = [np.arange(low - 3 * sigma, high + 3 * sigma, voxel) for low, high in zip(*bounds(start), strict=True)]
        points = np.stack(np.meshgrid(*edges, indexing="ij"), axis=-1).reshape(-1, 3)
        away = points[:, None, :] - start  # (n_points, n_beads, 3)
        each = (2.0 * np.pi * sigma**2) ** -1.5 * np.exp(-0.5 * np.sum(away**2, axis=2) / sigma**2)
        self.density = each.sum(axis=1)
        self.jacobian = (each[:, :, None] * away / sigma**2).reshape(len(points), -1)
        self.map = self.density

    def observe(self, rng, coords):
        """Take the map of displaced beads, with noise."""
        exact = self.density + self.jacobian @ (coords - self.start).ravel()
        self.map = exact + rng.normal(scale=self.noise_sd, size=exact.shape)
        return self

    def clone(self):
        return self

    def log_likelihood_and_gradient(self, coords):
        residual = self.map - self.density - self.jacobian @ (coords - self.start).ravel()
        gradient = self.jacobian.T @ residual / self.noise_sd**2
        return -0.5 * float(residual @ residual) / self.noise_sd**2, gradient.reshape(coords.shape)


def bounds(coords):
    return coords.min(axis=0), coords.max(axis=0)


def harmonic_precision(n_beads, bond_sd, centre_sd):
    """Precision of the coordinates, (3 n, 3 n), under :class:`Springs` and the hold of the centroid."""
    difference = np.diff(np.eye(n_beads), axis=0)  # (n − 1, n)
    hold = np.full((n_beads, n_beads), 1.0 / (n_beads * centre_sd) ** 2)
    return np.kron(difference.T @ difference / bond_sd**2 + hold, np.eye(3))
