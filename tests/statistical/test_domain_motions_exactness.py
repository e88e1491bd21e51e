"""Motions of domains are sampled from the distribution that the method's page states.

In ``global`` the motions are the model's own, with the Haar measure of rotations and Gaussians of translations as
their prior: truths drawn from it and noisy coordinates drawn from them, then moved by the kernel in the posterior of
those coordinates, must still have the prior's distribution (Geweke, J. Am. Stat. Assoc. 99 (2004) 799). In
``combined`` and ``local`` the motions are redundant: the posterior of r is that without them
(``test_sampling_approaches_agree``).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from mcmc_statistics import z_limit
from scipy import stats
from scipy.spatial.transform import Rotation
from small_posteriors import THERMAL_ENERGY, helix

from bayesflex.deformation import Deformation
from bayesflex.mcmc import HMC, DiagonalMass
from bayesflex.posterior import Posterior
from bayesflex.protocols import KernelState

N, N_TRUTHS, N_ITERATIONS = 16, 1500, 6
TRANSLATION_SD, NOISE_SD = 3.0, 12.0

SHARE = np.clip((np.arange(N) - 5) / 5.0, 0.0, 1.0)
DEFORMATION = Deformation(
    "global", helix(N), np.zeros((0, N, 3)), translation_sd=TRANSLATION_SD, bodies=np.array([1.0 - SHARE, SHARE])
)
SCALES = np.tile([0.5, 0.5, 0.5, 3.0, 3.0, 3.0], 2)


class NoisyCoordinates:
    """log L = −|y − r|² / 2σ²."""

    name = "coordinates"

    def __init__(self, observed):
        self.observed = observed

    def clone(self):
        return self

    def log_likelihood_and_gradient(self, coords):
        residual = self.observed - coords
        return -0.5 * float(np.sum(residual**2)) / NOISE_SD**2, residual / NOISE_SD**2


def truth(rng):
    """Motions of both bodies: a Haar rotation each and a normal translation."""
    parts = []
    for _ in range(2):
        omega = Rotation.random(random_state=rng.integers(2**31)).as_rotvec()
        parts += [omega, TRANSLATION_SD * rng.normal(size=3)]
    return np.concatenate(parts)


def moved(rng, theta, deformation=DEFORMATION):
    """A draw of the posterior of noisy coordinates, by the kernel from the truth; and how often it accepted."""
    observed = DEFORMATION.coordinates(theta) + NOISE_SD * rng.normal(size=(N, 3))
    target = Posterior(NoisyCoordinates(observed), [], deformation, THERMAL_ENERGY, helix(N).mean(axis=0), 1e9)
    kernel = HMC(target, DiagonalMass(SCALES**-2), 0.15, 15)
    state = KernelState(theta, target(theta))
    accepted = 0
    for _ in range(N_ITERATIONS):
        state, info = kernel.step(rng, state)
        accepted += info.accepted
    return state.position, accepted / N_ITERATIONS


def scores(thetas):
    """z-scores of the angles (as uniform deviates of their law), of mean rotations, and of translations."""
    motions = thetas.reshape(-1, 2, 6)
    angle = np.linalg.norm(motions[:, :, :3], axis=2)
    uniform = (angle - np.sin(angle)) / math.pi  # the share of rotations of less than this angle
    columns = [uniform - 0.5, (uniform - 0.5) ** 2 - 1.0 / 12.0]
    matrices = Rotation.from_rotvec(motions[:, :, :3].reshape(-1, 3)).as_matrix().reshape(len(thetas), -1)
    shifts = motions[:, :, 3:].reshape(len(thetas), -1) / TRANSLATION_SD
    values = np.concatenate([*columns, matrices, shifts, shifts**2 - 1.0], axis=1)
    return values.mean(axis=0) / (values.std(axis=0, ddof=1) / math.sqrt(len(values)))


@pytest.mark.slow
def test_joint_distribution_of_motions_and_data():
    rng = np.random.default_rng(11)
    starts = np.array([truth(rng) for _ in range(N_TRUTHS)])
    ends, rates = zip(*(moved(rng, theta) for theta in starts), strict=True)
    z = scores(np.array(ends))
    assert np.abs(z).max() < z_limit(z.size), z.round(1)
    # The kernel went somewhere: it accepts, and rotations change by much.
    assert 0.5 < np.mean(rates) < 1.0
    assert np.median(np.linalg.norm(np.array(ends)[:, :3] - starts[:, :3], axis=1)) > 0.5
    angles = np.linalg.norm(np.array(ends).reshape(-1, 2, 6)[:, :, :3], axis=2)
    law = stats.kstest(angles[:, 0], lambda a: (a - np.sin(a)) / math.pi)
    assert law.pvalue > 1e-3


@pytest.mark.slow
def test_another_density_of_rotations_is_noticed():
    """A kernel whose rotations have a wide Gaussian on top of the Haar measure."""
    rng = np.random.default_rng(12)
    wrong = replace(DEFORMATION, rotation_sd=1.5)
    z = scores(np.array([moved(rng, truth(rng), wrong)[0] for _ in range(N_TRUTHS // 2)]))
    assert np.abs(z).max() > z_limit(z.size)
