"""What is recorded of a chain, the masses it gets and the stages it passes through."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from small_fit import prepared

from bayesflex.chain import CHAIN_BREAK
from bayesflex.deformation import Deformation
from bayesflex.diagnostics import cc_centred, cc_uncentred
from bayesflex.errors import InputError
from bayesflex.geometry import rotation_of_vector
from bayesflex.mcmc.masses import BlockMass
from bayesflex.sampling import ModeProjection, correlations, plan_stages, preconditioning
from bayesflex.sampling.observation import Observer
from bayesflex.sampling.preconditioning import mass_arrays, mass_of_arrays, matched_mass

KINDS = [(approach, rigid) for approach in ("local", "global", "combined") for rigid in (False, True)]


def moved_as_one(coords):
    return (coords - coords.mean(axis=0)) @ rotation_of_vector([0.3, -0.2, 0.4]).T + np.array([4.0, -2.0, 7.0])


@pytest.mark.parametrize("shift", [0.0, 1.5, 25.0])
def test_correlations_are_those_of_the_maps_in_the_region(shift):
    problem = prepared().problem
    coords = problem.start + np.array([shift, 0.0, 0.0])
    target = problem.target
    simulated = target.simulated(problem.beads.place(coords), problem.beads.weights)[target.region]
    measured = target.values[target.region]
    values = correlations(target, problem.beads, coords)
    assert values["cc_uncentred"] == pytest.approx(cc_uncentred(simulated, measured), abs=1e-10)
    assert values["cc_centred"] == pytest.approx(cc_centred(simulated, measured), abs=1e-10)


def test_correlations_count_what_stands_still():
    """A background is rendered besides the model."""
    problem = prepared().problem
    still = problem.target.simulated(problem.start + [3.0, -6.0, 9.0], np.ones(len(problem.start)))
    target = replace(problem.target, background=still)
    density = target.simulated(problem.beads.place(problem.start), problem.beads.weights)[target.region]
    values = correlations(target, problem.beads, problem.start)
    assert values["cc_uncentred"] == pytest.approx(cc_uncentred(density, target.values[target.region]), abs=1e-10)
    assert values["cc_centred"] == pytest.approx(cc_centred(density, target.values[target.region]), abs=1e-10)


def test_correlations_of_beads_of_several_widths():
    problem = prepared().problem
    target, n = problem.target, len(problem.start)
    beads = replace(problem.beads, blur=np.where(np.arange(n) % 2 == 0, 3.0, 0.0))
    density = target.simulated(beads.place(problem.start), beads.weights, beads.classes)[target.region]
    values = correlations(target, beads, problem.start)
    assert values["cc_uncentred"] == pytest.approx(cc_uncentred(density, target.values[target.region]), abs=1e-10)
    assert values["cc_centred"] == pytest.approx(cc_centred(density, target.values[target.region]), abs=1e-10)


def test_correlations_of_chains_do_not_disturb_each_other():
    problem = prepared().problem
    places = [problem.start + shift for shift in (0.0, 1.0, 2.5, 40.0)]
    expected = [correlations(problem.target, problem.beads, coords) for coords in places]

    def run(coords):
        own = problem.correlation.clone()
        return [own(at) for at in [*places, coords]][-1]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(run, places)) == expected


def test_a_correlation_needs_finite_coordinates():
    problem = prepared().problem
    with pytest.raises(InputError, match="not finite"):
        correlations(problem.target, problem.beads, np.full_like(problem.start, np.nan))


def test_correlations_of_a_model_far_from_the_map_are_zero():
    problem = prepared().problem
    values = correlations(problem.target, problem.beads, problem.start + 1e4)
    assert values == {"cc_uncentred": 0.0, "cc_centred": 0.0}


@pytest.mark.parametrize(("approach", "rigid"), [("global", True), ("combined", False), ("combined", True)])
def test_amplitudes_of_a_motion_as_one_are_zero(approach, rigid):
    problem = prepared(deformation=approach, rigid=rigid).problem
    np.testing.assert_allclose(ModeProjection(problem)(moved_as_one(problem.start)), 0.0, atol=1e-9)


@pytest.mark.parametrize("amplitude", [-20.0, 0.5, 8.0])
@pytest.mark.parametrize("mode", [0, 1, 2])
@pytest.mark.parametrize(("approach", "rigid"), [kind for kind in KINDS if kind[0] != "local"])
def test_amplitude_of_a_displacement_along_a_mode(approach, rigid, mode, amplitude):
    problem = prepared(deformation=approach, rigid=rigid).problem
    displaced = problem.start + amplitude * problem.mode_vectors[mode]
    expected = np.zeros(3)
    expected[mode] = amplitude
    np.testing.assert_allclose(ModeProjection(problem)(displaced), expected, atol=1e-8)
    if approach != "global" or rigid:
        np.testing.assert_allclose(ModeProjection(problem)(moved_as_one(displaced)), expected, atol=1e-8)


def test_modes_alone_are_not_superposed():
    """Global without a rigid motion: a shift is no mode, and a turn would have to be made of modes."""
    problem = prepared(deformation="global").problem
    shifted = problem.start + 3.0 * problem.mode_vectors[1] + np.array([5.0, 1.0, -2.0])
    np.testing.assert_allclose(ModeProjection(problem)(shifted), [0.0, 3.0, 0.0], atol=1e-9)


@pytest.mark.parametrize("approach", ["local", "combined"])
def test_what_is_observed(approach):
    fit = prepared(deformation=approach)
    problem = fit.problem
    deformation = Deformation(approach, problem.start, problem.mode_vectors)
    evaluation = problem.posterior(None, problem.terms, deformation)(np.zeros(deformation.n_dim))
    values = Observer(problem)(evaluation, None)
    amplitudes = set() if approach == "local" else {"amplitude_7", "amplitude_8", "amplitude_9"}
    assert set(values) == amplitudes | {
        "cc_uncentred",
        "cc_centred",
        "log_density",
        "log_likelihood",
        "energy",
        "rmsd_to_reference",
    }
    assert values["energy"] == pytest.approx(0.0, abs=1e-9)
    assert values["log_likelihood"] == 0.0
    assert all(type(value) is float for value in values.values())


@pytest.fixture(scope="module", params=KINDS, ids=[f"{a}{'-rigid' * r}" for a, r in KINDS])
def posterior(request):
    approach, rigid = request.param
    problem = prepared(deformation=approach, rigid=rigid).problem
    deformation = Deformation(approach, problem.start, problem.mode_vectors, rigid)
    likelihood = problem.target.likelihood(problem.config, problem.beads, 8.0, problem.start)
    return problem.posterior(likelihood, problem.terms, deformation)


def test_masses_have_a_block_for_each_part(posterior, rng):
    deformation = posterior.deformation
    mass = matched_mass(posterior, np.zeros(deformation.n_dim), rng)
    assert isinstance(mass, BlockMass)
    assert tuple(part for part, _ in mass.blocks) == deformation.parts
    assert mass.n_dim == deformation.n_dim
    momentum = mass.draw(rng)
    assert mass.kinetic(momentum) == pytest.approx(0.5 * momentum @ mass.velocity(momentum))
    assert mass.kinetic(momentum) > 0.0


def test_masses_are_the_same_after_a_round_trip(posterior, rng):
    deformation = posterior.deformation
    mass = matched_mass(posterior, np.zeros(deformation.n_dim), rng)
    arrays = mass_arrays(mass)
    again = mass_of_arrays(deformation, arrays)
    momentum = mass.draw(np.random.default_rng(5))
    np.testing.assert_array_equal(again.draw(np.random.default_rng(5)), momentum)
    np.testing.assert_array_equal(again.velocity(momentum), mass.velocity(momentum))
    assert again.kinetic(momentum) == mass.kinetic(momentum)
    for one, other in zip(arrays, mass_arrays(again), strict=True):
        np.testing.assert_array_equal(one, other)


def test_beads_next_to_each_other_are_coupled(monkeypatch):
    """To the band comes Σ κ_j |x_j - x_{j+1}|² over bonded beads: nothing for a move of all as one."""
    problem = prepared(deformation="local").problem
    posterior = problem.posterior(None, problem.terms, Deformation("local", problem.start, problem.mode_vectors[:0]))
    theta = np.zeros(posterior.deformation.n_dim)

    def band():
        (array,) = mass_arrays(matched_mass(posterior, theta, np.random.default_rng(1)))
        return array

    monkeypatch.setattr(preconditioning, "_COUPLING", 0.3)
    with_coupling = band()
    monkeypatch.setattr(preconditioning, "_COUPLING", 0.0)
    added, n = with_coupling - band(), theta.size
    square = sum(np.diag(row[: n - k], -k) for k, row in enumerate(added))
    square += np.tril(square, -1).T
    coupling = -added[3, : n - 3 : 3]
    bonded = np.linalg.norm(np.diff(problem.start, axis=0), axis=1) < CHAIN_BREAK
    assert (coupling[~bonded] == 0.0).all()
    assert coupling.min() > -1e-9
    assert coupling.max() == pytest.approx(0.3)
    assert np.quantile(coupling[bonded], 0.1) < 0.29
    moves = np.random.default_rng(2).normal(size=(2, n // 3, 3))
    for move in (*moves, np.ones((n // 3, 3))):
        expected = float(coupling @ np.square(np.diff(move, axis=0)).sum(axis=1))
        assert move.ravel() @ square @ move.ravel() == pytest.approx(expected, abs=1e-6)


def test_masses_follow_the_generator_alone(posterior):
    theta = np.zeros(posterior.deformation.n_dim)
    ones, others = (mass_arrays(matched_mass(posterior, theta, np.random.default_rng(1))) for _ in range(2))
    for one, other in zip(ones, others, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("rigid", [False, True])
def test_amplitudes_alone_move_at_one_speed(rigid, rng):
    """The inverse mass of the modes is the inverse of their curvature, where that is positive and not tiny."""
    problem = prepared(deformation="global", rigid=rigid).problem
    deformation = Deformation("global", problem.start, problem.mode_vectors, rigid)
    likelihood = problem.target.likelihood(problem.config, problem.beads, 8.0, problem.start)
    posterior = problem.posterior(likelihood, problem.terms, deformation)
    theta = np.zeros(deformation.n_dim)
    inverse_mass = mass_arrays(matched_mass(posterior, theta, rng))[0]
    step = 0.1
    curvature = np.empty((3, 3))
    for index in range(3):
        shift = np.zeros_like(theta)
        shift[index] = step
        curvature[index] = (posterior(theta - shift).gradient - posterior(theta + shift).gradient)[:3] / (2.0 * step)
    values, vectors = np.linalg.eigh(0.5 * (curvature + curvature.T))
    speeds = np.einsum("im,ij,jm->m", vectors, inverse_mass, vectors) * np.abs(values)
    trusted = np.abs(values) > 1e-3 * np.abs(values).max()
    np.testing.assert_allclose(speeds[trusted], 1.0, rtol=1e-6)
    assert (np.linalg.eigvalsh(inverse_mass) > 0.0).all()


def test_stages_of_a_small_fit():
    fit = prepared()
    assert [(stage.name, stage.resolution, stage.n_iterations) for stage in plan_stages(fit.config, fit.ca.coords)] == [
        ("warmup-1", 14.0, 5),
        ("warmup-2", 11.0, 5),
        ("warmup-3", 8.0, 8),
    ]
