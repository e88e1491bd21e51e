"""Copies of a chain: which chains are, what their mean is, and that they become alike only where that is better."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bayesflex import synthetic
from bayesflex.config import FitConfig
from bayesflex.copies import agreed, averaged, find_copies
from bayesflex.geometry import rmsd, rotation_of_vector, superimpose
from bayesflex.sampling import stage_likelihoods
from bayesflex.sampling.steered_stage import SteeredStage
from bayesflex.workflows.preparation import Inputs, prepare
from bayesflex.workflows.simulate import simulate

RING = synthetic.hexamer(104).ca_trace()
(COPIES,) = find_copies(RING)


def without(structure, rows):
    return structure.select(~np.isin(np.arange(structure.n_atoms), rows))


def test_chains_of_one_sequence_are_copies():
    assert COPIES.shape == (6, 104)
    np.testing.assert_array_equal(COPIES.ravel(), np.arange(RING.n_atoms))


def test_copies_may_lack_a_few_residues_and_share_the_rest():
    # Three residues of the second chain are missing, and one of the last.
    (copies,) = find_copies(without(RING, [104, 105, 110, 623]))
    assert copies.shape == (6, 100)
    numbers = without(RING, [104, 105, 110, 623]).residue_number[copies]
    assert (numbers == numbers[0]).all()


def test_other_sequences_and_short_chains_are_not_copies():
    names = RING.residue_name.copy()
    names[:104] = np.where(names[:104] == "ALA", "GLY", "ALA")
    (copies,) = find_copies(replace(RING, residue_name=names))
    assert copies.shape == (5, 104)
    halves = without(RING, np.arange(50, 104))
    assert [len(group) for group in find_copies(halves)] == [5]
    assert find_copies(RING.select(np.arange(RING.n_atoms) % 104 < 9)) == ()
    assert find_copies(RING.select(RING.chain == RING.chain[0])) == ()


def test_the_mean_of_copies_that_are_alike_is_each_of_them(rng):
    coords = RING.coords.copy()
    for copy in COPIES:
        coords[copy] = coords[copy] @ rotation_of_vector(rng.normal(size=3)).T + rng.normal(scale=30.0, size=3)
    alike, away = averaged(coords, COPIES)
    np.testing.assert_allclose(alike, coords, atol=1e-9)
    assert away == pytest.approx(0.0, abs=1e-9)


def test_what_copies_do_not_share_cancels_in_their_mean(rng):
    noise = rng.normal(scale=0.5, size=(6, 104, 3))
    noise -= noise.mean(axis=0)
    coords = RING.coords.copy()
    # The same in the frame of the first chain: each copy is that chain, turned.
    motions = [(rotation_of_vector(rng.normal(size=3)), rng.normal(scale=30.0, size=3)) for _ in COPIES]
    truth = np.concatenate([RING.coords[:104] @ turn.T + shift for turn, shift in motions])
    for copy, (turn, shift), off in zip(COPIES, motions, noise, strict=True):
        coords[copy] = (RING.coords[:104] + off) @ turn.T + shift
    alike, away = averaged(coords, COPIES)
    assert away == pytest.approx(rmsd(coords, truth), rel=0.05)
    # Each stays where it is: its own small shift and turn are no part of what it is.
    assert rmsd(alike, truth) < 0.3 * away
    some = COPIES[:, 20:]
    np.testing.assert_array_equal(averaged(coords, some)[0][:20], coords[:20])


class Wells:
    """A log density with wells every 1.5 Å along each coordinate about a truth, which is the deepest."""

    def __init__(self, truth):
        self.truth = truth

    def of_coordinates(self, coords):
        away = coords - self.truth
        wave = 2.0 * np.pi / 1.5
        value = -np.sum(0.5 * away**2 + 4.0 * (1.0 - np.cos(wave * away)))
        return float(value), -(away + 4.0 * wave * np.sin(wave * away))


def test_copies_that_slipped_to_different_places_find_the_truth_together():
    wells = Wells(RING.coords)
    coords = RING.coords.copy()
    # In pairs, to opposite sides: no copy is right, and their mean is.
    frames = [superimpose(RING.coords[:104], RING.coords[copy]).rotation for copy in COPIES]
    for number, (copy, frame) in enumerate(zip(COPIES, frames, strict=True)):
        coords[copy[30:34]] += 0.65 * (-1.0) ** number * frame @ [1.0, 1.0, 1.0]
    found = agreed(wells, coords, [COPIES])
    assert wells.of_coordinates(found)[0] > wells.of_coordinates(coords)[0]
    assert rmsd(found, RING.coords) < 0.1 * rmsd(coords, RING.coords)


def test_copies_that_truly_differ_stay_as_they_are():
    truth = RING.coords.copy()
    truth[COPIES[0, 30:60], 0] += 3.0
    coords = truth + 0.05
    assert agreed(Wells(truth), coords, [COPIES]) is coords
    assert agreed(Wells(truth), coords, []) is coords


def test_copies_in_conformations_of_their_own_are_not_compared():
    truth = RING.coords.copy()
    truth[COPIES[0, 52:], 0] += 40.0

    class Untouched:
        def of_coordinates(self, coords):
            raise AssertionError("nothing to compare")

    assert agreed(Untouched(), truth, [COPIES]) is truth


def test_who_is_told_to_stop_stops_before_the_next_relaxation():
    n_relaxations = 0

    def stop_at_third():
        nonlocal n_relaxations
        n_relaxations += 1
        if n_relaxations == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        agreed(Wells(RING.coords), RING.coords + 0.1, [COPIES], stop_at_third)
    assert n_relaxations == 3


def test_in_a_fit_copies_come_nearer_to_a_symmetric_map(rng):
    model = synthetic.hexamer(52)
    ca = model.ca_trace()
    density = simulate(model, resolution=6.0, voxel=2.0)
    start = ca.coords.copy()
    copies = find_copies(ca)
    for copy in copies[0]:
        bump = np.exp(-(((np.arange(52) - rng.integers(8, 44)) / 4.0) ** 2))
        start[copy] += bump[:, None] * rng.normal(scale=2.0, size=3)
    config = FitConfig(resolution=6.0, threads=1)
    fit = prepare(Inputs(model, density), config, lambda text: None)
    likelihood = stage_likelihoods(fit.problem, fit.stages)[-1]
    stage = SteeredStage(fit.problem, fit.stages[-1], likelihood, fit.problem.terms)
    found = stage.agreed(start)
    assert rmsd(found, ca.coords) < 0.5 * rmsd(start, ca.coords)
    assert averaged(found, copies[0])[1] < 1e-6
    without_copies = prepare(Inputs(model, density), replace(config, average_copies=False), lambda text: None)
    stage = SteeredStage(without_copies.problem, fit.stages[-1], likelihood, fit.problem.terms)
    assert stage.agreed(start) is start
