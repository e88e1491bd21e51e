"""Hamiltonian kernels that are wrong, each in one way that code in use is; the checks must catch every one.

:class:`Plain` is right, and is :class:`bayesflex.mcmc.HMC` written out so that each part can be replaced.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bayesflex.mcmc import LeapfrogResult, Mass, leapfrog
from bayesflex.mcmc.trajectory import initial_state
from bayesflex.protocols import KernelInfo, KernelState, Target

STEP_JITTER, LENGTH_JITTER = 0.2, 0.5


@dataclass(frozen=True, eq=False)
class Plain:
    """Nothing wrong."""

    target: Target
    mass: Mass
    step_size: float
    n_steps: int

    integrate = staticmethod(leapfrog)

    def init(self, position):
        return initial_state(self.target, position, self.mass.n_dim)

    def momentum(self, rng):
        return self.mass.draw(rng)

    def scale_of_step(self, state):
        return 1.0

    def acceptance(self, before, after):
        """From H at the start and at the end of the trajectory."""
        return math.exp(-max(0.0, after - before))

    def step(self, rng, state):
        step_size = self.step_size * rng.uniform(1.0 - STEP_JITTER, 1.0 + STEP_JITTER) * self.scale_of_step(state)
        shortest = max(1, math.ceil(self.n_steps * (1.0 - LENGTH_JITTER)))
        n_steps = int(rng.integers(shortest, math.floor(self.n_steps * (1.0 + LENGTH_JITTER)), endpoint=True))
        momentum = self.momentum(rng)
        end = self.integrate(self.target, state.position, momentum, state.evaluation, step_size, n_steps, self.mass)
        before = self.mass.kinetic(momentum) - state.evaluation.log_density
        after = self.mass.kinetic(end.momentum) - end.evaluation.log_density
        divergent = end.divergent or not math.isfinite(after)
        probability = 0.0 if divergent else self.acceptance(before, after)
        accepted = bool(rng.random() < probability)
        info = KernelInfo(
            probability, accepted, divergent, math.inf if divergent else after - before, step_size, end.n_gradients
        )
        return (KernelState(end.position, end.evaluation) if accepted else state), info


class EnergyRatio(Plain):
    """Acceptance min(1, H/H')."""

    def acceptance(self, before, after):
        return min(1.0, max(0.0, before / after))


def half_kicked(target, position, momentum, evaluation, step_size, n_steps, mass):
    """One half kick and one drift per step; the half kick after the drift is forgotten."""
    divergent = False
    for _ in range(n_steps):
        momentum = momentum + 0.5 * step_size * evaluation.gradient
        position = position + step_size * mass.velocity(momentum)
        evaluation = target(position)
        divergent |= not (math.isfinite(evaluation.log_density) and np.isfinite(evaluation.gradient).all())
    return LeapfrogResult(position, momentum, evaluation, n_steps, divergent)


class OneHalfKick(Plain):
    """One half kick per step."""

    integrate = staticmethod(half_kicked)


class ForeignMomenta(Plain):
    """Momenta from N(0, 1), whatever the masses in the kinetic energy."""

    def momentum(self, rng):
        return rng.standard_normal(self.mass.n_dim)


#: Largest component of a gradient that survives clipping, nats per unit of length.
LARGEST_GRADIENT = 5.0


def clipped(target, position, momentum, evaluation, step_size, n_steps, mass):
    """Leapfrog with each component of the gradient clipped, so that nothing ever overflows."""

    def clip(evaluation):
        return np.clip(np.nan_to_num(evaluation.gradient), -LARGEST_GRADIENT, LARGEST_GRADIENT)

    for _ in range(n_steps):
        momentum = momentum + 0.5 * step_size * clip(evaluation)
        position = position + step_size * mass.velocity(momentum)
        evaluation = target(position)
        momentum = momentum + 0.5 * step_size * clip(evaluation)
    return LeapfrogResult(position, momentum, evaluation, n_steps, False)


class ClippedForces(Plain):
    """Forces clipped."""

    integrate = staticmethod(clipped)

    def step(self, rng, state):
        after, info = super().step(rng, state)
        return after, info._replace(divergent=False)


def damped(target, position, momentum, evaluation, step_size, n_steps, mass):
    """Leapfrog with friction, which takes out of the trajectory what a fresh momentum puts in."""
    for _ in range(n_steps):
        end = leapfrog(target, position, momentum, evaluation, step_size, 1, mass)
        position, momentum, evaluation = end.position, 0.7 * end.momentum, end.evaluation
        if end.divergent:
            break
    return LeapfrogResult(position, momentum, evaluation, n_steps, end.divergent)


class Damped(Plain):
    """Friction within the trajectory."""

    integrate = staticmethod(damped)


class StepFromState(Plain):
    """The step goes on adapting while the chain samples: short where the density falls steeply."""

    def scale_of_step(self, state):
        gradient = state.evaluation.gradient
        return 1.0 / (1.0 + math.sqrt(float(gradient @ gradient) / gradient.size))


WRONG = {
    "acceptance min(1, H/H′)": EnergyRatio,
    "one half kick per step": OneHalfKick,
    "foreign momenta": ForeignMomenta,
    "forces clipped": ClippedForces,
    "friction": Damped,
    "step still adapting": StepFromState,
}
