"""The whole log posterior, likelihood and structural prior together, against directional differences."""

from __future__ import annotations

import numpy as np
import pytest

from bayesflex.config import FitConfig
from bayesflex.deformation import APPROACHES, Deformation
from bayesflex.density_map import DensityMap
from bayesflex.energy import build_prior
from bayesflex.map_target import make_target
from bayesflex.posterior import Posterior
from bayesflex.rendering import render
from bayesflex.residue_beads import make_beads
from bayesflex.synthetic import two_domain_pair
from bayesflex.units import thermal_energy
from gradients.directional import check_gradient

CLOSED, OPEN = two_domain_pair(80)
CA = CLOSED.ca_trace()
SIGMA = 2.0


def posterior(approach: str, rigid: bool, bead: str, likelihood: str, rng) -> Posterior:
    config = FitConfig(resolution=8.0, bead=bead, likelihood=likelihood, excluded_volume=0.0)
    origin = CA.coords.min(axis=0) - 20.0
    shape = tuple(np.ceil((np.ptp(CA.coords, axis=0) + 40.0) / 2.0).astype(int)[::-1])
    answer = OPEN.ca_trace().coords
    values = render(answer, np.ones(len(answer)), SIGMA, shape, np.full(3, 2.0), origin)
    values += rng.normal(scale=0.2 * values.std(), size=shape)
    target = make_target(DensityMap(values, np.full(3, 2.0), origin), CA.coords, config, SIGMA)
    beads = make_beads(bead, CLOSED, CA)
    modes = np.linalg.qr(rng.normal(size=(3 * CA.n_atoms, 6)))[0].T.reshape(6, -1, 3)
    deformation = Deformation(approach, CA.coords, modes[:0] if approach == "local" else modes, rigid)
    return Posterior(
        target.likelihood(config, beads, config.resolution, CA.coords),
        build_prior(CA, config),
        deformation,
        thermal_energy(config.temperature),
        CA.coords.mean(axis=0),
        config.centre_sd,
    )


@pytest.mark.parametrize("bead", ["ca", "parts"])
@pytest.mark.parametrize("rigid", [False, True])
@pytest.mark.parametrize("approach", APPROACHES)
def test_gradient_of_the_posterior(approach, rigid, bead, rng):
    target = posterior(approach, rigid, bead, "marginal", rng)
    theta = rng.normal(scale=0.1, size=target.deformation.n_dim)
    evaluation = target(theta)
    assert np.isfinite(evaluation.log_density)
    check_gradient(lambda x: target(x).log_density, theta, evaluation.gradient, rng, step=2e-5, rtol=2e-6)


def test_gradient_with_the_gaussian_likelihood(rng):
    target = posterior("combined", True, "ca", "gaussian", rng)
    theta = rng.normal(scale=0.1, size=target.deformation.n_dim)
    check_gradient(lambda x: target(x).log_density, theta, target(theta).gradient, rng, step=2e-5, rtol=2e-6)


def test_gradient_of_the_prior_alone(rng):
    whole = posterior("local", False, "ca", "marginal", rng)
    prior = Posterior(None, whole.terms, whole.deformation, whole.thermal_energy, whole.centre + [40.0, 0.0, 0.0], 3.0)
    coords = CA.coords + rng.normal(scale=0.2, size=CA.coords.shape)
    value, gradient = prior.of_coordinates(coords)
    check_gradient(lambda r: prior.of_coordinates(r)[0], coords, gradient, rng, step=2e-5)
    assert value < 0.0
