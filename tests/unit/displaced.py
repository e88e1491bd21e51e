"""A protein whose map shows it displaced along a known number of its modes."""

from __future__ import annotations

from functools import cache

import numpy as np

from bayesflex.noise import add_noise, make_half_maps
from bayesflex.normal_modes import structure_modes
from bayesflex.synthetic import two_domain_protein
from bayesflex.workflows.preparation import Inputs
from bayesflex.workflows.simulate import simulate

#: Along modes 7, 8, ..., Å; small enough that the straight displacement strains no bond.
AMPLITUDES = 0.7 * np.array([8.0, -7.0, 6.0, -5.0, 5.0, 5.0, -4.0, 4.0])


@cache
def displaced(n_modes: int, seed: int, halves: bool = False) -> Inputs:
    """A CA trace of 60 residues and the map of it displaced along so many modes, with as much noise as signal."""
    start, rng = two_domain_protein(60).ca_trace(), np.random.default_rng(seed)
    vectors = structure_modes(start, 10, 10.0).vectors[:n_modes]
    moved = start.with_coords(start.coords + np.tensordot(AMPLITUDES[:n_modes], vectors, 1))
    clean = simulate(moved, resolution=8.0, voxel=2.5, kernel="gaussian")
    if not halves:
        return Inputs(start, add_noise(rng, clean, 1.0, resolution=8.0))
    variance = 2.0 * float(clean.values.var())
    one, two = make_half_maps(rng, clean, lambda k: np.full_like(k, variance))
    return Inputs(start, clean.with_values(0.5 * (one.values + two.values)), half_maps=(one, two))
