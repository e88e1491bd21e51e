"""A blurred stage: what softens, when modes are computed anew, and where the pilot arrives."""

from __future__ import annotations

import numpy as np
import pytest

from bayesflex.config import FitConfig
from bayesflex.geometry import rmsd
from bayesflex.sampling import stage_likelihoods
from bayesflex.sampling.pilot import steered
from bayesflex.sampling.steered_stage import MODES_MOVED, SteeredStage, modes_of
from bayesflex.synthetic import two_domain_pair
from bayesflex.workflows.preparation import Inputs, prepare
from bayesflex.workflows.simulate import simulate

START, ANSWER = two_domain_pair(80, 25.0)
DENSITY = simulate(ANSWER, resolution=7.0)


def prepared(**changes):
    config = FitConfig(resolution=7.0, modes=tuple(range(7, 12)), threads=1, **changes)
    return prepare(Inputs(START, DENSITY), config, lambda text: None)


def stage_of(fit, number):
    likelihoods = stage_likelihoods(fit.problem, fit.stages)
    return SteeredStage(fit.problem, fit.stages[number], likelihoods[number], fit.problem.terms)


def test_nothing_softens_where_modes_alone_move():
    fit = prepared(deformation="global", domain_motions="off")
    assert stage_of(fit, 0).softened(fit.problem.start) is fit.problem.start


def test_a_stage_softens_uphill_in_its_map():
    fit = prepared()
    answer = ANSWER.ca_trace().coords
    there = stage_of(fit, len(fit.stages) - 1).softened(fit.problem.start)
    assert rmsd(there, answer) < 0.5 * rmsd(fit.problem.start, answer)


def test_the_pilot_arrives_and_its_geometry_is_whole():
    fit = prepared()
    problem = fit.problem
    there = steered(problem, fit.stages, stage_likelihoods(problem, fit.stages), problem.start)
    assert rmsd(there, ANSWER.ca_trace().coords) < 1.0 < rmsd(problem.start, ANSWER.ca_trace().coords)
    bonds = np.linalg.norm(np.diff(there, axis=0), axis=1)
    assert np.abs(bonds - np.linalg.norm(np.diff(problem.start, axis=0), axis=1)).max() < 0.2


def test_modes_are_computed_anew_once_the_structure_has_moved(rng):
    problem = prepared().problem
    start, modes = problem.start, problem.mode_vectors
    near = start + rng.normal(scale=0.2 * MODES_MOVED, size=start.shape)
    assert modes_of(problem, near, modes, start) == (modes, start, None)
    bent = ANSWER.ca_trace().coords
    assert rmsd(bent, start) > MODES_MOVED
    anew, at, trouble = modes_of(problem, bent, modes, start)
    assert trouble is None
    assert at is bent
    np.testing.assert_array_equal(anew, problem.modes_at(bent))


def test_a_structure_without_a_network_keeps_the_modes_at_hand():
    problem = prepared().problem
    folded = problem.start * 1.5
    folded[0] = folded[1]
    modes, at, trouble = modes_of(problem, folded, problem.mode_vectors, problem.start)
    assert modes is problem.mode_vectors
    assert at is folded
    assert trouble is not None


@pytest.mark.parametrize("moved", [0.0, 5.0])
def test_modes_stay_where_they_are_not_to_be_recomputed(moved):
    problem = prepared(recompute_modes=False).problem
    there = problem.start * (1.0 + moved)
    assert modes_of(problem, there, problem.mode_vectors, problem.start)[0] is problem.mode_vectors
