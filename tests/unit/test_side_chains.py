"""Side chains settle: how far beads may go, the density in which they do, and what comes of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bayesflex.beads import BeadLikelihood
from bayesflex.config import FitConfig
from bayesflex.energy import build_prior
from bayesflex.geometry import rmsd
from bayesflex.residue_beads import centroid_beads, part_beads
from bayesflex.sampling import stage_likelihoods
from bayesflex.side_chains import SIDE_CHAIN_SPREAD, SettlingDensity, bead_spreads, displaced, settled
from bayesflex.structure import Structure
from bayesflex.synthetic import two_domain_protein
from bayesflex.units import thermal_energy
from bayesflex.workflows.preparation import Inputs, prepare
from bayesflex.workflows.simulate import simulate
from gradients.directional import check_gradient

PROTEIN = two_domain_protein(60)
CA = PROTEIN.ca_trace()
CONFIG = FitConfig(resolution=6.0, deformation="local", threads=1)
KT = thermal_energy(300.0)


def long_side_chains(structure: Structure) -> Structure:
    """All residues but glycine are called lysine: their beads may go far."""
    return replace(structure, residue_name=np.where(structure.residue_name == "GLY", "GLY", "LYS"))


@pytest.fixture(scope="module")
def prepared():
    model = long_side_chains(PROTEIN)
    return prepare(Inputs(model, simulate(model, resolution=6.0, voxel=2.0)), CONFIG, lambda text: None)


def test_spreads_are_those_of_what_a_bead_holds():
    beads = part_beads(PROTEIN, CA)
    spreads = bead_spreads(beads, CA)
    side = np.r_[False, beads.residue[1:] == beads.residue[:-1]]
    expected = [SIDE_CHAIN_SPREAD[name] for name in CA.residue_name[beads.residue[side]]]
    np.testing.assert_allclose(spreads[side], expected)
    assert set(spreads[~side]) == {0.15}
    whole = bead_spreads(centroid_beads(PROTEIN, CA), CA)
    assert np.all((whole >= 0.15) & (whole <= 0.56))
    assert not bead_spreads(replace(beads, n_others=3), CA)[-3:].any()


def test_the_density_in_which_they_settle_has_its_gradient(prepared, rng):
    problem = prepared.problem
    likelihood = stage_likelihoods(problem, prepared.stages)[-1]
    assert isinstance(likelihood, BeadLikelihood)
    spreads = bead_spreads(problem.beads, problem.ca)
    spreads[::7] = 0.0
    density = SettlingDensity(likelihood, build_prior(problem.ca, CONFIG), KT, spreads)
    flat = density.unknowns(problem.start) + rng.normal(scale=0.2, size=density.unknowns(problem.start).size)
    check_gradient(lambda at: density(at)[0], flat, density(flat)[1], rng)
    sites, beads = density.places(density.unknowns(problem.start))
    np.testing.assert_array_equal(sites, problem.start)
    np.testing.assert_array_equal(beads, problem.beads.place(problem.start))
    assert density(np.full_like(flat, np.nan))[0] == -np.inf


def test_displaced_beads_ride_as_they_are_placed(rng):
    beads = part_beads(PROTEIN, CA)
    positions = beads.place(CA.coords) + rng.normal(scale=0.5, size=(len(beads.residue), 3))
    moved = displaced(beads, CA.coords, positions)
    # But for residues whose three CA are in line, which hold a bead along the line alone.
    off = np.linalg.norm(moved.place(CA.coords) - positions, axis=1)
    assert np.median(off) < 1e-9
    np.testing.assert_array_equal(moved.weights, beads.weights)


def test_side_chains_that_sit_elsewhere_no_longer_move_the_trace(prepared, rng):
    model = long_side_chains(PROTEIN)
    others = rng.normal(scale=1.0, size=(model.n_residues, 3))[model.residue_index]
    turned = model.with_coords(model.coords + np.where((model.atom_name == "CB")[:, None], others, 0.0))
    fit = prepare(Inputs(model, simulate(turned, resolution=6.0, voxel=2.0)), CONFIG, lambda text: None)
    problem = fit.problem
    likelihood = stage_likelihoods(problem, fit.stages)[-1]
    terms = build_prior(problem.ca, CONFIG)
    spreads = bead_spreads(problem.beads, problem.ca)
    assert isinstance(likelihood, BeadLikelihood)
    riding = settled(SettlingDensity(likelihood, terms, KT, np.zeros_like(spreads)), problem.start)
    free = settled(SettlingDensity(likelihood, terms, KT, spreads), problem.start)
    assert rmsd(free[0], problem.start) < 0.8 * rmsd(riding[0], problem.start)
    truth = part_beads(turned, turned.trace()).place(turned.trace().coords)
    assert rmsd(free[1], truth) < 0.8 * rmsd(problem.beads.place(problem.start), truth)
