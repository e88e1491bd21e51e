"""A body that softens: uphill at every step, neighbours together at first, and whole at the end."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from steered_pair import pair_in_map

from bayesflex.deformation import Deformation
from bayesflex.elastic_network import network_hessian
from bayesflex.geometry import rmsd
from bayesflex.posterior import Posterior
from bayesflex.softening import MOST_SITES, softened
from bayesflex.steering import relax


@pytest.fixture(scope="module")
def scene():
    """A start, the answer, the problem, and the posterior in a map of the answer."""
    return pair_in_map(20.0, 6.0, 1.35, 6.0)


class Pull:
    """log L = g · r: the same pull at one bead wherever it is, and none at the others."""

    name = "pull"

    def __init__(self, n_beads, bead):
        self.gradient = np.zeros((n_beads, 3))
        self.gradient[bead, 0] = 50.0

    def clone(self):
        return self

    def log_likelihood_and_gradient(self, coords):
        return float(np.sum(self.gradient * coords)), self.gradient.copy()


def pulled(coords, bead, **about):
    """Return the posterior of a pull at one bead, held by nothing."""
    free = Deformation("local", coords, np.zeros((0, *coords.shape)))
    return Posterior(Pull(len(coords), bead), (), free, 0.6, coords.mean(axis=0), 1e6)


def no_network(coords):
    """Return springs of no stiffness: each site then goes by itself."""
    return network_hessian(coords, 10.0) * 0.0


def test_it_follows_the_map_farther_than_a_plain_ascent(scene):
    problem, answer, posterior = scene
    there = softened(posterior, problem.start, problem.network_at, 8, lambda: None)
    assert rmsd(problem.start, answer) > 3.0
    assert rmsd(relax(posterior, there), answer) < 0.5
    assert rmsd(relax(posterior, problem.start), answer) > 1.0


def test_the_log_density_never_falls(scene):
    problem, _, posterior = scene
    values = [posterior.of_coordinates(problem.start)[0]]
    for n_softenings in (1, 2, 4):
        there = softened(posterior, problem.start, problem.network_at, n_softenings, lambda: None)
        values.append(posterior.of_coordinates(there)[0])
    assert min(values[1:]) > values[0]
    again = softened(posterior, there, problem.network_at, 4, lambda: None)
    assert posterior.of_coordinates(again)[0] >= values[-1]


def test_its_bonds_stay_as_they_are(scene):
    problem, _, posterior = scene
    there = softened(posterior, problem.start, problem.network_at, 4, lambda: None)
    bonds = [np.linalg.norm(np.diff(coords, axis=0), axis=1) for coords in (problem.start, there)]
    assert np.abs(bonds[1] - bonds[0]).max() < 0.4


def test_neighbours_go_along_as_far_as_the_network_is_stiff(scene):
    """A pull at one site moves all of a stiff body, and that site alone where there are no springs."""
    problem, _, _ = scene
    start = problem.start
    shifts = {}
    for name, network in (("stiff", problem.network_at), ("none", no_network)):
        there = softened(pulled(start, 40), start, network, 1, lambda: None)
        shifts[name] = np.linalg.norm(there - start, axis=1)
    others = np.arange(len(start)) != 40
    assert shifts["none"][40] > 1.0
    assert shifts["none"][others].max() < 1e-6
    assert shifts["stiff"][others].min() > 0.05
    assert shifts["stiff"][40] < 2.0 * shifts["stiff"][[39, 41]].min()


def test_steps_are_no_longer_than_half_an_angstrom(scene):
    """Four steps at one stiffness, each of 0.5 Å RMSD at most."""
    problem, _, _ = scene
    start = problem.start
    there = softened(pulled(start, 40), start, no_network, 1, lambda: None)
    assert 1.0 < rmsd(there, start) <= 4 * 0.5 + 1e-9


def test_it_takes_the_same_way_every_time_and_leaves_its_arguments_alone(scene):
    problem, _, posterior = scene
    kept = problem.start.copy()
    run = partial(softened, posterior, problem.start, problem.network_at, 2, lambda: None)
    np.testing.assert_array_equal(run(), run())
    np.testing.assert_array_equal(problem.start, kept)


def test_what_is_called_before_each_softening_can_end_all(scene):
    problem, _, posterior = scene
    calls = []

    def stop():
        calls.append(len(calls))
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        softened(posterior, problem.start, problem.network_at, 4, stop)
    assert calls == [0, 1, 2]


def test_two_sites_at_one_place_end_it_where_it_is(scene):
    problem, _, posterior = scene
    start = problem.start.copy()
    start[7] = start[8]
    np.testing.assert_array_equal(softened(posterior, start, problem.network_at, 2, lambda: None), start)


def test_nothing_moves_where_no_step_leads_uphill(scene):
    problem, _, posterior = scene
    top = relax(posterior, problem.start, 2000)
    there = softened(posterior, top, problem.network_at, 2, lambda: None)
    assert rmsd(there, top) < 0.1


def test_large_models_are_left_as_they_are():
    coords = np.arange(3.0 * (MOST_SITES + 1)).reshape(-1, 3)

    def never(at):
        raise AssertionError("no network should be made")

    assert softened(pulled(coords, 0), coords, never, 4, lambda: None) is coords
