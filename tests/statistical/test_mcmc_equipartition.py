"""A chain with bonded terms alone and no map: internal coordinates are distributed as their energies say.

In bond lengths r, angles θ and dihedrals the volume element is Π r² Π sin θ, and the energy a sum of terms of one
coordinate each (a dihedral's fades out with its angles, and knows no length): lengths are independent of each other
and of all else, and so are angles where there are no dihedrals.
"""

from __future__ import annotations

import numpy as np
import pytest
from distribution_checks import bond_distribution, bond_lengths, mean_bond_energy
from mcmc_statistics import Tabulated, effective_size, ess_z, marginal_scores, run_chain, z_limit
from scipy import integrate, stats
from small_posteriors import THERMAL_ENERGY, bonded_chain

from bayesflex.energy.angles import Angles
from bayesflex.energy.bonds import Bonds
from bayesflex.energy.dihedrals import Dihedrals
from bayesflex.mcmc import HMC, warm_up
from bayesflex.protocols import KernelState
from bayesflex.sampling.preconditioning import matched_mass, unit_mass

CASES = {
    # The constants of fits, whose bonds are stiff; and bonds so soft that the factor r² shows.
    "bonds": {"angle_constant": 0.0, "dihedral_constant": 0.0},
    "bonds and angles": {"dihedral_constant": 0.0},
    "bonds, angles and dihedrals": {},
    "soft": {"bond_constant": 2.0, "angle_constant": 2.0, "dihedral_constant": 0.0},
}
N_BEADS, N_DRAWS, N_STEPS = 7, 4000, 8

#: Without a map nothing holds the orientation, and masses matched to it grow stale where bonds are stiff: these
#: chains have unit masses, as in comparisons of approaches.
MATCHED = {"soft"}


def angle_distribution(angle, constant):
    """Density ∝ sin θ exp(−k (θ − θ₀)² / k_B T)."""
    theta = np.linspace(1e-6, np.pi - 1e-6, 20_001)
    return Tabulated(theta, np.log(np.sin(theta)) - constant * (theta - angle) ** 2 / THERMAL_ENERGY)


def angles(coords):
    back, ahead = -np.diff(coords, axis=-2)[..., :-1, :], np.diff(coords, axis=-2)[..., 1:, :]
    cosine = np.sum(back * ahead, axis=-1) / np.linalg.norm(back, axis=-1) / np.linalg.norm(ahead, axis=-1)
    return np.arccos(cosine)


def constants_of(case):
    return {"bond_constant": 40.0, "angle_constant": 10.0, "dihedral_constant": 1.0} | CASES[case]


@pytest.fixture(scope="module", params=CASES)
def chain(request):
    """Draws of a chain as a fit samples it, the start, and the constants."""
    posterior = bonded_chain(N_BEADS, **CASES[request.param])
    kinds = {type(term) for term in posterior.terms}
    constants = constants_of(request.param)
    assert kinds == {
        kind
        for kind, name in ((Bonds, "bond"), (Angles, "angle"), (Dihedrals, "dihedral"))
        if constants[f"{name}_constant"]
    }
    rng, theta = np.random.default_rng(101), np.zeros(posterior.deformation.n_dim)
    mass = (matched_mass if request.param in MATCHED else unit_mass)(posterior, theta, rng)
    state, step_size = warm_up(rng, posterior, KernelState(theta, posterior(theta)), mass, 150, N_STEPS)
    kernel = HMC(posterior, mass, step_size, N_STEPS)
    displacements = run_chain(kernel, rng, state, N_DRAWS)
    return posterior.deformation.start + displacements.reshape(-1, N_BEADS, 3), posterior.deformation.start, constants


def test_bond_lengths(chain):
    coords, start, constants = chain
    known = [bond_distribution(length, constants["bond_constant"]) for length in bond_lengths(start)]
    samples = list(zip(bond_lengths(coords).T, known, strict=True))
    scores = marginal_scores(samples)
    assert np.abs(scores).max() < z_limit(scores.size), scores.reshape(-1, 5).round(2)
    for lengths, distribution in samples:
        assert effective_size(lengths) > 400
        every = int(np.ceil(len(lengths) / effective_size(lengths)))
        assert stats.kstest(lengths[::every], distribution.cdf).pvalue > 1e-3 / len(samples)


def test_mean_bond_energy(chain):
    coords, start, constants = chain
    constant, lengths = constants["bond_constant"], bond_lengths(start)
    energies = constant * np.sum((bond_lengths(coords) - lengths) ** 2, axis=1)
    expected = sum(mean_bond_energy(length, constant) for length in lengths)
    error = energies.std() / np.sqrt(effective_size(energies))
    assert error < 0.05 * expected  # the test has something to say
    assert abs(ess_z(energies, expected)) < z_limit(1)


# A dihedral fades out with its angles, whose distribution is then another.
@pytest.mark.parametrize("chain", [case for case in CASES if "dihedral_constant" in CASES[case]], indirect=True)
def test_angles(chain):
    coords, start, constants = chain
    constant = constants["angle_constant"]
    known = [angle_distribution(angle, constant) for angle in angles(start)]
    scores = marginal_scores(list(zip(angles(coords).T, known, strict=True)))
    assert np.abs(scores).max() < z_limit(scores.size), scores.reshape(-1, 5).round(2)


@pytest.mark.parametrize("constant", [2.0, 40.0])
def test_closed_form_of_the_mean_energy(constant):
    """By quadrature over the whole density."""

    def weight(r):
        return r**2 * np.exp(-constant * (r - 3.8) ** 2 / THERMAL_ENERGY)

    def energy(r):
        return constant * (r - 3.8) ** 2 * weight(r)

    total, above = (integrate.quad(f, 0.0, 15.0, points=[3.8], epsabs=0.0, limit=200)[0] for f in (weight, energy))
    assert mean_bond_energy(3.8, constant) == pytest.approx(above / total, rel=1e-7)


def test_effective_size_of_an_autoregressive_sequence(rng):
    """n (1 − φ) / (1 + φ)."""
    for phi in (0.0, 0.6, 0.95):
        values = np.zeros(100_000)
        for index, noise in enumerate(rng.standard_normal(values.size - 1)):
            values[index + 1] = phi * values[index] + noise
        assert effective_size(values) == pytest.approx(values.size * (1 - phi) / (1 + phi), rel=0.15)
