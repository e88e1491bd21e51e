"""The score of a pose against finite differences, by the six unknowns that the climb has."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from bayesflex.docking.levels import make_level
from bayesflex.docking.refinement import LocalCorrelation, left_jacobian, make_template
from bayesflex.geometry import rotation_of_vector
from bayesflex.synthetic import two_domain_protein
from bayesflex.workflows.simulate import simulate
from gradients.directional import check_gradient


@pytest.fixture(scope="module")
def correlation():
    structure = two_domain_protein(60)
    density = simulate(structure, resolution=9.0, voxel=3.0, noise=0.3, seed=4)
    beads = structure.ca_trace().coords
    template = make_template(beads - beads.mean(axis=0), np.ones(len(beads)), 3.0, 12.0, 9.0)
    return LocalCorrelation(make_level(density, 9.0, 12.0, 3.0), template), beads.mean(axis=0)


def at(correlation, unknowns, rotation, centre):
    return correlation.evaluate(rotation_of_vector(unknowns[:3]) @ rotation, centre + unknowns[3:])


@pytest.mark.parametrize("shift", [0.0, 6.0, 25.0], ids=["in place", "beside it", "half out of the map"])
@pytest.mark.parametrize("turn", [0.0, 0.8], ids=["at no rotation", "far from none"])
def test_gradient_of_a_pose(correlation, shift, turn, rng):
    correlation, centroid = correlation
    rotation = Rotation.random(random_state=rng).as_matrix()
    centre = centroid + shift * np.array([0.6, -0.5, 0.7])
    omega = turn * np.array([0.5, -0.7, 0.6])
    unknowns = np.concatenate([omega, [0.3, -0.2, 0.1]])
    _, force, torque = at(correlation, unknowns, rotation, centre)
    gradient = np.concatenate([left_jacobian(omega).T @ torque, force])
    # The splines are piecewise cubic, with coefficients rounded to float32.
    check_gradient(
        lambda x: at(correlation, x, rotation, centre)[0], unknowns, gradient, rng, step=2e-3, rtol=2e-4, atol=1e-6
    )


def test_left_jacobian(rng):
    """exp(ω + δ) = exp(J δ) exp(ω) to first order, also where ω is next to nothing."""
    for omega in (np.zeros(3), np.array([1e-6, 0.0, 0.0]), rng.normal(size=3)):
        change = 1e-6 * rng.normal(size=3)
        turned = rotation_of_vector(omega + change) @ rotation_of_vector(omega).T
        found = Rotation.from_matrix(turned).as_rotvec()
        np.testing.assert_allclose(found, left_jacobian(omega) @ change, atol=1e-11)
