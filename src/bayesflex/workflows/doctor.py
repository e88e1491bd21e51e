"""Doctor: is bayesflex whole on this machine, and how fast: the task behind ``bayesflex doctor``.

The compiled kernels are compared with plain NumPy and with differences of the density, on a small protein in a map.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from platform import machine, python_version

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bayesflex import __version__
from bayesflex.config import FitConfig
from bayesflex.deformation import Deformation
from bayesflex.neighbours import inspect
from bayesflex.posterior import Posterior
from bayesflex.rendering import render
from bayesflex.sampling import Stage, stage_likelihoods, thread_count
from bayesflex.sampling.problem import Problem
from bayesflex.synthetic import two_domain_pair
from bayesflex.team import Team
from bayesflex.workflows.preparation import Inputs, prepare
from bayesflex.workflows.simulate import simulate

Array = NDArray[np.float64]

_RESOLUTION = 6.0
_SMALL, _USUAL = 60, 400  # residues: of the checks, and of what is timed

#: Compiled and plain sums differ by rounding alone; a density cut at so many sigma by what lies beyond.
_ROUNDING = 1e-9
_WINDOW = 7.0

#: Relative error of central differences with this displacement (Å), of a density with stiff bonds.
_STEP, _DIFFERENCE_ERROR = 1e-4, 1e-5

#: Name and lower bound of a requirement.
_REQUIREMENT = re.compile(r"([\w.-]+)[^;>]*(?:>=\s*([\d.]+))?")


#: Packages that some commands need: the extra that brings each, and what is not there without it.
_OPTIONAL = {
    "cctbx-base": ("validation", "there are no Ramachandran regions"),
    "distributed": ("batch", "there is no bayesflex batch"),
}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Parameters
    ----------
    name
        What it is.
    ok
        Whether it is as it should be.
    found
        In words.
    """

    name: str
    ok: bool
    found: str


def examine() -> Iterator[Check]:
    """Look at the installation, one thing after the other; what fails is a check that is not ok, and no exception."""
    yield Check("bayesflex", True, f"{__version__}, Python {python_version()} on {sys.platform} {machine()}")
    yield from (guarded(f"package {name}", check) for name, check in _packages())
    for name, (extra, without) in _OPTIONAL.items():
        yield Check(f"optional package {name}", True, _optional(name, extra, without))
    yield guarded("compiled kernels are kept", _cache)
    yield guarded("folder for temporary files", _temporary)
    yield guarded("threads", _threads)
    yield guarded("density of beads, against NumPy", _density)
    yield guarded("gradient of the posterior, against differences", _gradient)
    yield guarded("compiled posterior, against its parts", _compiled)
    yield guarded("speed", _speed)


def guarded(name: str, check: Callable[[], tuple[bool, str]]) -> Check:
    """Make a check; whatever it raises is what was found."""
    try:
        ok, found = check()
    except Exception as error:  # the very thing that is looked for
        return Check(name, False, f"{type(error).__name__}: {error}")
    return Check(name, ok, found)


def _packages() -> Iterator[tuple[str, Callable[[], tuple[bool, str]]]]:
    try:
        needed = requires("bayesflex") or []
    except PackageNotFoundError:
        yield "bayesflex", lambda: (False, "not installed: run python -m pip install . in its folder")
        return
    for requirement in needed:
        match = _REQUIREMENT.match(requirement)
        if match is not None and "extra ==" not in requirement:
            name, least = match.group(1), match.group(2) or "0"
            yield name, lambda name=name, least=least: _package(name, least)  # type: ignore[misc]


def _optional(name: str, extra: str, without: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return f"not installed, so {without}: python -m pip install 'bayesflex[{extra}]' adds it"


def _package(name: str, least: str) -> tuple[bool, str]:
    try:
        found = version(name)
    except PackageNotFoundError:
        return False, f"missing: run python -m pip install '{name}>={least}'"
    enough = _numbers(found) >= _numbers(least)
    return enough, found if enough else f"{found} is older than {least}: run python -m pip install -U {name}"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _cache() -> tuple[bool, str]:
    folder = Path(inspect.stats.cache_path)
    writable = folder.is_dir() and os.access(folder, os.W_OK)
    advice = "" if writable else ": cannot be written, so that each run compiles anew; set NUMBA_CACHE_DIR to a folder"
    return writable, f"{folder}{advice}"


def _temporary() -> tuple[bool, str]:
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"bayesflex")
        return True, str(Path(file.name).parent)


def _threads() -> tuple[bool, str]:
    cores = thread_count(FitConfig(resolution=_RESOLUTION))
    ran: list[int] = []
    with Team(2) as team:
        team.run([lambda number=number: ran.append(number) for number in range(8)])  # type: ignore[misc]
    return sorted(ran) == list(range(8)), f"{cores} cores for this process"


def _density() -> tuple[bool, str]:
    rng = np.random.default_rng(1)
    shape, voxel, origin, sigma = (9, 11, 10), np.array([1.5, 1.6, 1.7]), np.array([-3.0, 2.0, 5.0]), 1.8
    size = np.array(shape[::-1])
    coords, weights = origin + voxel * size * rng.uniform(0.2, 0.8, (6, 3)), rng.uniform(0.5, 2.0, 6)
    x, y, z = (origin[axis] + voxel[axis] * np.arange(size[axis]) for axis in range(3))
    plain = np.zeros(shape)
    for (cx, cy, cz), weight in zip(coords, weights, strict=True):
        square = (z - cz)[:, None, None] ** 2 + (y - cy)[None, :, None] ** 2 + (x - cx)[None, None, :] ** 2
        plain += weight * np.exp(-square / (2 * sigma**2)) / (2 * np.pi * sigma**2) ** 1.5
    error = float(np.abs(render(coords, weights, sigma, shape, voxel, origin, _WINDOW) - plain).max() / plain.max())
    return error < _ROUNDING, f"largest difference {error:.1e} of the largest value"


def _problem(n_residues: int) -> tuple[Problem, Posterior, Array]:
    """Return a small problem, its posterior over displacements, and a displacement with all terms at work."""
    closed, _ = two_domain_pair(n_residues)
    config = FitConfig(resolution=_RESOLUTION, deformation="local", anneal=False, threads=1)
    prepared = prepare(Inputs(closed, simulate(closed, resolution=_RESOLUTION)), config, lambda text: None)
    (likelihood,) = stage_likelihoods(prepared.problem, (Stage("sampling", _RESOLUTION, 1),))
    problem = prepared.problem
    free = Deformation.local(problem.start)
    theta = 0.2 * np.random.default_rng(1).standard_normal(free.n_dim)
    return problem, problem.posterior(likelihood, problem.terms, free), theta


def _gradient() -> tuple[bool, str]:
    with threadpool_limits(1):
        _, posterior, theta = _problem(_SMALL)
        rng = np.random.default_rng(2)
        gradient, worst = posterior(theta).gradient, 0.0
        for _ in range(5):
            direction = rng.standard_normal(len(theta))
            ahead, behind = (posterior(theta + sign * _STEP * direction).log_density for sign in (1, -1))
            slope = (ahead - behind) / (2 * _STEP)
            worst = max(worst, abs(slope - float(gradient @ direction)) / float(np.linalg.norm(gradient)))
    return worst < _DIFFERENCE_ERROR, f"largest difference {worst:.1e} of the gradient's length"


def _compiled() -> tuple[bool, str]:
    with threadpool_limits(1):
        problem, posterior, theta = _problem(_SMALL)
        whole = posterior(theta)
        coords = posterior.deformation.coordinates(theta)
        energy = sum(term.energy_and_gradient(coords)[0] for term in problem.terms)
        if posterior.likelihood is None:
            return False, "the posterior has no likelihood"
        value, _ = posterior.likelihood.log_likelihood_and_gradient(coords)
        details = whole.details
        errors = (abs(details.energy - energy) / abs(energy), abs(details.log_likelihood - value) / abs(value))
    return max(errors) < _ROUNDING, f"energy and likelihood differ by {errors[0]:.1e} and {errors[1]:.1e}"


def _speed() -> tuple[bool, str]:
    with threadpool_limits(1):
        _, posterior, theta = _problem(_USUAL)
        posterior(theta)
        began, n = time.perf_counter(), 0
        while time.perf_counter() - began < 0.5:
            posterior(theta)
            n += 1
        milliseconds = 1e3 * (time.perf_counter() - began) / n
    return True, f"a gradient of {_USUAL} residues at {_RESOLUTION:g} Å takes {milliseconds:.2f} ms on one core"
