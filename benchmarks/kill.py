"""Kill a fit at random moments and go on with it: ``python -m benchmarks.kill --trials 50``.

Each trial begins a small fit in a new process, every second one with replica exchange, kills it by SIGKILL at a moment
drawn uniformly over the time that a whole fit takes (reading, warm-up through blurred maps and of each temperature,
sampling, the writing of the results), looks at what lies in the folder, and goes on with it until it ends; some are
killed again on the way. The numbers must then be those of a fit that nobody interrupted. Processes are forked after the
kernels are loaded, so that a trial takes seconds, and checkpoints are written many times a second, so that many moments
fall into their writing.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bayesflex.config import FitConfig
from bayesflex.config_files import load_config
from bayesflex.errors import InputError
from bayesflex.io.maps import read_map, write_map
from bayesflex.io.structures import read_structure, write_structure
from bayesflex.sampling import chain
from bayesflex.sampling.checkpoint import load_checkpoint
from bayesflex.sampling.domain_starts import load_starts
from bayesflex.sampling.scatterers import load_scatterers
from bayesflex.synthetic import two_domain_pair
from bayesflex.trace import load_trace
from bayesflex.workflows.fit import resume_fit, run_fit
from bayesflex.workflows.simulate import simulate

#: A fit of a second, with every kind of stage: blurred and steered, warm-up, sampling.
CONFIG = FitConfig(
    resolution=8.0,
    modes=(7, 8, 9),
    chains=2,
    iterations=20,
    stages=(14.0, 11.0),
    stage_iterations=10,
    warmup_iterations=20,
    steps=8,
    threads=1,
)

#: The same with two hotter levels.
TEMPERED = replace(CONFIG, temperatures=(1.0, 1.5, 2.5))

#: Share of the trials that are killed a second time.
_TWICE = 0.3

#: Seconds between checkpoints of a trial.
_CHECKPOINT_INTERVAL = 0.02

#: What differs from run to run and is no result: the clock.
_CLOCK = ("seconds", "milliseconds_per_gradient")

#: Files that hold the time of writing, or the history of the run; their content is compared otherwise or not at all.
_TIMED = ("log.txt", "trajectory.dcd", "trace.nc", "summary.json", "report.html")


@dataclass(frozen=True)
class Trial:
    """What one trial showed."""

    seconds: float  # after which the fit was killed
    state: str  # what lay in the folder then
    problems: tuple[str, ...]


def make_inputs(folder: Path) -> tuple[Path, Path]:
    """Write a small protein and the map of another of its conformations; return their paths."""
    start, end = two_domain_pair(60, 20.0)
    model, density = folder / "model.cif", folder / "map.mrc"
    write_structure(start, model)
    write_map(simulate(end, resolution=CONFIG.resolution, noise=0.3), density)
    return model, density


def fit_or_go_on(model: Path, density: Path, out: Path, config: FitConfig) -> None:
    """Go on with the fit in the folder, or begin it where there is none."""
    if (out / "summary.json").exists():
        return
    if (out / "config.toml").exists():
        resume_fit(out, {})
    else:
        run_fit(model, density, out, config)


def forked(model: Path, density: Path, out: Path, config: FitConfig) -> int:
    """Fit in a process of its own; return its number."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            fit_or_go_on(model, density, out, config)
            code = 0
        finally:
            os._exit(code)
    return child


def killed_after(seconds: float, model: Path, density: Path, out: Path, config: FitConfig) -> None:
    """Begin or go on with a fit and kill it after so long; it may have ended before."""
    child = forked(model, density, out, config)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def ended(model: Path, density: Path, out: Path, config: FitConfig) -> bool:
    """Fit to the end; return whether it succeeded."""
    return os.waitstatus_to_exitcode(os.waitpid(forked(model, density, out, config), 0)[1]) == 0


def state_of(out: Path) -> tuple[str, list[str]]:
    """Return in a word what a killed fit left, and what is wrong with it: every file must be whole."""
    problems = []
    readers = {
        ".cif": read_structure,
        ".pdb": read_structure,
        ".mrc": read_map,
        ".npz": load_checkpoint,
        "starts.npz": load_starts,
        "scatterers.npz": load_scatterers,
    }
    stage = "nothing written"
    for path in sorted(out.rglob("*")):
        if path.name.startswith(".") or path.is_dir() or path.suffix == ".part":
            continue
        try:
            if path.name == "trajectory.pdb" or path.suffix in (".png", ".dcd", ".defattr", ".txt", ".html"):
                if path.suffix != ".txt" and path.stat().st_size == 0:
                    problems.append(f"{path.name} is empty")
            elif reader := readers.get(path.name, readers.get(path.suffix)):
                reader(path)
            elif path.suffix == ".toml":
                load_config(path, {})
            elif path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".csv":
                rows = list(csv.reader(path.open(newline="")))
                if len({len(row) for row in rows}) != 1:
                    problems.append(f"{path.name} has rows of several lengths")
        except (InputError, ValueError, OSError) as error:
            problems.append(f"{path.name}: {error}")
    if (out / "config.toml").exists():
        stage = "begun"
    checkpoints = sorted((out / "checkpoint").glob("chain-*.npz"))
    if checkpoints and not problems:
        within = [load_checkpoint(path) for path in checkpoints]
        words = []
        for progress, _, kernel in within:
            kind = "between" if progress.within is None else type(progress.within).__name__.lower()
            words.append(
                f"{len(progress.draws.coords)} draws" if kernel is not None else f"stage {progress.stage} {kind}"
            )
        stage = ", ".join(words)
    if (out / "mean.cif").exists():
        stage = "writing"
    if (out / "summary.json").exists():
        stage = "complete"
    return stage, problems


def differences(out: Path, whole: Path) -> list[str]:
    """Return in what the results in a folder differ from those of the uninterrupted fit."""
    found = []
    names, expected = ({path.name for path in folder.iterdir()} for folder in (out, whole))
    if names != expected:
        found.append(f"files {sorted(names ^ expected)}")
    for name in sorted(names & expected):
        if name not in _TIMED and (out / name).read_bytes() != (whole / name).read_bytes():
            found.append(name)
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in (out, whole)]
    found += [f"summary {key}" for key in summaries[1] if key not in _CLOCK and summaries[0][key] != summaries[1][key]]
    traces = [load_trace(folder / "trace.nc") for folder in (out, whole)]
    if not np.array_equal(traces[0].coords, traces[1].coords):
        found.append("draws")
    return found


def trial(
    rng: np.random.Generator, seconds: float, model: Path, density: Path, out: Path, whole: Path, config: FitConfig
) -> Trial:
    """Kill a fit once or twice, go on to its end, and compare."""
    moment = float(rng.uniform(0.0, seconds))
    killed_after(moment, model, density, out, config)
    state, problems = state_of(out)
    if rng.uniform() < _TWICE:
        killed_after(float(rng.uniform(0.0, seconds)), model, density, out, config)
        problems += state_of(out)[1]
    if not ended(model, density, out, config):
        problems.append("did not go on")
    else:
        problems += [f"differs: {text}" for text in differences(out, whole)]
    return Trial(moment, state, tuple(problems))


def run_trials(folder: Path, n_trials: int, seed: int = 1) -> list[Trial]:
    """Make trials in a folder, and tell each as it ends."""
    model, density = make_inputs(folder)
    chain._CHECKPOINT_INTERVAL = _CHECKPOINT_INTERVAL
    kinds = {"plain": CONFIG, "tempered": TEMPERED}
    seconds = {}
    for kind, config in kinds.items():
        fit_or_go_on(model, density, folder / f"first-{kind}", config)  # loads what the trials inherit
        began = time.perf_counter()
        if not ended(model, density, folder / f"whole-{kind}", config):
            raise RuntimeError("the uninterrupted fit failed")
        seconds[kind] = time.perf_counter() - began
        print(f"an uninterrupted {kind} fit takes {seconds[kind]:.1f} s", flush=True)
    rng = np.random.default_rng(seed)
    trials = []
    for number in range(n_trials):
        kind = list(kinds)[number % 2]
        out, whole = folder / f"trial-{number}", folder / f"whole-{kind}"
        made = trial(rng, seconds[kind], model, density, out, whole, kinds[kind])
        trials.append(made)
        verdict = "; ".join(made.problems) or "same numbers"
        print(
            f"{number + 1:>3}  {kind:<8}  killed after {made.seconds:5.2f} s  {made.state:<36}  {verdict}", flush=True
        )
    return trials


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        trials = run_trials(Path(folder), options.trials, options.seed)
    n_good = sum(not made.problems for made in trials)
    print(f"{n_good} of {len(trials)} went on to the numbers of the uninterrupted fit")
    return 0 if n_good == len(trials) else 1


if __name__ == "__main__":
    sys.exit(main())
