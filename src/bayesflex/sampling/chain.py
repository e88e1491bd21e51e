"""One chain: its warm-up and its draws, reported as they happen and kept in a checkpoint."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from bayesflex.deformation import APPROACHES, Deformation
from bayesflex.errors import InputError
from bayesflex.geometry import rmsd
from bayesflex.mcmc.adaptation import WarmUpPoint
from bayesflex.mcmc.hmc import HMC
from bayesflex.mcmc.replica_exchange import ReplicaExchange, join, split
from bayesflex.posterior import GradientCount, Posterior
from bayesflex.protocols import Evaluation, KernelInfo, KernelState, Likelihood, Record, Reporter
from bayesflex.sampling.checkpoint import (
    Climbing,
    Draws,
    FrozenKernel,
    Heating,
    Progress,
    Steering,
    load_checkpoint,
    save_checkpoint,
)
from bayesflex.sampling.freezing import frozen_ladder, frozen_levels, thawed_ladder, thawed_levels
from bayesflex.sampling.kernel import warm_kernel
from bayesflex.sampling.observation import Observer
from bayesflex.sampling.parallel import Stopped
from bayesflex.sampling.preconditioning import mass_arrays, mass_of_arrays, matched_mass
from bayesflex.sampling.problem import Problem, Stage
from bayesflex.sampling.steered_stage import MODES_MOVED, SteeredStage, Way, modes_of
from bayesflex.sampling.tempering import EXCHANGE_PREFIX, LadderPoint, Tempered, hotter_levels, temperature_of
from bayesflex.steering import SteerPoint
from bayesflex.team import Team

Array = NDArray[np.float64]

#: While a chain is steered, lost contacts count for this share of their energy, and the longest step is this long
#: (RMSD, Å); each chain draws its own, so that chains take different ways and can disagree.
_RELUCTANCE, _LONGEST_STEP = (0.1, 0.4), (1.0, 1.5)

#: A checkpoint is written this often, in seconds; also where the chain is told to stop.
_CHECKPOINT_INTERVAL = 20.0


class Chain:
    """One chain of a fit.

    Parameters
    ----------
    problem
        What is fitted.
    stages, likelihoods
        The stages of the warm-up and the likelihood of each; the last one's is sampled.
    index
        Number of the chain, from 0.
    rng
        Its stream of random numbers.
    reporter
        Hears of each iteration.
    stop
        Set by others to end the chain at its next iteration.
    checkpoint
        File to go on from and to keep, or None.
    team
        Threads that share the work of each evaluation, or None.
    start
        Where the warm-up begins, shape (n_ca, 3), Å, if not at the start of the problem.
    """

    def __init__(
        self,
        problem: Problem,
        stages: Sequence[Stage],
        likelihoods: Sequence[Likelihood],
        index: int,
        rng: Generator,
        reporter: Reporter,
        stop: threading.Event,
        checkpoint: Path | None,
        team: Team | None = None,
        start: Array | None = None,
    ) -> None:
        self._team = team
        self._start = problem.start if start is None else start
        self._problem, self._stages, self._index, self._rng = problem, stages, index, rng
        self._likelihoods = [likelihood.clone() for likelihood in likelihoods]
        self._terms = [term.clone() for term in problem.terms]
        self._reporter, self._stop, self._checkpoint = reporter, stop, checkpoint
        self._progress = Progress(problem.start, problem.mode_vectors, problem.start, problem.bodies)
        self._count = GradientCount()
        self._observe = Observer(problem)
        self._temperatures: tuple[float, ...] = (1.0,)
        self._saved = time.monotonic()

    @property
    def draws(self) -> Draws:
        """The draws kept so far."""
        return self._progress.draws

    @property
    def records(self) -> Sequence[Record]:
        """The rows reported so far."""
        return self._progress.records

    @property
    def temperatures(self) -> tuple[float, ...]:
        """Temperatures of the likelihood at the levels of the kernel that samples; 1 alone without exchanges."""
        return self._temperatures

    @property
    def exchange_rates(self) -> tuple[float, ...]:
        """Mean probability with which each level exchanged with the next hotter one, over the draws."""
        names = [f"{EXCHANGE_PREFIX}{number}" for number in range(1, len(self._temperatures))]
        return tuple(float(np.mean([row[name] for row in self.draws.statistics])) for name in names)

    @property
    def n_gradients(self) -> int:
        """Gradients of the likelihood evaluated so far, those of steering and of the warm-up included."""
        return self._count.n

    def run(self) -> None:
        """Run the chain to its end, from its checkpoint where there is one.

        Raises
        ------
        Stopped
            If it was told to stop.
        SamplingError
            If no finite start is found.
        InputError
            If the checkpoint cannot be read or written.
        """
        self._heed_stop()
        resumed = self._resume()
        if resumed is not None:
            kernel, state = resumed
        else:
            if self._progress.iteration == 0:
                posterior = self._posterior(0)
                self._report("start", posterior(np.zeros(posterior.deformation.n_dim)), None)
                self._progress.coords = self._start
                self._heed_stop()
            kernel, state = self._warm_up()
        self._sample(kernel, state)

    def _warm_up(self) -> tuple[ReplicaExchange, KernelState]:
        """Pass through the stages that are left; return the frozen kernel and the state from which it samples."""
        progress, config = self._progress, self._problem.config
        with_modes = APPROACHES[config.deformation][0]
        last = len(self._stages) - 1
        while progress.stage < last:
            if with_modes:
                self._steer(progress.stage)
            else:
                _, state = self._heat_and_adapt(progress.stage)
                progress.coords = state.evaluation.details.coords
            progress.stage += 1
            progress.within = None
            self._save(None, None)
        kernel, state = self._climb(last)
        progress.within = None
        self._save(kernel, state)
        return kernel, state

    def _sample(self, kernel: ReplicaExchange, state: KernelState) -> None:
        draws = self._progress.draws
        deformation = _deformation_of(kernel.levels[0])
        while len(draws.coords) < self._problem.config.iterations:
            state, info = kernel.step(self._rng, state)
            # The coordinates stay, and their gradient does not depend on the gauge.
            replicas = [
                replica._replace(position=deformation.reset_gauge(replica.position)) for replica in split(state)
            ]
            state, sampled = join(replicas), replicas[0].evaluation
            values = self._report("sampling", sampled, info)
            draws.coords.append(sampled.details.coords.astype(np.float32))
            kernel_values = {"hamiltonian": info.energy, "energy_error": info.energy_error, "n_steps": info.n_gradients}
            exchanges = {f"{EXCHANGE_PREFIX}{k}": rate for k, rate in enumerate(info.exchanges, start=1)}
            draws.statistics.append(values | kernel_values | exchanges)
            self._pause(kernel, state)
        self._save(kernel, state)

    def _heat_and_adapt(self, stage: int) -> tuple[HMC, KernelState]:
        """Warm up at a stage's resolution from the structure reached; return the kernel found and the state."""
        config, within = self._problem.config, self._progress.within
        if within is None:
            # Domains before modes: the latter note where they were computed.
            if stage == len(self._stages) - 1:
                self._find_bodies(self._progress.coords)
            if APPROACHES[config.deformation][0]:
                self._modes_for(self._progress.coords)
        posterior = self._posterior(stage)
        if isinstance(within, Heating):
            mass, begin = mass_of_arrays(posterior.deformation, within.masses), within.point
            start = begin.state
        else:
            theta = np.zeros(posterior.deformation.n_dim)
            mass, begin = matched_mass(posterior, theta, self._rng), None
            start = KernelState(theta, posterior(theta))
        masses = mass_arrays(mass)

        def pause(point: WarmUpPoint) -> None:
            self._progress.within = Heating(masses, point)
            self._pause(None, None)

        kernel, state = warm_kernel(
            self._rng,
            config,
            posterior,
            start,
            mass,
            self._stages[stage].n_iterations,
            lambda state, info: self._report_only(self._stages[stage].name, state.evaluation, info),
            begin=begin,
            on_point=pause,
        )
        state = state._replace(position=posterior.deformation.reset_gauge(state.position))
        return kernel, state

    def _climb(self, number: int) -> tuple[ReplicaExchange, KernelState]:
        """Warm up in the last stage, then each level of higher temperature; return the kernel and the ensemble."""
        progress, stage = self._progress, self._stages[number]
        if isinstance(progress.within, Climbing):
            posterior = self._posterior(number)
            deformation = posterior.deformation
            begin = thawed_ladder(progress.within, posterior, lambda value: self._tempered(deformation, value))
        else:
            kernel, state = self._heat_and_adapt(number)
            deformation = _deformation_of(kernel)
            rows = [record.values["log_likelihood"] for record in progress.records if record.stage == stage.name]
            begin = LadderPoint((kernel,), (state,), tuple(rows))

        def pause(point: LadderPoint) -> None:
            progress.within = frozen_ladder(point)
            self._pause(None, None)

        found = hotter_levels(
            self._rng,
            begin,
            self._problem.config,
            stage.n_iterations,
            lambda temperature: self._tempered(deformation, temperature),
            pause,
        )
        self._temperatures = tuple(temperature_of(level) for level in found[0].levels)
        if len(self._temperatures) > 1:
            shown = ", ".join(f"{temperature:.3g}" for temperature in self._temperatures)
            self._reporter.message(f"chain {self._index}: temperatures of the likelihood {shown}")
        return found

    def _tempered(self, deformation: Deformation, temperature: float) -> Tempered:
        """Return the posterior at a temperature, with workspaces of its own: its replica is somewhere else."""
        likelihood, terms = self._likelihoods[-1].clone(), [term.clone() for term in self._terms]
        posterior = self._problem.posterior(likelihood, terms, deformation, temperature, self._count, self._team)
        return Tempered(posterior, temperature)

    def _steer(self, stage: int) -> None:
        """Move the structure along its modes towards the map of a stage, and let it soften there.

        The softening is one iteration, and begins anew where the chain was told to stop meanwhile. That at the
        resolution asked for, after the last blurred stage, is none.
        """
        progress, name = self._progress, self._stages[stage].name
        within = progress.within if isinstance(progress.within, Steering) else None
        way = Way(self._rng.uniform(*_RELUCTANCE), self._rng.uniform(*_LONGEST_STEP)) if within is None else within.way

        def pause(point: SteerPoint) -> None:
            progress.within = Steering(way, point)
            self._pause(None, None)

        passing = self._steered_stage(stage)
        progress.coords = passing.steered(
            progress.coords,
            way,
            self._modes_for,
            self._steering_bodies(),
            lambda coords: self._report_only(name, self._full(stage, coords), None),
            None if within is None else within.point,
            pause,
        )
        if APPROACHES[self._problem.config.deformation][1]:
            progress.coords = passing.softened(progress.coords, self._heed_stop)
            self._report_only(name, self._full(stage, progress.coords), None)
            if stage == len(self._stages) - 2:
                ahead = self._steered_stage(stage + 1)
                soft = ahead.softened(progress.coords, self._heed_stop)
                progress.coords = ahead.agreed(soft, self._heed_stop)
                if progress.coords is not soft:
                    self._reporter.message(
                        f"chain {self._index}: copies of a chain go on alike, as the posterior prefers"
                    )

    def _steered_stage(self, stage: int) -> SteeredStage:
        return SteeredStage(
            self._problem, self._stages[stage], self._likelihoods[stage], self._terms, self._count, self._team
        )

    def _steering_bodies(self) -> Array | None:
        """Return the domains that turn as bodies while the structure is steered, or None.

        Those of the deformation. Where ``combined`` has none, every second chain turns the domains all the same: one
        way finds what the other misses, and nothing of either remains in what is sampled. Chains of large models are
        all steered alike: finding domains anew takes them seconds.
        """
        config = self._problem.config
        turns = self._index % 2 == 1 and config.domains and all(APPROACHES[config.deformation])
        if self._progress.bodies is not None or not turns or self._problem.is_large:
            return self._progress.bodies
        try:
            return self._problem.domains_at(self._progress.coords)
        except InputError:
            return None

    def _full(self, stage: int, coords: Array) -> Evaluation:
        """Evaluate the stage's whole posterior at a structure."""
        free = Deformation.local(coords)
        return self._posterior_over(free, stage)(np.zeros(coords.size))

    def _modes_for(self, coords: Array) -> Array:
        """Return the modes to use at a structure, recomputed where it has moved far enough."""
        progress = self._progress
        progress.modes, progress.modes_at, trouble = modes_of(self._problem, coords, progress.modes, progress.modes_at)
        if trouble is not None:
            self._reporter.message(f"chain {self._index}: the modes were not recomputed: {trouble}")
        return progress.modes

    def _find_bodies(self, coords: Array) -> None:
        """Take the domains of the structure reached where it has moved far enough."""
        progress = self._progress
        # In "local" no modes are computed, and the distance is that from the start.
        if not self._problem.config.recompute_modes or rmsd(coords, progress.modes_at) <= MODES_MOVED:
            return
        try:
            progress.bodies = self._problem.bodies_at(coords)
        except InputError as error:
            self._reporter.message(f"chain {self._index}: the domains were not found anew: {error}")

    def _posterior(self, stage: int) -> Posterior:
        """Return a stage's posterior over the unknowns of a deformation of the structure reached."""
        progress = self._progress
        deformation = self._problem.deformation(progress.coords, progress.modes, progress.bodies)
        return self._posterior_over(deformation, stage)

    def _posterior_over(self, deformation: Deformation, stage: int) -> Posterior:
        return self._problem.posterior(
            self._likelihoods[stage], self._terms, deformation, count=self._count, team=self._team
        )

    def _report_only(self, stage: str, evaluation: Evaluation, info: KernelInfo | None) -> None:
        self._report(stage, evaluation, info)

    def _report(self, stage: str, evaluation: Evaluation, info: KernelInfo | None) -> dict[str, float]:
        progress = self._progress
        values = self._observe(evaluation, info)
        record = Record(self._index, progress.iteration, stage, values)
        progress.records.append(record)
        progress.iteration += 1
        self._reporter.record(record)
        return values

    def _heed_stop(self) -> None:
        if self._stop.is_set():
            raise Stopped

    def _pause(self, kernel: ReplicaExchange | None, state: KernelState | None) -> None:
        """Write a checkpoint where one is due, and stop where the chain is told to."""
        if self._stop.is_set() or time.monotonic() - self._saved > _CHECKPOINT_INTERVAL:
            self._save(kernel, state)
        self._heed_stop()

    def _save(self, kernel: ReplicaExchange | None, state: KernelState | None) -> None:
        if self._checkpoint is None:
            return
        frozen = None
        if kernel is not None and state is not None:
            deformation = _deformation_of(kernel.levels[0])
            levels = frozen_levels(kernel.levels, split(state))
            frozen = FrozenKernel(deformation.start, deformation.modes, deformation.bodies, levels)
        self._progress.n_gradients = self._count.n
        save_checkpoint(self._checkpoint, self._progress, self._rng.bit_generator.state, frozen)
        self._saved = time.monotonic()

    def _resume(self) -> tuple[ReplicaExchange, KernelState] | None:
        """Take up the checkpoint where there is one; return the kernel and state if the warm-up was over."""
        if self._checkpoint is None or not self._checkpoint.exists():
            return None
        self._progress, self._rng.bit_generator.state, frozen = load_checkpoint(self._checkpoint)
        self._count.n = self._progress.n_gradients
        for record in self._progress.records:
            self._reporter.record(record)
        if frozen is None:
            return None
        self._temperatures = tuple(level.temperature for level in frozen.levels)
        config = self._problem.config
        deformation = Deformation.tethered(config.deformation, frozen.start, frozen.modes, config.rigid, frozen.bodies)
        levels, replicas = thawed_levels(
            frozen.levels, self._posterior_over(deformation, -1), lambda value: self._tempered(deformation, value)
        )
        return ReplicaExchange(levels), join(replicas)


def _deformation_of(kernel: HMC) -> Deformation:
    if not isinstance(kernel.target, Posterior):
        raise TypeError("a chain's kernel samples a posterior")
    return kernel.target.deformation
