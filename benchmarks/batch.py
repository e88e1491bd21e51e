"""A batch whose workers are killed: ``python -m benchmarks.batch --jobs 24 --kills 2``.

Small proteins and maps are made, ``bayesflex batch`` fits them on two workers of this machine, and a worker is killed
by SIGKILL while it fits, as often as asked for. In the end there must be one complete result for each job, and what
killed jobs come to must be what a fit by itself comes to.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
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


def run(folder: Path, n_jobs: int, n_kills: int) -> list[str]:
    """Run a batch and kill workers; return what is wrong with its results."""
    table, out = make_jobs(folder, n_jobs), folder / "out"
    command = [sys.executable, "-m", "bayesflex", "batch", str(table), "-o", str(out), "--workers", "2"]
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
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        problems = run(Path(folder), options.jobs, options.kills)
    print("; ".join(problems) or f"{options.jobs} results, each once; killed jobs as by themselves")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
