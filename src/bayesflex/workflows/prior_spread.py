"""Draws from the prior alone: what the structure would do without the map.

A short chain for each of a few draws of the fit, with the likelihood left out. Where the map decides nothing these
starts are draws of the prior already; where it does, the chains leave them within tens of iterations, as seen from the
surroundings of a residue. What a short chain misses makes the prior look narrower and the contraction smaller.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesflex.deformation import APPROACHES, Deformation
from bayesflex.errors import InputError
from bayesflex.mcmc import Mass
from bayesflex.posterior import Posterior
from bayesflex.protocols import KernelState
from bayesflex.sampling import Problem
from bayesflex.sampling.kernel import kernel_of, warm_kernel
from bayesflex.sampling.preconditioning import matched_mass
from bayesflex.uncertainty import thinned
from bayesflex.units import thermal_energy

Array = NDArray[np.float64]

#: Chains, iterations of each that adapt or are left out, and iterations kept, at least and at most.
_N_CHAINS, _N_SETTLING, _FEWEST, _MOST = 4, 10, 30, 100

#: Share of the fit's gradients that the chains may take; without a likelihood each costs a third or less.
_SHARE = 0.1


def prior_draws(problem: Problem, draws: NDArray[np.floating[Any]], n_gradients: int) -> Array:
    """Return draws from the structural prior alone.

    Parameters
    ----------
    problem
        What was fitted.
    draws
        Draws of the chains used, shape (n_draws, n_ca, 3), Å: some are starts.
    n_gradients
        Gradients that the fit took, to which the effort is in proportion.

    Returns
    -------
    ndarray
        CA positions, shape (n, n_ca, 3), Å.
    """
    config = problem.config
    rng = np.random.default_rng([config.seed, _N_CHAINS])
    n_kept = int(np.clip(_SHARE * n_gradients / (_N_CHAINS * config.steps), _FEWEST, _MOST))
    reached = draws.mean(axis=0, dtype=np.float64)
    modes, bodies = _modes(problem, reached), _bodies(problem, reached)
    kept = []
    mass: Mass | None = None
    step, n_steps = 0.0, config.steps
    for coords in thinned(draws, _N_CHAINS).astype(np.float64):
        posterior = _prior(problem, coords, modes, bodies)
        theta = np.zeros(posterior.deformation.n_dim)
        state = KernelState(theta, posterior(theta))
        if mass is None:
            mass = matched_mass(posterior, theta, rng)
            warm, state = warm_kernel(rng, config, posterior, state, mass, _N_SETTLING, n_heating=0)
            step, n_steps = warm.step_size, warm.n_steps
        kernel = kernel_of(posterior, mass, step, n_steps)
        for iteration in range(_N_SETTLING + n_kept):
            state, _ = kernel.step(rng, state)
            state = state._replace(position=posterior.deformation.reset_gauge(state.position))
            if iteration >= _N_SETTLING:
                kept.append(state.evaluation.details.coords)
    return np.array(kept)


def _modes(problem: Problem, coords: Array) -> Array:
    """Return the modes along which the fit moved, shape (n_modes, n_ca, 3): those of the structure that it reached."""
    # With local displacements modes add nothing to what can be reached.
    if APPROACHES[problem.config.deformation][1]:
        return np.zeros((0, *coords.shape))
    if not problem.config.recompute_modes:
        return problem.mode_vectors
    try:
        return problem.modes_at(coords)
    except InputError:  # a loose structure has none; the fit went on with those of the start
        return problem.mode_vectors


def _bodies(problem: Problem, coords: Array) -> Array | None:
    """Return the domains that moved as rigid bodies, shape (n_bodies, n_ca); None where they add nothing."""
    if APPROACHES[problem.config.deformation][1]:
        return None
    if not problem.config.recompute_modes:
        return problem.bodies
    try:
        return problem.bodies_at(coords)
    except InputError:
        return problem.bodies


def _prior(problem: Problem, coords: Array, modes: Array, bodies: Array | None) -> Posterior:
    """Return the prior over the unknowns of a deformation of a draw."""
    config = problem.config
    deformation = problem.deformation(coords, modes, bodies)
    if APPROACHES[config.deformation][1]:
        deformation = Deformation.tethered("local", coords, modes, config.rigid)
    return Posterior(
        None,
        [term.clone() for term in problem.terms],
        deformation,
        thermal_energy(config.temperature),
        problem.start.mean(axis=0),
        config.centre_sd,
    )
