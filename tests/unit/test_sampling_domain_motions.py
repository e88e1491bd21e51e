"""Chains in which domains move as rigid bodies: how far global ones reach, masses, and checkpoints."""

from __future__ import annotations

import dataclasses
import threading
from functools import cache

import numpy as np
import pytest

from bayesflex.config import FitConfig
from bayesflex.domains import Domains, find_domains
from bayesflex.geometry import rmsd
from bayesflex.mcmc.adaptation import largest_eigenvalue
from bayesflex.protocols import Record
from bayesflex.reporters import NullReporter
from bayesflex.sampling import Chain, run_chains, stage_likelihoods, steered_stage
from bayesflex.sampling.checkpoint import load_checkpoint
from bayesflex.sampling.parallel import Stopped
from bayesflex.sampling.preconditioning import matched_mass
from bayesflex.structure import Structure
from bayesflex.synthetic import two_domain_layout, two_domain_protein
from bayesflex.workflows.preparation import Inputs, prepare
from bayesflex.workflows.simulate import simulate

RESOLUTION = 8.0
SETTINGS = {
    "resolution": RESOLUTION,
    "deformation": "global",
    "modes": (7, 8, 9),
    "chains": 1,
    "threads": 1,
    "iterations": 12,
    "warmup_iterations": 20,
    "steps": 8,
}


def hinge(angle: float) -> tuple[Structure, Structure]:
    """Two domains, and the same after the second turned about the last residue of the first (degrees)."""
    start = two_domain_protein(100)
    first = two_domain_layout(100).first_domain
    axis = np.array([0.0, 0.0, 1.0])
    ca = start.trace()
    pivot = ca.coords[first.stop]
    turn = np.radians(angle)
    cosine, sine = np.cos(turn), np.sin(turn)
    rotation = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    assert np.allclose(rotation @ axis, axis)
    coords = start.coords.copy()
    moving = start.residue_index > first.stop
    coords[moving] = (coords[moving] - pivot) @ rotation.T + pivot
    return start, start.with_coords(coords)


@cache
def prepared(**changes):
    start, answer = hinge(-60.0)
    density = simulate(answer, resolution=RESOLUTION, noise=0.2, seed=2)
    return prepare(Inputs(start, density, answer), FitConfig(**SETTINGS | changes), lambda text: None)


def fitted(**changes):
    fit = prepared(**changes)
    likelihoods = stage_likelihoods(fit.problem, fit.stages)
    (chain,) = run_chains(fit.problem, fit.stages, likelihoods, NullReporter())
    return fit.problem, chain


def test_by_default_combined_alone_has_no_domain_motions():
    assert find_domains(prepared().ca, 10.0).n_domains > 1
    assert prepared().config.domain_motions == "on"
    assert prepared().problem.domains is not None
    assert prepared(deformation="local").config.domain_motions == "on"
    assert prepared(deformation="combined").config.domain_motions == "off"
    assert prepared(deformation="combined").problem.bodies is None
    assert prepared(deformation="combined", domain_motions="on").problem.bodies is not None


def test_a_domain_that_turned_far_is_reached_in_global():
    """By 60 degrees, where modes alone fail."""
    deviations = {}
    for motions in ("on", "off"):
        problem, chain = fitted(domain_motions=motions, domains=False)
        answer, matched = problem.reference
        deviations[motions] = rmsd(np.mean(chain.draws.coords, axis=0)[matched], answer)
    assert rmsd(problem.start[matched], answer) > 8.0
    assert deviations["on"] < 2.0
    assert deviations["off"] > 2.0 * deviations["on"]


@pytest.mark.parametrize("approach", ["local", "global", "combined"])
def test_masses_keep_the_step_size(approach):
    """The stiffness with bodies is at most twice that without: no lever shortens the steps."""
    stiffness = {}
    for motions in ("on", "off"):
        problem = prepared(deformation=approach, domain_motions=motions).problem
        fit = prepared(deformation=approach, domain_motions=motions)
        (*_, likelihood) = stage_likelihoods(problem, fit.stages)
        deformation = problem.deformation(problem.start, problem.mode_vectors, problem.bodies)
        posterior = problem.posterior(likelihood, problem.terms, deformation)
        theta = np.zeros(deformation.n_dim)
        mass = matched_mass(posterior, theta, np.random.default_rng(3))
        stiffness[motions] = largest_eigenvalue(posterior, theta, mass, np.random.default_rng(4))
    assert stiffness["on"] < 2.0 * stiffness["off"]


@pytest.mark.parametrize(
    ("changes", "turning"),
    [
        ({"deformation": "combined"}, {1}),
        ({"deformation": "combined", "domains": False}, set()),
        ({"deformation": "combined", "domain_motions": "on"}, {0, 1}),
        ({"deformation": "global", "domain_motions": "off"}, set()),
    ],
)
def test_every_second_chain_of_combined_turns_its_domains_on_the_way(changes, turning, monkeypatch):
    steered: list[bool] = []

    def noted(posterior, restoring, coords, *arguments, bodies, **others):
        steered.append(bodies is not None)
        return coords

    monkeypatch.setattr(steered_stage, "steer", noted)
    fit = prepared(stages=(16.0,), warmup_iterations=2, **changes)
    likelihoods = stage_likelihoods(fit.problem, fit.stages)
    for index in (0, 1):
        chain = Chain(
            fit.problem,
            fit.stages,
            likelihoods,
            index,
            np.random.default_rng(7),
            NullReporter(),
            threading.Event(),
            None,
        )
        chain._steer(0)
    assert [index in turning for index in (0, 1)] == steered
    # What is sampled does not depend on it.
    assert (chain._posterior(1).deformation.n_bodies > 0) == (fit.config.domain_motions == "on")


def test_with_the_whole_moving_the_largest_domain_is_its_frame():
    problem = prepared(rigid=True).problem
    deformation = problem.deformation(problem.start, problem.mode_vectors, problem.bodies)
    assert deformation.n_bodies == len(problem.bodies) - 1
    np.testing.assert_array_equal(deformation.bodies, problem.bodies[1:])


@pytest.mark.parametrize("stop_at", [3, 8, 30])
def test_a_resumed_chain_repeats_an_uninterrupted_one(stop_at, tmp_path):
    fit = prepared(stages=(16.0,), stage_iterations=4, warmup_iterations=20)
    likelihoods = stage_likelihoods(fit.problem, fit.stages)

    def chain(path, stop, reporter):
        rng = np.random.default_rng(7)
        return Chain(fit.problem, fit.stages, likelihoods, 0, rng, reporter, stop, path)

    whole = chain(None, threading.Event(), NullReporter())
    whole.run()
    stop = threading.Event()

    class Stopping(NullReporter):
        def record(self, row: Record) -> None:
            if row.iteration == stop_at:
                stop.set()

    path = tmp_path / "chain.npz"
    with pytest.raises(Stopped):
        chain(path, stop, Stopping()).run()
    progress, _, _ = load_checkpoint(path)
    assert progress.bodies is not None
    resumed = chain(path, threading.Event(), NullReporter())
    resumed.run()
    np.testing.assert_array_equal(resumed.draws.coords, whole.draws.coords)


def test_domains_are_found_anew_at_the_structure_reached():
    problem = prepared().problem
    anew = problem.bodies_at(hinge(60.0)[1].trace().coords)
    np.testing.assert_allclose(anew.sum(axis=0), 1.0)
    # A structure of one domain leaves those of the start.
    alone = dataclasses.replace(
        problem, ca=problem.ca.select(np.arange(problem.ca.n_atoms) < 30), domains=Domains(*_two_of(30))
    )
    np.testing.assert_array_equal(alone.bodies_at(alone.start), alone.bodies)


def _two_of(n):
    labels = (np.arange(n) >= n // 2).astype(np.int64)
    return labels, ((0,), (1,)), np.zeros(n, dtype=bool)
