"""Calibrate: repeat fits whose answers are known, side by side: the task behind ``bayesflex calibrate``.

Each replicate that is done is kept at once, so that an interrupted calibration goes on where it stopped.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from threadpoolctl import threadpool_limits

from bayesflex import __version__
from bayesflex.errors import ConfigError, InputError
from bayesflex.io.output_folder import make_folder, require_new_or_empty
from bayesflex.protocols import Record, Reporter
from bayesflex.reporters import NullReporter
from bayesflex.workflows.calibration_case import Case
from bayesflex.workflows.calibration_replicate import Replicate, quantities, run_replicate
from bayesflex.workflows.calibration_results import NUMBERS_FILE, CalibrationResult, write_calibration
from bayesflex.workflows.compilation import announced_compilation

#: Replicates done, one a line, after a line with the settings.
REPLICATES_FILE = "replicates.jsonl"


@dataclass(frozen=True)
class CalibrationPlan:
    """What is calibrated.

    Parameters
    ----------
    replicates
        Truths drawn and fitted.
    likelihood, observations, resolution
        Of the fits, as of :class:`~bayesflex.config.FitConfig`.
    seed
        Of everything.
    threads
        Replicates side by side, each in a process of its own; 0 for as many as there are cores.

    Raises
    ------
    ConfigError
        If there is no replicate, or a setting is none of a fit's.
    """

    replicates: int = 200
    likelihood: str = "marginal"
    observations: str = "resolution"
    resolution: float = 6.0
    seed: int = 1
    threads: int = 0

    def __post_init__(self) -> None:
        if self.replicates < 1:
            raise ConfigError(f"replicates: expected at least 1, got {self.replicates}")
        Case(self.likelihood, self.observations, self.resolution)

    @property
    def settings(self) -> dict[str, object]:
        """What decides on the numbers of each replicate."""
        return {name: value for name, value in asdict(self).items() if name not in ("replicates", "threads")}

    @property
    def n_processes(self) -> int:
        """Processes to use."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(self.threads or cores, self.replicates)


def calibrate(plan: CalibrationPlan, reporter: Reporter | None = None) -> CalibrationResult:
    """Run all replicates of a plan, in memory.

    With more than one process a script that calls this must guard its own start (``if __name__ == "__main__"``), as
    Python's ``multiprocessing`` asks.

    Parameters
    ----------
    plan
        What is calibrated.
    reporter
        Hears of each replicate as of an iteration of one chain.
    """
    return _run(plan, {}, None, NullReporter() if reporter is None else reporter)


def run_calibrate(
    out: Path, plan: CalibrationPlan, *, resume: bool = False, reporter: Reporter | None = None
) -> CalibrationResult:
    """Run all replicates of a plan and write them to a folder.

    Parameters
    ----------
    out
        Folder to write, new or empty.
    plan
        What is calibrated.
    resume
        Go on with the calibration in the folder, which may also be made longer.
    reporter
        Hears of each replicate, as of an iteration of one chain.

    Raises
    ------
    InputError
        If the folder is not empty, or with ``resume`` holds nothing to go on with or a calibration with other
        settings, or a file cannot be written.
    KeyboardInterrupt
        Passed on once the replicates that run have ended; those done are kept.
    """
    path = out / REPLICATES_FILE
    done: dict[int, Replicate] = {}
    if resume:
        done = _read_replicates(path, plan)
    else:
        require_new_or_empty(out, remedy="Choose another with -o, or go on with a calibration in it by --resume.")
        make_folder(out)
        _append(path, {"settings": plan.settings, "version": __version__})
    (out / NUMBERS_FILE).unlink(missing_ok=True)
    result = _run(plan, done, path, NullReporter() if reporter is None else reporter)
    write_calibration(result, out)
    return result


def _run(plan: CalibrationPlan, done: dict[int, Replicate], path: Path | None, reporter: Reporter) -> CalibrationResult:
    began = time.perf_counter()
    done = {index: replicate for index, replicate in done.items() if index < plan.replicates}
    reporter.start(1, plan.replicates)
    try:
        with announced_compilation(reporter.message):
            for replicate in _replicates(plan, [index for index in range(plan.replicates) if index not in done]):
                if path is not None:
                    _append(path, replicate.record())
                values = {"acceptance": replicate.acceptance, "divergent": float(replicate.divergent > 0)}
                reporter.record(Record(0, len(done), "replicates", values))
                done[replicate.index] = replicate
    finally:
        reporter.finish()
    coordinates, amplitudes, others = quantities(_case(plan))
    return CalibrationResult(
        settings=plan.settings,
        coordinates=coordinates,
        amplitudes=amplitudes,
        others=others,
        replicates=tuple(done[index] for index in sorted(done)),
        seconds=time.perf_counter() - began,
    )


def _replicates(plan: CalibrationPlan, indices: list[int]) -> Iterator[Replicate]:
    """Yield replicates as they are done."""
    # The first is made here, so that kernels are compiled once and the processes find them in the cache.
    for index in indices[: 1 if plan.n_processes > 1 else None]:
        yield _replicate(plan, index)
    rest = indices[1:]
    if plan.n_processes == 1 or not rest:
        return
    # New processes, not copies of this one, which may have threads.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(plan.n_processes, context, initializer=_start_process)
    try:
        for future in as_completed([pool.submit(_replicate, plan, index) for index in rest]):
            yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _start_process() -> None:
    """Leave an interrupt by the user to the process that waits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _replicate(plan: CalibrationPlan, index: int) -> Replicate:
    # The processes use the cores.
    with threadpool_limits(1):
        return run_replicate(_case(plan), plan.seed, index)


@lru_cache(maxsize=1)
def _case(plan: CalibrationPlan) -> Case:
    """Return the case of a plan, made once in each process."""
    return Case(plan.likelihood, plan.observations, plan.resolution)


def _append(path: Path, record: object) -> None:
    """Add a line to a file, on the disk when the call returns.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}). Free some space and go on with --resume."
        ) from error


def _read_replicates(path: Path, plan: CalibrationPlan) -> dict[int, Replicate]:
    """Return the replicates done, by number; a last line that was cut off is dropped, in the file too.

    Raises
    ------
    InputError
        If the file is missing or holds a calibration with other settings.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{path.parent}: expected a folder with a calibration to go on with, got one without {path.name} "
            f"({error.strerror}). Check the name given with -o, or leave out --resume to begin one."
        ) from None
    whole = text[: text.rfind("\n") + 1]
    try:
        header, *records = [json.loads(line) for line in whole.splitlines()]
        replicates = [Replicate.of_record(record) for record in records]
        settings, made_by = header["settings"], header["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: expected the replicates of a calibration, one a line, got something else ({error}). "
            "Begin anew in another folder."
        ) from None
    for name, value in plan.settings.items():
        if settings.get(name) != value:
            raise InputError(
                f"{path.parent}: the calibration in it has {name} {settings.get(name)}, not {value}. Give the same "
                "settings with --resume, or begin anew in another folder."
            )
    if made_by != __version__:
        raise InputError(
            f"{path.parent}: the calibration in it was made by bayesflex {made_by}, this is {__version__}. "
            "Begin anew in another folder."
        )
    if whole != text:
        try:
            path.write_text(whole, encoding="utf-8")
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror or error}).") from error
    return {replicate.index: replicate for replicate in replicates}
