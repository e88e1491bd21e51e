"""Kernels of a step of the sampler: the deformation, masses, the whole posterior, leapfrog."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bayesflex.deformation_kernels import deform, pull_back
from bayesflex.mcmc.compiled_mass import compiled_mass, velocity
from bayesflex.mcmc.integrators import leapfrog
from benchmarks.cases import Setup
from benchmarks.kernel import Kernel
from benchmarks.timing import in_compiled_code, in_python
from benchmarks.work import Work, whole_of

#: Steps of a trajectory, as in a fit, and how small they are (in units of the longest stable one): the cost of a step
#: does not depend on its length, and the lists of neighbours hold throughout.
N_STEPS = 20
SMALL = 0.005


def deformation_operations(n_beads: int, n_modes: int) -> int:
    """Return the operations of r(theta).

    Per coordinate a multiply-add for each mode and the displacement (1); per bead the turn about the centre (3, and 5
    for each axis) and the shift (1 for each).
    """
    return n_beads * (3 * (2 * n_modes + 1) + 3 + 3 * 6)


def pull_back_operations(n_beads: int, n_modes: int) -> int:
    """Return those of the gradient's way back.

    Per coordinate a multiply-add for each mode; per bead the place from the centre (3), torque (3 x 4), the sum (3) and
    the turn (3 x 5).
    """
    return n_beads * (3 * 2 * n_modes + 3 + 12 + 3 + 15)


def band_operations(n_dim: int, width: int) -> int:
    """Return those of a banded solve: forth and back a multiply-add for each number of a row, and the diagonal."""
    return n_dim * (2 * width + 2 * width + 1)


def deformation(setup: Setup) -> Kernel:
    arrays = setup.deformation.arrays
    work = Work(
        reads=(arrays.start, arrays.modes, setup.theta),
        writes=(setup.coords_and_gradient[0],),
        operations=deformation_operations(setup.n, len(arrays.modes)),
    )
    return Kernel("deformation", in_compiled_code(deform, (setup.theta, arrays, setup.rows)), work)


def pulling_back(setup: Setup) -> Kernel:
    arrays = setup.deformation.arrays
    coords, gradient = setup.coords_and_gradient
    out = np.empty_like(setup.theta)
    work = Work(
        reads=(coords, gradient, arrays.modes),
        writes=(gradient, out),
        operations=pull_back_operations(setup.n, len(arrays.modes)),
    )
    arguments = (setup.theta, setup.rows, arrays, setup.gradient, out)
    return Kernel("pull-back", in_compiled_code(pull_back, arguments), work)


def mass_velocity(setup: Setup) -> Kernel:
    """M⁻¹ p: a banded solve for the displacements, small full matrices for modes and rigid motion."""
    mass = compiled_mass(setup.mass)
    if mass is None:
        raise RuntimeError(f"{setup.case.name}: the masses of a fit have no compiled form")
    momentum, out = np.ones_like(setup.theta), np.empty_like(setup.theta)
    n, width = mass.band.rows.shape
    work = Work(
        reads=(momentum, mass.diagonal, mass.dense, *mass.band),
        writes=(out,),
        operations=band_operations(n, width) + len(momentum) + 2 * len(mass.dense),
        # Each row waits for the one before in its last product alone.
        chain=2 * n,
    )
    return Kernel("mass velocity", in_compiled_code(velocity, (mass, momentum, out)), work)


def posterior_gradient(setup: Setup, parts: Sequence[Kernel]) -> Kernel:
    """The whole: deformation, all terms, likelihood, pull-back; ``parts`` are its kernels."""
    # Beside its parts, per bead: whether the lists hold (8 and 8), the centroid and its hold (12), and the likelihood's
    # share of the gradient: three fields (5 for each axis).
    work = whole_of([part.work for part in parts], setup.n * (8 + 8 + 12 + 15))
    return Kernel("posterior gradient", in_python(setup.posterior, (setup.theta,)), work)


def leapfrog_step(setup: Setup, parts: Sequence[Kernel]) -> Kernel:
    """One of the steps of a compiled trajectory; ``parts`` are the posterior's and the mass's."""
    position, evaluation = setup.theta, setup.posterior(setup.theta)
    momentum = setup.mass.draw(np.random.default_rng(5))
    step = SMALL * setup.longest_step
    arguments = (setup.posterior, position, momentum, evaluation, step, N_STEPS, setup.mass)
    # Kick and drift: a multiply-add of each component.
    work = whole_of([part.work for part in parts], 4 * len(position), (position, momentum))
    return Kernel("leapfrog step", in_python(leapfrog, arguments), work, steps=N_STEPS)
