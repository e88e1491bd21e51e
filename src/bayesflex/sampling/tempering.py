"""Tempering: a ladder of posteriors in which the map counts less and less, for replica exchange.

At temperature T of the likelihood, which has nothing to do with that of the structural prior, the density is

    log P_T(theta) = (log L + log p(centroid) + log p(theta)) / T - U / (k_B T_prior)

so that U counts as ever and the molecule does not melt, while peaks of log L flatten. T = 1 is the posterior itself.
The weak densities of centroid and rigid motion flatten too, which is of no consequence: what the hotter levels are
decides how well replicas mix, never what the first one samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from bayesflex.config import FitConfig
from bayesflex.mcmc.adaptation import DualAveraging, WarmUpPoint
from bayesflex.mcmc.hmc import HMC
from bayesflex.mcmc.integrators import LEAPFROG, LeapfrogResult
from bayesflex.mcmc.masses import Mass
from bayesflex.mcmc.replica_exchange import ReplicaExchange, join, split
from bayesflex.posterior import Posterior
from bayesflex.protocols import Evaluation, KernelState
from bayesflex.sampling.kernel import warm_kernel
from bayesflex.sampling.preconditioning import matched_mass

Array = NDArray[np.float64]

#: Statistics of a draw: with what probability levels k and k + 1 exchanged, k from 1 on.
EXCHANGE_PREFIX = "exchange_"

#: Neighbours in a ladder that is found are this many standard deviations of log L apart. For a normal posterior the
#: exchange is then accepted with erfc(spacing / 2), about one half; measured in fits, two times in five.
_SPACING = 1.0

#: A found ladder ends where log L / T varies by less than this (nats): hotter levels would be the prior over again.
_FLAT = 0.5


class Tempered:
    """The posterior at a temperature of the likelihood.

    Parameters
    ----------
    posterior
        Whose prior energy counts ``temperature`` times, so that what is left after the division is U as ever.
    temperature
        T, at least 1.
    """

    def __init__(self, posterior: Posterior, temperature: float) -> None:
        self.posterior = posterior
        self.temperature = temperature

    def __call__(self, position: Array) -> Evaluation:
        """Evaluate the log density and its gradient; ``details`` are the posterior's, with log L at T = 1."""
        return self._cooled(self.posterior(position), 1.0 / self.temperature)

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
        """Make a trajectory as the posterior makes it, see :meth:`bayesflex.posterior.Posterior.integrate`.

        Leapfrog for f/T with momentum p and step ε is leapfrog for f with √T p and ε/√T.
        """
        root = math.sqrt(self.temperature)
        start = self._cooled(evaluation, self.temperature)
        result = self.posterior.integrate(position, root * momentum, start, step_size / root, n_steps, mass, outer_kick)
        if result is None:
            return None
        return result._replace(
            momentum=result.momentum / root, evaluation=self._cooled(result.evaluation, 1.0 / self.temperature)
        )

    @staticmethod
    def _cooled(evaluation: Evaluation, factor: float) -> Evaluation:
        log_density, gradient, details = evaluation
        return Evaluation(factor * log_density, factor * gradient, details)


def temperature_of(kernel: HMC) -> float:
    """Return the temperature of a level of a ladder."""
    return kernel.target.temperature if isinstance(kernel.target, Tempered) else 1.0


@dataclass(frozen=True, eq=False)
class LadderPoint:
    """Where the making of a ladder is after an iteration: with the state of the random numbers, all it takes to go on.

    Parameters
    ----------
    levels, replicas
        Kernels of the levels that are warmed up, that of the posterior itself first, and where each of them is.
    seen
        log L (nats) in the iterations of the level that warms up, or that was the last to.
    temperature, mass, warming
        Of the level that warms up, or None between levels and afterwards.
    averagings, n_settled
        Adaptation of the step size of each level while they exchange, and iterations of that; none before.
    """

    levels: tuple[HMC, ...]
    replicas: tuple[KernelState, ...]
    seen: tuple[float, ...]
    temperature: float | None = None
    mass: Mass | None = None
    warming: WarmUpPoint | None = None
    averagings: tuple[DualAveraging, ...] = ()
    n_settled: int = 0


#: Told each point from which the making of a ladder can go on.
OnLadder = Callable[[LadderPoint], None]


def hotter_levels(
    rng: Generator,
    begin: LadderPoint,
    config: FitConfig,
    n_iterations: int,
    make: Callable[[float], Tempered],
    on_point: OnLadder,
) -> tuple[ReplicaExchange, KernelState]:
    """Return the kernel with the levels of higher temperature that are asked for, and the state of the ensemble.

    Each level starts where the one before is, has masses matched there, and is warmed up as a chain is. Then all of
    them adapt their step sizes once more while they exchange: a conformation that comes from a hotter level may be
    stiffer than the one that the level knew.

    Parameters
    ----------
    rng
        Random numbers.
    begin
        The posterior's own level alone, warmed up, with log L of that warm-up; or the point of an interrupted ladder:
        with the random numbers as they were there, the result is that of an uninterrupted one.
    config
        ``temperatures``, and the settings of the sampler.
    n_iterations
        Iterations of the warm-up of each level, and of all levels together.
    make
        Returns the posterior at a temperature.
    on_point
        Called after each iteration.

    Raises
    ------
    SamplingError
        If the density of a level is not finite around its start.
    """
    point = begin
    while not point.averagings and len(point.levels) < _n_temperatures(config):
        temperature = point.temperature
        if temperature is None:
            temperatures = [temperature_of(level) for level in point.levels]
            # Of the warm-up the later half: the earlier one heats.
            temperature = _next_temperature(config, temperatures, point.seen[len(point.seen) // 2 :])
        if temperature is None:
            break
        point = _with_next_level(rng, point, make(temperature), config, n_iterations, on_point)
    if len(point.levels) == 1:
        return ReplicaExchange(point.levels), join(point.replicas)
    return _settled(rng, point, n_iterations, config.target_acceptance, on_point)


def _with_next_level(
    rng: Generator, point: LadderPoint, target: Tempered, config: FitConfig, n_iterations: int, on_point: OnLadder
) -> LadderPoint:
    """Return the ladder with a level more, warmed up from where the last one is, or from where it was interrupted."""
    posterior = target.posterior
    mass: Mass
    seen: list[float]
    if point.warming is None or point.mass is None:
        theta = point.replicas[-1].position
        mass = matched_mass(posterior, theta, rng)
        start, seen = KernelState(theta, target(theta)), []
    else:
        mass, start, seen = point.mass, point.warming.state, list(point.seen)

    def follow(at: WarmUpPoint) -> None:
        seen.append(at.state.evaluation.details.log_likelihood)
        on_point(replace(point, seen=tuple(seen), temperature=target.temperature, mass=mass, warming=at))

    level, hot = warm_kernel(rng, config, target, start, mass, n_iterations, begin=point.warming, on_point=follow)
    hot = hot._replace(position=posterior.deformation.reset_gauge(hot.position))
    return LadderPoint((*point.levels, level), (*point.replicas, hot), tuple(seen))


def _settled(
    rng: Generator, point: LadderPoint, n_iterations: int, target_acceptance: float, on_point: OnLadder
) -> tuple[ReplicaExchange, KernelState]:
    """Return the levels with step sizes adapted while replicas exchange, and the state of the ensemble."""
    levels = point.levels
    averagings = list(point.averagings) or [DualAveraging(level.step_size, target_acceptance) for level in levels]
    state = join(point.replicas)
    for done in range(point.n_settled, n_iterations):
        moved = []
        for index, replica in enumerate(split(state)):
            kernel = replace(levels[index], step_size=averagings[index].step_size)
            replica, info = kernel.step(rng, replica)
            averagings[index] = averagings[index].update(info.acceptance)
            moved.append(replica)
        state, _ = ReplicaExchange(levels).exchange(rng, join(moved))
        on_point(replace(point, replicas=split(state), averagings=tuple(averagings), n_settled=done + 1))
    frozen = [
        replace(level, step_size=averaging.averaged_step_size)
        for level, averaging in zip(levels, averagings, strict=True)
    ]
    return ReplicaExchange(tuple(frozen)), state


def _n_temperatures(config: FitConfig) -> int:
    given = config.temperatures
    return int(given[0]) if len(given) == 1 else max(1, len(given))


def _next_temperature(
    config: FitConfig, temperatures: Sequence[float], log_likelihoods: Sequence[float]
) -> float | None:
    """Return the temperature of the level after these: the one given or, where a count is, one found.

    The inverse temperature β = 1/T falls by a factor of exp(−spacing / (β σ)), σ the standard deviation of log L at
    the level before: then neighbours exchange about equally often all over the ladder. None where that level hardly
    feels the map any more.
    """
    if len(config.temperatures) > 1:
        return config.temperatures[len(temperatures)]
    spread = float(np.std(log_likelihoods)) / temperatures[-1]
    if spread < _FLAT:
        return None
    return temperatures[-1] * math.exp(min(_SPACING / spread, 1.0))
