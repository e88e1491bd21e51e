"""How stiff helices are in the prior, against how they differ between two conformations of a protein."""

from __future__ import annotations

import numpy as np
import pytest

from bayesflex.config import FitConfig
from bayesflex.energy import build_prior
from bayesflex.geometry import angle, dihedral
from bayesflex.helices import helical_angles, helical_dihedrals
from bayesflex.io.structures import read_structure
from bayesflex.matching import match_residues
from bayesflex.units import thermal_energy

PAIRS = (
    ("adk/1ake.pdb", "A", "adk/4ake_A.pdb"),
    ("mglur1/1isrA.pdb", "A", "mglur1/1issA.pdb"),
    ("groel/1oel.pdb", "A", "groel/1sx4A.pdb"),
)


def changes(ca, coords):
    """Changes of the helices' dihedrals and angles from a trace to other positions, NaN for none; degrees."""
    at = {False: ca.coords, True: coords}

    def values(moved, of, first, n):
        return of(*(at[moved][first + k] for k in range(n)))

    found = []
    for of, flags, n in ((dihedral, helical_dihedrals(ca), 4), (angle, helical_angles(ca), 3)):
        first = np.flatnonzero(flags)
        change = values(True, of, first, n) - values(False, of, first, n)
        found.append(np.degrees((change + np.pi) % (2.0 * np.pi) - np.pi))
    return found


def rms(values):
    values = np.concatenate(values)
    return np.sqrt(np.nanmean(values**2))


def draws_of_the_prior(ca, n, rng):
    """Draws of the prior where it is harmonic: from its Hessian at the start, by differences of its gradient."""
    start, terms = ca.coords, build_prior(ca, FitConfig(resolution=5.0))
    hessian = np.empty((start.size, start.size))
    step = 1e-4

    def gradient(flat):
        total = np.zeros_like(start)
        for term in terms:
            term.add_to(flat.reshape(-1, 3), total)
        return total.ravel()

    for index in range(start.size):
        ahead, back = start.ravel().copy(), start.ravel().copy()
        ahead[index] += step
        back[index] -= step
        hessian[index] = (gradient(ahead) - gradient(back)) / (2.0 * step)
    stiffness, modes = np.linalg.eigh(0.5 * (hessian + hessian.T))
    # But for motions of the whole, and for residues that next to nothing holds.
    held = stiffness > 1e-3
    spread = np.sqrt(thermal_energy(300.0) / stiffness[held])
    return [start + (modes[:, held] @ (spread * rng.standard_normal(held.sum()))).reshape(-1, 3) for _ in range(n)]


def test_helices_differ_in_draws_of_the_prior_as_between_conformations(data_dir, rng):
    between = [[], []]
    for before, chain, after in PAIRS:
        ca = read_structure(data_dir / before).trace()
        ca = ca.select(ca.chain == chain) if before.startswith("adk") else ca
        answer = read_structure(data_dir / after).trace()
        match = match_residues(ca, answer)
        coords = np.full_like(ca.coords, np.nan)
        coords[match.model_index] = answer.coords[match.reference_index]
        for kind, change in zip(between, changes(ca, coords), strict=True):
            kind.append(change)
    ca = read_structure(data_dir / PAIRS[0][2]).trace()
    drawn = list(zip(*(changes(ca, coords) for coords in draws_of_the_prior(ca, 20, rng)), strict=True))
    for name, pairs, prior in zip(("dihedrals", "angles"), between, drawn, strict=True):
        assert rms(prior) == pytest.approx(rms(pairs), rel=0.15), name
