"""What is not known of a map's noise, scale and offset does not decide what its fit finds.

Each map is fitted with nothing given but its resolution, once as it is and once in other units, and with the true
level of its noise given. Compared are posterior means of the CA coordinates, by the root mean square of their
differences, against the posterior's own spread: the standard deviation of a coordinate, mean over all.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bayesflex.config import FitConfig
from bayesflex.half_maps import KnownNoise
from bayesflex.io.structures import read_structure
from bayesflex.noise import add_noise, frequencies
from bayesflex.overlap.spectrum import NoisePower
from bayesflex.reporters import NullReporter
from bayesflex.sampling import run_chains, stage_likelihoods
from bayesflex.synthetic import two_domain_pair
from bayesflex.workflows.preparation import Inputs, prepare
from bayesflex.workflows.simulate import simulate

#: Of the noise, in units of the clean map's standard deviation over its box.
NOISE = 1.0


def draws(start, density, config, noise_power=None):
    """Draws of all chains, shape (chain, draw, residue, 3); the last stage has the noise's true power where given."""
    prepared = prepare(Inputs(start, density), config, lambda text: None)
    problem, stages = prepared.problem, prepared.stages
    likelihoods = stage_likelihoods(problem, stages)
    if noise_power is not None:
        target = replace(problem.target, noise=KnownNoise(NoisePower.white(noise_power)))
        known = replace(prepared.config, likelihood="half-maps")
        likelihoods[-1] = target.likelihood(known, problem.beads, known.resolution, problem.start)
    chains = run_chains(problem, stages, likelihoods, NullReporter())
    return np.array([chain.draws.coords for chain in chains], dtype=np.float64)


def noisy_map(answer, resolution, noise=NOISE):
    """A map of its own with noise in its band, and the power of that noise at a frequency of the band."""
    clean = simulate(answer, resolution=resolution, kernel="gaussian")
    noisy = add_noise(np.random.default_rng(5), clean, noise, resolution=resolution)
    # All the variance lies in the band, which holds this share of the frequencies.
    share = np.mean(frequencies(clean.values.shape, clean.voxel_size) * resolution <= 1.0 + 1e-9)
    return noisy, (noise * clean.values.std()) ** 2 / share


def check(start, answer, config, noise=NOISE):
    noisy, power = noisy_map(answer, config.resolution, noise)
    scale = float(noisy.values.std())
    plain = draws(start, noisy, config)
    others = {
        "noise known": draws(start, noisy, config, power),
        "100 times, and an offset": draws(start, noisy.with_values(100.0 * noisy.values - 4000.0 * scale), config),
    }
    spread = plain.std(axis=(0, 1)).mean()
    assert spread > 0.05, "nothing moves"
    for name, other in others.items():
        difference = np.sqrt(np.mean((other.mean(axis=(0, 1)) - plain.mean(axis=(0, 1))) ** 2))
        assert difference < 0.6 * spread, (name, difference, spread)
        assert 0.75 < other.std(axis=(0, 1)).mean() / spread < 1.33, name


def settings(resolution, **changes):
    common = {"bead": "ca", "chains": 2, "iterations": 50, "threads": 1}
    return FitConfig(resolution=resolution, **(common | changes))


def test_a_small_protein():
    start, answer = two_domain_pair(56, 20.0)
    check(start, answer, settings(6.0, stages=(10.0,), stage_iterations=20, warmup_iterations=40, steps=12))


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.2, 1.0])
def test_a_synthetic_protein(noise):
    start, answer = two_domain_pair(100, 30.0)
    check(start, answer, settings(6.0), noise)


@pytest.mark.slow
def test_adenylate_kinase(data_dir):
    start = read_structure(data_dir / "adk" / "4ake_A.pdb")
    answer = read_structure(data_dir / "adk_modes" / "target_ca.pdb")
    check(start, answer, settings(6.0))


@pytest.mark.slow
def test_groel(data_dir):
    start, answer = (read_structure(data_dir / "groel" / name) for name in ("1oel.pdb", "1sx4A.pdb"))
    check(start, answer, settings(10.0))


def test_a_map_in_other_units_makes_the_same_chain_but_for_rounding():
    """The first draws agree to the digits that rounding leaves, before it decides differently on one of them."""
    start, answer = two_domain_pair(56, 20.0)
    noisy, _ = noisy_map(answer, 6.0)
    scale = float(noisy.values.std())
    config = settings(6.0, anneal=False, warmup_iterations=6, iterations=4, steps=6, modes=(7, 8, 9))
    plain = draws(start, noisy, config)
    for factor, offset in ((0.1, 0.0), (10.0, 0.0), (1.0, 40.0), (100.0, -40.0)):
        other = draws(start, noisy.with_values(factor * noisy.values + factor * offset * scale), config)
        assert np.abs(other - plain).max() < 2e-3
    assert np.ptp(plain, axis=1).max() > 0.5
