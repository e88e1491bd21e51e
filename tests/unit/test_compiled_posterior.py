"""The compiled posterior and its trajectories against the same made part by part."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from bayesflex.config import FitConfig
from bayesflex.deformation import APPROACHES, Deformation
from bayesflex.density_map import DensityMap
from bayesflex.energy import build_prior
from bayesflex.half_maps import KnownNoise
from bayesflex.map_target import make_target
from bayesflex.mcmc import BlockMass, DenseMass, DiagonalMass
from bayesflex.mcmc.integrators import LEAPFROG, MINIMAL_ERROR, leapfrog
from bayesflex.mcmc.masses import BandedMass
from bayesflex.overlap.spectrum import NoisePower
from bayesflex.posterior import Posterior
from bayesflex.rendering import render
from bayesflex.residue_beads import make_beads
from bayesflex.synthetic import two_domain_pair
from bayesflex.team import Team
from bayesflex.units import thermal_energy

CLOSED, OPEN = two_domain_pair(80)
CA = CLOSED.ca_trace()
SIGMA = 2.0


class Unknown:
    """A term that the compiled code has not heard of, and that does nothing."""

    name = "unknown"

    def clone(self):
        return self

    def add_to(self, coords, gradient):
        return 0.0


def make(rng, approach="combined", rigid=True, bead="ca", known=True, bodies=None, **settings) -> Posterior:
    config = FitConfig(resolution=8.0, bead=bead, **settings)
    origin = CA.coords.min(axis=0) - 20.0
    shape = tuple(np.ceil((np.ptp(CA.coords, axis=0) + 40.0) / 2.0).astype(int)[::-1])
    answer = OPEN.ca_trace().coords
    values = render(answer, np.ones(len(answer)), SIGMA, shape, np.full(3, 2.0), origin)
    values += np.random.default_rng(1).normal(scale=0.2 * values.std(), size=shape)
    target = make_target(DensityMap(values, np.full(3, 2.0), origin), CA.coords, config, SIGMA)
    if config.likelihood == "half-maps":
        level = 0.04 * float(np.var(values))
        target = dataclasses.replace(target, noise=KnownNoise(NoisePower.white(level), 200.0))
    modes = np.linalg.qr(np.random.default_rng(2).normal(size=(3 * CA.n_atoms, 6)))[0].T.reshape(6, -1, 3)
    own = modes[:0] if approach == "local" else modes
    deformation = Deformation(approach, CA.coords, own, rigid, bodies=bodies)
    return Posterior(
        target.likelihood(config, make_beads(bead, CLOSED, CA), config.resolution, CA.coords),
        [*build_prior(CA, config), *([] if known else [Unknown()])],
        deformation,
        thermal_energy(config.temperature),
        CA.coords.mean(axis=0),
        config.centre_sd,
    )


def alike(one, other):
    assert one.log_density == pytest.approx(other.log_density, rel=1e-12)
    np.testing.assert_allclose(one.gradient, other.gradient, rtol=1e-9, atol=1e-9 * np.abs(other.gradient).max())
    assert one.details.energy == pytest.approx(other.details.energy, rel=1e-12)
    assert one.details.log_likelihood == pytest.approx(other.details.log_likelihood, rel=1e-12)
    np.testing.assert_allclose(one.details.coords, other.details.coords, rtol=1e-12)


@pytest.mark.parametrize("bead", ["ca", "parts"])
@pytest.mark.parametrize("rigid", [False, True])
@pytest.mark.parametrize("approach", APPROACHES)
def test_it_is_the_posterior_part_by_part(approach, rigid, bead, rng):
    compiled, plain = (make(rng, approach, rigid, bead, known) for known in (True, False))
    assert compiled._compiled is not None
    assert plain._compiled is None
    for scale in (0.0, 0.05, 1.0):
        theta = rng.normal(scale=scale, size=compiled.deformation.n_dim)
        alike(compiled(theta), plain(theta))


SHARE = np.clip((np.arange(CA.n_atoms) - 36) / 7.0, 0.0, 1.0)
BODIES = np.array([1.0 - SHARE, SHARE])


@pytest.mark.parametrize("rigid", [False, True])
@pytest.mark.parametrize("approach", APPROACHES)
def test_bodies_part_by_part_and_along_a_trajectory(approach, rigid, rng):
    compiled, plain = (make(rng, approach, rigid, "parts", known, BODIES) for known in (True, False))
    assert compiled._compiled is not None
    for scale in (0.0, 0.05, 0.5):
        theta = rng.normal(scale=scale, size=compiled.deformation.n_dim)
        alike(compiled(theta), plain(theta))
    theta = np.zeros(compiled.deformation.n_dim)
    light = np.full(theta.size, 5.0)
    light[-12:] = 3e4
    mass = DiagonalMass(light)
    momentum = mass.draw(rng)
    fast = compiled.integrate(theta, momentum, compiled(theta), 0.02, 30, mass)
    slow = leapfrog(plain, theta, momentum, plain(theta), 0.02, 30, mass)
    assert not fast.divergent
    np.testing.assert_allclose(fast.position, slow.position, atol=1e-8 * np.abs(slow.position).max())
    alike(fast.evaluation, slow.evaluation)


@pytest.mark.parametrize(
    "settings",
    [
        {"likelihood": "gaussian"},
        {"likelihood": "half-maps"},
        {"contact_energy": 0.0},
        {"excluded_volume": 0.0},
        {"bond_constant": 0.0, "angle_constant": 0.0, "dihedral_constant": 0.0},
    ],
)
def test_other_likelihoods_and_fewer_terms(settings, rng):
    compiled, plain = (make(rng, known=known, **settings) for known in (True, False))
    assert compiled._compiled is not None
    theta = rng.normal(scale=0.1, size=compiled.deformation.n_dim)
    alike(compiled(theta), plain(theta))
    alike_values = compiled.of_coordinates(CA.coords + 0.1), plain.of_coordinates(CA.coords + 0.1)
    assert alike_values[0][0] == pytest.approx(alike_values[1][0], rel=1e-12)
    np.testing.assert_allclose(alike_values[0][1], alike_values[1][1], atol=1e-9)


def test_the_prior_alone(rng):
    whole = make(rng)
    prior = Posterior(None, whole.terms, whole.deformation, whole.thermal_energy, whole.centre, whole.centre_sd)
    theta = rng.normal(scale=0.1, size=whole.deformation.n_dim)
    together, alone = whole(theta), prior(theta)
    assert prior._compiled is not None
    assert together.log_density == pytest.approx(alone.log_density + together.details.log_likelihood)
    assert prior.count.n == 0


def masses(deformation, rng):
    n = deformation.start.size
    band = np.abs(rng.normal(size=(12, n))) * 0.02
    band[0] += 2.0
    dense = DenseMass(np.diag(rng.uniform(0.5, 2.0, deformation.n_modes)))
    rest = [
        (deformation.rotation, DenseMass(1e-5 * np.eye(3))),
        (deformation.translation, DiagonalMass.uniform(3, 4.0)),
    ]
    whole = [(deformation.amplitudes, dense), (deformation.displacements, BandedMass(band)), *rest]
    plain = [(deformation.amplitudes, dense), (deformation.displacements, DiagonalMass.uniform(n, 3.0)), *rest]
    return BlockMass(whole), BlockMass(plain), DiagonalMass.uniform(deformation.n_dim, 5.0)


@pytest.mark.parametrize("outer_kick", [LEAPFROG, MINIMAL_ERROR])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_trajectory_is_that_of_the_plain_loop(which, outer_kick, rng):
    """Far enough for both lists of neighbours to be built anew on the way."""
    posterior = make(rng, bead="parts")
    mass = masses(posterior.deformation, rng)[which]
    theta = np.zeros(posterior.deformation.n_dim)
    start = posterior(theta)
    momentum = mass.draw(rng)
    # A push of the whole, so that beads leave their lists.
    push = np.zeros_like(theta)
    push[posterior.deformation.displacements] = 30.0
    momentum = momentum + push if which == 2 else momentum
    n_steps, step = 60, 0.02
    tiles, repulsion = posterior._compiled._overlap.tiles, posterior._compiled._repulsion.neighbours
    builds = tiles.n_builds, repulsion.n_builds
    one = leapfrog(posterior, theta, momentum, start, step, n_steps, mass, outer_kick)
    if which == 2:
        assert tiles.n_builds > builds[0]
        assert repulsion.n_builds > builds[1]
    other = leapfrog(lambda at: posterior(at), theta, momentum, start, step, n_steps, mass, outer_kick)
    assert (one.n_gradients, one.divergent) == (other.n_gradients, other.divergent) == (n_steps, False)
    np.testing.assert_allclose(one.position, other.position, atol=1e-8)
    np.testing.assert_allclose(one.momentum, other.momentum, atol=1e-6)
    assert one.evaluation.log_density == pytest.approx(other.evaluation.log_density, rel=1e-9)
    np.testing.assert_array_equal(theta, 0.0)  # what was given is not changed


def test_a_trajectory_twice_is_the_same_to_the_bit(rng):
    """Whatever was evaluated between, and whenever lists were built."""
    posterior = make(rng, bead="parts")
    mass = masses(posterior.deformation, rng)[0]
    theta = rng.normal(scale=0.02, size=posterior.deformation.n_dim)
    momentum = mass.draw(rng)
    runs = []
    for fresh in (posterior, posterior, posterior.clone()):
        runs.append(leapfrog(fresh, theta, momentum, fresh(theta), 0.02, 20, mass))
        fresh(theta + rng.normal(scale=2.0, size=len(theta)))
    for run in runs[1:]:
        np.testing.assert_array_equal(run.position, runs[0].position)
        assert run.evaluation.log_density == runs[0].evaluation.log_density


def test_two_posteriors_share_lists_that_either_has_built(rng):
    posterior = make(rng, approach="local", rigid=False)
    other = posterior.with_deformation(Deformation("local", CA.coords + 9.0, np.zeros((0, *CA.coords.shape))))
    zero = np.zeros(CA.coords.size)
    before = posterior(zero)
    other(zero)
    alike(posterior(zero), before)
    restored = posterior.of_coordinates(CA.coords)
    assert restored[0] == pytest.approx(before.log_density, rel=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_a_trajectory_that_is_lost_is_divergent(bad, rng):
    posterior = make(rng)
    mass = DiagonalMass.uniform(posterior.deformation.n_dim)
    theta = np.zeros(posterior.deformation.n_dim)
    momentum = np.zeros_like(theta)
    momentum[posterior.deformation.displacements.start] = bad
    result = leapfrog(posterior, theta, momentum, posterior(theta), 0.1, 5, mass)
    assert result.divergent
    assert result.n_gradients <= 1
    assert math.isfinite(posterior(theta).log_density)


def test_gradients_are_counted(rng):
    posterior = make(rng)
    mass = DiagonalMass.uniform(posterior.deformation.n_dim, 1e4)
    theta = np.zeros(posterior.deformation.n_dim)
    start = posterior(theta)
    leapfrog(posterior, theta, mass.draw(rng), start, 0.01, 7, mass)
    posterior.of_coordinates(CA.coords)
    assert posterior.count.n == 9


def test_another_kind_of_mass_goes_the_plain_way(rng):
    class Odd:
        n_dim = 3 * CA.n_atoms

        def draw(self, rng):
            return rng.standard_normal(self.n_dim)

        def velocity(self, momentum, out=None):
            return np.multiply(momentum, 0.5, out=out)

        def kinetic(self, momentum):
            return 0.25 * float(momentum @ momentum)

    posterior = make(rng, approach="local", rigid=False)
    theta = np.zeros(3 * CA.n_atoms)
    result = leapfrog(posterior, theta, np.ones_like(theta), posterior(theta), 0.01, 3, Odd())
    assert result.n_gradients == 3
    assert not result.divergent


def large(rng, team=None):
    """A posterior of beads enough for their sums to be shared: no fit, and no chain."""
    config = FitConfig(resolution=8.0, contact_energy=0.0, excluded_volume=0.0)
    n = 5000
    walk = np.cumsum(rng.normal(size=(n, 3)), axis=0)
    start = 40.0 * np.sin(walk / 12.0)
    ca = CA.select(np.arange(n) % CA.n_atoms).with_coords(start)
    values = render(start, np.ones(n), SIGMA, (34, 34, 34), np.full(3, 3.0), np.full(3, -50.0))
    target = make_target(DensityMap(values, np.full(3, 3.0), np.full(3, -50.0)), start, config, SIGMA)
    likelihood = target.likelihood(config, make_beads("ca", ca, ca), config.resolution, start)
    free = Deformation("local", start, np.zeros((0, n, 3)))
    return Posterior(likelihood, build_prior(ca, config), free, 0.6, start.mean(axis=0), 30.0, team=team)


def test_a_team_gives_the_same_bits():
    posteriors = [large(np.random.default_rng(1))]
    theta = np.random.default_rng(2).normal(scale=0.1, size=15000)
    mass, momentum = DiagonalMass(np.ones(theta.size)), np.random.default_rng(3).normal(size=theta.size)
    with Team(2) as one, Team(4) as three:
        posteriors += [large(np.random.default_rng(1), team) for team in (one, three)]
        values = [posterior(theta) for posterior in posteriors]
        # Far enough for the lists of neighbours to be built anew.
        ends = [
            leapfrog(posterior, theta, momentum, value, 0.05, 12, mass)
            for posterior, value in zip(posteriors, values, strict=True)
        ]
        lost = posteriors[2](theta * np.inf)
    for value in values[1:]:
        assert value.log_density == values[0].log_density
        np.testing.assert_array_equal(value.gradient, values[0].gradient)
    for end in ends[1:]:
        assert end.evaluation.log_density == ends[0].evaluation.log_density
        np.testing.assert_array_equal(end.position, ends[0].position)
        np.testing.assert_array_equal(end.momentum, ends[0].momentum)
    assert not ends[0].divergent
    assert lost.log_density == -math.inf


def test_a_failure_in_a_team_is_passed_on():
    def fails():
        raise ValueError("as told")

    with Team(3) as team, pytest.raises(ValueError, match="as told"):
        team.run([lambda: None, fails, lambda: None])
    done = []
    with Team(2) as team:
        team.run([lambda number=number: done.append(number) for number in range(20)])
    assert sorted(done) == list(range(20))
