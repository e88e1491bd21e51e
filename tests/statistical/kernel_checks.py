"""Checks that a Hamiltonian kernel samples what it is given, each a function of the kernel that returns a verdict.

They are written as functions so that the kernel in use can be shown to pass them and wrong ones to be caught.
Where a density is sampled, masses and step size are found as fits find them (``matched_mass``, ``warm_up``) and
frozen. Trajectories are kept short: their two ends, where kernels go wrong, then count for more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from known_densities import UNIT, Bimodal, Funnel, Mixture, posterior_of
from mcmc_statistics import Gaussian, Skewed, Tabulated, batch_z, ess_z, marginal_scores, z_limit
from scipy import stats
from small_posteriors import (
    THERMAL_ENERGY,
    LinearDensity,
    Springs,
    bonded_chain,
    hairpin_posterior,
    harmonic_precision,
    helix,
    local,
)

from bayesflex.mcmc import BlockMass, DenseMass, DiagonalMass, LeapfrogResult, Mass, leapfrog, warm_up
from bayesflex.posterior import Posterior
from bayesflex.protocols import Evaluation, Kernel, KernelState, Target
from bayesflex.sampling.preconditioning import matched_mass


@dataclass(frozen=True)
class Verdict:
    """The largest deviation that a check saw, and the largest that it allows."""

    worst: float
    limit: float

    @property
    def passed(self):
        return self.worst <= self.limit  # NaN fails


@dataclass(frozen=True)
class Scheme:
    """A kernel, ``make(target, mass, step_size, n_steps)``, and the integrator inside it."""

    make: Callable[[Target, Mass, float, int], Kernel]
    integrate: Callable[..., LeapfrogResult] = leapfrog


# --- The integrator ---------------------------------------------------------------------------------------------

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


def preserves_volume(scheme):
    """The determinant of a trajectory's Jacobian is 1, to the accuracy of central differences."""
    worst = 0.0
    for launch in launches()[::3]:  # one of each mass, and both proteins
        n_dim = launch.position.size
        shift = 1e-4
        phase = np.concatenate([launch.position, launch.momentum])

        def flow(phase, launch=launch, n_dim=n_dim):
            end = launch.fly(scheme.integrate, phase[:n_dim], phase[n_dim:], launch.step_size, 3)
            return np.concatenate([end.position, end.momentum])

        phase = np.concatenate([launch.position, launch.momentum])

        def column(direction, flow=flow, phase=phase, shift=shift):
            near, far = (
                (flow(phase + k * shift * direction) - flow(phase - k * shift * direction)) / (2 * k * shift)
                for k in (1, 2)
            )
            return (4.0 * near - far) / 3.0

        sign, logarithm = np.linalg.slogdet(np.array([column(e) for e in np.eye(2 * n_dim)]))
        worst = max(worst, abs(sign * math.exp(logarithm) - 1.0))
    return Verdict(worst, 1e-6)


def second_order(scheme):
    """Over a fixed time, half the step makes a quarter of the energy error, root mean square over trajectories."""
    n_steps = np.array([64, 128, 256])
    errors: dict[type, list] = {}
    for launch in launches():
        before = launch.hamiltonian(launch.position, launch.momentum)
        ends = [
            launch.fly(scheme.integrate, launch.position, launch.momentum, 4.0 * launch.step_size / n, n)
            for n in n_steps.tolist()
        ]
        changes = [launch.hamiltonian(end.position, end.momentum) - before for end in ends]
        errors.setdefault(type(launch.target), []).append(changes)
    orders = [np.diff(-0.5 * np.log2(np.mean(np.square(changes), axis=0))) for changes in errors.values()]
    return Verdict(float(np.abs(np.array(orders) - 2.0).max()), 0.1)


# --- One iteration ----------------------------------------------------------------------------------------------


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


# --- What is sampled --------------------------------------------------------------------------------------------


def warmed_up(posterior, rng, n_steps, n_iterations=150):
    """State, masses and step size at the end of a fit's warm-up."""
    theta = np.zeros(posterior.deformation.n_dim)
    mass = matched_mass(posterior, theta, rng)
    state, step_size = warm_up(rng, posterior, KernelState(theta, posterior(theta)), mass, n_iterations, n_steps)
    return state, mass, step_size


@dataclass(frozen=True, eq=False)
class Bed:
    """A posterior whose marginals are known, warmed up."""

    posterior: Posterior
    state: KernelState
    mass: Mass
    step_size: float
    n_steps: int = 2

    @classmethod
    def warm(cls, posterior, seed, n_steps=2):
        return cls(posterior, *warmed_up(posterior, np.random.default_rng(seed), n_steps), n_steps)

    def kernel(self, scheme):
        return scheme.make(self.posterior, self.mass, self.step_size, self.n_steps)

    def draws(self, scheme, seed, n_draws):
        """Coordinates, (n_draws, n_beads, 3), and numbers of each draw."""
        kernel, state, rng = self.kernel(scheme), self.state, np.random.default_rng(seed)
        coords, energies = np.empty((n_draws, *self.posterior.deformation.start.shape)), np.empty(n_draws)
        for index in range(n_draws):
            state, _ = kernel.step(rng, state)
            coords[index], energies[index] = state.evaluation.details.coords, state.evaluation.details.energy
        return coords, energies


class Correlated:
    """A correlated normal density in 12 dimensions."""

    n_dim = 12

    def __init__(self):
        self.normal = Gaussian.random(np.random.default_rng(51), self.n_dim)
        self._whitening = np.linalg.cholesky(self.normal.precision)
        self._direction = np.ones(self.n_dim)

    def __call__(self, position):
        return self.normal(position)

    def draw(self, rng, n_draws):
        return rng.multivariate_normal(self.normal.mean, self.normal.covariance, n_draws)

    def standardised(self, draws):
        """Each coordinate, their sum, which sees the covariances, and the distance from the mean in its own metric."""
        distance = np.sum(((draws - self.normal.mean) @ self._whitening) ** 2, axis=1)
        spread = math.sqrt(self._direction @ self.normal.covariance @ self._direction)
        return [
            *((draws[:, dim], self.normal.marginal(dim)) for dim in range(self.n_dim)),
            (draws @ self._direction, stats.norm(self.normal.mean @ self._direction, spread)),
            (distance, stats.chi2(self.n_dim)),
        ]


DENSITIES = {"correlated": Correlated(), "bimodal": Bimodal(), "funnel": Funnel()}


@cache
def bed_of(name):
    return Bed.warm(posterior_of(DENSITIES[name]), seed=53)


def _samples(name, scheme, n_draws, seed=59):
    coords, _ = bed_of(name).draws(scheme, seed, n_draws)
    return _judged(marginal_scores(DENSITIES[name].standardised(coords.reshape(n_draws, -1) / UNIT)))


def _judged(scores):
    return Verdict(float(np.abs(scores).max()), z_limit(scores.size))


def samples_correlated_normal(scheme):
    """Moments and quantiles of a correlated normal density."""
    return _samples("correlated", scheme, 6000)


def samples_bimodal(scheme):
    """Moments and quantiles of a density with two modes, of unequal weight and width."""
    return _samples("bimodal", scheme, 10_000)


def samples_funnel(scheme):
    """Moments and quantiles of a density whose width varies."""
    return _samples("funnel", scheme, 7000)


def keeps_exact_draws(scheme):
    """Independent draws of a density, moved six times, are independent draws of it (Kolmogorov–Smirnov)."""
    rng = np.random.default_rng(61)
    scores = []
    for name, density in DENSITIES.items():
        kernel = bed_of(name).kernel(scheme)
        moved = np.empty((600, density.n_dim))
        for index, start in enumerate(density.draw(rng, len(moved))):
            state = kernel.init(UNIT * start)
            for _ in range(6):
                state, _ = kernel.step(rng, state)
            moved[index] = state.position / UNIT
        scores += [
            stats.norm.isf(0.5 * max(stats.kstest(values, known.cdf).pvalue, 1e-300))
            for values, known in density.standardised(moved)
        ]
    return _judged(np.array(scores))


# A chain with bonded terms alone, and soft bonds: the r² shows.
N_BEADS, BOND_CONSTANT = 6, 3.0


def bond_distribution(length, constant):
    """Density ∝ r² exp(−k (r − b)² / k_B T) of a bond's length, Å."""
    r = np.linspace(max(0.05, length - 10.0 * math.sqrt(0.5 * THERMAL_ENERGY / constant)), length + 4.0, 20_001)
    return Tabulated(r, 2.0 * np.log(r) - constant * (r - length) ** 2 / THERMAL_ENERGY)


def mean_bond_energy(length, constant):
    """⟨k (r − b)²⟩ = ½ k_B T (b² + 3 s²) / (b² + s²), s² = k_B T / 2k: the tail below r = 0 left out."""
    variance = 0.5 * THERMAL_ENERGY / constant
    return 0.5 * THERMAL_ENERGY * (length**2 + 3.0 * variance) / (length**2 + variance)


@cache
def bond_bed():
    return Bed.warm(bonded_chain(N_BEADS, bond_constant=BOND_CONSTANT, dihedral_constant=0.0), seed=67)


@cache
def _chain_draws(scheme):
    bed = bond_bed()
    coords, energies = bed.draws(scheme, 71, 10_000)
    reference = bed.posterior.deformation.start
    return coords, energies, reference


def bond_lengths(coords):
    return np.linalg.norm(np.diff(coords, axis=-2), axis=-1)


def has_bond_lengths(scheme):
    """Moments and quantiles of each bond's length are those of r² exp(−U / k_B T)."""
    coords, _, reference = _chain_draws(scheme)
    known = [bond_distribution(length, BOND_CONSTANT) for length in bond_lengths(reference)]
    return _judged(marginal_scores(list(zip(bond_lengths(coords).T, known, strict=True))))


def has_bond_energy(scheme):
    """The mean energy of the bonds has its closed form, within the Monte-Carlo error."""
    coords, _, reference = _chain_draws(scheme)
    lengths = bond_lengths(reference)
    energies = BOND_CONSTANT * np.sum((bond_lengths(coords) - lengths) ** 2, axis=1)
    expected = sum(mean_bond_energy(length, BOND_CONSTANT) for length in lengths)
    return _judged(np.array([ess_z(energies, expected)]))


# A linear-Gaussian fit.
FIT_BEADS, BOND_SD, CENTRE_SD = 5, 0.7, 1.0


@cache
def linear_fit():
    """A fit of beads with a harmonic prior to a map that is linear in their displacements; mean and covariance."""
    start, rng = helix(FIT_BEADS), np.random.default_rng(73)
    prior = harmonic_precision(FIT_BEADS, BOND_SD, CENTRE_SD)
    truth = start.ravel() + np.linalg.cholesky(np.linalg.inv(prior)) @ rng.standard_normal(start.size)
    likelihood = LinearDensity(start, sigma=2.0, noise_sd=0.008).observe(rng, truth.reshape(start.shape))
    precision = prior + likelihood.jacobian.T @ likelihood.jacobian / likelihood.noise_sd**2
    pulled = likelihood.jacobian.T @ (likelihood.map - likelihood.density) / likelihood.noise_sd**2
    covariance = np.linalg.inv(precision)
    terms = [Springs(np.diff(start, axis=0), BOND_SD)]
    posterior = Posterior(likelihood, terms, local(start), THERMAL_ENERGY, start.mean(axis=0), CENTRE_SD)
    return Bed.warm(posterior, seed=79), start.ravel() + covariance @ pulled, covariance


def covariance_scores(draws, mean, covariance):
    """z-scores of the mean of each coordinate, and of each element of the covariance about the known mean."""
    whole = draws - mean
    scores = [batch_z(column, 0.0) for column in whole.T]
    for i, j in zip(*np.triu_indices(len(mean)), strict=True):
        scores.append(batch_z(whole[:, i] * whole[:, j], covariance[i, j]))
    # In the metric of the posterior: a narrow direction counts as much as a wide one.
    distance = np.einsum("ki,ij,kj->k", whole, np.linalg.inv(covariance), whole)
    return np.array([*scores, batch_z(distance, float(len(mean)))])


def fits_linear_density(scheme):
    """Mean and covariance of a linear-Gaussian fit are those of its posterior in closed form."""
    bed, mean, covariance = linear_fit()
    coords, _ = bed.draws(scheme, 83, 6000)
    return _judged(covariance_scores(coords.reshape(len(coords), -1), mean, covariance))


CHECKS = {
    "reversible to 1e-9": reversible,
    "volume preserved": preserves_volume,
    "energy error of order step²": second_order,
    "rejected and divergent states untouched": leaves_rejected_states,
    "detailed balance": balances_in_detail,
    "exact draws stay exact": keeps_exact_draws,
    "correlated normal": samples_correlated_normal,
    "bimodal": samples_bimodal,
    "funnel": samples_funnel,
    "bond lengths": has_bond_lengths,
    "mean bond energy": has_bond_energy,
    "linear-Gaussian fit": fits_linear_density,
}
