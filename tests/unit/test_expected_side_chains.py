"""Side chains of which nothing is known yet: where they are expected, how wide, and when that is what a fit takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import bayesflex
from bayesflex.config import FitConfig
from bayesflex.expected_side_chains import expected_side_chains
from bayesflex.geometry import rotation_matrix
from bayesflex.residue_beads import centroid_beads, part_beads
from bayesflex.sampling import chain, scatterers, settle_scatterers, stage_likelihoods
from bayesflex.side_chains import displaced
from bayesflex.structure import Structure
from bayesflex.synthetic import two_domain_protein
from bayesflex.workflows.preparation import Inputs, prepare
from bayesflex.workflows.simulate import simulate

PROTEIN = two_domain_protein(60)
CA = PROTEIN.ca_trace()
BEADS = part_beads(PROTEIN, CA)
SIDE = np.r_[False, BEADS.residue[1:] == BEADS.residue[:-1]]
CONFIG = FitConfig(
    resolution=5.0, chains=2, iterations=4, warmup_iterations=10, stage_iterations=10, modes=(7, 8), threads=1
)


def local(beads, sites):
    """Offsets of side chains along the axes of their residues, shape (n, 3)."""
    before, middle, after = (sites[beads.frame[SIDE][:, k]] for k in range(3))
    first = (after - before) / np.linalg.norm(after - before, axis=1, keepdims=True)
    second = 2.0 * middle - before - after
    second -= np.sum(second * first, axis=1, keepdims=True) * first
    second /= np.linalg.norm(second, axis=1, keepdims=True)
    offset = beads.place(sites)[SIDE] - sites[beads.residue[SIDE]]
    return np.stack([np.sum(offset * axis, axis=1) for axis in (first, second, np.cross(first, second))], axis=1)


def elsewhere(rng, spread: float):
    """Beads whose side chains are off by so much per direction, Å, each its own way."""
    positions = BEADS.place(CA.coords).copy()
    positions[SIDE] += rng.normal(scale=spread, size=(int(SIDE.sum()), 3))
    return displaced(BEADS, CA.coords, positions)


def test_they_are_between_the_start_s_place_and_the_mean_of_their_kind(rng):
    beads = elsewhere(rng, 1.0)
    found = expected_side_chains(beads, CA)
    np.testing.assert_array_equal(np.sort(found.bead), np.flatnonzero(SIDE))
    own, expected = local(beads, CA.coords), local(found.at(beads, CA.coords), CA.coords)
    names, inner = CA.residue_name[beads.residue[SIDE]], beads.frame[SIDE][:, 1] == beads.residue[SIDE]
    for name in np.unique(names):
        of_kind = names == name
        if not np.any(of_kind & inner):
            np.testing.assert_allclose(expected[of_kind], own[of_kind], atol=1e-6)
            continue
        mean = own[of_kind & inner].mean(axis=0)
        np.testing.assert_allclose(expected[of_kind], 0.25 * own[of_kind] + 0.75 * mean, atol=1e-6)
        # Of a mixture of the own place and those of the kind.
        square = 0.25 * np.sum((own - expected) ** 2, axis=1)
        square += 0.75 * np.mean(np.sum((own[of_kind & inner][:, None] - expected) ** 2, axis=2), axis=0)
        np.testing.assert_allclose(found.blur[SIDE][of_kind], np.sqrt(square[of_kind] / 3.0), atol=1e-6)
    assert not found.blur[~SIDE].any()
    np.testing.assert_allclose(found.widened(beads).blur, 2.0 * found.blur)
    as_wide = found.widened(replace(beads, blur=np.full(len(beads.residue), 3.0)))
    np.testing.assert_allclose(as_wide.blur, np.hypot(3.0, 2.0 * found.blur))


def test_they_ride_with_the_chain(rng):
    beads = elsewhere(rng, 1.0)
    found = expected_side_chains(beads, CA)
    turn = np.array(rotation_matrix(0.3, -1.2, 0.7)).reshape(3, 3)
    moved = CA.coords @ turn.T + [3.0, -2.0, 5.0]
    here, there = found.at(beads, CA.coords), found.at(beads, moved)
    np.testing.assert_allclose(there.place(moved), here.place(CA.coords) @ turn.T + [3.0, -2.0, 5.0], atol=1e-6)
    np.testing.assert_array_equal(there.weights, beads.weights)


def test_what_is_alone_of_its_kind_stays():
    alone = replace(CA, residue_name=np.array([f"X{k:02d}" for k in range(CA.n_atoms)]))
    found = expected_side_chains(BEADS, alone)
    inner = BEADS.frame[:, 1] == BEADS.residue
    np.testing.assert_allclose(found.blur[inner], 0.0, atol=1e-6)
    np.testing.assert_allclose(found.at(BEADS, CA.coords).place(CA.coords), BEADS.place(CA.coords), atol=1e-6)


def test_models_without_side_chains_expect_none():
    assert expected_side_chains(centroid_beads(PROTEIN, CA), CA) is None
    bases = replace(CA, residue_name=np.full(CA.n_atoms, "DA"), atom_name=np.full(CA.n_atoms, "C4'"))
    assert bases.is_nucleotide_site.all()
    assert expected_side_chains(BEADS, bases) is None


def one_kind(rng, spread: float) -> Structure:
    """The protein with lysines, whose side chains are off by so much per direction, Å, each as a whole."""
    side = ~np.isin(PROTEIN.atom_name, ["N", "CA", "C", "O"])
    off = rng.normal(scale=spread, size=(PROTEIN.n_residues, 3))[PROTEIN.residue_index]
    names = np.where(PROTEIN.residue_name == "GLY", "GLY", "LYS")
    return replace(PROTEIN, coords=PROTEIN.coords + side[:, None] * off, residue_name=names)


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("stay", [True, False])
def test_the_log_density_tells_whether_side_chains_stay(stay, large, rng, monkeypatch):
    """Start: side chains scattered. Map: the same ones, or all where lysines are in the mean."""
    monkeypatch.setattr(scatterers.Problem, "is_large", large)
    start = one_kind(rng, 1.5)
    answer = start if stay else one_kind(rng, 0.0)
    prepared = prepare(Inputs(start, simulate(answer, resolution=5.0, voxel=1.8)), CONFIG, lambda text: None)
    problem, stages = prepared.problem, prepared.stages

    def coefficients():
        found = settle_scatterers(problem, stages, stage_likelihoods(problem, stages), problem.start)
        assert (found.sites is not None) == large
        return found.coefficients

    taken = coefficients()
    monkeypatch.setattr(scatterers, "_SIDE_CHAINS_SEEN", 0.0)
    from_the_start_s = coefficients()
    assert np.array_equal(taken, from_the_start_s) == stay
    trace = answer.ca_trace().coords
    right = part_beads(answer, answer.ca_trace()).place(trace)

    def off(those):
        there = replace(problem.beads, coefficients=those).place(trace)
        return float(np.sqrt(np.mean(np.sum((there - right) ** 2, axis=1))))

    assert stay or off(taken) < 0.8 * off(from_the_start_s)


def test_in_large_models_the_start_s_places_must_be_better_by_far(rng, monkeypatch):
    start = one_kind(rng, 1.5)
    prepared = prepare(Inputs(start, simulate(start, resolution=5.0, voxel=1.8)), CONFIG, lambda text: None)
    problem, stages = prepared.problem, prepared.stages
    found = {}
    for least in (0.25, 1e6):
        monkeypatch.setattr(scatterers, "_LEAST_BETTER", least)
        for large in (True, False):
            monkeypatch.setattr(scatterers.Problem, "is_large", large)
            settled = settle_scatterers(problem, stages, stage_likelihoods(problem, stages), problem.start)
            found[least, large] = settled.coefficients
    np.testing.assert_array_equal(found[0.25, True], found[0.25, False])
    np.testing.assert_array_equal(found[1e6, False], found[0.25, False])
    assert not np.array_equal(found[1e6, True], found[0.25, True])


def test_chains_of_large_models_set_out_from_where_the_pilot_arrived(monkeypatch, rng):
    start, answer = one_kind(rng, 1.0), one_kind(rng, 0.0)
    density = simulate(answer, resolution=5.0, voxel=1.8)
    seen = []

    class Watched(chain.Chain):
        def __init__(self, *arguments) -> None:
            super().__init__(*arguments)
            seen.append(self._start)

    monkeypatch.setattr("bayesflex.sampling.run.Chain", Watched)
    bayesflex.fit(start, density, CONFIG)
    own = start.ca_trace().coords
    assert len(seen) == 2
    np.testing.assert_array_equal(seen[0], own)
    seen.clear()
    monkeypatch.setattr("bayesflex.sampling.problem.LARGE", 10)
    bayesflex.fit(start, density, CONFIG)
    np.testing.assert_array_equal(seen[0], seen[1])
    assert np.abs(seen[0] - own).max() > 1e-3
