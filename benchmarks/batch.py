"""A batch whose workers are killed: ``python -m benchmarks.batch --jobs 24 --kills 2``.

Small proteins and maps are made, ``bayesflex batch`` fits them on two workers of this machine, and a worker is killed
by SIGKILL while it fits, as often as asked for. In the end there must be one complete result for each job, and what
killed jobs come to must be what a fit by itself comes to.

With ``--external`` the workers are those of a cluster that runs already: ``dask scheduler`` and two ``dask worker`` as
processes of their own, which the command is told of by ``--scheduler``. A killed worker is not started again there.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bayesflex.io.maps import write_map
from bayesflex.io.structures import write_structure
from bayesflex.synthetic import two_domain_pair
from bayesflex.workflows.batch_jobs import read_jobs
from bayesflex.workflows.fit import run_fit
from bayesflex.workflows.simulate import simulate

_SETTINGS = {
    "resolution": "8",
    "modes": "3",
    "chains": "2",
    "iterations": "40",
    "stages": "14,11",
    "stage_iterations": "10",
    "warmup_iterations": "30",
    "threads": "1",
}


def make_jobs(folder: Path, n_jobs: int) -> Path:
    """Write models and maps with noise of their own, and the table of jobs; return its path."""
    start, end = two_domain_pair(60, 20.0)
    write_structure(start, folder / "model.cif")
    with (folder / "jobs.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "model", "map", "seed", *_SETTINGS])
        for number in range(1, n_jobs + 1):
            write_map(simulate(end, resolution=8.0, noise=0.3, seed=number), folder / f"map {number}.mrc")
            writer.writerow([f"job-{number}", "model.cif", f"map {number}.mrc", number, *_SETTINGS.values()])
    return folder / "jobs.csv"


def kill_a_worker(out: Path, spared: set[str]) -> str | None:
    """Kill the worker of a fit that has begun to sample; return the job, or None where there is none now."""
    for lock in sorted(out.glob("*/.lock")):
        name = lock.parent.name
        if name in spared or not list(lock.parent.glob("metrics.csv.part")):
            continue
        try:
            pid = int(json.loads(lock.read_text())["pid"])
            os.kill(pid, signal.SIGKILL)
        except (OSError, ValueError):
            continue  # it ended in this moment
        return name
    return None


@contextlib.contextmanager
def external_cluster(folder: Path, n_workers: int) -> Iterator[str]:
    """Give the address of a scheduler with workers, each a process of its own, as a cluster's users start them."""
    contact = folder / "scheduler.json"
    dask = [sys.executable, "-m", "dask"]
    scheduler = [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    # Without a nanny, which would start a killed worker again.
    worker = [*dask, "worker", "--nthreads", "1", "--no-nanny", "--no-dashboard", "--memory-limit", "0"]
    known = ["--scheduler-file", str(contact)]
    place = ["--local-directory", str(folder / "dask")]
    processes = []
    with (folder / "cluster.log").open("wb") as log:

        def begin(command: list[str]) -> None:
            processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))

        try:
            begin([*scheduler, *known])
            deadline = time.monotonic() + 60.0
            while not contact.is_file() or not contact.read_text():
                if time.monotonic() > deadline or processes[0].poll() is not None:
                    raise RuntimeError(f"the scheduler did not start: {(folder / 'cluster.log').read_text()}")
                time.sleep(0.1)
            for _ in range(n_workers):
                begin([*worker, *known, *place])
            yield str(json.loads(contact.read_text())["address"])
        finally:
            for process in processes[::-1]:
                process.terminate()
            for process in processes:
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def run(folder: Path, n_jobs: int, n_kills: int, external: bool = False) -> list[str]:
    """Run a batch and kill workers; return what is wrong with its results."""
    with contextlib.ExitStack() as stack:
        where = ["--workers", "2"]
        if external:
            where = ["--scheduler", stack.enter_context(external_cluster(folder, 2))]
        return run_on(folder, n_jobs, n_kills, where)


def run_on(folder: Path, n_jobs: int, n_kills: int, where: list[str]) -> list[str]:
    """Run a batch on the workers that the flags name."""
    table, out = make_jobs(folder, n_jobs), folder / "out"
    command = [sys.executable, "-m", "bayesflex", "batch", str(table), "-o", str(out), *where]
    killed: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        began = last = time.monotonic()
        while process.poll() is None:
            time.sleep(0.05)
            if len(killed) < n_kills and time.monotonic() - last > 3.0 and (name := kill_a_worker(out, set(killed))):
                killed.append(name)
                last = time.monotonic()
        said = process.stdout.read() if process.stdout is not None else ""
    print(said)
    print(f"killed the worker of {', '.join(killed) or 'none'}; the batch took {time.monotonic() - began:.0f} s")
    problems = [] if process.returncode == 0 else [f"exit code {process.returncode}"]
    if len(killed) < n_kills:
        problems.append(f"only {len(killed)} workers were killed")
    with (out / "batch.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = [f"job-{number}" for number in range(1, n_jobs + 1)]
    if [row["name"] for row in rows] != names or any(row["state"] != "done" for row in rows):
        problems.append("not each job once and done")
    folders = sorted(path.name for path in out.iterdir() if path.is_dir())
    if folders != sorted(names) or not all((out / name / "summary.json").is_file() for name in names):
        problems.append("not one complete folder for each job")
    for job in read_jobs(table):
        if job.name in killed:
            run_fit(job.files.model, job.files.map, folder / f"alone-{job.name}", job.config)
            pair = [base / "metrics.csv" for base in (out / job.name, folder / f"alone-{job.name}")]
            if pair[0].read_bytes() != pair[1].read_bytes():
                problems.append(f"{job.name} differs from the same fit by itself")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=24)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--external", action="store_true", help="on a cluster of processes that run already")
    options = parser.parse_args()
    if options.external and options.kills > 1:
        parser.error("--external: of two workers that are not started again only one can be killed")
    with tempfile.TemporaryDirectory() as folder:
        problems = run(Path(folder), options.jobs, options.kills, options.external)
    print("; ".join(problems) or f"{options.jobs} results, each once; killed jobs as by themselves")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
