"""Checks of one trajectory and of one iteration of a Hamiltonian kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from known_densities import Mixture
from mcmc_statistics import Skewed
from scipy import stats
from small_posteriors import hairpin_posterior
from verdicts import Verdict, warmed_up

from bayesflex.mcmc import BlockMass, DenseMass, DiagonalMass, Mass
from bayesflex.protocols import Evaluation, Target

CORRELATED = np.array([[1.0, 0.3, -0.2], [0.3, 0.5, 0.1], [-0.2, 0.1, 0.8]])
TOY_MASSES = {
    "uniform": DiagonalMass.uniform(3, 2.0),
    "diagonal": DiagonalMass(np.array([0.5, 1.0, 4.0])),
    "dense": DenseMass(CORRELATED),
    "block": BlockMass([(slice(0, 2), DenseMass(CORRELATED[:2, :2])), (slice(2, 3), DiagonalMass.uniform(1, 3.0))]),
}


@dataclass(frozen=True, eq=False)
class Launch:
    """Where a trajectory starts and how it is stepped."""

    target: Target
    mass: Mass
    position: np.ndarray
    momentum: np.ndarray
    step_size: float

    def fly(self, integrate, position, momentum, step_size, n_steps):
        evaluation = self.target(position)
        return integrate(self.target, position, momentum, evaluation, step_size, n_steps, self.mass)

    def hamiltonian(self, position, momentum):
        return self.mass.kinetic(momentum) - self.target(position).log_density


@cache
def launches():
    """From draws of a skewed toy with masses of every kind, and from a warm protein with the masses of fits."""
    rng = np.random.default_rng(31)
    target = Skewed()
    made = [
        Launch(target, mass, position, mass.draw(rng), 0.12)
        for mass in TOY_MASSES.values()
        for position in target.draw(rng, 3)
    ]
    for approach in ("local", "combined"):
        posterior = hairpin_posterior(approach, rigid=approach == "combined")
        state, mass, step_size = warmed_up(posterior, rng, n_steps=10)
        made += [Launch(posterior, mass, state.position, mass.draw(rng), step_size) for _ in range(2)]
    return tuple(made)


def reversible(scheme):
    """Run back from its end with the momentum negated, a trajectory ends where it began, to 1e-9."""
    worst = 0.0
    for launch in launches():
        there = launch.fly(scheme.integrate, launch.position, launch.momentum, launch.step_size, 20)
        back = launch.fly(scheme.integrate, there.position, -there.momentum, launch.step_size, 20)
        errors = (
            np.abs(back.position - launch.position).max() / np.abs(there.position - launch.position).max(),
            np.abs(back.momentum + launch.momentum).max() / np.abs(launch.momentum).max(),
        )
        worst = max(worst, *errors)
    return Verdict(worst, 1e-9)


def volume_change(launch, integrate, shift, n_steps=4):
    """|det J − 1| of a trajectory's Jacobian J, by central differences of fourth order."""
    n_dim = launch.position.size
    phase = np.concatenate([launch.position, launch.momentum])

    def flow(phase):
        end = launch.fly(integrate, phase[:n_dim], phase[n_dim:], launch.step_size, n_steps)
        return np.concatenate([end.position, end.momentum])

    def column(direction):
        near, far = (
            (flow(phase + k * shift * direction) - flow(phase - k * shift * direction)) / (2 * k * shift)
            for k in (1, 2)
        )
        return (4.0 * near - far) / 3.0

    sign, logarithm = np.linalg.slogdet(np.array([column(direction) for direction in np.eye(2 * n_dim)]))
    return abs(sign * math.exp(logarithm) - 1.0)


def preserves_volume(scheme):
    """The determinant of a trajectory's Jacobian is 1.

    Of three displacements the best one counts: across a kink of a force each may be wrong, the smallest least often.
    """
    worst = 0.0
    for launch in launches()[::3]:  # one of each mass, and both proteins
        changes = (volume_change(launch, scheme.integrate, shift) for shift in (1e-4, 2e-5, 5e-6))
        worst = max(worst, next((change for change in changes if change < 1e-6), 1.0))
    return Verdict(worst, 1e-6)


def second_order(scheme):
    """Over a fixed time, half the step makes a quarter of the energy error, root mean square over trajectories."""
    n_steps = np.array([64, 128, 256])
    errors: dict[type, list] = {}
    for launch in launches():
        before = launch.hamiltonian(launch.position, launch.momentum)
        ends = [
            launch.fly(scheme.integrate, launch.position, launch.momentum, 2.0 * launch.step_size / n, n)
            for n in n_steps.tolist()
        ]
        changes = [launch.hamiltonian(end.position, end.momentum) - before for end in ends]
        errors.setdefault(type(launch.target), []).append(changes)
    orders = [np.diff(-0.5 * np.log2(np.mean(np.square(changes), axis=0))) for changes in errors.values()]
    return Verdict(float(np.abs(np.array(orders) - 2.0).max()), 0.1)


def contents(state):
    """All that a state holds, bit for bit."""
    details = state.evaluation.details
    numbers = (state.evaluation.log_density, details.log_likelihood, details.energy)
    return [array.tobytes() for array in (state.position, state.evaluation.gradient, details.coords, np.array(numbers))]


def leaves_rejected_states(scheme):
    """A trajectory that is rejected, or that meets an impossible position, changes nothing and is told from others.

    The posterior is a protein's, whose terms and likelihood own workspaces. The verdict counts violations.
    """
    posterior = hairpin_posterior("combined", rigid=True)
    rng = np.random.default_rng(41)
    state, mass, step_size = warmed_up(posterior, rng, n_steps=8)
    kept = contents(state)
    violations = n_rejected = 0
    for factor in np.geomspace(1.5, 400.0, 60):
        after, info = scheme.make(posterior, mass, factor * step_size, 4).step(rng, state)
        if not info.accepted:
            n_rejected += 1
            violations += contents(after) != kept
        violations += contents(state) != kept
    # Steps that carry beads out of the map at once.
    for factor in (300.0, 1e5, 1e160):
        after, info = scheme.make(posterior, mass, factor * step_size, 4).step(rng, state)
        violations += not info.divergent or info.accepted or info.acceptance != 0.0
        violations += contents(after) != kept or contents(state) != kept
    return Verdict(float(violations) if n_rejected >= 5 else math.nan, 0.0)


TWO_HUMPS = Mixture([0.3, 0.7], [-1.5, 1.0], [0.6, 1.0])


def two_humps(position):
    log_density, slope = TWO_HUMPS.log_density_and_slope(position[0])
    return Evaluation(float(log_density), np.array([slope]))


def balances_in_detail(scheme):
    """At equilibrium as many go from region a to region b as from b to a."""
    rng = np.random.default_rng(43)
    kernel = scheme.make(two_humps, DiagonalMass.uniform(1, 3.0), 1.4, 2)
    starts = TWO_HUMPS.draw(rng, 12_000)
    ends = np.array([kernel.step(rng, kernel.init(np.array([x])))[0].position[0] for x in starts])
    edges = [-2.0, -1.0, 0.0, 1.0, 2.0]
    flow = np.zeros((6, 6))
    np.add.at(flow, (np.digitize(starts, edges), np.digitize(ends, edges)), 1)
    upper = np.triu_indices(6, k=1)
    total, net = (flow + flow.T)[upper], (flow - flow.T)[upper]
    busy = total > 20  # where the count is close to normal
    statistic = float((net[busy] ** 2 / total[busy]).sum())
    return Verdict(statistic, float(stats.chi2.isf(1e-3, busy.sum())))
