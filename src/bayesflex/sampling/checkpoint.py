"""Checkpoint: all that a chain needs to go on, in one file that is replaced whole.

Checkpoints are made between stages, between the iterations of a stage and between draws: at these points the state is
complete, so that a chain resumed there repeats an uninterrupted one bit for bit.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesflex.errors import InputError
from bayesflex.io.atomic import atomic_path
from bayesflex.mcmc.adaptation import DualAveraging, WarmUpPoint
from bayesflex.protocols import Evaluation, KernelState, PosteriorDetails, Record
from bayesflex.sampling.steered_stage import Way
from bayesflex.steering import SteerPoint

Array = NDArray[np.float64]


@dataclass(eq=False)
class Draws:
    """Draws of one chain, filled while it runs: CA positions (n_ca, 3) and the numbers of each draw."""

    coords: list[NDArray[np.float32]] = field(default_factory=list)
    statistics: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class FrozenLevel:
    """One level of the kernel that samples: temperature of the likelihood, masses, steps; and where it is."""

    temperature: float
    masses: list[Array]
    step_size: float
    n_steps: int
    state: KernelState


@dataclass(frozen=True, eq=False)
class FrozenKernel:
    """What shapes the kernel that samples: base, modes and bodies of the deformation, and the levels; one samples."""

    start: Array  # (n_ca, 3)
    modes: Array  # (n_modes, n_ca, 3)
    bodies: Array | None  # (n_bodies, n_ca)
    levels: tuple[FrozenLevel, ...]


@dataclass(frozen=True, eq=False)
class Steering:
    """A stage in which the structure is steered: what was drawn for it, and where it is."""

    way: Way
    point: SteerPoint


@dataclass(frozen=True, eq=False)
class Heating:
    """A stage in which the chain warms up: the masses of its kernel, and where it is."""

    masses: list[Array]
    point: WarmUpPoint


@dataclass(frozen=True, eq=False)
class Climbing:
    """The making of a ladder of temperatures, as :class:`bayesflex.sampling.tempering.LadderPoint` has it.

    Parameters
    ----------
    levels
        Those that are warmed up.
    seen
        log L of the level that warms up, or that was the last to.
    temperature, warming
        Of the level that warms up, or None.
    averagings, n_settled
        Of all levels while they exchange; none before.
    """

    levels: tuple[FrozenLevel, ...]
    seen: tuple[float, ...]
    temperature: float | None
    warming: Heating | None
    averagings: tuple[DualAveraging, ...]
    n_settled: int


#: Where a stage is that began and has not ended.
Within = Steering | Heating | Climbing


@dataclass(eq=False)
class Progress:
    """Where a chain is: changed by the chain as it runs.

    Parameters
    ----------
    coords
        Structure at the end of the last stage, shape (n_ca, 3), Å.
    modes, modes_at
        Modes in use, (n_modes, n_ca, 3), and the structure they were computed at, (n_ca, 3).
    bodies
        Weights of the domains that move as rigid bodies, (n_bodies, n_ca), or None.
    stage, iteration, n_gradients
        Stages done, iterations reported, gradients evaluated.
    draws, records
        What was kept and reported so far.
    within
        Where the stage is that began and has not ended, or None between stages.
    """

    coords: Array
    modes: Array
    modes_at: Array
    bodies: Array | None = None
    stage: int = 0
    iteration: int = 0
    n_gradients: int = 0
    draws: Draws = field(default_factory=Draws)
    records: list[Record] = field(default_factory=list)
    within: Within | None = None


def save_checkpoint(path: Path, progress: Progress, rng_state: Any, kernel: FrozenKernel | None) -> None:
    """Write a checkpoint, replacing the one before.

    Raises
    ------
    InputError
        If the file cannot be written.
    """
    arrays: dict[str, Any] = {
        "coords": progress.coords,
        "modes": progress.modes,
        "modes_at": progress.modes_at,
        **_bodies_array("bodies", progress.bodies),
        "draws": np.array(progress.draws.coords, dtype=np.float32),
    }
    if kernel is not None:
        arrays |= {"kernel_start": kernel.start, "kernel_modes": kernel.modes} | _levels_arrays(kernel.levels)
        arrays |= _bodies_array("kernel_bodies", kernel.bodies)
    within, within_arrays = _taken_apart(progress.within)
    facts = {
        "within": within,
        "stage": progress.stage,
        "iteration": progress.iteration,
        "n_gradients": progress.n_gradients,
        "statistics": progress.draws.statistics,
        "records": progress.records,
        "rng": rng_state,
        "levels": [] if kernel is None else _levels_numbers(kernel.levels),
    }
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, facts=np.array(json.dumps(facts)), **arrays, **within_arrays)
        # The one before is given up for this one: it must be on the disk, also where the machine fails next.
        file.flush()
        os.fsync(file.fileno())


def load_checkpoint(path: Path) -> tuple[Progress, Any, FrozenKernel | None]:
    """Return the progress, the state of the random numbers and the frozen kernel, if there is one yet.

    Raises
    ------
    InputError
        If the file is not a checkpoint.
    """
    try:
        # NumPy leaves a damaged archive open if it opened it itself.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            facts = json.loads(str(saved["facts"]))
            progress = Progress(
                saved["coords"],
                saved["modes"],
                saved["modes_at"],
                saved.get("bodies"),
                facts["stage"],
                facts["iteration"],
                facts["n_gradients"],
                Draws(list(saved["draws"]), facts["statistics"]),
                [Record(*row) for row in facts["records"]],
                _put_together(facts["within"], saved),
            )
            kernel = None
            if facts["levels"]:
                levels = _levels_of(facts["levels"], saved)
                kernel = FrozenKernel(saved["kernel_start"], saved["kernel_modes"], saved.get("kernel_bodies"), levels)
    except Exception as error:  # a damaged archive fails in more ways than can be listed
        raise InputError(
            f"{path}: expected a checkpoint of bayesflex, got something else ({error}). "
            "Remove the output folder and start the fit anew."
        ) from error
    return progress, facts["rng"], kernel


def _bodies_array(name: str, bodies: Array | None) -> dict[str, Any]:
    return {} if bodies is None else {name: bodies}


# The evaluation is kept with the position: made anew it would differ by rounding, since the gauge is reset after it.
def _state_arrays(state: KernelState) -> dict[str, Any]:
    log_density, gradient, details = state.evaluation
    return {
        "position": state.position,
        "log_density": log_density,
        "gradient": gradient,
        "state_coords": details.coords,
        "log_likelihood": details.log_likelihood,
        "energy": details.energy,
    }


def _state_of(saved: Mapping[str, Any], prefix: str = "") -> KernelState:
    """Return the state whose arrays have names with this prefix."""

    def array(name: str) -> Any:
        return saved[prefix + name]

    details = PosteriorDetails(array("state_coords"), float(array("log_likelihood")), float(array("energy")))
    return KernelState(array("position"), Evaluation(float(array("log_density")), array("gradient"), details))


# The levels of a kernel or of a ladder: numbers for the facts, and arrays by name.
def _levels_numbers(levels: Sequence[FrozenLevel]) -> list[tuple[float, float, int, int]]:
    return [(level.temperature, level.step_size, level.n_steps, len(level.masses)) for level in levels]


def _levels_arrays(levels: Sequence[FrozenLevel]) -> dict[str, Any]:
    arrays: dict[str, Any] = {}
    for number, level in enumerate(levels):
        named = _state_arrays(level.state) | {f"mass_{k}": mass for k, mass in enumerate(level.masses)}
        arrays |= {_level_name(number, name): array for name, array in named.items()}
    return arrays


def _levels_of(
    numbers: Sequence[tuple[float, float, int, int]], saved: Mapping[str, Any], prefix: str = ""
) -> tuple[FrozenLevel, ...]:
    """Return the levels whose arrays have names with this prefix."""
    return tuple(
        FrozenLevel(
            temperature,
            [saved[prefix + _level_name(number, f"mass_{k}")] for k in range(n_masses)],
            step_size,
            n_steps,
            _state_of(saved, prefix + _level_name(number, "")),
        )
        for number, (temperature, step_size, n_steps, n_masses) in enumerate(numbers)
    )


def _level_name(level: int, name: str) -> str:
    """Return the name of an array of a level; the first one, which samples, needs no number."""
    return name if level == 0 else f"level_{level}_{name}"


#: What the names of arrays begin with, that tell where a stage is, and where a level of a ladder that warms up is.
_WITHIN, _WARMING = "within_", "warming_"


def _taken_apart(within: Within | None) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return numbers and arrays that tell where a stage is."""
    if within is None:
        return None, {}
    if isinstance(within, Steering):
        numbers, arrays = _steering_taken_apart(within)
    elif isinstance(within, Heating):
        numbers, arrays = _heating_taken_apart(within)
    else:
        numbers, arrays = _climbing_taken_apart(within)
    return {"kind": type(within).__name__} | numbers, {_WITHIN + name: array for name, array in arrays.items()}


def _put_together(numbers: dict[str, Any] | None, saved: Mapping[str, Any]) -> Within | None:
    """Return what :func:`_taken_apart` took apart."""
    if numbers is None:
        return None
    makers: dict[str, Callable[[dict[str, Any], Mapping[str, Any], str], Within]] = {
        "Steering": _steering_of,
        "Heating": _heating_of,
        "Climbing": _climbing_of,
    }
    return makers[numbers["kind"]](numbers, saved, _WITHIN)


def _steering_taken_apart(within: Steering) -> tuple[dict[str, Any], dict[str, Any]]:
    at = within.point
    numbers = {
        "reluctance": within.way.reluctance,
        "longest": within.way.longest,
        "value": at.value,
        "radius": at.radius,
        "n_steps": at.n_steps,
        "ended": bool(at.ended),
    }
    return numbers, {"coords": at.coords, "gradient": at.gradient}


def _steering_of(numbers: dict[str, Any], saved: Mapping[str, Any], prefix: str) -> Steering:
    point = SteerPoint(
        saved[f"{prefix}coords"],
        numbers["value"],
        saved[f"{prefix}gradient"],
        numbers["radius"],
        numbers["n_steps"],
        numbers["ended"],
    )
    return Steering(Way(numbers["reluctance"], numbers["longest"]), point)


def _heating_taken_apart(within: Heating) -> tuple[dict[str, Any], dict[str, Any]]:
    point = within.point
    numbers = {
        "n_done": point.n_done,
        "step_size": point.step_size,
        "largest_step_size": point.largest_step_size,
        "averaging": None if point.averaging is None else asdict(point.averaging),
        "n_masses": len(within.masses),
    }
    return numbers, _state_arrays(point.state) | {f"mass_{k}": mass for k, mass in enumerate(within.masses)}


def _heating_of(numbers: dict[str, Any], saved: Mapping[str, Any], prefix: str) -> Heating:
    averaging = None if numbers["averaging"] is None else DualAveraging(**numbers["averaging"])
    state = _state_of(saved, prefix)
    point = WarmUpPoint(state, numbers["n_done"], numbers["step_size"], numbers["largest_step_size"], averaging)
    return Heating([saved[f"{prefix}mass_{k}"] for k in range(numbers["n_masses"])], point)


def _climbing_taken_apart(within: Climbing) -> tuple[dict[str, Any], dict[str, Any]]:
    warming, arrays = (None, {}) if within.warming is None else _heating_taken_apart(within.warming)
    numbers = {
        "levels": _levels_numbers(within.levels),
        "seen": within.seen,
        "temperature": within.temperature,
        "warming": warming,
        "averagings": [asdict(averaging) for averaging in within.averagings],
        "n_settled": within.n_settled,
    }
    return numbers, _levels_arrays(within.levels) | {_WARMING + name: array for name, array in arrays.items()}


def _climbing_of(numbers: dict[str, Any], saved: Mapping[str, Any], prefix: str) -> Climbing:
    warming = numbers["warming"]
    return Climbing(
        _levels_of(numbers["levels"], saved, prefix),
        tuple(numbers["seen"]),
        numbers["temperature"],
        None if warming is None else _heating_of(warming, saved, prefix + _WARMING),
        tuple(DualAveraging(**averaging) for averaging in numbers["averagings"]),
        numbers["n_settled"],
    )
