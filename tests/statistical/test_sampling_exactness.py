"""Chains as fits run them sample the posterior: cases whose posterior is known in closed form.

Everything is real but the physics: a likelihood and an energy that are quadratic in the coordinates stand in for the
map's and the protein's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from mcmc_statistics import assert_distributed
from scipy import stats
from scipy.spatial.transform import Rotation

from bayesflex.beads import ca_beads
from bayesflex.config import FitConfig
from bayesflex.density_map import DensityMap
from bayesflex.geometry import superimpose
from bayesflex.map_target import make_target
from bayesflex.normal_modes import NormalModes, rigid_motions
from bayesflex.reporters import NullReporter
from bayesflex.sampling import Problem, plan_stages, run_chains
from bayesflex.structure import Structure
from bayesflex.units import thermal_energy

N, N_MODES = 7, 3
CENTRE_SD = 1.5


@dataclass(frozen=True, eq=False)
class Quadratic:
    """Energy ½ (r - m)ᵀ K (r - m) of r flattened; as a likelihood, log L is minus that."""

    mean: np.ndarray
    stiffness: np.ndarray
    name: str = "quadratic"

    def clone(self):
        return self

    def energy_and_gradient(self, coords):
        gradient = np.zeros_like(coords)
        return self.add_to(coords, gradient), gradient

    def add_to(self, coords, gradient):
        shift = coords.ravel() - self.mean
        pull = self.stiffness @ shift
        gradient += pull.reshape(coords.shape)
        return 0.5 * float(shift @ pull)

    def log_likelihood_and_gradient(self, coords):
        energy, gradient = self.energy_and_gradient(coords)
        return -energy, -gradient


@pytest.fixture(scope="module")
def start():
    coords = np.random.default_rng(3).normal(scale=3.0, size=(N, 3))
    return coords - coords.mean(axis=0)


@pytest.fixture(scope="module")
def modes(start):
    """Orthonormal directions at right angles to the motions as one, as normal modes are.

    They leave the first three beads alone, which then show how the whole is turned.
    """
    moving = slice(3 * 3, None)
    rigid = rigid_motions(start).reshape(6, -1)[:, moving]
    allowed = np.linalg.svd(rigid)[2][6:]
    modes = np.zeros((N_MODES, 3 * N))
    modes[:, moving] = np.linalg.qr(np.random.default_rng(4).normal(size=(len(allowed), N_MODES)))[0].T @ allowed
    return modes


def run(start, modes, likelihood, terms, seed=11, **settings):
    """Draws of all chains, shape (n_chains, n_draws, n_ca, 3)."""
    config = FitConfig(
        resolution=6.0,
        sigma=2.0,
        centre_sd=CENTRE_SD,
        threads=1,
        seed=seed,
        anneal=False,
        recompute_modes=False,
        modes=tuple(range(7, 7 + N_MODES)),
        **settings,
    )
    n = len(start)
    ca = Structure(
        coords=start,
        element=np.full(n, "C"),
        atom_name=np.full(n, "CA"),
        residue_name=np.full(n, "ALA"),
        residue_number=np.arange(1, n + 1),
        insertion_code=np.full(n, "", dtype="U1"),
        chain=np.full(n, "A"),
        occupancy=np.ones(n),
        b_factor=np.zeros(n),
        is_hetero=np.zeros(n, dtype=bool),
        name="beads",
    )
    # A map is there to be correlated with in the records; the likelihood is another.
    values = np.random.default_rng(0).normal(size=(4, 4, 4))
    density = DensityMap(values, np.full(3, 8.0), np.full(3, -12.0))
    numbers = np.arange(7, 7 + N_MODES)
    vectors = modes.reshape(N_MODES, n, 3)
    normal = NormalModes(vectors, np.ones(N_MODES), numbers, np.ones(N_MODES), 10.0)
    problem = Problem(
        ca,
        config,
        make_target(density, start, config, 2.0),
        ca_beads(ca),
        tuple(terms),
        None if config.deformation == "local" else normal,
    )
    chains = run_chains(problem, plan_stages(config, start), [likelihood], NullReporter())
    return np.array([chain.draws.coords for chain in chains], dtype=np.float64)


def assert_gaussian(draws, directions, mean, covariance):
    """Projections of the draws, (n_chains, n_draws, n_dim), on unit vectors have the moments and quantiles known.

    Moments along enough directions determine the covariance. Chains follow one another: batches do not mix them.
    """
    flat = draws.reshape(-1, draws.shape[-1])
    assert_distributed([(flat @ d, stats.norm(d @ mean, np.sqrt(d @ covariance @ d))) for d in directions])


def random_stiffness(rng, n_dim, lowest, highest):
    axes = np.linalg.qr(rng.standard_normal((n_dim, n_dim)))[0]
    return (axes * np.geomspace(lowest, highest, n_dim)) @ axes.T


@pytest.fixture(scope="module")
def case(start):
    """Likelihood, energy, and the precision and mean of their posterior with the hold of the centroid."""
    rng = np.random.default_rng(5)
    likelihood = Quadratic(start.ravel() + rng.normal(scale=0.5, size=3 * N), random_stiffness(rng, 3 * N, 0.2, 3.0))
    term = Quadratic(start.ravel(), thermal_energy(300.0) * random_stiffness(rng, 3 * N, 0.5, 10.0))
    hold = np.kron(np.ones((N, N)), np.eye(3)) / (N * CENTRE_SD) ** 2
    prior = term.stiffness / thermal_energy(300.0)
    precision = likelihood.stiffness + prior + hold
    # The centroid is held where the start has it.
    pulled = likelihood.stiffness @ likelihood.mean + (prior + hold) @ start.ravel()
    return likelihood, term, precision, np.linalg.solve(precision, pulled)


@pytest.mark.parametrize(
    ("approach", "rigid"),
    [
        ("local", False),
        pytest.param("local", True, marks=pytest.mark.slow),
        ("combined", False),
        pytest.param("combined", True, marks=pytest.mark.slow),
    ],
)
def test_coordinates_have_their_posterior_whatever_else_moves(approach, rigid, start, modes, case):
    """Modes in ``combined`` and a rigid motion describe what x can do as well: r is distributed as in ``local``.

    Chains of the length of a fit: one batch each.
    """
    likelihood, term, precision, mean = case
    settings = {"deformation": approach, "rigid": rigid, "chains": 40}
    draws = run(start, modes, likelihood, [term], iterations=60, warmup_iterations=40, steps=6, **settings)
    others = np.linalg.qr(np.random.default_rng(6).normal(size=(3 * N, 6)))[0].T
    directions = np.concatenate([np.eye(3 * N), modes, others])
    assert_gaussian(draws.reshape(40, -1, 3 * N), directions, mean, np.linalg.inv(precision))


def test_modes_alone_have_their_posterior(start, modes, case):
    likelihood, term, precision, mean = case
    settings = {"deformation": "global", "chains": 2}
    draws = run(start, modes, likelihood, [term], iterations=2000, warmup_iterations=100, steps=4, **settings)
    shift = draws.reshape(2, -1, 3 * N) - start.ravel()
    amplitudes = shift @ modes.T
    np.testing.assert_allclose(shift - amplitudes @ modes, 0.0, atol=1e-5)
    covariance = np.linalg.inv(modes @ precision @ modes.T)
    expected = covariance @ modes @ precision @ (mean - start.ravel())
    pairs = np.array([[1, 1, 0], [1, -1, 0], [0, 1, 1], [0, 1, -1], [1, 0, 1]]) / np.sqrt(2.0)
    assert_gaussian(amplitudes, np.concatenate([np.eye(N_MODES), pairs]), expected, covariance)


class Weighted:
    """Moments and quantiles of weighted numbers."""

    def __init__(self, values, weights):
        order = np.argsort(values)
        self._values, self._weights = values[order], weights[order] / weights.sum()
        self._below = np.cumsum(self._weights)

    def mean(self):
        return float(self._weights @ self._values)

    def var(self):
        return float(self._weights @ (self._values - self.mean()) ** 2)

    def ppf(self, level):
        return float(np.interp(level, self._below, self._values))


@pytest.mark.slow
def test_modes_and_rigid_motion_have_their_posterior(start, modes):
    """Beads drawn to places m_n: those of the first three to a triangle like the start's, the others to one point.

    With y = r_0 + q·A, which has its centroid there as the triangle has, and r = R y + t,

        -k/2 Σ |r_n - m_n|² = -k/2 (|q - q̄|² + N |t|²) + k Σ m_n·(R r_0n) + const.,

    the modes being at right angles to shifts and turns of the start and leaving the first three beads alone. So q, t
    and R are independent, q and t Gaussian, and R has that density (of Fisher, 1977, for matrices) over the uniform
    one. Its moments are integrals over many
    rotation vectors drawn about zero.
    """
    stiffness = 0.5
    triangle = start[:3] - start[:3].mean(axis=0)
    places = np.zeros((N, 3))
    places[:3] = triangle
    likelihood = Quadratic(places.ravel(), stiffness * np.eye(3 * N))
    settings = {"deformation": "global", "rigid": True, "chains": 2}
    draws = run(start, modes, likelihood, [], iterations=1500, warmup_iterations=100, steps=6, **settings)
    shift = draws.mean(axis=2)
    precision = N * stiffness + 1.0 / CENTRE_SD**2 + 1.0 / 30.0**2
    assert_gaussian(shift, np.eye(3), np.zeros(3), np.eye(3) / precision)

    inner = (draws - shift[:, :, None, :]).reshape(-1, N, 3)
    rotations = np.array([superimpose(start[:3], frame[:3]).rotation for frame in inner])
    internal = np.einsum("kji,knj->kni", rotations, inner) - start
    amplitudes = internal.reshape(-1, 3 * N) @ modes.T
    pulled = modes @ (places - start).ravel()  # the modes' parts of the triangle are zero
    assert_gaussian(amplitudes, np.eye(N_MODES), pulled, np.eye(N_MODES) / stiffness)

    scatter = triangle.T @ triangle
    information = stiffness * (np.trace(scatter) * np.eye(3) - scatter)  # of small turns
    proposal = stats.multivariate_normal(np.zeros(3), 1.5 * np.linalg.inv(information))
    vectors = proposal.rvs(200_000, random_state=8)
    vectors = vectors[np.linalg.norm(vectors, axis=1) < np.pi]
    angle = np.linalg.norm(vectors, axis=1)
    known = Rotation.from_rotvec(vectors).as_matrix()
    log_weight = stiffness * np.einsum("kij,nj,ni->k", known, start[:3], triangle)
    log_weight += 2.0 * np.log(np.sin(0.5 * angle) / angle) - proposal.logpdf(vectors)
    weights = np.exp(log_weight - log_weight.max())
    assert weights.sum() ** 2 / np.sum(weights**2) > 20_000
    angles = np.linalg.norm(Rotation.from_matrix(rotations).as_rotvec(), axis=1)
    elements = [(rotations[:, i, j], Weighted(known[:, i, j], weights)) for i in range(3) for j in range(3)]
    assert_distributed([(angles, Weighted(angle, weights)), *elements])
