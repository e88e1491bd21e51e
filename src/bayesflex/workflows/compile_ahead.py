"""Kernels compiled ahead, by a process beside a first run.

Numba compiles one kernel after the other, under the interpreter's lock: a first run waits on one core. What its largest
kernel is made of, and what it needs at its end, another process can compile meanwhile; both find it in Numba's cache.
A kernel is known there by the kinds of its arguments, so that a handful of residues stands for any model.
"""

from __future__ import annotations

import numpy as np

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
from bayesflex.mcmc.compiled_mass import mass_at_rest, velocity
from bayesflex.posterior_kernels import NO_TERMS
from bayesflex.simd import MARGIN, aligned_zeros
from bayesflex.validation.q_score import q_scores
from bayesflex.validation.segments import smoc


def compile_ahead() -> None:
    """Call what a first run needs later, on a handful of residues.

    What is needed last by :func:`bayesflex.posterior_kernels.integrate` comes first: where a run gets there meanwhile,
    the two meet once.
    """
    n = 8
    rng = np.random.default_rng(0)
    coords = rng.normal(scale=4.0, size=(n, 3))
    deformation = Deformation("combined", coords, np.zeros((1, n, 3)), rigid=True, bodies=np.full((1, n), 0.5))
    theta = np.zeros(deformation.n_dim)
    deformation.pull_back(theta, coords, np.zeros((n, 3)))
    half_maps_of_overlap(1.0, 1.0, 1.0, np.ones(3))
    rows, gradient = aligned_zeros(n + MARGIN, 3), aligned_zeros(n + MARGIN, 3)
    contact_energy(rows, gradient, NO_TERMS[NativeContacts])
    repulsion_energy(rows, gradient, NoRepulsion(n).arrays)
    dihedral_energy(rows, gradient, NO_TERMS[Dihedrals])
    angle_energy(rows, gradient, NO_TERMS[Angles])
    bond_energy(rows, gradient, NO_TERMS[Bonds])
    deformation.coordinates(theta)
    velocity(mass_at_rest(), np.zeros(0), np.zeros(0))

    LocalFrames(coords).positions(coords[None])
    values = rng.normal(size=(12, 12, 12)).astype(np.float32)
    density = DensityMap(values, np.ones(3), np.full(3, -6.0))
    smoc(density, values, coords, np.arange(n), np.zeros(n, np.int64), 3.0)
    q_scores(coords, density)


if __name__ == "__main__":
    compile_ahead()
