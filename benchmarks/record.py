"""Everything that a run measures, as numbers: what the page is made from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import bayesflex
from benchmarks import ratios
from benchmarks.cases import AK, CASES, N_MODES, P97, SIGMA, Setup
from benchmarks.machine import Level, Machine, MachineProbe
from benchmarks.measured import row_of, time_kernels
from benchmarks.overlap_kernels import pairs_within, rows_listed
from benchmarks.start_up import cold_starts, first_run

#: The case of which most is told, in the figure too.
FOREMOST = P97.name

#: Boxes (voxels along an edge) of the same model, and cut-offs (Å) of its network.
_BOXES, _CUTOFFS = (128, 256), (10.0, 15.0)
_STARTS = 5


def measure(quick: bool, compilation: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure everything and return the numbers.

    Parameters
    ----------
    quick
        The smallest model only, few samples, no processes started: to see that all works.
    compilation
        Also run a whole demo without compiled kernels.
    say
        Told what is being measured.
    """
    repeats, sample = (2, 2e-4) if quick else (21, 2e-3)
    probe = MachineProbe(repeats)
    say("the machine ...")
    probe.measure()
    timed, cases = [], []
    for case in (AK,) if quick else CASES:
        say(f"{case.name} ...")
        setup = Setup(case)
        timed.append(time_kernels(setup, repeats, sample))
        cases.append(_facts(setup, repeats, sample))
        probe.measure()
    machine = probe.result()
    for facts, kernels in zip(cases, timed, strict=True):
        facts["kernels"] = [row_of(kernel, machine) for kernel in kernels]
    record: dict[str, Any] = {
        "version": bayesflex.__version__,
        "quick": quick,
        "sigma": SIGMA,
        "n_modes": N_MODES,
        "machine": asdict(machine),
        "cases": cases,
    }
    if not quick:
        say("two boxes ...")
        record["boxes"] = {"case": P97.name, "seconds": ratios.empty_map(P97, _BOXES, repeats, sample)}
        say("modes ...")
        record["modes"] = {"case": P97.name, "seconds": ratios.network_modes(Setup(P97), _CUTOFFS)}
        say("cold starts ...")
        record["starts"] = cold_starts(_STARTS)
    if compilation:
        say("a first run, which compiles ...")
        record["first_run"] = first_run()
    return record


def _facts(setup: Setup, repeats: int, sample: float) -> dict[str, Any]:
    """Return what is told of a case besides its kernels."""
    tiles = setup.overlap.tiles.arrays
    return {
        "name": setup.case.name,
        "model": setup.model_name,
        "n_ca": setup.n,
        "n_voxels": setup.n_voxels,
        "voxel": setup.case.voxel,
        "n_contacts": setup.terms["contacts"].n_contacts,
        "pairs": pairs_within(setup),
        "rows": rows_listed(setup),
        "pairs_of_tiles": int(tiles.start[-1]),
        "likelihood": ratios.likelihood_and_twin(setup, repeats, sample),
        "trajectory": ratios.interpreter(setup, repeats, sample),
        "rebuilt": ratios.rebuilt_lists(setup),
    }


def machine_of(record: dict[str, Any]) -> Machine:
    """Return the machine of a record."""
    numbers = dict(record["machine"])
    levels = tuple(Level(**level) for level in numbers.pop("levels"))
    return Machine(levels=levels, **numbers)
