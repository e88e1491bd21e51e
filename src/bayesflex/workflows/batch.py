"""Batch: many fits, side by side on the workers of Dask distributed: the task behind ``bayesflex batch``.

Each job is a fit in a folder of its own, which tells whether it is new, interrupted or complete. So a job that is given
to another worker after its own was lost goes on from its checkpoint, and a batch that is begun again does what is left.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bayesflex.errors import BayesflexError, InputError
from bayesflex.io.folder_lock import FolderLock
from bayesflex.io.output_folder import make_folder, require_new_or_empty
from bayesflex.protocols import Reporter
from bayesflex.reporters import NullReporter
from bayesflex.workflows.batch_jobs import Job
from bayesflex.workflows.batch_results import DONE, FAILED, WAITING, BatchRow, row_of, write_batch
from bayesflex.workflows.fit import run_fit
from bayesflex.workflows.run_files import CONFIG_FILE, SUMMARY_FILE, write_text

#: What the jobs of a folder were, so that a job of another kind is not taken for one that is done.
JOBS_FILE = "jobs.json"

#: A job is given up when so many workers were lost while they had it: it is then what kills them.
_LOST_WORKERS = 10


def run_batch(
    jobs: Sequence[Job],
    out: Path,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    reporter: Reporter | None = None,
) -> tuple[BatchRow, ...]:
    """Make many fits and a table of what they found.

    Parameters
    ----------
    jobs
        What to fit, see :func:`bayesflex.workflows.batch_jobs.read_jobs`.
    out
        Folder to write, new or empty or of this batch: a folder for each job, ``batch.csv`` and ``batch.html``.
    scheduler
        Address of a running Dask scheduler, whose workers must see the files under the same names; by default a
        cluster of this machine is made for the time of the batch.
    workers
        Fits at the same time on this machine; by default one for every four cores. Does not go with ``scheduler``.
    reporter
        Told what happens.

    Returns
    -------
    tuple of BatchRow
        One for each job, those that failed too.

    Raises
    ------
    InputError
        If Dask distributed is missing or unreachable, or the folder is another's or cannot be written.
    KeyboardInterrupt
        Passed on; what is done is kept.
    """
    say = (NullReporter() if reporter is None else reporter).message
    _distributed()  # said before anything is written
    if not (out / JOBS_FILE).is_file():
        require_new_or_empty(out, remedy="Choose another with -o, or the folder of an earlier run of the same batch.")
    make_folder(out)
    with FolderLock(out, "Wait for that batch to end, or stop it."):
        rows = _known(jobs, out)
        write_batch(rows.values(), out)
        todo = [job for job in jobs if rows[job.name].state == WAITING]
        if len(todo) < len(jobs):
            say(f"{len(jobs) - len(todo)} of {len(jobs)} jobs are done already or cannot be begun.")
        try:
            for row in _run(todo, out, scheduler, workers):
                rows[row.name] = row
                write_batch(rows.values(), out)
                n_over = sum(one.state != WAITING for one in rows.values())
                say(f"{n_over} of {len(jobs)}: {row.in_words()}")
        except KeyboardInterrupt as error:
            error.add_note("What was done is kept; to go on, repeat the command.")
            raise
    return tuple(rows.values())


def fit_job(job: Job, out: Path) -> str | None:
    """Begin, go on with or leave alone the fit of a job; return why it failed, or None.

    Runs on a worker.
    """
    folder = out / job.name
    if (folder / SUMMARY_FILE).is_file():
        return None
    files = job.files
    try:
        # On a worker xarray would write its files by way of the scheduler.
        with importlib.import_module("dask").config.set(scheduler="threads"):
            run_fit(
                files.model,
                files.map,
                folder,
                job.config,
                reference=files.reference,
                mask=files.mask,
                fixed=files.fixed,
                half_maps=files.half_maps,
                resume=(folder / CONFIG_FILE).is_file(),
            )
    except BayesflexError as error:
        return str(error)
    except Exception as error:  # a defect in one job must not end the others
        return f"a defect of the program: {type(error).__name__}: {error}"
    return None


def _known(jobs: Sequence[Job], out: Path) -> dict[str, BatchRow]:
    """Return what is known of the jobs before any is run, and keep what they are."""
    records = {job.name: job.record() for job in jobs}
    before: dict[str, Any] = {}
    path = out / JOBS_FILE
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read as the jobs of a batch ({error}). Choose another -o.") from error
    rows = {}
    for job in jobs:
        begun = (out / job.name / CONFIG_FILE).is_file()
        if begun and before.get(job.name) != json.loads(json.dumps(records[job.name])):
            rows[job.name] = BatchRow(
                job.name,
                FAILED,
                f"{out / job.name} holds a fit of other files or settings; remove it, or give the job another name",
            )
            records[job.name] = before.get(job.name, {})
        elif (out / job.name / SUMMARY_FILE).is_file():
            rows[job.name] = row_of(job.name, out)
        else:
            rows[job.name] = BatchRow(job.name, WAITING)
    write_text(path, json.dumps(before | records, indent=1) + "\n")
    return rows


def _run(jobs: Sequence[Job], out: Path, scheduler: str | None, workers: int | None) -> Iterator[BatchRow]:
    """Yield the jobs as they end."""
    if not jobs:
        return
    distributed = _distributed()
    with _client(distributed, scheduler, workers, len(jobs)) as (client, threads):
        futures = {}
        for job in jobs:
            own = job if job.config.threads else replace(job, config=replace(job.config, threads=threads))
            futures[client.submit(fit_job, own, out.absolute(), key=f"fit-{job.name}", pure=False)] = job
        for future in distributed.as_completed(list(futures)):
            name = futures[future].name
            try:
                reason = future.result()
            except Exception as error:  # what Dask itself raises, such as KilledWorker
                reason = f"its worker was lost again and again, or the scheduler: {error}"
            yield row_of(name, out) if reason is None else BatchRow(name, FAILED, reason)


@contextlib.contextmanager
def _client(distributed: Any, scheduler: str | None, workers: int | None, n_jobs: int) -> Iterator[tuple[Any, int]]:
    """Give a client of a cluster and the threads that each fit may use, 0 for those of its worker's machine."""
    if scheduler is not None:
        try:
            client = distributed.Client(scheduler, timeout=20)
        except (OSError, ValueError) as error:
            raise InputError(f"{scheduler}: no Dask scheduler answers there ({error}). Check --scheduler.") from error
        with client:
            yield client, 0
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    n_workers = min(workers or max(1, cores // 4), n_jobs)
    settings = importlib.import_module("dask").config
    # One fit at a time on each worker. Memory is the system's affair: Dask would kill fits that it finds too large.
    with (
        settings.set({"distributed.scheduler.allowed-failures": _LOST_WORKERS}),
        distributed.LocalCluster(
            n_workers=n_workers,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address=None,
            host="127.0.0.1",
            silence_logs=50,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client, max(1, cores // n_workers)


def _distributed() -> Any:
    """Return Dask distributed, which is an extra.

    Raises
    ------
    InputError
        If it is not installed.
    """
    try:
        return importlib.import_module("distributed")
    except ImportError as error:
        raise InputError(
            f"batch: needs Dask distributed, which is not installed ({error}). "
            "Install it with: python -m pip install 'bayesflex[batch]'"
        ) from None


def n_failed(rows: Sequence[BatchRow]) -> int:
    """Return how many jobs did not come to a result."""
    return sum(row.state != DONE for row in rows)
