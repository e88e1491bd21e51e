"""Compare local, global and combined fitting as the paper does: the task behind ``bayesflex compare``.

All start at r_init with the same seeds and make the same number of iterations. There is no annealing, no recomputing
of modes, no steering and no run before the one that is shown: the cold start happens within the iterations counted,
and those in which the step size adapts are labelled so. For the best fit of a model use ``workflows.fit`` instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from bayesflex.config import FitConfig
from bayesflex.deformation import APPROACHES, Deformation
from bayesflex.diagnostics import r_hat_and_ess
from bayesflex.errors import ConfigError, InputError
from bayesflex.io.maps import read_map
from bayesflex.io.output_folder import make_folder, require_new_or_empty
from bayesflex.io.structures import read_structure
from bayesflex.metrics import REFERENCE_COLUMN
from bayesflex.protocols import Likelihood, Reporter
from bayesflex.reporters import LogReporter, NullReporter, Reporters
from bayesflex.sampling import Problem, Stage, stage_likelihoods, thread_count
from bayesflex.sampling.adapting import ADAPTING, Run, run_adapting
from bayesflex.workflows.comparison_results import (
    FLOOR,
    AmplitudeCost,
    ApproachRuns,
    Comparison,
    Domain,
    write_comparison,
)
from bayesflex.workflows.compilation import announced_compilation
from bayesflex.workflows.preparation import Inputs, PreparedFit, as_table, prepare
from bayesflex.workflows.run_files import LOG_FILE
from bayesflex.workflows.run_folder import described_files

Array = NDArray[np.float64]

#: The one of the paper, whose table is always made.
PAPERS_LIKELIHOOD = "gaussian"

#: A quarter of the iterations adapt: of the paper's hundred, fifteen heat and ten settle the step.
_ADAPTING_SHARE = 0.25

#: Evaluations of which the median time is taken.
_N_TIMED = 30


@dataclass(frozen=True)
class ComparePlan:
    """What is compared.

    Parameters
    ----------
    approaches
        Of "local", "global" and "combined".
    runs, iterations
        Independent runs of each, and iterations of each run after iteration 0, the start.
    adapting
        Iterations of these in which the step size adapts.
    floor
        Whether ``combined`` is also run from the reference, in the same posterior: what it ends at is the error that
        the model of the density leaves.
    domains
        Stretches of residues to report by themselves; the first one is coloured in the picture.

    Raises
    ------
    ConfigError
        If an approach is unknown or named twice, or no iteration is left to adapt or to sample.
    """

    approaches: tuple[str, ...] = tuple(APPROACHES)
    runs: int = 10
    iterations: int = 100
    adapting: int | None = None
    floor: bool = False
    domains: tuple[Domain, ...] = ()

    def __post_init__(self) -> None:
        unknown = [name for name in self.approaches if name not in APPROACHES]
        if unknown or not self.approaches or len(set(self.approaches)) < len(self.approaches):
            raise ConfigError(
                f"approaches: expected some of {', '.join(APPROACHES)}, each once, got {', '.join(self.approaches)!r}"
            )
        if self.adapting is None:
            object.__setattr__(self, "adapting", max(1, round(_ADAPTING_SHARE * self.iterations)))
        if not 1 <= self.n_adapting < self.iterations:
            raise ConfigError(
                f"iterations: expected more than the {self.n_adapting} in which the step size adapts (at least 1), got "
                f"{self.iterations}. Give more --iterations or fewer --adapting."
            )

    @property
    def n_adapting(self) -> int:
        """Iterations in which the step size adapts."""
        return int(self.adapting or 0)

    def config(self, settings: FitConfig) -> FitConfig:
        """Return the settings of the fits: the given ones, with the paper's beads and nothing before iteration 1."""
        return replace(
            settings,
            bead="ca",
            anneal=False,
            stages=(),
            recompute_modes=False,
            chains=self.runs,
            warmup_iterations=self.n_adapting,
            iterations=self.iterations - self.n_adapting,
        )


def compare(inputs: Inputs, settings: FitConfig, plan: ComparePlan, reporter: Reporter | None = None) -> Comparison:
    """Run every approach of a plan, in memory.

    Parameters
    ----------
    inputs
        Model, map and, if known, the answer.
    settings
        Resolution, modes, likelihood, seed, threads and whatever else a fit has; :meth:`ComparePlan.config` says what
        is taken from the plan.
    plan
        What is compared.
    reporter
        Hears of each iteration of each run of each approach.

    Raises
    ------
    InputError
        As :func:`bayesflex.workflows.preparation.prepare`; also if a floor is asked for and the reference is missing
        or lacks residues of the model.
    ConfigError
        If there are fewer modes than asked for.
    SamplingError
        If a chain finds no finite start.
    """
    listener: Reporter = NullReporter() if reporter is None else reporter
    prepared = _prepare(inputs, settings, plan, listener.message)
    return _run_all(prepared, plan, listener, {"model": inputs.structure.name, "map": inputs.density.name})


def run_compare(
    model_path: Path,
    map_path: Path,
    out: Path,
    settings: FitConfig,
    plan: ComparePlan,
    *,
    reference: Path | None = None,
    reporter: Reporter | None = None,
) -> tuple[Comparison, ...]:
    """Compare the approaches, from files to a folder.

    The ``gaussian`` likelihood is the paper's and is always compared. Where the settings ask for another one, the
    comparison is repeated with it in a sub-folder of its name.

    Parameters
    ----------
    model_path, map_path
        What to read.
    out
        Folder to write, new or empty.
    settings, plan
        As for :func:`compare`.
    reference
        Known answer, to which RMSDs are reported.
    reporter
        Listener.

    Raises
    ------
    InputError
        As :func:`compare`; also if a file cannot be read or written, or the folder is not empty.
    ConfigError, SamplingError
        As :func:`compare`.
    """
    require_new_or_empty(out)
    shown: Reporter = NullReporter() if reporter is None else reporter
    inputs = Inputs(
        read_structure(model_path),
        read_map(map_path, voxel=settings.voxel, origin=settings.origin),
        None if reference is None else read_structure(reference),
    )
    described = described_files({"model": model_path, "map": map_path, "reference": reference})
    comparisons = []
    for likelihood in dict.fromkeys((PAPERS_LIKELIHOOD, settings.likelihood)):
        folder = out if likelihood == PAPERS_LIKELIHOOD else out / likelihood
        said: list[str] = []

        def say(text: str, said: list[str] = said) -> None:
            said.append(text)
            shown.message(text)

        with announced_compilation(shown.message, thread_count(settings)):
            prepared = _prepare(inputs, replace(settings, likelihood=likelihood), plan, say)
            # Nothing about the input can be wrong any more.
            make_folder(folder)
            log = LogReporter(folder / LOG_FILE)
            for text in said:
                log.message(text)
            comparison = _run_all(prepared, plan, Reporters([shown, log]), described)
        write_comparison(comparison, folder)
        comparisons.append(comparison)
    return tuple(comparisons)


def amplitude_cost(problem: Problem, likelihood: Likelihood) -> AmplitudeCost:
    """Measure what the mode amplitudes of ``combined`` add to the time of a gradient of ``local``.

    The deformation alone is where the two differ: coordinates from unknowns, and the gradient back.
    """
    local, combined = (Deformation(name, problem.start, problem.mode_vectors) for name in ("local", "combined"))
    posterior = problem.posterior(likelihood.clone(), [term.clone() for term in problem.terms], combined)
    theta, gradient = np.zeros(combined.n_dim), np.ones_like(problem.start)

    def deform(deformation: Deformation) -> None:
        unknowns = theta[: deformation.n_dim]
        deformation.pull_back(unknowns, deformation.coordinates(unknowns), gradient)

    # Alternating, so that whatever else the machine does falls on both alike.
    times = np.array(
        [
            [_timed(lambda: posterior(theta)), _timed(lambda: deform(local)), _timed(lambda: deform(combined))]
            for _ in range(_N_TIMED)
        ]
    )
    whole, without, with_modes = np.median(times, axis=0).tolist()
    return AmplitudeCost(1e3 * whole, 1e3 * max(with_modes - without, 0.0))


def _prepare(inputs: Inputs, settings: FitConfig, plan: ComparePlan, say: Callable[[str], None]) -> PreparedFit:
    """Check the inputs and make them into what all approaches share."""
    # As in the runs: the last bits of the modes must not depend on the cores that a library finds.
    with threadpool_limits(1):
        prepared = prepare(inputs, replace(plan.config(settings), deformation="combined"), say)
    if plan.floor:
        _answer(prepared)
    return prepared


def _run_all(prepared: PreparedFit, plan: ComparePlan, reporter: Reporter, described: Mapping[str, str]) -> Comparison:
    problem = prepared.problem
    problems = {name: replace(problem, config=replace(problem.config, deformation=name)) for name in plan.approaches}
    if plan.floor:
        problems[FLOOR] = replace(problem, ca=problem.ca.with_coords(_answer(prepared)))
    # One likelihood for all: the map's scale is fitted at r_init, wherever a run starts.
    (likelihood,) = stage_likelihoods(problem, (Stage(ADAPTING, prepared.config.resolution, plan.n_adapting),))
    approaches = []
    for name, variant in problems.items():
        reporter.message(f"{name}: {plan.runs} runs of {plan.iterations} iterations")
        approaches.append(_run(name, variant, likelihood, plan.n_adapting, reporter))
    with threadpool_limits(1):
        cost = amplitude_cost(problem, likelihood)
    comparison = Comparison(prepared, tuple(approaches), plan.domains, cost, described)
    reporter.message(outcome(comparison))
    return comparison


def _run(name: str, problem: Problem, likelihood: Likelihood, n_adapting: int, reporter: Reporter) -> ApproachRuns:
    """Make all runs of one approach."""
    began, cpu_began = time.perf_counter(), time.process_time()
    runs = run_adapting(problem, likelihood, n_adapting, reporter)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    r_hat_max, ess_min = _agreement(runs)
    return ApproachRuns(
        name=name,
        config=problem.config,
        records=tuple(record for run in runs for record in run.records),
        final=np.array([run.draws[-1] for run in runs], dtype=np.float64),
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        n_gradients=sum(run.n_gradients for run in runs),
        r_hat_max=r_hat_max,
        ess_min=ess_min,
    )


def _agreement(runs: Sequence[Run]) -> tuple[float, float]:
    """Return the largest R-hat and the least effective number of draws over the log density and all coordinates."""
    n_draws = len(runs[0].draws)
    coords = np.array([run.draws.reshape(n_draws, -1) for run in runs])  # (n_runs, n_draws, 3 n_ca)
    density = np.array([[row.values["log_density"] for row in run.records[-n_draws:]] for run in runs])
    found = [r_hat_and_ess(coords), r_hat_and_ess(density[..., np.newaxis])]
    # fmax and fmin pass over NaN: what never changed, or too few draws.
    r_hat, ess = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return float(np.fmax.reduce(r_hat)), float(np.fmin.reduce(ess))


def _answer(prepared: PreparedFit) -> Array:
    """Return the known answer for every CA of the model, shape (n_ca, 3).

    Raises
    ------
    InputError
        If there is none, or it lacks residues.
    """
    problem = prepared.problem
    if problem.reference is None:
        raise InputError("floor: expected a known answer to start from, got none; give it with --reference")
    answer, matched = problem.reference
    n_ca = prepared.ca.n_atoms
    if len(matched) < n_ca:
        raise InputError(
            f"floor: expected a reference with all {n_ca} residues of the model, got one with {len(matched)} of them; "
            "leave out --floor, or remove the other residues from the model"
        )
    coords = np.empty((n_ca, 3))
    coords[matched] = answer
    return coords


def outcome(comparison: Comparison) -> str:
    """Return what came out as a table: for each approach the final values, averaged over the runs, and the time."""
    summary = comparison.summary()
    rows = []
    for name, found in summary["approaches"].items():
        final, within = found["final"], found["iteration_within_1_percent"]
        cells = [f"cc_uncentred {final['cc_uncentred']['mean']:.4f} ± {final['cc_uncentred']['sd']:.4f}"]
        cells.append(f"within 1 % from iteration {within['cc_uncentred']}")
        if REFERENCE_COLUMN in final:
            cells.append(f"RMSD {final[REFERENCE_COLUMN]['mean']:.2f} ± {final[REFERENCE_COLUMN]['sd']:.2f} Å")
        cells.append(f"{found['seconds']:.0f} s")
        rows.append((name, ", ".join(cells)))
    return as_table(rows)


def _timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began
