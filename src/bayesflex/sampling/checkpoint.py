"""Checkpoint: all that a chain needs to go on, in one file that is replaced whole.

Checkpoints are made between stages and, once the kernel is frozen, between draws: at these points the state is
complete, so that a chain resumed there repeats an uninterrupted one bit for bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesflex.errors import InputError
from bayesflex.io.atomic import atomic_path
from bayesflex.protocols import Evaluation, KernelState, PosteriorDetails, Record

Array = NDArray[np.float64]


@dataclass(eq=False)
class Draws:
    """Draws of one chain, filled while it runs: CA positions (n_ca, 3) and the numbers of each draw."""

    coords: list[NDArray[np.float32]] = field(default_factory=list)
    statistics: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class FrozenLevel:
    """One level of the kernel that samples: temperature of the likelihood, masses and step size; and where it is."""

    temperature: float
    masses: list[Array]
    step_size: float
    state: KernelState


@dataclass(frozen=True, eq=False)
class FrozenKernel:
    """What shapes the kernel that samples: base and modes of the deformation, and the levels, of which one samples."""

    start: Array  # (n_ca, 3)
    modes: Array  # (n_modes, n_ca, 3)
    levels: tuple[FrozenLevel, ...]


@dataclass(eq=False)
class Progress:
    """Where a chain is: changed by the chain as it runs.

    Parameters
    ----------
    coords
        Structure at the end of the last stage, shape (n_ca, 3), Å.
    modes, modes_at
        Modes in use, (n_modes, n_ca, 3), and the structure they were computed at, (n_ca, 3).
    stage, iteration, n_gradients
        Stages done, iterations reported, gradients evaluated.
    draws, records
        What was kept and reported so far.
    """

    coords: Array
    modes: Array
    modes_at: Array
    stage: int = 0
    iteration: int = 0
    n_gradients: int = 0
    draws: Draws = field(default_factory=Draws)
    records: list[Record] = field(default_factory=list)


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
        "draws": np.array(progress.draws.coords, dtype=np.float32),
    }
    if kernel is not None:
        arrays |= {"kernel_start": kernel.start, "kernel_modes": kernel.modes}
        for number, level in enumerate(kernel.levels):
            named = _state_arrays(level.state) | {f"mass_{k}": mass for k, mass in enumerate(level.masses)}
            arrays |= {_level_name(number, name): array for name, array in named.items()}
    facts = {
        "stage": progress.stage,
        "iteration": progress.iteration,
        "n_gradients": progress.n_gradients,
        "statistics": progress.draws.statistics,
        "records": progress.records,
        "rng": rng_state,
        "levels": []
        if kernel is None
        else [(level.temperature, level.step_size, len(level.masses)) for level in kernel.levels],
    }
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, facts=np.array(json.dumps(facts)), **arrays)


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
                facts["stage"],
                facts["iteration"],
                facts["n_gradients"],
                Draws(list(saved["draws"]), facts["statistics"]),
                [Record(*row) for row in facts["records"]],
            )
            kernel = None
            if facts["levels"]:
                levels = [
                    FrozenLevel(
                        temperature,
                        [saved[_level_name(number, f"mass_{k}")] for k in range(n_masses)],
                        step_size,
                        _state_of(saved, number),
                    )
                    for number, (temperature, step_size, n_masses) in enumerate(facts["levels"])
                ]
                kernel = FrozenKernel(saved["kernel_start"], saved["kernel_modes"], tuple(levels))
    except Exception as error:  # a damaged archive fails in more ways than can be listed
        raise InputError(
            f"{path}: expected a checkpoint of bayesflex, got something else ({error}). "
            "Remove the output folder and start the fit anew."
        ) from error
    return progress, facts["rng"], kernel


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


def _state_of(saved: Mapping[str, Any], level: int) -> KernelState:
    def array(name: str) -> Any:
        return saved[_level_name(level, name)]

    details = PosteriorDetails(array("state_coords"), float(array("log_likelihood")), float(array("energy")))
    return KernelState(array("position"), Evaluation(float(array("log_density")), array("gradient"), details))


def _level_name(level: int, name: str) -> str:
    """Return the name of an array of a level; the first one, which samples, needs no number."""
    return name if level == 0 else f"level_{level}_{name}"
