"""``bayesflex compare``: from files to a folder, and what it refuses."""

from __future__ import annotations

import csv
import json

import pytest


@pytest.fixture(scope="module")
def compared(run, files, tmp_path_factory):
    out = tmp_path_factory.mktemp("compare") / "out"
    outcome = run(
        *("compare", files / "model.cif", files / "map.mrc", "--resolution", 8, "-o", out, "--runs", 2),
        *("--iterations", 4, "--modes", "7,9", "--reference", files / "model.cif", "--floor", "--threads", 1),
        *("--approaches", "global,combined", "--domain", "front=1-40"),
    )
    assert outcome.code == 0, outcome.err
    return out, outcome


@pytest.mark.slow
def test_it_writes_the_table_the_numbers_the_figures_and_a_folder_each(compared):
    out, outcome = compared
    files = {"comparison.csv", "comparison.json", "cc.png", "rmsd.png", "amplitudes.png", "structures.png", "log.txt"}
    assert {path.name for path in out.iterdir()} == files | {"global", "combined", "floor"}
    assert {"averaged.cif", "runs.cif", "metrics.csv", "config.toml"} <= {
        path.name for path in (out / "global").iterdir()
    }
    with (out / "comparison.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 5
    assert [row["stage"] for row in rows[:5]] == ["start", "adapting", "sampling", "sampling", "sampling"]
    assert {name for name in rows[0] if name.startswith("amplitude_")} == {"amplitude_7", "amplitude_9"}
    assert str(out) in outcome.out
    assert "combined" in outcome.out


@pytest.mark.slow
def test_the_numbers_are_those_of_the_table(compared):
    out, _ = compared
    numbers = json.loads((out / "comparison.json").read_text())
    with (out / "comparison.csv").open(newline="") as file:
        last = [row for row in csv.DictReader(file) if row["approach"] == "combined" and row["iteration"] == "4"]
    final = numbers["approaches"]["combined"]["final"]["rmsd_to_reference"]
    assert final["runs"] == pytest.approx([float(row["rmsd_to_reference"]) for row in last], rel=1e-9)
    assert numbers["modes"] == [7, 9]
    assert set(numbers["start"]["rmsd_to_reference"]) == {"all", "all_superposed", "front"}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--approaches", "local,none"), "none"),
        (("--domain", "front"), "N=1-189"),
        (("--floor",), "--reference"),
        (("--iterations", 3, "--adapting", 3), "--adapting"),
        (("--likelihood", "student"), "likelihood"),
    ],
)
def test_what_cannot_be_compared_is_refused_and_leaves_nothing(run, files, tmp_path, flags, said):
    out = tmp_path / "out"
    outcome = run("compare", files / "model.cif", files / "map.mrc", "--resolution", 8, "-o", out, *flags)
    assert outcome.code == 2
    assert said in outcome.err
    assert not out.exists()
