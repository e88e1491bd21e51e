"""Chains: from a prepared problem to draws, through a warm-up that anneals the resolution.

A chain passes through stages. In each blurred stage map and model are compared at a coarser resolution; the modes
and the masses are taken anew at the structure reached. From the end of the warm-up on everything that shapes the
kernel is frozen, so that the draws are draws from the posterior.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bayesflex.beads import BeadModel
from bayesflex.config import FitConfig
from bayesflex.deformation import APPROACHES, Deformation
from bayesflex.errors import InputError
from bayesflex.geometry import rmsd, superimpose
from bayesflex.io.atomic import atomic_path
from bayesflex.map_target import MapTarget
from bayesflex.mcmc.adaptation import largest_eigenvalue, warm_up
from bayesflex.mcmc.hmc import HMC
from bayesflex.mcmc.masses import BlockMass, DenseMass, DiagonalMass, Mass
from bayesflex.normal_modes import NormalModes, normal_modes, rigid_motions
from bayesflex.posterior import Posterior, PosteriorDetails
from bayesflex.protocols import EnergyTerm, Evaluation, KernelInfo, KernelState, Likelihood, Record, Reporter
from bayesflex.steering import steer
from bayesflex.units import thermal_energy

Array = NDArray[np.float64]

#: Each blurred stage is finer than the one before by about this factor.
_STAGE_RATIO = 1.4

#: While a chain is steered, lost contacts count for this share of their energy, and the longest step is this long
#: (RMSD, Å); each chain draws its own, so that chains take different ways and can disagree.
_RELUCTANCE, _LONGEST_STEP = (0.1, 0.4), (1.0, 1.5)

#: Modes are recomputed once the structure has moved by this much (RMSD, Å) since they were last computed.
_MODES_MOVED = 1.0

#: Along modes the chain is as fast as in a direction this much softer than the stiffest one.
_MODE_SPEED = 1.0 / 16.0

#: No mode counts as softer than this fraction of the stiffest direction: far from the answer some are unstable.
_SOFTEST = 1e-5

#: During sampling a checkpoint is written this often, in seconds.
_CHECKPOINT_INTERVAL = 20.0


@dataclass(frozen=True)
class Stage:
    """One part of a chain: its name in the metrics, the resolution (Å) and the number of iterations."""

    name: str
    resolution: float
    n_iterations: int


@dataclass(frozen=True, eq=False)
class Problem:
    """All that chains share.

    Parameters
    ----------
    start
        CA positions of the start, shape (n_ca, 3), Å.
    config
        Settings.
    target
        The prepared map.
    beads
        What the residues scatter.
    terms
        The structural prior.
    modes
        Normal modes of the start; those with ``config.modes``'s numbers, in that order, or None in "local".
    links
        Pairs of consecutive residues that the network keeps together, as :func:`normal_modes` takes them.
    reference
        Known answer, positions (n_matched, 3) and the indices of its CA in the start, or None.
    """

    start: Array
    config: FitConfig
    target: MapTarget
    beads: BeadModel
    terms: tuple[EnergyTerm, ...]
    modes: NormalModes | None
    links: NDArray[np.int64] | None = None
    reference: tuple[Array, NDArray[np.int64]] | None = None


@dataclass(eq=False)
class ChainDraws:
    """Draws of one chain, filled while it runs."""

    coords: list[NDArray[np.float32]] = field(default_factory=list)
    statistics: list[dict[str, float]] = field(default_factory=list)


class Stopped(Exception):
    """Another chain failed or the user asked to stop; the checkpoint holds what was done."""


def plan_stages(config: FitConfig, start: Array) -> tuple[Stage, ...]:
    """Return the stages of the warm-up, blurred ones first; the last has the resolution asked for.

    By default the coarsest resolution is about the radius of gyration of the model, at which domains are blobs, and
    at most four times the resolution asked for.
    """
    resolutions: Sequence[float] = ()
    if config.anneal:
        resolutions = config.stages
        if not resolutions:
            radius = math.sqrt(float(np.sum(np.var(start, axis=0))))
            coarsest = min(max(radius, 2.0 * config.resolution), 4.0 * config.resolution)
            n_stages = max(1, round(math.log(coarsest / config.resolution) / math.log(_STAGE_RATIO)))
            ratio = (coarsest / config.resolution) ** (1.0 / n_stages)
            resolutions = [round(config.resolution * ratio**k, 2) for k in range(n_stages, 0, -1)]
    blurred = [Stage(f"warmup-{k + 1}", d, config.stage_iterations) for k, d in enumerate(resolutions)]
    last = Stage(f"warmup-{len(blurred) + 1}", config.resolution, config.warmup_iterations)
    return (*blurred, last)


def selected_modes(modes: NormalModes, numbers: Sequence[int]) -> Array:
    """Return the vectors (n_modes, n, 3) of the modes with these numbers."""
    row = {int(number): index for index, number in enumerate(modes.numbers)}
    return np.asarray(modes.vectors[[row[number] for number in numbers]])


def recomputed_modes(problem: Problem, coords: Array) -> Array:
    """Return the vectors of the configured modes of the network at other positions (n_ca, 3)."""
    config = problem.config
    count = max(config.modes) - 6
    modes = normal_modes(coords, count, config.network_cutoff, links=problem.links)
    return selected_modes(modes, config.modes)


def make_mass(posterior: Posterior, theta: Array, rng: Generator) -> Mass:
    """Return masses matched to the posterior's curvature at a position.

    Local displacements have unit mass. The amplitudes' inverse mass is the inverse of the curvature along the modes,
    measured by gradient differences, so that all modes move at one speed, faster than local displacements would carry
    them; likewise for the rigid part.

    Parameters
    ----------
    posterior
        Target.
    theta
        Position, shape (n_dim,).
    rng
        For the power iteration.
    """
    deformation = posterior.deformation
    blocks: list[tuple[slice, Mass]] = []
    coords = deformation.coordinates(theta)
    local = deformation.displacements.stop > deformation.displacements.start
    stiffest = 0.0
    if local:
        free = Deformation("local", coords, np.zeros((0, *coords.shape)))
        as_local = Posterior(
            posterior.likelihood,
            posterior.terms,
            free,
            posterior.thermal_energy,
            posterior.centre,
            posterior.centre_sd,
        )
        flat = np.zeros(coords.size)
        stiffest = largest_eigenvalue(as_local, flat, DiagonalMass.uniform(coords.size), rng)
    for part in (deformation.amplitudes, deformation.displacements, deformation.rotation, deformation.translation):
        size = part.stop - part.start
        if size == 0:
            continue
        if part == deformation.displacements:
            blocks.append((part, DiagonalMass.uniform(size)))
            continue
        curvature = _block_curvature(posterior, theta, part, 0.1 if part != deformation.rotation else 1e-3)
        values, vectors = np.linalg.eigh(curvature)
        # Without local displacements the blocks need only agree with each other.
        scale = _MODE_SPEED * stiffest if local else 1.0
        floor = _SOFTEST * stiffest if local else 1e-3 * float(np.abs(values).max()) + 1e-12
        inverse = (vectors * (scale / np.maximum(np.abs(values), floor))) @ vectors.T
        blocks.append((part, DenseMass(0.5 * (inverse + inverse.T))))
    return BlockMass(blocks)


def _block_curvature(posterior: Posterior, theta: Array, part: slice, displacement: float) -> Array:
    """Return minus the Hessian of the log density within one block, by central differences of the gradient."""
    size = part.stop - part.start
    curvature = np.zeros((size, size))
    for index in range(size):
        step = np.zeros_like(theta)
        step[part.start + index] = displacement
        ahead, behind = posterior(theta + step), posterior(theta - step)
        curvature[index] = (behind.gradient[part] - ahead.gradient[part]) / (2.0 * displacement)
    return 0.5 * (curvature + curvature.T)


class Chain:
    """One chain: its warm-up and its draws, reported as they happen and kept in a checkpoint."""

    def __init__(
        self,
        problem: Problem,
        stages: tuple[Stage, ...],
        likelihoods: tuple[Likelihood, ...],
        index: int,
        rng: Generator,
        reporter: Reporter,
        stop: threading.Event,
        checkpoint: Path | None,
    ) -> None:
        self._problem, self._stages, self._index, self._rng = problem, stages, index, rng
        self._likelihoods = [likelihood.clone() for likelihood in likelihoods]
        self._terms = [term.clone() for term in problem.terms]
        self._reporter, self._stop, self._checkpoint = reporter, stop, checkpoint
        self._coords = problem.start
        config = problem.config
        if problem.modes is None:
            self._modes = np.zeros((0, *problem.start.shape))
        else:
            self._modes = selected_modes(problem.modes, config.modes)
        self._first_modes = self._modes
        self._modes_at = problem.start
        self._iteration = 0
        self._stage = 0
        self._metrics = _Metrics(problem, self._first_modes)
        self.draws = ChainDraws()
        self.records: list[Record] = []
        self.n_gradients = 0

    def run(self) -> ChainDraws:
        """Run the chain to its end, from its checkpoint where there is one."""
        kernel, state = self._restored()
        if self._iteration == 0:
            posterior = self._posterior(0, self._deformation())
            evaluation = posterior(np.zeros(posterior.deformation.n_dim))
            self._report("start", KernelState(np.zeros(0), evaluation), None)
        while kernel is None:
            steered = APPROACHES[self._problem.config.deformation][0] and self._problem.config.anneal
            last = self._stage + 1 == len(self._stages)
            if steered and not last:
                self._steer(self._stage)
                self._stage += 1
                self._save(None, None)
                continue
            posterior, state, step_size, mass = self._warm_up(self._stage)
            self._stage += 1
            if self._stage == len(self._stages):
                kernel = HMC(posterior, mass, step_size, self._problem.config.steps)
            else:
                self._save(None, None)
        assert state is not None  # noqa: S101  set together with the kernel
        self._save(kernel, state)
        saved = time.monotonic()
        while len(self.draws.coords) < self._problem.config.iterations:
            state, info = kernel.step(self._rng, state)
            state = _regauged(kernel.target, state)
            values = self._report("sampling", state, info)
            self.draws.coords.append(state.evaluation.details.coords.astype(np.float32))
            self.draws.statistics.append(values | {"energy_error": info.energy_error, "n_steps": info.n_gradients})
            if time.monotonic() - saved > _CHECKPOINT_INTERVAL:
                self._save(kernel, state)
                saved = time.monotonic()
        self._save(kernel, state)
        return self.draws

    def _deformation(self) -> Deformation:
        config = self._problem.config
        return Deformation(config.deformation, self._coords, self._modes, config.rigid)

    def _posterior(self, stage: int, deformation: Deformation) -> Posterior:
        problem = self._problem
        return Posterior(
            self._likelihoods[stage],
            self._terms,
            deformation,
            thermal_energy(problem.config.temperature),
            problem.start.mean(axis=0),
            problem.config.centre_sd,
        )

    def _modes_for(self, coords: Array) -> Array:
        """Return the modes to use at a structure, recomputed where it has moved far enough."""
        config = self._problem.config
        if config.recompute_modes and rmsd(coords, self._modes_at) > _MODES_MOVED:
            try:
                self._modes, self._modes_at = recomputed_modes(self._problem, coords), coords
            except InputError as error:
                # A structure on its way may be loose where the start was not: the modes at hand still serve.
                self._reporter.message(f"chain {self._index + 1}: modes not recomputed: {error}")
                self._modes_at = coords
        return self._modes

    def _steer(self, stage: int) -> None:
        """Move the chain's structure along its modes towards the map of a stage."""
        config = self._problem.config
        local = APPROACHES[config.deformation][1]
        reluctance = self._rng.uniform(*_RELUCTANCE)
        posterior = Posterior(
            self._likelihoods[stage],
            [term for term in self._terms if term.name == "contacts"],
            Deformation("local", self._problem.start, self._modes[:0]),
            thermal_energy(config.temperature) / reluctance,
            self._problem.start.mean(axis=0),
            config.centre_sd,
        )

        def directions(coords: Array) -> Array:
            modes = self._modes_for(coords)
            # Modes alone leave the centre of mass and the mean orientation where they are: when one domain moves,
            # the others recoil. Local displacements could undo that, and so may the motions as one.
            return np.concatenate([rigid_motions(coords), modes]) if local or config.rigid else modes

        def report(coords: Array) -> None:
            flat = np.zeros(0)
            log_density, gradient = posterior.of_coordinates(coords)
            details = PosteriorDetails(coords, log_density, 0.0)
            self._report(self._stages[stage].name, KernelState(flat, Evaluation(log_density, gradient, details)), None)

        restoring = self._terms if local else ()
        longest = self._rng.uniform(*_LONGEST_STEP)
        limit = self._stages[stage].n_iterations
        self._coords = steer(posterior, restoring, self._coords, directions, limit, longest, report)

    def _warm_up(self, stage: int) -> tuple[Posterior, KernelState, float, Mass]:
        config = self._problem.config
        if APPROACHES[config.deformation][0]:
            self._modes_for(self._coords)
        posterior = self._posterior(stage, self._deformation())
        theta = np.zeros(posterior.deformation.n_dim)
        name = self._stages[stage].name
        mass = make_mass(posterior, theta, self._rng)
        state, step_size = warm_up(
            self._rng,
            posterior,
            KernelState(theta, posterior(theta)),
            mass,
            self._stages[stage].n_iterations,
            config.steps,
            config.target_acceptance,
            lambda state, info: self._report(name, state, info),
        )
        self._coords = state.evaluation.details.coords
        return posterior, _regauged(posterior, state), step_size, mass

    def _report(self, stage: str, state: KernelState, info: KernelInfo | None) -> dict[str, float]:
        if self._stop.is_set():
            raise Stopped
        values = self._metrics.of(state)
        if info is not None:
            self.n_gradients += info.n_gradients
            values |= {
                "acceptance": info.acceptance,
                "step_size": info.step_size,
                "divergent": float(info.divergent),
            }
        record = Record(self._index, self._iteration, stage, values)
        self.records.append(record)
        self._reporter.record(record)
        self._iteration += 1
        return values

    # The kernel of a chain is frozen between the points at which a checkpoint is written, so that a chain resumed
    # there repeats the uninterrupted one bit for bit.
    def _save(self, kernel: HMC | None, state: KernelState | None) -> None:
        if self._checkpoint is None:
            return
        arrays: dict[str, Any] = {
            "coords": self._coords,
            "modes": self._modes,
            "modes_at": self._modes_at,
            "draws": np.array(self.draws.coords, dtype=np.float32),
        }
        if kernel is not None and state is not None:
            deformation = kernel.target.deformation  # type: ignore[attr-defined]
            evaluation = state.evaluation
            arrays |= {
                "position": state.position,
                "deformation_start": deformation.start,
                # Kept, since evaluated anew at a position whose gauge was reset it would differ by rounding.
                "log_density": evaluation.log_density,
                "gradient": evaluation.gradient,
                "state_coords": evaluation.details.coords,
                "log_likelihood": evaluation.details.log_likelihood,
                "energy": evaluation.details.energy,
            }
            assert isinstance(kernel.mass, BlockMass)  # noqa: S101  made by make_mass
            for number, (_, mass) in enumerate(kernel.mass.blocks):
                arrays[f"mass_{number}"] = mass.inverse_mass if isinstance(mass, DenseMass) else mass.mass  # type: ignore[attr-defined]
        facts = {
            "stage": self._stage,
            "iteration": self._iteration,
            "n_gradients": self.n_gradients,
            "step_size": None if kernel is None else kernel.step_size,
            "rng": self._rng.bit_generator.state,
            "statistics": self.draws.statistics,
            "records": [tuple(record) for record in self.records],
        }
        with atomic_path(self._checkpoint) as temporary:
            np.savez(temporary, facts=np.array(json.dumps(facts)), **arrays)

    def _restored(self) -> tuple[HMC | None, KernelState | None]:
        if self._checkpoint is None or not self._checkpoint.exists():
            return None, None
        with np.load(self._checkpoint, allow_pickle=False) as saved:
            facts = json.loads(str(saved["facts"]))
            self._stage, self._iteration = facts["stage"], facts["iteration"]
            self.n_gradients = facts["n_gradients"]
            self._rng.bit_generator.state = facts["rng"]
            self._coords, self._modes, self._modes_at = saved["coords"], saved["modes"], saved["modes_at"]
            self.draws = ChainDraws(list(saved["draws"]), facts["statistics"])
            for row in facts["records"]:
                record = Record(*row)
                self.records.append(record)
                self._reporter.record(record)
            if facts["step_size"] is None:
                return None, None
            config = self._problem.config
            deformation = Deformation(config.deformation, saved["deformation_start"], self._modes, config.rigid)
            posterior = self._posterior(len(self._stages) - 1, deformation)
            parts = [
                part
                for part in (
                    deformation.amplitudes,
                    deformation.displacements,
                    deformation.rotation,
                    deformation.translation,
                )
                if part.stop > part.start
            ]
            arrays = [saved[f"mass_{number}"] for number in range(len(parts))]
            blocks: list[tuple[slice, Mass]] = [
                (part, DenseMass(array) if array.ndim == 2 else DiagonalMass(array))
                for part, array in zip(parts, arrays, strict=True)
            ]
            kernel = HMC(posterior, BlockMass(blocks), facts["step_size"], config.steps)
            details = PosteriorDetails(saved["state_coords"], float(saved["log_likelihood"]), float(saved["energy"]))
            evaluation = Evaluation(float(saved["log_density"]), saved["gradient"], details)
            return kernel, KernelState(saved["position"], evaluation)


class _Metrics:
    """The numbers of a row of metrics.csv, from a state."""

    def __init__(self, problem: Problem, modes: Array) -> None:
        self._problem = problem
        self._modes = modes
        target = problem.target
        self._mask = np.flatnonzero(target.region.ravel())
        values = target.values.ravel()[self._mask]
        self._map_square = float(values @ values)
        self._map_sum = float(values.sum())
        self._map = values

    def of(self, state: KernelState) -> dict[str, float]:
        problem, details = self._problem, state.evaluation.details
        coords = details.coords
        values = correlations(problem.target, problem.beads, coords)
        values |= {
            "log_density": state.evaluation.log_density,
            "log_likelihood": details.log_likelihood,
            "energy": details.energy,
        }
        if problem.reference is not None:
            answer, matched = problem.reference
            values["rmsd_to_reference"] = rmsd(coords[matched], answer)
        if len(self._modes):
            for number, amplitude in zip(
                problem.config.modes, mode_amplitudes(problem, self._modes, coords), strict=True
            ):
                values[f"amplitude_{number}"] = float(amplitude)
        return values


def correlations(target: MapTarget, beads: BeadModel, coords: Array) -> dict[str, float]:
    """Return cc_uncentred (eq. 8) and cc_centred of the model's density with the map, over the region that counts."""
    density = target.simulated(beads.place(coords), beads.weights)
    simulated, measured = density[target.region], target.values[target.region]
    square, cross = float(simulated @ simulated), float(simulated @ measured)
    map_square, n = float(measured @ measured), len(measured)
    mean, map_mean = float(simulated.mean()), float(measured.mean())
    centred = (cross - n * mean * map_mean) / math.sqrt(
        max((square - n * mean**2) * (map_square - n * map_mean**2), 1e-300)
    )
    return {"cc_uncentred": cross / math.sqrt(max(square * map_square, 1e-300)), "cc_centred": centred}


def mode_amplitudes(problem: Problem, modes: Array, coords: Array) -> Array:
    """Return ``a_m = A_m·(r_aligned - r_0)``, shape (n_modes,), Å; aligned where the fit may move the whole."""
    aligned = coords
    if problem.config.deformation != "global" or problem.config.rigid:
        rotation, translation, _ = superimpose(coords, problem.start)
        aligned = coords @ rotation.T + translation
    return np.asarray(modes.reshape(len(modes), -1) @ (aligned - problem.start).ravel())


def _regauged(target: Any, state: KernelState) -> KernelState:
    deformation: Deformation = target.deformation
    position = deformation.reset_gauge(state.position)
    if position is state.position or deformation.n_modes == 0:
        return state
    # The coordinates are the same and so is their gradient; the pull-back does not depend on the gauge.
    return KernelState(position, state.evaluation)


def thread_count(config: FitConfig) -> int:
    """Return the number of threads to use: the configured one, or the cores of this machine."""
    if config.threads:
        return config.threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_chains(
    problem: Problem,
    stages: tuple[Stage, ...],
    reporter: Reporter,
    checkpoint_folder: Path | None = None,
    on_likelihoods: Callable[[], None] | None = None,
) -> tuple[list[Chain], Likelihood]:
    """Run all chains, several at the same time, and return them with the likelihood of the last stage.

    Each chain has its own stream of random numbers, spawned from the seed, so that its draws do not depend on the
    number of threads or on which chain ends first. Linear algebra libraries are held to one thread: the chains use
    the cores.

    Raises
    ------
    SamplingError
        If a chain finds no finite start.
    KeyboardInterrupt
        Passed on once all chains have stopped; checkpoints hold what was done.
    """
    config = problem.config
    likelihoods = tuple(
        problem.target.likelihood(config, problem.beads, stage.resolution, problem.start) for stage in stages
    )
    if on_likelihoods is not None:
        on_likelihoods()
    streams = np.random.SeedSequence(config.seed).spawn(config.chains)
    stop = threading.Event()
    chains = [
        Chain(
            problem,
            stages,
            likelihoods,
            index,
            np.random.default_rng(stream),
            reporter,
            stop,
            None if checkpoint_folder is None else checkpoint_folder / f"chain-{index + 1}.npz",
        )
        for index, stream in enumerate(streams)
    ]
    reporter.start(config.chains, 1 + sum(stage.n_iterations for stage in stages) + config.iterations)
    with (
        threadpool_limits(1),
        ThreadPoolExecutor(min(thread_count(config), config.chains)) as pool,
    ):
        futures = [pool.submit(chain.run) for chain in chains]
        try:
            # The first failure is the cause; the others were told to stop.
            for future in futures:
                while True:
                    failed = [f for f in futures if f.done() and f.exception() is not None]
                    if failed or future.done():
                        break
                    _wait(future)
                if failed:
                    raise next(
                        (f.exception() for f in failed if not isinstance(f.exception(), Stopped)), InputError("stopped")
                    )  # type: ignore[misc]
        finally:
            stop.set()
    return chains, likelihoods[-1]


def _wait(future: Any) -> None:
    """Wait a moment for a future, so that an interrupt by the user is noticed."""
    try:
        future.exception(timeout=0.2)
    except TimeoutError:
        pass
