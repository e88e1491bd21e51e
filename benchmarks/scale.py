"""Time and memory against the size of the model: ``python -m benchmarks.scale``.

Models are made by the program: compact assemblies and rings side by side, from a thousand CA to a million. Each size
runs in a process of its own, on one thread, so that its peak of memory is its own. For each:

- the gradient of a whole posterior (marginal likelihood, low-pass, no grid; all terms of the prior; ten modes, local
  displacements and a rigid motion), while its neighbour lists hold, and what rebuilding all of them adds;
- the Hessian of the elastic network and its modes 7 to 26, up to 100,000 CA.

Exponents are slopes of least squares in log-log from 10,000 CA on: 1 is a cost in proportion to the size.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

import bayesflex
from bayesflex import synthetic
from bayesflex.chain import bonded_to_next, pairs_along_chain
from bayesflex.config import FitConfig
from bayesflex.deformation import Deformation
from bayesflex.elastic_network import network_hessian
from bayesflex.energy import build_prior
from bayesflex.io.atomic import atomic_path
from bayesflex.likelihood.marginal import MarginalLikelihood, independent_observations
from bayesflex.map_target import MapTarget
from bayesflex.normal_modes import structure_modes
from bayesflex.overlap.spectrum import Spectrum
from bayesflex.posterior import Posterior
from bayesflex.rendering import render
from bayesflex.structure import Structure
from bayesflex.units import resolution_of_sigma, thermal_energy

Array = NDArray[np.float64]

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
#: The largest model whose modes are computed, and the smallest that counts for an exponent.
LARGEST_MODES, SMALLEST_FITTED = 100_000, 10_000

SIGMA, VOXEL, MARGIN = 2.0, 3.0, 20.0  # Å; the map is low-passed to 8.9 Å
N_MODES, NETWORK_MODES, CUTOFF = 10, 20, 10.0
#: Displacement of the model from the map's truth, Å, and a shift after which no neighbour list holds.
DISPLACEMENT, FAR = 0.3, 5.0

_RING_CHAIN = 728  # residues, near p97's
_SECONDS, _MOST_REPEATS, _FEWEST_REPEATS = 3.0, 100, 5
_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def rings(n_ca: int) -> Structure:
    """Return rings of six chains of about so many CA in all: one smaller ring below p97's size, copies above."""
    n_rings = max(round(n_ca / (6 * _RING_CHAIN)), 1)
    return synthetic.ring_assembly(n_rings, _RING_CHAIN if n_rings > 1 else round(n_ca / 6))


MODELS: dict[str, Callable[[int], Structure]] = {"assembly": synthetic.assembly, "rings": rings}


def make_posterior(ca: Structure) -> tuple[Posterior, Array]:
    """Return the posterior of a model in a noisy map of itself, and a position a little off the truth."""
    rng = np.random.default_rng(1)
    start = ca.coords - ca.coords.mean(axis=0)
    n = len(start)
    voxel, origin = np.full(3, VOXEL), start.min(axis=0) - MARGIN
    n_x, n_y, n_z = np.ceil((np.ptp(start, axis=0) + 2.0 * MARGIN) / VOXEL).astype(int)
    weights = np.ones(n)
    density = render(start, weights, SIGMA, (n_z, n_y, n_x), voxel, origin)
    density += rng.normal(scale=0.1 * float(density.std()), size=density.shape)
    target = MapTarget(density, voxel, origin, np.ones(density.shape, dtype=bool), SIGMA)
    resolution = resolution_of_sigma(SIGMA)
    overlap = target.overlap(weights, Spectrum(resolution), True, "pairs")
    nu = independent_observations(target.region_volume, resolution)
    # Any orthonormal rows cost what normal modes do.
    modes = np.linalg.qr(rng.normal(size=(3 * n, N_MODES)))[0].T.reshape(N_MODES, n, 3)
    posterior = Posterior(
        MarginalLikelihood(overlap, nu, 0.1, 10.0),
        build_prior(ca.with_coords(start), FitConfig(resolution=resolution)),
        Deformation("combined", start, np.ascontiguousarray(modes), rigid=True),
        thermal_energy(300.0),
        start.mean(axis=0),
        30.0,
    )
    position = np.zeros(posterior.deformation.n_dim)
    position[posterior.deformation.displacements] = rng.normal(scale=DISPLACEMENT, size=3 * n)
    return posterior, position


def seconds(functions: Iterable[Callable[[], object]]) -> list[float]:
    """Return the processor time of each call: a busy machine lengthens it less than the time on the clock."""
    taken = []
    for function in functions:
        begin = time.process_time()
        function()
        taken.append(time.process_time() - begin)
    return taken


def repeats(first: float) -> int:
    """Return how often to time what took so many seconds."""
    return int(np.clip(_SECONDS / first, _FEWEST_REPEATS, _MOST_REPEATS))


def time_gradient(ca: Structure) -> dict[str, float]:
    """Return seconds per gradient, what rebuilding the neighbour lists adds, and the memory held meanwhile."""
    posterior, position = make_posterior(ca)
    place = posterior.deformation.translation

    def at(shift: float) -> Callable[[], object]:
        moved = position.copy()
        moved[place] = shift
        return lambda: posterior(moved)

    near, far = at(0.0), at(FAR)
    if not np.isfinite(posterior(position).log_density):
        raise RuntimeError(f"{ca.name}: the log density of the start is not finite")
    count = repeats(min(seconds([near, near])))
    steady = statistics.median(seconds([near] * count))
    rebuilding = statistics.median(seconds([far, near] * max(count // 2, 2)))
    return {"gradient": steady, "rebuild": rebuilding - steady, "held": _resident()}


def time_modes(ca: Structure) -> dict[str, float]:
    """Return seconds for the Hessian of the elastic network, and for that and its modes."""
    links = pairs_along_chain(bonded_to_next(ca))
    hessian = [lambda: network_hessian(ca.coords, CUTOFF, links)]
    modes = [lambda: structure_modes(ca, NETWORK_MODES, CUTOFF)]
    seconds(hessian)
    return {
        "hessian": statistics.median(seconds(hessian * 3)),
        "modes": statistics.median(seconds(modes * (3 if ca.n_atoms <= SMALLEST_FITTED else 1))),
    }


PARTS: dict[str, Callable[[Structure], dict[str, float]]] = {"gradient": time_gradient, "modes": time_modes}


def run_part(part: str, model: str, size: int) -> dict[str, float]:
    """Time one part for one size in this process; memory in bytes."""
    with threadpool_limits(1):
        # The compiled kernels are read from their cache, or compiled, before anything is timed.
        PARTS[part](synthetic.hexamer(156).ca_trace())
        before = _resident()
        ca = MODELS[model](size)
        result = PARTS[part](ca)
    # The kernel counts the peak in batches of pages: it may be a little below what is held.
    peak = max(1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, result.get("held", 0.0))
    return {"n_ca": ca.n_atoms, **result, "peak": peak, "program": before}


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def _in_fresh_process(part: str, model: str, size: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.scale", "--part", part, "--model", model, "--size", str(size)]
    one_thread = os.environ | dict.fromkeys(_THREAD_SETTINGS, "1")
    done = subprocess.run(command, env=one_thread, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def exponent(points: list[dict[str, float]], key: str) -> float | None:
    """Return the slope of log(value) over log(number of CA) from ``SMALLEST_FITTED`` on; None from one point."""
    # Models of rings have not quite the size asked for: two of p97's size are 8736 CA.
    fitted = [point for point in points if key in point and point["n_ca"] >= 0.85 * SMALLEST_FITTED]
    if len(fitted) < 2:
        return None
    size, value = (np.log([point[name] for point in fitted]) for name in ("n_ca", key))
    return float(np.polyfit(size, value, 1)[0])


#: Key of a point -> heading, factor of the unit shown, and digits.
COLUMNS = {
    "gradient": ("gradient\n\nms", 1e3, 2),
    "rebuild": ("rebuilt\nlists\n+ ms", 1e3, 2),
    "held": ("memory\nheld\nGB", 1e-9, 2),
    "peak": ("\npeak\nGB", 1e-9, 2),
    "hessian": ("Hessian\n\ns", 1.0, 2),
    "modes": (f"and {NETWORK_MODES}\nmodes\ns", 1.0, 2),
    "modes_peak": ("memory\npeak\nGB", 1e-9, 2),
}


def table_of(points: list[dict[str, float]]) -> Table:
    table = Table()
    table.add_column("CA", justify="right", no_wrap=True)
    for heading, _, _ in COLUMNS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for point in points:
        cells = [f"{factor * point[key]:,.{n}f}" if key in point else "" for key, (_, factor, n) in COLUMNS.items()]
        table.add_row(f"{int(point['n_ca']):,}", *cells)
    slopes = [exponent(points, key) for key in COLUMNS]
    table.add_row("slope", *("" if slope is None else f"{slope:.2f}" for slope in slopes), style="bold")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.split("\n\n")[0])
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="leave out larger models")
    parser.add_argument("--model", choices=MODELS, help="one kind of model; both by default")
    parser.add_argument("-o", "--output", type=Path, help="also write the numbers to this file, as JSON")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(run_part(arguments.part, arguments.model, arguments.size)))
        return
    console = Console()
    record: dict[str, object] = {"version": bayesflex.__version__, "machine": platform.processor()}
    for model in MODELS if arguments.model is None else (arguments.model,):
        points = []
        for size in SIZES:
            if size > arguments.largest:
                continue
            console.print(f"{model}: {size:,} CA ...", style="dim")
            point = _in_fresh_process("gradient", model, size)
            if size <= LARGEST_MODES:
                modes = _in_fresh_process("modes", model, size)
                point |= {"hessian": modes["hessian"], "modes": modes["modes"], "modes_peak": modes["peak"]}
            points.append(point)
        console.print(f"{model}: medians of processor time, one thread")
        console.print(table_of(points))
        record[model] = {"points": points, "exponents": {key: exponent(points, key) for key in COLUMNS}}
    if arguments.output:
        with atomic_path(arguments.output) as path:
            path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
