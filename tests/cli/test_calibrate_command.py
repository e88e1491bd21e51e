"""The command ``calibrate``: what it writes and says."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(scope="module")
def calibrated(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("calibrate") / "out"
    return run("calibrate", "-o", out, "--replicates", 2, "--threads", 1, "--seed", 3), out


def test_it_writes_numbers_tables_and_a_figure(calibrated):
    outcome, out = calibrated
    assert outcome.code == 0
    assert {path.name for path in out.iterdir()} == {
        "calibration.json",
        "calibration.csv",
        "calibration.png",
        "ranks.csv",
        "replicates.jsonl",
    }
    numbers = json.loads((out / "calibration.json").read_text(encoding="utf-8"))
    assert set(numbers["coverage"]) == set(numbers["amplitude_coverage"]) == {"50", "80", "90", "95"}
    assert all(0.0 <= share <= 1.0 for share in numbers["coverage"].values())
    assert numbers["replicates"] == 2
    assert numbers["settings"] == {
        "likelihood": "marginal",
        "observations": "resolution",
        "resolution": 6.0,
        "seed": 3,
    }
    assert all(0.0 < p <= 1.0 for p in numbers["p_values"].values())
    assert numbers["versions"].keys() >= {"bayesflex", "numpy"}
    assert numbers["calibrated"] is None


def test_it_says_what_came_out(calibrated):
    outcome, out = calibrated
    assert "mode amplitudes" in outcome.out
    assert "90 %" in outcome.out
    assert "Too few replicates for a verdict (2 of at least 50)" in outcome.out
    assert f"Wrote {out}" in outcome.out


def test_it_goes_on_where_it_stopped(calibrated, run):
    _, out = calibrated
    first = (out / "replicates.jsonl").read_text(encoding="utf-8")
    refused = run("calibrate", "-o", out, "--replicates", 3)
    assert refused.code == 2
    assert "--resume" in refused.err
    longer = run("calibrate", "-o", out, "--replicates", 3, "--threads", 2, "--seed", 3, "--resume")
    assert longer.code == 0
    assert (out / "replicates.jsonl").read_text(encoding="utf-8").startswith(first)
    assert json.loads((out / "calibration.json").read_text(encoding="utf-8"))["replicates"] == 3


def test_settings_that_are_none_are_refused(run, tmp_path):
    outcome = run("calibrate", "-o", tmp_path / "out", "--observations", "all")
    assert outcome.code == 2
    assert outcome.err.startswith("Error: observations: expected resolution, voxels, or a number")
    assert not (tmp_path / "out").exists()
