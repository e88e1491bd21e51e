"""The command for many fits: what is refused, what a second run does, and workers that are killed."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from bayesflex.io.folder_lock import FolderLock
from bayesflex.workflows import batch

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = "chains,iterations,anneal,warmup_iterations,modes,steps,threads", "1,4,no,6,2,4,1"


@pytest.fixture
def jobs(files, tmp_path):
    """A table with a job that works and one whose model is missing."""
    path = tmp_path / "jobs.csv"
    good = f"good one,{files / 'model.cif'},{files / 'map.mrc'},8,{SETTINGS[1]}\n"
    path.write_text(
        f"name,model,map,resolution,{SETTINGS[0]}\n{good}bad,missing.cif,{files / 'map.mrc'},8,{SETTINGS[1]}\n"
    )
    return path


def rows(out):
    with (out / "batch.csv").open(newline="", encoding="utf-8") as file:
        return {row["name"]: row for row in csv.DictReader(file)}


@pytest.fixture
def here(monkeypatch):
    """Jobs are run in this process, one after the other; returns the names of those that were."""
    ran = []

    def run(jobs, out, scheduler, workers):
        for job in jobs:
            ran.append(job.name)
            reason = batch.fit_job(job, out)
            yield batch.row_of(job.name, out) if reason is None else batch.BatchRow(job.name, batch.FAILED, reason)

    monkeypatch.setattr(batch, "_run", run)
    return ran


def test_a_job_that_fails_does_not_stop_the_others_and_a_second_run_does_what_is_left(run, jobs, tmp_path, files, here):
    out = tmp_path / "out"
    outcome = run("batch", jobs, "-o", out)
    assert outcome.code == 1
    assert "1 of 2 jobs failed" in outcome.err
    assert {name: row["state"] for name, row in rows(out).items()} == {"good one": "done", "bad": "failed"}
    assert "missing.cif" in rows(out)["bad"]["message"]
    assert float(rows(out)["good one"]["cc_centred"]) > 0.5
    assert not (out / "bad").exists()
    (tmp_path / "missing.cif").write_bytes((files / "model.cif").read_bytes())
    before = (out / "good one" / "summary.json").read_bytes()
    again = run("batch", jobs, "-o", out)
    assert again.code == 0, again.err
    assert here == ["good one", "bad", "bad"]
    assert (out / "good one" / "summary.json").read_bytes() == before
    assert {row["state"] for row in rows(out).values()} == {"done"}
    # A job of the same name and other settings is another fit.
    jobs.write_text(jobs.read_text().replace(",8,", ",9,", 1))
    changed = run("batch", jobs, "-o", out)
    assert changed.code == 1
    assert "other files or settings" in rows(out)["good one"]["message"]


def test_what_cannot_begin_is_said_at_once(run, jobs, tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("the only copy")
    refused = run("batch", jobs, "-o", tmp_path / "full")
    assert (refused.code, "new or empty" in refused.err) == (2, True)
    both = run("batch", jobs, "-o", tmp_path / "out", "--workers", 2, "--scheduler", "tcp://127.0.0.1:1")
    assert both.code == 2
    monkeypatch.setitem(sys.modules, "distributed", None)
    missing = run("batch", jobs, "-o", tmp_path / "out")
    assert missing.code == 2
    assert "python -m pip install 'bayesflex[batch]'" in missing.err
    assert not (tmp_path / "out").exists()


def test_a_second_batch_in_the_folder_is_refused(run, jobs, tmp_path, here):
    out = tmp_path / "out"
    out.mkdir()
    with FolderLock(out):
        outcome = run("batch", jobs, "-o", out)
    assert outcome.code == 2
    assert "writes this folder" in outcome.err
    assert here == []


@pytest.mark.slow
@pytest.mark.parametrize("where", [["--jobs", "4"], ["--jobs", "3", "--external"]], ids=["here", "cluster"])
def test_killed_workers_cost_no_result(where):
    """Of this machine, and of a cluster of processes that runs already."""
    command = [sys.executable, "-m", "benchmarks.batch", "--kills", "1", *where]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{where[1]} results, each once" in done.stdout
