"""Kernels as arrays for the checkpoint, and back again.

What a checkpoint holds is data; what has targets and masses to compute with is made of it here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bayesflex.deformation import Deformation
from bayesflex.mcmc.hmc import HMC
from bayesflex.posterior import Posterior
from bayesflex.protocols import KernelState, Target
from bayesflex.sampling.checkpoint import Climbing, FrozenLevel, Heating
from bayesflex.sampling.kernel import kernel_of
from bayesflex.sampling.preconditioning import mass_arrays, mass_of_arrays
from bayesflex.sampling.tempering import LadderPoint, Tempered, temperature_of

#: Makes the posterior at a temperature.
MakeTempered = Callable[[float], Tempered]


def frozen_levels(levels: Sequence[HMC], replicas: Sequence[KernelState]) -> tuple[FrozenLevel, ...]:
    """Return what shapes the kernel of each level, and where it is."""
    return tuple(
        FrozenLevel(temperature_of(level), mass_arrays(level.mass), level.step_size, level.n_steps, replica)
        for level, replica in zip(levels, replicas, strict=True)
    )


def thawed_levels(
    frozen: Sequence[FrozenLevel], posterior: Posterior, make: MakeTempered
) -> tuple[tuple[HMC, ...], tuple[KernelState, ...]]:
    """Return the kernel of each level, and where it is; the first one's target is the posterior itself."""
    deformation = posterior.deformation
    targets: list[Target] = [posterior, *(make(level.temperature) for level in frozen[1:])]
    levels = [
        kernel_of(target, mass_of_arrays(deformation, level.masses), level.step_size, level.n_steps)
        for target, level in zip(targets, frozen, strict=True)
    ]
    return tuple(levels), tuple(level.state for level in frozen)


def frozen_ladder(point: LadderPoint) -> Climbing:
    """Return where the making of a ladder is."""
    warming = None
    if point.warming is not None and point.mass is not None:
        warming = Heating(mass_arrays(point.mass), point.warming)
    return Climbing(
        frozen_levels(point.levels, point.replicas),
        point.seen,
        point.temperature,
        warming,
        point.averagings,
        point.n_settled,
    )


def thawed_ladder(climbing: Climbing, posterior: Posterior, make: MakeTempered) -> LadderPoint:
    """Return the point from which the making of a ladder goes on."""
    levels, replicas = thawed_levels(climbing.levels, posterior, make)
    deformation: Deformation = posterior.deformation
    warming = climbing.warming
    return LadderPoint(
        levels,
        replicas,
        climbing.seen,
        climbing.temperature,
        None if warming is None else mass_of_arrays(deformation, warming.masses),
        None if warming is None else warming.point,
        climbing.averagings,
        climbing.n_settled,
    )
