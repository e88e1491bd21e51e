"""Redo the paper's two tests: ``python -m experiments.p97 5ftm.pdb.gz 5ftn.pdb.gz -o results``.

Each part is a folder: ``inputs`` with what is fitted, ``results`` as ``bayesflex compare`` writes them, and
``command.txt`` with the command that redoes it. Parts that are whole are kept, so that an interrupted call goes on.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from bayesflex.config import FitConfig
from bayesflex.density_map import DensityMap
from bayesflex.errors import BayesflexError
from bayesflex.io.maps import read_map, write_map
from bayesflex.io.structures import read_structure, write_structure
from bayesflex.reporters import NullReporter
from bayesflex.structure import Structure
from bayesflex.workflows.compare import ComparePlan, run_compare
from bayesflex.workflows.comparison_results import NUMBERS_FILE
from bayesflex.workflows.samplers import SamplerPlan, run_samplers
from experiments.p97 import inputs

#: What the paper could not see: local fitting with this many times the iterations, in fewer runs.
LONG_FACTOR, LONG_RUNS = 10, 3

PARTS = ("test1", "test2", "local-long", "samplers")


class _Messages(NullReporter):
    """Prints what the comparison says."""

    def message(self, text: str) -> None:
        print(text, flush=True)


@dataclass(frozen=True, eq=False)
class Case:
    """Inputs of one test.

    Parameters
    ----------
    answer, density
        The known answer and the map.
    modes
        Modes to fit along.
    resolution, sigma
        Of the map and of a bead (None: from the resolution), Å.
    facts
        What docs/paper.md tells about them.
    """

    answer: Structure
    density: DensityMap
    modes: tuple[int, ...]
    resolution: float
    sigma: float | None
    facts: dict[str, object]


def test1(start: Structure, rms: float) -> Case:
    """Return the inputs of test 1: a known displacement, and its map."""
    lifting = inputs.lifting_mode(start.ca_trace())
    displaced = inputs.displace(start, lifting, rms, np.random.default_rng(1))
    facts = {
        "lifting_mode": lifting.message,
        "displacement": displaced.message,
        "map": "Scattering factors of all atoms (Peng 1996) of the displaced model, no noise.",
    }
    density = inputs.synthetic_map(displaced.structure)
    return Case(displaced.structure, density, lifting.fitted_modes, inputs.TEST1_RESOLUTION, None, facts)


def test2(start: Structure, answer: Structure, map_file: Path | None) -> Case:
    """Return the inputs of test 2: the experimental map, or its stand-in."""
    lifting = inputs.lifting_mode(start.ca_trace())
    if map_file is None:
        density = inputs.stand_in_map(answer)
        source = (
            f"STAND-IN for EMD-3299: map of 5FTN from scattering factors at {inputs.MAP_RESOLUTION:g} Å, with noise of "
            f"signal-to-noise ratio {inputs.STAND_IN_NOISE**-2:g} over the box"
        )
    else:
        density, source = read_map(map_file), f"{map_file.name}, the experimental map"
    text = f"{source}; low-pass filtered to {inputs.FILTERED_TO:g} Å and reduced to {inputs.BOX}³ voxels."
    facts = {"lifting_mode": lifting.message, "map": text, "stand_in": map_file is None}
    reduced = inputs.reduced_map(density)
    return Case(answer, reduced, lifting.fitted_modes, inputs.FILTERED_TO, inputs.TEST2_SIGMA, facts)


def run_case(
    start_file: Path, make: Callable[[], Case], plan: ComparePlan, folder: Path, seed: int, threads: int
) -> None:
    """Make the inputs of a part and compare, unless it is whole already."""
    if (folder / "results" / NUMBERS_FILE).is_file():
        print(f"{folder}: is whole, kept", flush=True)
        return
    case = make()
    for fact in case.facts.values():
        if isinstance(fact, str):
            print(fact, flush=True)
    made = folder / "inputs"
    made.mkdir(parents=True, exist_ok=True)
    write_structure(case.answer, made / "answer.cif")
    write_map(case.density, made / "map.mrc")
    (folder / "facts.json").write_text(json.dumps(case.facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    settings = FitConfig(
        resolution=case.resolution,
        sigma=case.sigma,
        modes=case.modes,
        likelihood="gaussian",
        seed=seed,
        threads=threads,
    )
    command = _command(start_file, made, folder / "results", settings, plan)
    (folder / "command.txt").write_text(command + "\n", encoding="utf-8")
    print(command, flush=True)
    run_compare(
        start_file,
        made / "map.mrc",
        folder / "results",
        settings,
        plan,
        reference=made / "answer.cif",
        reporter=_Messages(),
    )


def _command(start_file: Path, made: Path, out: Path, settings: FitConfig, plan: ComparePlan) -> str:
    """Return the command that makes the same comparison."""
    words = ["bayesflex", "compare", str(start_file), str(made / "map.mrc"), "-o", str(out)]
    words += ["--resolution", f"{settings.resolution:g}", "--reference", str(made / "answer.cif")]
    words += ["--runs", str(plan.runs), "--iterations", str(plan.iterations), "--adapting", str(plan.n_adapting)]
    words += ["--modes", ",".join(map(str, settings.modes)), "--approaches", ",".join(plan.approaches)]
    words += ["--seed", str(settings.seed)]
    words += [] if settings.sigma is None else ["--sigma", f"{settings.sigma:g}"]
    words += ["--floor"] if plan.floor else []
    for domain in plan.domains:
        words += ["--domain", f"{domain.name}={domain.first}-{domain.last}"]
    return shlex.join(words)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m experiments.p97", description=__doc__.splitlines()[0])
    parser.add_argument("start", type=Path, help="5FTM, the N domains down")
    parser.add_argument("answer", type=Path, help="5FTN, the N domains up: the deposited model of EMD-3299")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--map", type=Path, help="EMD-3299 (bayesflex get emd-3299); without it a stand-in is made")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--rms", type=float, default=inputs.PAPER_RMS, help="displacement of test 1, RMS in Å")
    size.add_argument("--amplitude", type=float, help="the same as an amplitude on a unit-norm mode over all atoms")
    given = parser.parse_args(arguments)
    try:
        start = read_structure(given.start)
        rms = given.rms
        if given.amplitude is not None:
            rms = inputs.rms_of_amplitude(given.amplitude, start.n_atoms)
        plan = ComparePlan(runs=given.runs, iterations=given.iterations, floor=True, domains=inputs.DOMAINS)
        long = ComparePlan(
            approaches=("local",),
            runs=min(LONG_RUNS, given.runs),
            iterations=LONG_FACTOR * given.iterations,
            adapting=plan.n_adapting,
            domains=inputs.DOMAINS,
        )
        parts: dict[str, Callable[[], None]] = {
            "test1": lambda: run_case(
                given.start, lambda: test1(start, rms), plan, given.out / "test1", given.seed, given.threads
            ),
            "test2": lambda: run_case(
                given.start,
                lambda: test2(start, read_structure(given.answer), given.map),
                plan,
                given.out / "test2",
                given.seed,
                given.threads,
            ),
            "local-long": lambda: run_case(
                given.start, lambda: test1(start, rms), long, given.out / "local-long", given.seed, given.threads
            ),
            "samplers": lambda: run_samplers(given.out / "samplers", SamplerPlan(seed=given.seed)),
        }
        # Modes and minimisation too: their last bits must not depend on the number of cores.
        with threadpool_limits(1):
            for name in given.parts:
                parts[name]()
    except BayesflexError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
