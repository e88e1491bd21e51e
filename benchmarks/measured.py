"""The kernels of a case, measured: time, work, and what the machine could do."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import grid_kernels, overlap_kernels, prior_kernels, step_kernels
from benchmarks.cases import Setup
from benchmarks.kernel import Kernel
from benchmarks.machine import Machine
from benchmarks.timing import median_seconds
from benchmarks.work import Work, bound_of


@dataclass(frozen=True)
class Timed:
    """A kernel's time in s and its work."""

    name: str
    seconds: float
    work: Work


def kernels_of(setup: Setup) -> list[Kernel]:
    """Return the kernels in the order of the tables."""
    inverse_metric = step_kernels.mass_velocity(setup)
    along = [step_kernels.deformation(setup)]
    along += [
        make(setup)
        for make in (
            prior_kernels.bonds,
            prior_kernels.angles,
            prior_kernels.dihedrals,
            prior_kernels.excluded_volume,
            prior_kernels.contacts,
            overlap_kernels.field_interpolation,
            overlap_kernels.pair_sum_kernel,
            step_kernels.pulling_back,
        )
    ]
    posterior = step_kernels.posterior_gradient(setup, along)
    return [
        *along,
        posterior,
        inverse_metric,
        step_kernels.leapfrog_step(setup, [posterior, inverse_metric]),
        overlap_kernels.tile_list(setup),
        prior_kernels.pair_list(setup),
        grid_kernels.rendering(setup),
        grid_kernels.rendering_gradient(setup),
        grid_kernels.plain_twin(setup),
    ]


def time_kernels(setup: Setup, repeats: int, sample: float) -> list[Timed]:
    """Return the median time of each kernel, all of them taking turns."""
    kernels = kernels_of(setup)
    times = median_seconds({kernel.name: kernel.repeated for kernel in kernels}, repeats, sample)
    return [Timed(kernel.name, times[kernel.name] / kernel.steps, kernel.work) for kernel in kernels]


def row_of(timed: Timed, machine: Machine) -> dict[str, Any]:
    """Return what a table says of a kernel: times in s, work, bound, and the fractions reached."""
    work, bound = timed.work, bound_of(timed.work, machine)
    limited_by, limit = bound.limit
    return {
        "kernel": timed.name,
        "seconds": timed.seconds,
        "bytes": work.moved,
        "footprint": work.footprint,
        "operations": work.operations,
        "executed": work.operations if work.executed is None else work.executed,
        "divisions_and_roots": work.divisions + work.roots,
        "bound": asdict(bound),
        "roof": bound.roof,
        "of_roof": bound.roof / timed.seconds,
        "limited_by": limited_by,
        "of_limit": limit / timed.seconds,
    }
