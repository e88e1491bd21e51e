"""Choice of the number of modes: short fits with more and more of them, scored on data that they do not see.

What is compared depends on what moves. In ``global`` the modes are the model: nothing else can move, and the score
tells how many of them the map supports. In ``combined`` modes change how fast a chain moves and not what it samples;
the score then tells how far fits come that are given the same warm-up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bayesflex.config import FIRST_MODE, FitConfig
from bayesflex.errors import InputError
from bayesflex.held_out import CUT, HeldOut, PredictiveScores, predictive_scores, region_diameter, split_shells
from bayesflex.io.output_folder import make_folder
from bayesflex.io.tables import read_csv, write_csv
from bayesflex.reporters import NullReporter
from bayesflex.sampling import run_chains, stage_likelihoods
from bayesflex.uncertainty import thinned
from bayesflex.workflows.preparation import Inputs, PreparedFit, prepare

Array = NDArray[np.float64]

#: The table of the scores in the folder of a fit.
MODE_SCORES_FILE = "mode_scores.csv"

#: Numbers of modes that are always tried. As long as the last is the best by more than its error, it is doubled.
CANDIDATES = (0, 4, 10, 20)
_MOST_MODES = 160

#: The trial fits: chains, of which that of the highest log density is scored and the other tells how sure that is;
#: draws of each; and draws that are scored.
_CHAINS, _ITERATIONS, _SCORED = 2, 60, 20

_COLUMNS = ("modes", "score", "below_best", "standard_error", "seconds", "chosen")


@dataclass(frozen=True)
class ModeScore:
    """How well a fit with a number of modes predicts what it has not seen.

    Parameters
    ----------
    n_modes
        M, from mode 7 on.
    score
        Log predictive density of the held-out data, nats, but for a constant that all share.
    below_best
        By how much it is less than the highest, nats.
    standard_error
        Of ``below_best``, nats, paired over blocks of Fourier coefficients.
    seconds
        Wall-clock time of its trial fit.
    """

    n_modes: int
    score: float
    below_best: float
    standard_error: float
    seconds: float


@dataclass(frozen=True)
class ModeChoice:
    """A number of modes, and the scores by which it was chosen.

    Parameters
    ----------
    deformation
        "global" or "combined", as asked for.
    scores
        One for each number of modes that was tried, rising.
    chosen
        The smallest number that predicts no worse than the best by more than one standard error.
    """

    deformation: str
    scores: tuple[ModeScore, ...]
    chosen: int

    @property
    def n_modes(self) -> int:
        """Number of modes to fit with: the chosen one, but in "global" at least the fewest that were tried above 0."""
        if self.chosen > 0 or self.deformation != "global":
            return self.chosen
        return min((score.n_modes for score in self.scores if score.n_modes > 0), default=1)

    def applied_to(self, config: FitConfig) -> FitConfig:
        """Return settings with the chosen modes; "combined" without modes is "local"."""
        if self.n_modes == 0:
            return replace(config, deformation="local", modes=first_modes(10))
        return replace(config, modes=first_modes(self.n_modes))

    def table(self) -> str:
        """Return the scores in columns."""
        rows = [("modes", "log predictive density", "below the best", "seconds")]
        rows += [
            (
                f"{one.n_modes}",
                f"{one.score:.1f}",
                "-" if one.standard_error == 0.0 else f"{one.below_best:.1f} ± {one.standard_error:.1f}",
                f"{one.seconds:.1f}",
            )
            for one in self.scores
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)

    @property
    def is_of_no_use(self) -> bool:
        """Whether "global" goes on with modes of which none was chosen."""
        return self.chosen != self.n_modes

    def conclusion(self) -> str:
        """Return what was chosen and what it means, in sentences."""
        best = min(self.scores, key=lambda one: one.below_best)
        taken = next(one for one in self.scores if one.n_modes == self.chosen)
        if best is taken:
            why = "it predicts the held-out data best, and fewer are worse by more than one standard error"
        else:
            why = (
                f"the fewest that predict the held-out data no worse than {best.n_modes} by more than one standard "
                f"error ({taken.below_best:.1f} ± {taken.standard_error:.1f} nats)"
            )
        if self.deformation == "combined":
            meaning = (
                "In combined, modes change how fast the chains move and not what they sample: these scores compare how "
                "far fits came with the same warm-up."
            )
            return f"modes: {self.chosen or 'none (local)'} chosen, {why}. {meaning}"
        if self.is_of_no_use:
            return (
                "modes: no number of modes predicts the held-out data better than none does by more than one standard "
                f"error. The fit goes on with {self.n_modes}, the fewest tried; what moves along them may "
                "be noise."
            )
        return f"modes: {self.chosen} chosen, {why}. In global, nothing but these modes can bend the model."


def first_modes(count: int) -> tuple[int, ...]:
    """Return the numbers of so many modes from the first internal one on."""
    return tuple(range(FIRST_MODE, FIRST_MODE + count))


def choose_modes(
    inputs: Inputs,
    config: FitConfig,
    say: Callable[[str], None],
    begin: Callable[[FitConfig], None] | None = None,
    checkpoints: Path | None = None,
) -> ModeChoice:
    """Choose the number of modes by prediction.

    Where there are half maps, the first is fitted and the second is predicted. Elsewhere the shells of the map from
    0.79/d to 1/d, half of its coefficients, are kept from the fit and predicted from the rest. Trial fits take scale,
    offset and noise level as unknown (``marginal``), whatever the likelihood of the fit to come.

    Parameters
    ----------
    inputs, config
        Of the fit; ``config.modes`` are not used.
    say
        Told what was read, what is tried and what came out.
    begin
        Called with the fit's settings, modes still open, once nothing about the input can be wrong any more.
    checkpoints
        Folder in which the trial fits keep theirs, or None.

    Raises
    ------
    InputError, ConfigError, SamplingError
        As a fit.
    """
    n_most = 3 * inputs.structure.trace().n_atoms - 6
    fewest = min(CANDIDATES[1], max(n_most, 1))
    prepared = prepare(inputs, replace(config, modes=first_modes(fewest)), say)
    if begin is not None:
        begin(replace(prepared.config, modes=()))
    trial, trial_config, held_values, cut, what = _parted(prepared)
    say(f"modes: their number is chosen by how well trial fits predict data that they do not see: {what}")
    waiting = [number for number in CANDIDATES if number <= n_most]
    numbers: list[int] = []
    draws: list[list[list[Array]]] = []
    seconds: list[float] = []
    while waiting:
        number = waiting.pop(0)
        fit = _prepared_trial(trial, trial_config, number)
        began = time.perf_counter()
        draws.append(_run_trial(fit, number, None if checkpoints is None else checkpoints / f"modes-{number}"))
        seconds.append(time.perf_counter() - began)
        numbers.append(number)
        say(f"modes: {number} tried in {seconds[-1]:.1f} s")
        if waiting:
            continue
        # The grid and the region do not depend on the number of modes.
        target = fit.problem.target
        held_out = HeldOut(
            target.cut(held_values, inputs.density), target.region, target.voxel_size, prepared.config.resolution, cut
        )
        scores = _scores(held_out, fit, draws)
        last_is_chosen = scores.smallest_within_one_error() == len(numbers) - 1
        if last_is_chosen and 0 < 2 * number <= min(n_most, _MOST_MODES):
            waiting.append(2 * number)
    below, error = scores.below(scores.best)
    rows = zip(numbers, scores.total, below, error, seconds, strict=True)
    choice = ModeChoice(
        prepared.config.deformation,
        tuple(ModeScore(n, float(a), float(b), float(c), float(d)) for n, a, b, c, d in rows),
        numbers[scores.smallest_within_one_error()],
    )
    say(choice.table())
    say(choice.conclusion())
    return choice


def _parted(prepared: PreparedFit) -> tuple[Inputs, FitConfig, Array, float, str]:
    """Return inputs and settings of the trial fits, the held-out map, from which frequency it counts, and in words."""
    inputs, config = prepared.inputs, prepared.config
    settings = replace(
        config,
        likelihood="marginal",
        observations="resolution" if config.observations == "voxels" else config.observations,
        evaluation="auto",
        temperatures=(),
        chains=_CHAINS,
        iterations=_ITERATIONS,
    )
    if inputs.half_maps is not None:
        first, second = inputs.half_maps
        what = f"{first.name} is fitted, and {second.name} is predicted"
        return (
            replace(inputs, density=first, half_maps=None, reference=None),
            replace(settings, observations="resolution"),
            second.values.astype(np.float64),
            0.0,
            what,
        )
    target, density = prepared.problem.target, inputs.density
    diameter = region_diameter(target.region, target.voxel_size)
    coarse, fine, cut = split_shells(density, config.resolution, diameter)
    observations = settings.observations
    if observations != "resolution":
        observations = repr(max(float(observations) * CUT**3, 1.0))
    resolution = 1.0 / cut
    settings = replace(
        settings,
        resolution=resolution,
        stages=tuple(stage for stage in config.stages if stage > resolution),
        observations=observations,
    )
    what = (
        f"the map up to {resolution:.1f} Å is fitted, and its Fourier shells from there to {config.resolution:g} Å, "
        "half of its coefficients, are predicted"
    )
    return replace(inputs, density=coarse, reference=None), settings, fine, cut, what


def _prepared_trial(inputs: Inputs, config: FitConfig, number: int) -> PreparedFit:
    """Return a trial fit with a number of modes, 0 for none."""
    if number > 0:
        return prepare(inputs, replace(config, modes=first_modes(number)), lambda text: None)
    if config.deformation == "combined":
        return prepare(inputs, replace(config, deformation="local", modes=first_modes(1)), lambda text: None)
    made = prepare(inputs, replace(config, modes=first_modes(1), recompute_modes=False), lambda text: None)
    return replace(made, problem=replace(made.problem, modes=None))


def _run_trial(fit: PreparedFit, number: int, checkpoints: Path | None) -> list[list[Array]]:
    """Run a trial fit; return draws of each chain, (n_ca, 3), Å, that of the highest mean log density first."""
    config = fit.config
    if number == 0 and config.deformation == "global" and not config.rigid and fit.problem.domains is None:
        return [[fit.problem.start]]  # nothing can move
    if checkpoints is not None:
        make_folder(checkpoints)
    likelihoods = stage_likelihoods(fit.problem, fit.stages)
    chains = run_chains(fit.problem, fit.stages, likelihoods, NullReporter(), checkpoints)
    means = [np.mean([row["log_density"] for row in chain.draws.statistics]) for chain in chains]
    best_first = [chains[index] for index in np.argsort(means)[::-1]]
    return [list(thinned(np.array(chain.draws.coords), _SCORED).astype(np.float64)) for chain in best_first]


def _scores(held_out: HeldOut, fit: PreparedFit, draws: Sequence[Sequence[Sequence[Array]]]) -> PredictiveScores:
    """Return the score of each candidate, of which there are draws of one chain or more."""
    target, beads = fit.problem.target, fit.problem.beads

    def density_of(ca: Array) -> Array:
        return target.simulated(beads.place(ca), beads.weights, beads.classes)

    ends = np.cumsum([len(chains) for chains in draws]).tolist()
    numbers = [range(end - len(chains), end) for end, chains in zip(ends, draws, strict=True)]
    return predictive_scores(held_out, [chain for chains in draws for chain in chains], density_of).best_chains(numbers)


def write_mode_scores(choice: ModeChoice, path: Path) -> None:
    """Write the table of the scores.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    rows = (
        (one.n_modes, one.score, one.below_best, one.standard_error, one.seconds, int(one.n_modes == choice.chosen))
        for one in choice.scores
    )
    # All digits: a fit that goes on makes its choice from this table.
    write_csv(path, _COLUMNS, rows, digits=None)


def read_mode_scores(path: Path, deformation: str) -> ModeChoice:
    """Read the table of the scores of a fit that was asked for a deformation.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        table = read_csv(path)
        rows = [dict(zip(table, cells, strict=True)) for cells in zip(*table.values(), strict=True)]
        scores = tuple(
            ModeScore(int(row["modes"]), *(float(row[name] or "nan") for name in _COLUMNS[1:5])) for row in rows
        )
        (chosen,) = (int(row["modes"]) for row in rows if int(row["chosen"]))
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: expected the table of mode scores of this fit, got none that can be read") from error
    return ModeChoice(deformation, scores, chosen)
