"""The ladder of a chain that exchanges replicas: its densities, its temperatures, its checkpoints."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest
from small_fit import Interrupter, Interruption, Keeper, assert_same_chains, likelihoods, prepared, run
from threadpoolctl import threadpool_limits

from bayesflex.deformation import Deformation
from bayesflex.mcmc import LEAPFROG, MINIMAL_ERROR, leapfrog
from bayesflex.reporters import NullReporter
from bayesflex.sampling import chain as chain_module
from bayesflex.sampling.checkpoint import Climbing, load_checkpoint
from bayesflex.sampling.preconditioning import matched_mass
from bayesflex.sampling.tempering import Tempered

LADDER = (1.0, 1.5, 2.5)
KINDS = [("local", False), ("combined", True), ("global", False)]


def posteriors(approach, rigid, temperature):
    """The posterior, its prior alone, and the tempered one, over the same unknowns."""
    fit = prepared(deformation=approach, rigid=rigid)
    problem, likelihood = fit.problem, likelihoods(deformation=approach, rigid=rigid)[-1]
    deformation = Deformation.tethered(approach, problem.start, problem.mode_vectors, rigid)
    tempered = Tempered(problem.posterior(likelihood.clone(), problem.terms, deformation, temperature), temperature)
    return problem.posterior(likelihood, problem.terms, deformation), tempered


@pytest.mark.parametrize(("approach", "rigid"), KINDS)
def test_the_likelihood_is_divided_by_the_temperature_and_the_prior_is_not(approach, rigid, rng):
    posterior, tempered = posteriors(approach, rigid, 3.0)
    theta = (3.0 if approach == "global" else 0.05) * rng.standard_normal(posterior.deformation.n_dim)
    cold, hot = posterior(theta), tempered(theta)
    assert hot.details.log_likelihood == pytest.approx(cold.details.log_likelihood, rel=1e-12)
    assert hot.details.energy == pytest.approx(cold.details.energy, rel=1e-12)
    energy = cold.details.energy / posterior.thermal_energy
    assert energy > 0.1
    # What is neither likelihood nor energy is divided too.
    rest = cold.log_density - cold.details.log_likelihood + energy
    expected = (cold.details.log_likelihood + rest) / 3.0 - energy
    assert hot.log_density == pytest.approx(expected, abs=1e-9 * abs(cold.details.log_likelihood))


@pytest.mark.parametrize(("approach", "rigid"), KINDS)
def test_the_gradient_is_that_of_the_tempered_density(approach, rigid, rng):
    _, tempered = posteriors(approach, rigid, 3.0)
    theta = 0.02 * rng.standard_normal(tempered.posterior.deformation.n_dim)
    direction = rng.standard_normal(theta.size)
    direction /= np.linalg.norm(direction)
    ahead, behind = (tempered(theta + h * direction).log_density for h in (1e-4, -1e-4))
    gradient = tempered(theta).gradient
    assert (ahead - behind) / 2e-4 == pytest.approx(gradient @ direction, abs=1e-4 * np.linalg.norm(gradient))


@pytest.mark.parametrize("outer_kick", [LEAPFROG, MINIMAL_ERROR])
def test_whole_trajectories_are_those_of_single_steps(outer_kick, rng):
    """What the posterior integrates by itself, with momentum and step scaled, is leapfrog on the tempered density."""
    _, tempered = posteriors("combined", False, 3.0)
    theta = np.zeros(tempered.posterior.deformation.n_dim)
    mass = matched_mass(tempered.posterior, theta, rng)
    start, momentum = tempered(theta), mass.draw(rng)
    whole = tempered.integrate(theta, momentum, start, 0.1, 10, mass, outer_kick)
    stepped = leapfrog(lambda x: tempered(x), theta, momentum, start, 0.1, 10, mass, outer_kick)
    assert whole is not None
    assert whole.n_gradients == stepped.n_gradients == 10
    np.testing.assert_allclose(whole.position, stepped.position, atol=1e-9)
    np.testing.assert_allclose(whole.momentum, stepped.momentum, atol=1e-9 * np.abs(momentum).max())
    assert whole.evaluation.log_density == pytest.approx(stepped.evaluation.log_density, rel=1e-9)
    np.testing.assert_allclose(whole.evaluation.gradient, tempered(whole.position).gradient, atol=1e-7)


def test_one_temperature_is_none():
    assert_same_chains(run(temperatures=(1.0,)), run())


@pytest.mark.parametrize(("temperatures", "n_levels"), [(LADDER, 3), ((4.0,), 4)])
def test_every_draw_tells_how_its_neighbours_exchanged(temperatures, n_levels):
    reporter = Keeper()
    chains = run(reporter=reporter, temperatures=temperatures)
    for chain in chains:
        assert len(chain.draws.coords) == prepared().config.iterations
        for row in chain.draws.statistics:
            rates = [row[name] for name in row if name.startswith("exchange_")]
            assert len(rates) == n_levels - 1
            assert all(0.0 <= rate <= 1.0 for rate in rates)
    # The iterations are those of a fit without: what the other levels do is no draw.
    assert [len(chain.records) for chain in chains] == [len(chain.records) for chain in run()]
    assert sum("temperatures of the likelihood 1, " in text for text in reporter.texts) == len(chains)


def test_draws_are_of_the_posterior_itself():
    """The records are the cold level's: its log density is that of the posterior where the chain is."""
    fit = prepared(temperatures=LADDER)
    chains = run(temperatures=LADDER)
    free = Deformation("local", fit.problem.start, fit.problem.mode_vectors[:0])
    posterior = fit.problem.posterior(likelihoods()[-1], fit.problem.terms, free)
    for chain in chains:
        for coords, row in zip(chain.draws.coords, chain.draws.statistics, strict=True):
            expected, _ = posterior.of_coordinates(coords.astype(np.float64))
            assert row["log_density"] == pytest.approx(expected, abs=0.05)


def test_found_temperatures_rise():
    reporter = Keeper()
    run(reporter=reporter, temperatures=(5.0,))
    for text in (text for text in reporter.texts if "temperatures of the likelihood" in text):
        shown = [float(part) for part in text.partition("likelihood ")[2].split(", ")]
        assert len(shown) == 5
        assert shown == sorted(shown)
        assert shown[0] == 1.0


@pytest.mark.parametrize("place", [-20, -10, -4])
def test_a_resumed_ensemble_repeats_an_uninterrupted_one_bit_for_bit(place, tmp_path, monkeypatch):
    """Interrupted while steered, while the first level warms up, and between draws."""
    monkeypatch.setattr(chain_module, "_CHECKPOINT_INTERVAL", -1.0)
    expected = run(temperatures=LADDER)
    with pytest.raises(Interruption):
        run(tmp_path, Interrupter(expected[0].records[place].iteration), temperatures=LADDER)
    assert_same_chains(run(tmp_path, NullReporter(), temperatures=LADDER), expected)


def test_interrupted_while_the_other_levels_warm_up(tmp_path, monkeypatch):
    """Without a checkpoint there, the chain goes on from the one before."""
    expected = run(temperatures=LADDER)
    made = []

    def interrupted(*arguments):
        made.append(arguments)
        if len(made) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    real = chain_module.Chain._tempered
    monkeypatch.setattr(chain_module.Chain, "_tempered", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, temperatures=LADDER)
    monkeypatch.undo()
    assert_same_chains(run(tmp_path, temperatures=LADDER), expected)


#: A point after each iteration: two levels warm up in 8 iterations each, then all exchange in 8.
WARMS, SETTLES = [1, 8, 12], [17, 24]


@pytest.mark.parametrize("number", WARMS + SETTLES)
def test_stopped_while_a_ladder_is_made_it_goes_on_from_there(number, ladder, tmp_path, monkeypatch):
    """Bit for bit, from a checkpoint that holds the ladder as it is: no iteration of it is made again."""
    points, stop = [], threading.Event()
    real = chain_module.frozen_ladder

    def counted(point):
        points.append(point)
        if len(points) == number:
            stop.set()
        return real(point)

    path = tmp_path / "chain-1.npz"
    monkeypatch.setattr(chain_module, "frozen_ladder", counted)
    with pytest.raises(chain_module.Stopped):
        run_chain(path, stop)
    progress, _, kernel = load_checkpoint(path)
    assert kernel is None
    assert isinstance(progress.within, Climbing)
    assert progress.within.n_settled == max(0, number - 16)
    assert (progress.within.warming is None) == (number > 16)
    resumed = run_chain(path, threading.Event())
    assert len(points) == 24  # those that were made before, and those that were left
    assert_same_chains([resumed], ladder)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
@pytest.mark.parametrize("number", [12, 20])
def test_killed_while_a_ladder_is_made_it_goes_on_from_the_checkpoint(number, ladder, tmp_path, monkeypatch):
    """By SIGKILL, after which nothing can be tidied up: once while a level warms up, once while all exchange."""
    monkeypatch.setattr(chain_module, "_CHECKPOINT_INTERVAL", -1.0)
    points = []
    real = chain_module.frozen_ladder

    def counted(point):
        points.append(point)
        if len(points) == number and os.getpid() != tests:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(point)

    monkeypatch.setattr(chain_module, "frozen_ladder", counted)
    path, tests = tmp_path / "chain-1.npz", os.getpid()
    child = os.fork()
    if child == 0:
        try:
            run_chain(path, threading.Event())
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    resumed = run_chain(path, threading.Event())
    assert len(points) == 24 - (number - 1)  # the one that was not kept is made again
    assert_same_chains([resumed], ladder)


@pytest.fixture(scope="module")
def ladder():
    """The first chain of a fit with a ladder that nothing interrupts."""
    return run(temperatures=LADDER)[:1]


def run_chain(checkpoint, stop):
    """Run the first chain from its checkpoint, where there is one."""
    fit = prepared(temperatures=LADDER)
    rng = np.random.default_rng(np.random.SeedSequence(fit.config.seed).spawn(2)[0])
    arguments = (fit.problem, fit.stages, likelihoods(temperatures=LADDER), 0, rng, NullReporter(), stop, checkpoint)
    chain = chain_module.Chain(*arguments)
    with threadpool_limits(1):
        chain.run()
    return chain


@pytest.mark.parametrize("temperatures", [(), LADDER])
def test_the_step_size_is_frozen_while_a_chain_samples(temperatures):
    """All that changes is the jitter of a fifth; the warm-up's steps spread further."""
    for chain in run(temperatures=temperatures, iterations=40):
        steps = np.array([row["step_size"] for row in chain.draws.statistics])
        assert 1.2 < steps.max() / steps.min() <= 1.5
        early, late = np.split(steps, 2)
        assert abs(early.mean() - late.mean()) < 4.0 * steps.std() * np.sqrt(2.0 / early.size)
