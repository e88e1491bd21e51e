"""Calibration: answers drawn from the prior and fitted from their noisy maps lie where the posterior says.

Simulation-based calibration after Talts et al. (2018), arXiv:1804.06788: the rank of the true value of a quantity
among its posterior draws is uniform. First the prior is a harmonic chain of beads, which can be drawn from exactly, and
map, noise, masses and chains are those of a fit; then all is that of a fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from mcmc_statistics import z_limit
from scipy import stats

from bayesflex.beads import ca_beads
from bayesflex.calibration import held
from bayesflex.config import FitConfig
from bayesflex.density_map import DensityMap
from bayesflex.domains import Domains
from bayesflex.likelihood import GaussianLikelihood
from bayesflex.map_target import MapTarget
from bayesflex.normal_modes import NormalModes, rigid_motions
from bayesflex.overlap.spectrum import Spectrum
from bayesflex.rendering import render
from bayesflex.reporters import NullReporter
from bayesflex.sampling import Problem, plan_stages, run_chains
from bayesflex.structure import Structure
from bayesflex.units import thermal_energy
from bayesflex.workflows.calibrate import CalibrationPlan, calibrate
from bayesflex.workflows.calibration_replicate import N_DRAWS as N_DRAWS_RANKED
from bayesflex.workflows.calibration_results import LEAST_COVERED, MOST_COVERED

N, SIGMA, CENTRE_SD, BOND_SD = 8, 2.0, 1.0, 1.0
VOXEL, N_VOXELS = 2.0, 28
RESOLUTION = SIGMA / 0.225
N_TRUTHS, N_DRAWS, THIN = 150, 120, 3
NAMES = ("x", "y", "z", "end-to-end", "amplitude 7", "amplitude 8", "amplitude 9")


@dataclass(frozen=True, eq=False)
class Springs:
    """Energy k_B T Σ |b_i - b⁰_i|² / (2 s²) of the vectors b between neighbours along the chain."""

    bonds: np.ndarray
    name: str = "bonds"

    def clone(self):
        return self

    def energy_and_gradient(self, coords):
        gradient = np.zeros_like(coords)
        return self.add_to(coords, gradient), gradient

    def add_to(self, coords, gradient):
        stretch = np.diff(coords, axis=0) - self.bonds
        stiffness = thermal_energy(300.0) / BOND_SD**2
        gradient[1:] += stiffness * stretch
        gradient[:-1] -= stiffness * stretch
        return 0.5 * stiffness * float(np.sum(stretch**2))


def make_start():
    """A compact chain with steps of 3.8 Å."""
    turn = 1.745 * np.arange(N)
    coords = np.column_stack([2.3 * np.cos(turn), 2.3 * np.sin(turn), 1.5 * np.arange(N)])
    return coords - coords.mean(axis=0)


START = make_start()
MODES = np.linalg.svd(np.concatenate([rigid_motions(START).reshape(6, -1), np.zeros((3, 3 * N))]))[2][6:9]


CA = Structure(
    coords=START,
    element=np.full(N, "C"),
    atom_name=np.full(N, "CA"),
    residue_name=np.full(N, "ALA"),
    residue_number=np.arange(1, N + 1),
    insertion_code=np.full(N, "", dtype="U1"),
    chain=np.full(N, "A"),
    occupancy=np.ones(N),
    b_factor=np.zeros(N),
    is_hetero=np.zeros(N, dtype=bool),
    name="beads",
)


def draw_from_prior(rng):
    bonds = np.diff(START, axis=0) + rng.normal(scale=BOND_SD, size=(N - 1, 3))
    coords = np.concatenate([np.zeros((1, 3)), np.cumsum(bonds, axis=0)])
    return coords - coords.mean(axis=0) + rng.normal(scale=CENTRE_SD, size=3)


def draw_map(coords):
    origin = np.full(3, -0.5 * VOXEL * (N_VOXELS - 1))
    values = render(coords, np.ones(N), SIGMA, (N_VOXELS,) * 3, np.full(3, VOXEL), origin, window=6.0)
    return DensityMap(values, np.full(3, VOXEL), origin)


def summaries(coords):
    """Quantities of structures (..., n, 3), shape (..., n_quantities)."""
    shift = (coords - START).reshape(*coords.shape[:-2], 3 * N)
    ends = np.linalg.norm(coords[..., -1, :] - coords[..., 0, :], axis=-1)
    return np.concatenate([coords.mean(axis=-2), ends[..., None], shift @ MODES.T], axis=-1)


#: The halves of the chain, which turn and shift as rigid bodies about a linker that bends.
HALVES = Domains((np.arange(N) >= N // 2).astype(np.int64), ((0,), (1,)), np.ones(N, dtype=bool))


def posterior_draws(target, config, likelihood, domains=None):
    """Thinned draws, shape (n, n_beads, 3), of a chain that starts at the prior's mode."""
    modes = NormalModes(MODES.reshape(3, N, 3), np.ones(3), np.arange(7, 10), np.ones(3), 10.0)
    problem = Problem(CA, config, target, ca_beads(CA), (Springs(np.diff(START, axis=0)),), modes, None, domains)
    (chain,) = run_chains(problem, plan_stages(config, START), [likelihood], NullReporter())
    return np.array(chain.draws.coords, dtype=np.float64)[THIN - 1 :: THIN]


def settings(seed, **changes):
    return FitConfig(
        resolution=RESOLUTION,
        sigma=SIGMA,
        modes=(7, 8, 9),
        chains=1,
        threads=1,
        seed=seed,
        iterations=N_DRAWS,
        warmup_iterations=50,
        anneal=False,
        recompute_modes=False,
        steps=8,
        centre_sd=CENTRE_SD,
        **changes,
    )


def ranks(make_fit, domains=None):
    """Rank of each quantity's true value among its draws, shape (n_truths, n_quantities), and the number of draws."""
    found = []
    for seed in range(N_TRUTHS):
        rng = np.random.default_rng([20211, seed])
        truth = draw_from_prior(rng)
        draws = summaries(posterior_draws(*make_fit(rng, draw_map(truth), seed), domains))
        found.append(np.sum(draws < summaries(truth), axis=0))
    return np.array(found), N_DRAWS // THIN


def known_noise(rng, density, seed):
    """White noise of known level at each voxel, and the paper's likelihood of it."""
    noise_sd = 0.5 * (2.0 * np.pi * SIGMA**2) ** -1.5
    noisy = density.values + rng.normal(scale=noise_sd, size=density.values.shape)
    region = np.ones(noisy.shape, dtype=bool)
    target = MapTarget(noisy, density.voxel_size, density.origin, region, SIGMA)
    overlap = target.overlap(np.ones(N), Spectrum(), False, "pairs")
    return target, settings(seed, likelihood="gaussian"), GaussianLikelihood(overlap, 1.0, noise_sd)


@pytest.mark.slow
@pytest.mark.parametrize("domains", [None, HALVES], ids=["plain", "domain motions"])
def test_ranks_of_the_truth_are_uniform_and_intervals_cover_it(domains):
    found, n_draws = ranks(known_noise, domains)
    n_bins = 8
    bins = (found * n_bins) // (n_draws + 1)
    scores = []
    for column in range(len(NAMES)):
        counts = np.bincount(bins[:, column], minlength=n_bins)
        edges = np.bincount((np.arange(n_draws + 1) * n_bins) // (n_draws + 1), minlength=n_bins) / (n_draws + 1)
        scores.append(stats.norm.isf(stats.chisquare(counts, edges * N_TRUTHS).pvalue))
        # Ranks too low or high: a bias.
        mean, variance = 0.5 * n_draws, ((n_draws + 1) ** 2 - 1) / 12.0
        scores.append((found[:, column].mean() - mean) / np.sqrt(variance / N_TRUTHS))
        # Ranks too near the ends or the middle: intervals too narrow or wide.
        uniform = (np.arange(n_draws + 1) - mean) ** 2
        scores.append(((found[:, column] - mean) ** 2).mean() - uniform.mean())
        scores[-1] /= uniform.std() / np.sqrt(N_TRUTHS)
    assert np.abs(scores).max() < z_limit(len(scores)), np.round(scores, 2)
    covered = held(found, n_draws, 0.9).mean(axis=0)
    error = np.sqrt(0.9 * 0.1 / N_TRUTHS)
    assert np.abs(covered - 0.9).max() < z_limit(len(NAMES)) * error, dict(zip(NAMES, covered, strict=True))


def slowly(plan):
    """A calibration, two replicates at a time, and the coverage of its 90 % intervals by group."""
    result = calibrate(plan)
    return result, [result.coverage(90, group) for group in ("coordinates", "amplitudes")]


@pytest.mark.slow
def test_the_default_likelihood_is_calibrated():
    """Scale, offset and level of the noise unknown; what ``bayesflex calibrate`` does, with fewer replicates."""
    result, covered = slowly(CalibrationPlan(replicates=50, threads=2))
    assert result.corrected_p_values.min() > 0.01, result.verdict
    for found in covered:
        assert LEAST_COVERED - 2.0 * found.error < found.share < MOST_COVERED + 2.0 * found.error, result.verdict
    assert all(replicate.ess >= N_DRAWS_RANKED for replicate in result.replicates)


@pytest.mark.slow
def test_counting_voxels_makes_intervals_far_too_narrow():
    """Noise that fills a band is correlated between voxels."""
    result, covered = slowly(CalibrationPlan(replicates=50, threads=2, observations="voxels"))
    assert max(found.share + 3.0 * found.error for found in covered) < 0.80, result.verdict
    assert result.corrected_p_values.min() < 0.01
