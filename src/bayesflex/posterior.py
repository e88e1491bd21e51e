"""Posterior: the one place where energies become log densities.

``log P(theta) = log L(rho | r) - U(r) / (k_B T) + log p(centroid) + log p(theta)`` with r = r(theta)
(eq. 1, 2 and 5 of Vuillemot and Jonic). Energies are in kcal/mol and low is good, log densities in nats and high is
good; the sign and k_B T meet here and nowhere else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bayesflex.compiled_posterior import CompiledPosterior, compiled_posterior
from bayesflex.deformation import Deformation
from bayesflex.mcmc.integrators import LEAPFROG, LeapfrogResult
from bayesflex.mcmc.masses import Mass
from bayesflex.protocols import EnergyTerm, Evaluation, Likelihood, PosteriorDetails
from bayesflex.team import Team

Array = NDArray[np.float64]


class GradientCount:
    """How often a likelihood was evaluated with its gradient; shared by all posteriors of one chain."""

    def __init__(self, n: int = 0) -> None:
        self.n = n


class Posterior:
    """Log posterior density of the unknowns of a deformation; callable as a sampling target.

    Parameters
    ----------
    likelihood
        log L of the coordinates, or None for the prior alone.
    terms
        Energy terms, whose sum is U.
    deformation
        Unknowns to coordinates.
    thermal_energy
        k_B T, kcal/mol.
    centre, centre_sd
        The centroid of the coordinates is N(centre, centre_sd²) per direction, Å: U does not change when
        everything moves as one, and a weak hold makes the prior a distribution.
    count
        Counts the evaluations of the likelihood; None for one of its own.
    team
        Threads that share the work of an evaluation, for large models where cores are left; None for one thread. The
        numbers are the same to the bit.
    """

    def __init__(
        self,
        likelihood: Likelihood | None,
        terms: Sequence[EnergyTerm],
        deformation: Deformation,
        thermal_energy: float,
        centre: Array,
        centre_sd: float,
        count: GradientCount | None = None,
        team: Team | None = None,
    ) -> None:
        self.team = team
        self.count = GradientCount() if count is None else count
        self.likelihood = likelihood
        self.terms = tuple(terms)
        self.deformation = deformation
        self.thermal_energy = thermal_energy
        self.centre = np.asarray(centre, dtype=np.float64)
        self.centre_sd = centre_sd

    @cached_property
    def _compiled(self) -> CompiledPosterior | None:
        return self._compiled_over(self.deformation)

    @cached_property
    def _compiled_free(self) -> CompiledPosterior | None:
        """The same over the coordinates themselves."""
        nowhere = np.zeros_like(self.deformation.start)
        return self._compiled_over(Deformation.local(nowhere))

    def _compiled_over(self, deformation: Deformation) -> CompiledPosterior | None:
        return compiled_posterior(
            self.likelihood, self.terms, deformation, self.thermal_energy, self.centre, self.centre_sd, self.team
        )

    def clone(self) -> Posterior:
        """Return one that shares the constants and owns its workspaces, for use in another thread."""
        return Posterior(
            None if self.likelihood is None else self.likelihood.clone(),
            [term.clone() for term in self.terms],
            self.deformation,
            self.thermal_energy,
            self.centre,
            self.centre_sd,
            self.count,
        )

    def with_deformation(self, deformation: Deformation) -> Posterior:
        """Return the posterior of the same coordinates in other unknowns; its workspaces are shared."""
        return Posterior(
            self.likelihood,
            self.terms,
            deformation,
            self.thermal_energy,
            self.centre,
            self.centre_sd,
            self.count,
            self.team,
        )

    def __call__(self, position: Array) -> Evaluation:
        """Evaluate the log density and its gradient at a flat vector, shape (n_dim,).

        Never raises on non-finite input: the log density is then -inf and the gradient zero. ``details`` holds
        :class:`PosteriorDetails`.
        """
        if self._compiled is not None:
            self.count.n += self.likelihood is not None
            return self._compiled(position)
        # A trajectory that diverges may overflow on its way; the result says so.
        with np.errstate(over="ignore", invalid="ignore"):
            coords = self.deformation.coordinates(position)
            log_density, gradient, details = self._of_coordinates(coords)
            log_density += self.deformation.log_density(position)
            if not math.isfinite(log_density):
                return Evaluation(-math.inf, np.zeros_like(position), details)
            return Evaluation(log_density, self.deformation.pull_back(position, coords, gradient), details)

    def integrate(
        self,
        position: Array,
        momentum: Array,
        evaluation: Evaluation,
        step_size: float,
        n_steps: int,
        mass: Mass,
        outer_kick: float = LEAPFROG,
    ) -> LeapfrogResult | None:
        """Make a whole trajectory in compiled code: see :func:`bayesflex.mcmc.integrators.leapfrog`.

        None where a part of the posterior, or the mass, is not one that the compiled code knows.
        """
        if self._compiled is None:
            return None
        result = self._compiled.integrate(position, momentum, evaluation, step_size, n_steps, mass, outer_kick)
        if result is not None and self.likelihood is not None:
            self.count.n += result.n_gradients
        return result

    def of_coordinates(self, coords: Array) -> tuple[float, Array]:
        """Return log P(r) and its gradient, (n, 3) in nats/Å, without the deformation's part.

        Where a coordinate is not finite or the density is zero: -inf and zeros.
        """
        if self._compiled_free is not None:
            self.count.n += self.likelihood is not None
            evaluation = self._compiled_free(coords.ravel())
            return evaluation.log_density, evaluation.gradient.reshape(coords.shape)
        with np.errstate(over="ignore", invalid="ignore"):
            log_density, gradient, _ = self._of_coordinates(np.ascontiguousarray(coords, dtype=np.float64))
        return log_density, gradient

    def _of_coordinates(self, coords: Array) -> tuple[float, Array, PosteriorDetails]:
        gradient = np.zeros_like(coords)
        energy = 0.0
        for term in self.terms:
            energy += term.add_to(coords, gradient)
        gradient *= -1.0 / self.thermal_energy
        log_density = -energy / self.thermal_energy

        shift = coords.mean(axis=0) - self.centre
        log_density -= 0.5 * float(shift @ shift) / self.centre_sd**2
        gradient -= shift / (self.centre_sd**2 * len(coords))

        log_likelihood = 0.0
        # An infinite energy settles it: the likelihood is not asked.
        if self.likelihood is not None and math.isfinite(log_density):
            self.count.n += 1
            log_likelihood, likelihood_gradient = self.likelihood.log_likelihood_and_gradient(coords)
            log_density += log_likelihood
            gradient += likelihood_gradient
        if not math.isfinite(log_density):
            log_density, gradient = -math.inf, np.zeros_like(coords)
        return log_density, gradient, PosteriorDetails(coords, log_likelihood, energy)
