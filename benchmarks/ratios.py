"""What is compared within one run: with the plain twin, with the map's empty space, with the interpreter."""

from __future__ import annotations

from typing import Any

import numpy as np

from bayesflex.mcmc.integrators import leapfrog
from bayesflex.normal_modes import structure_modes
from benchmarks.cases import Case, Setup
from benchmarks.grid_kernels import plain_twin
from benchmarks.step_kernels import N_STEPS, SMALL
from benchmarks.timing import in_python, median_seconds

#: Trajectories that heat a start up, and those in which rebuilt lists are counted; each step is half the longest.
_HEATING, _COUNTED, _STEP = 15, 10, 0.5

N_NETWORK_MODES = 20


def likelihood_and_twin(setup: Setup, repeats: int, sample: float) -> dict[str, float]:
    """Return seconds of the likelihood with its gradient, called from Python, and of its plain twin."""
    functions = {
        "white": in_python(setup.white.log_likelihood_and_gradient, (setup.coords,)),
        "low-pass": in_python(setup.low_pass.log_likelihood_and_gradient, (setup.coords,)),
        "plain twin": plain_twin(setup).repeated,
    }
    return median_seconds(functions, repeats, sample)


def empty_map(case: Case, sizes: tuple[int, int], repeats: int, sample: float) -> dict[str, float]:
    """Return seconds of a posterior's gradient with the same model in a smaller and in a larger box."""
    setups = {f"{size}³": Setup(case, size) for size in sizes}
    functions = {name: in_python(setup.posterior, (setup.theta,)) for name, setup in setups.items()}
    return median_seconds(functions, repeats, sample)


def interpreter(setup: Setup, repeats: int, sample: float) -> dict[str, float]:
    """Return seconds per step of compiled trajectories and of the loop in Python, and what a call of either adds.

    The loop in Python is the one that targets without compiled trajectories get.
    """
    evaluation = setup.posterior(setup.theta)
    momentum = setup.mass.draw(np.random.default_rng(5))
    step = SMALL * setup.longest_step

    def trajectory(target, n_steps):  # type: ignore[no-untyped-def]
        return in_python(leapfrog, (target, setup.theta, momentum, evaluation, step, n_steps, setup.mass))

    def plainly(theta):  # type: ignore[no-untyped-def]
        return setup.posterior(theta)

    times = median_seconds(
        {
            "one": trajectory(setup.posterior, 1),
            "many": trajectory(setup.posterior, 1 + N_STEPS),
            "loop": trajectory(plainly, N_STEPS),
        },
        repeats,
        sample,
    )
    step_alone = (times["many"] - times["one"]) / N_STEPS
    call = max(times["one"] - step_alone, 0.0)
    return {
        "step": step_alone,
        "call": call,
        "compiled": step_alone + call / N_STEPS,
        "loop": times["loop"] / N_STEPS,
    }


def rebuilt_lists(setup: Setup) -> dict[str, int]:
    """Return how often either list was rebuilt in so many steps of trajectories such as a fit makes."""
    rng = np.random.default_rng(6)
    posterior, mass = setup.posterior, setup.mass
    tiles, pairs = setup.overlap.tiles, setup.terms["excluded_volume"].neighbours
    position, evaluation = setup.theta, posterior(setup.theta)
    before = 0, 0
    for trajectory in range(_HEATING + _COUNTED):
        if trajectory == _HEATING:
            before = tiles.n_builds, pairs.n_builds
        step = _STEP * setup.longest_step
        end = leapfrog(posterior, position, mass.draw(rng), evaluation, step, N_STEPS, mass)
        if end.divergent:
            raise RuntimeError(f"{setup.case.name}: a trajectory diverged")
        position, evaluation = end.position, end.evaluation
    builds = {"tiles": tiles.n_builds - before[0], "close pairs": pairs.n_builds - before[1]}
    posterior(setup.theta)  # the lists are to hold again where everything else is measured
    return {"steps": _COUNTED * N_STEPS, **builds}


def network_modes(setup: Setup, cutoffs: tuple[float, ...]) -> dict[str, Any]:
    """Return seconds for the Hessian of the elastic network and its modes, by cut-off in Å: once each."""
    functions = {f"{cutoff:g} Å": in_python(structure_modes, (setup.ca, N_NETWORK_MODES, cutoff)) for cutoff in cutoffs}
    return median_seconds(functions, 1, 0.0)
