"""Kernels compiled ahead, by a process beside a first run.

Numba compiles one kernel after the other, under the interpreter's lock: a first run waits on one core. What its largest
kernel is made of, and what it needs at its end, another process can compile meanwhile; both find it in Numba's cache.
A kernel is known there by the kinds of its arguments, so that a handful of residues stands for any model.
"""

from __future__ import annotations

import numpy as np

from bayesflex.beads import NO_BEADS, BeadModel, pull_back_beads
from bayesflex.compiled_posterior import NoRepulsion
from bayesflex.deformation import Deformation
from bayesflex.density_map import DensityMap
from bayesflex.energy.angles import Angles, angle_energy
from bayesflex.energy.bonds import Bonds, bond_energy
from bayesflex.energy.contacts import NativeContacts, contact_energy
from bayesflex.energy.dihedrals import Dihedrals, dihedral_energy
from bayesflex.energy.excluded_volume import repulsion_energy
from bayesflex.likelihood.half_maps import half_maps_of_overlap
from bayesflex.local_frames import LocalFrames
from bayesflex.map_preparation import mask_around
from bayesflex.map_target import MapTarget
from bayesflex.mcmc.compiled_mass import mass_at_rest, velocity
from bayesflex.mcmc.masses import BandedMass
from bayesflex.overlap.pairs import NO_PAIRS, pair_gradient, pair_values
from bayesflex.overlap.tiles import NO_TILES
from bayesflex.posterior_kernels import NO_TERMS
from bayesflex.sampling import correlations
from bayesflex.simd import MARGIN, aligned_zeros
from bayesflex.validation.q_score import q_scores
from bayesflex.validation.segments import smoc


def compile_ahead() -> None:
    """Call what a first run needs later, on a handful of residues."""
    n = 8
    rng = np.random.default_rng(0)
    coords = rng.uniform(-4.0, 4.0, size=(n, 3))
    rows, gradient = aligned_zeros(n + MARGIN, 3), aligned_zeros(n + MARGIN, 3)
    # The likelihood as Python calls it, which a run needs soonest.
    pair_values(NO_TILES, NO_PAIRS)
    pair_gradient(NO_TILES, NO_PAIRS, 0.0, 0.0, 0.0, gradient)
    pull_back_beads(rows, NO_BEADS, np.zeros((0, 3)), gradient)

    # What bayesflex.posterior_kernels.integrate is made of, backwards: a run that gets there meanwhile meets this once.
    deformation = Deformation("combined", coords, np.zeros((1, n, 3)), rigid=True, bodies=np.full((1, n), 0.5))
    theta = np.zeros(deformation.n_dim)
    deformation.pull_back(theta, coords, np.zeros((n, 3)))
    half_maps_of_overlap(1.0, 1.0, 1.0, np.ones(3))
    contact_energy(rows, gradient, NO_TERMS[NativeContacts])
    repulsion_energy(rows, gradient, NoRepulsion(n).arrays)
    dihedral_energy(rows, gradient, NO_TERMS[Dihedrals])
    angle_energy(rows, gradient, NO_TERMS[Angles])
    bond_energy(rows, gradient, NO_TERMS[Bonds])
    deformation.coordinates(theta)
    velocity(mass_at_rest(), np.zeros(0), np.zeros(0))

    # What observes, concludes and validates.
    values = rng.normal(size=(12, 12, 12)).astype(np.float32)
    density = DensityMap(values, np.ones(3), np.full(3, -6.0))
    beads = BeadModel(np.arange(n), np.zeros((n, 3), np.int64), np.zeros((n, 3)), np.ones(n), 0.0)
    everywhere = np.ones(values.shape, np.bool_)
    mask_around(density, coords, 3.0)
    correlations(MapTarget(values.astype(np.float64), np.ones(3), density.origin, everywhere, 1.5), beads, coords)
    BandedMass(np.ones((1, 1))).draw(rng)
    LocalFrames(coords).positions(coords[None])
    smoc(density, values, coords, np.arange(n), np.zeros(n, np.int64), 3.0)
    q_scores(coords, density)


if __name__ == "__main__":
    compile_ahead()
