"""A cold start behaves the same on 200 and on 4000 beads: heated, no collapsed step, acceptance as asked."""

from __future__ import annotations

import numpy as np
import pytest

from bayesflex.mcmc import HMC, LEAPFROG, MINIMAL_ERROR, BlockMass, DenseMass, DiagonalMass, largest_eigenvalue, warm_up
from bayesflex.protocols import Evaluation


class Chain:
    """Beads on a helix with stiff springs to their three next neighbours (nats/Å²) and a weak tether.

    The start is the minimum of the energy, where it is zero.
    """

    springs = ((1, 130.0), (2, 40.0), (3, 5.0))
    tether = 1e-3

    def __init__(self, n_beads):
        turn = 1.745 * np.arange(n_beads)
        self.start = np.column_stack([2.3 * np.cos(turn), 2.3 * np.sin(turn), 1.5 * np.arange(n_beads)])
        self.lengths = [np.linalg.norm(self.start[gap:] - self.start[:-gap], axis=1) for gap, _ in self.springs]

    def __call__(self, position):
        coords = position.reshape(-1, 3)  # (n_beads, 3)
        gradient = self.tether * (coords - self.start)
        energy = 0.5 * self.tether * np.sum((coords - self.start) ** 2)
        for (gap, constant), length in zip(self.springs, self.lengths, strict=True):
            bond = coords[gap:] - coords[:-gap]
            distance = np.sqrt(np.einsum("ij,ij->i", bond, bond))
            stretch = distance - length
            energy += 0.5 * constant * np.sum(stretch**2)
            pull = (constant * stretch / distance)[:, None] * bond
            gradient[gap:] += pull
            gradient[:-gap] -= pull
        return Evaluation(-float(energy), -gradient.ravel())


#: Of each splitting: settled steps are 1/√λ times about so much n_dim to the minus so much. Fixed acceptance asks for
#: n_dim^(-1/4) where the error of the energy is of order step², and for n_dim^(-1/8) where it is of order step⁴: these
#: springs are nearly harmonic, and of two stages the error of order step² is all but gone.
REACH = {LEAPFROG: (2.0, 1 / 4), MINIMAL_ERROR: (1.75, 1 / 8)}


def check_cold_start(n_beads, n_iterations, seed, outer_kick=LEAPFROG):
    target = Chain(n_beads)
    mass = DiagonalMass.uniform(3 * n_beads)
    rng = np.random.default_rng(seed)
    warm_energies, warm_infos = [], []

    def follow(state, info):
        warm_energies.append(-state.evaluation.log_density)
        warm_infos.append(info)

    state = HMC(target, mass, 1.0, 20).init(target.start.ravel())
    stiffness = largest_eigenvalue(target, state.position, mass, rng)
    state, step_size = warm_up(rng, target, state, mass, n_iterations, 20, on_iteration=follow, outer_kick=outer_kick)

    kernel = HMC(target, mass, step_size, 20, outer_kick=outer_kick)
    energies, acceptances, n_divergent = [], [], 0
    for _ in range(40):
        state, info = kernel.step(rng, state)
        energies.append(-state.evaluation.log_density)
        acceptances.append(info.acceptance)
        n_divergent += info.divergent

    assert 0.65 < np.mean(acceptances) < 0.95
    assert n_divergent == 0
    # The step is that of theory.
    factor, exponent = REACH[outer_kick]
    assert 0.5 < step_size * np.sqrt(stiffness) / (factor * (3 * n_beads) ** -exponent) < 1.5
    # No collapse on the way either.
    assert min(info.step_size for info in warm_infos[15:]) > 0.25 * step_size
    # Heated: after the fifteen trajectories the energy is that of the samples to come.
    assert warm_energies[14] == pytest.approx(np.mean(energies), rel=0.25)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_beads", [20, 200, 4000])
def test_cold_start(n_beads, seed):
    check_cold_start(n_beads, n_iterations=60, seed=seed)


@pytest.mark.parametrize("n_beads", [20, 200, 4000])
def test_cold_start_in_two_stages(n_beads):
    check_cold_start(n_beads, n_iterations=60, seed=1, outer_kick=MINIMAL_ERROR)


@pytest.mark.slow
@pytest.mark.parametrize("n_iterations", [40, 100])
@pytest.mark.parametrize("n_beads", [200, 1000, 4000])
def test_cold_start_of_many_chains(n_beads, n_iterations):
    for seed in range(100, 103):
        check_cold_start(n_beads, n_iterations, seed)
    # Fits, which make two stages, warm up for 60 iterations.
    for seed in range(103, 105):
        check_cold_start(n_beads, max(n_iterations, 60), seed, MINIMAL_ERROR)


def test_modes_speed_up_the_slow_directions(rng):
    """Two directions a hundred times softer than the rest move at its pace when the dense block knows them."""
    soft = np.array([[4.0e4, 1.0e4], [1.0e4, 1.0e4]])
    precision = np.eye(30)
    precision[:2, :2] = np.linalg.inv(soft)
    target = lambda x: Evaluation(-0.5 * float(x @ precision @ x), -precision @ x)  # noqa: E731
    spread = {}
    for name, block in (("unit", DiagonalMass.uniform(2)), ("dense", DenseMass(soft))):
        mass = BlockMass([(slice(0, 2), block), (slice(2, 30), DiagonalMass.uniform(28))])
        state = HMC(target, mass, 1.0, 20).init(np.zeros(30))
        state, step_size = warm_up(rng, target, state, mass, 60, 10)
        kernel = HMC(target, mass, step_size, 10)
        draws = []
        for _ in range(200):
            state, _ = kernel.step(rng, state)
            draws.append(state.position[:2])
        spread[name] = np.std(draws, axis=0)
    assert (spread["dense"] > 0.7 * np.sqrt(np.diag(soft))).all()
    assert (spread["unit"] < 0.7 * np.sqrt(np.diag(soft))).all()
