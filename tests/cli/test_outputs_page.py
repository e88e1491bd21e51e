"""The page on outputs names what a fit writes: every file, every key and every column, and nothing else."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "outputs.md").read_text(encoding="utf-8")
SHORT = ["--resolution", 8, "--stages", 12, "--stage-iterations", 2, "--warmup-iterations", 4, "--iterations", 4]


def named(table: str) -> set[str]:
    """The names in the first column of a table of the page."""
    rows = re.search(rf"<!-- {table}: begin -->\n(.*?)<!-- {table}: end -->", PAGE, flags=re.DOTALL).group(1)
    return {name for row in rows.splitlines()[2:] for name in re.findall(r"`([^`]+)`", row.split("|")[1])}


@pytest.fixture(scope="module")
def folder(run, files, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("fit") / "out"
    model = files / "model.cif"
    settings = [*SHORT, "--chains", 2, "--steps", 3, "--modes", 1]
    outcome = run("fit", model, files / "map.mrc", "-o", out, "--reference", model, *settings)
    assert outcome.code == 0, outcome.err
    return out


def test_files(folder):
    sometimes = {"cluster-2.cif", "domain_poses.csv", "mode_scores.csv", "poses.csv"}
    assert named("files") - sometimes == {path.name for path in folder.iterdir()}


def test_keys_of_the_summary(folder):
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert named("summary") - {"start", "fitted", "mean", "modes", "sampling", "total"} == set(summary)


@pytest.mark.parametrize("table", ["metrics", "diagnostics", "uncertainty", "domain_motions", "shells"])
def test_columns_of_the_tables(folder, table):
    with (folder / f"{table}.csv").open(encoding="utf-8", newline="") as file:
        assert named(table) == set(next(csv.reader(file)))


def test_readme_names_files_that_are_written(folder):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = re.search(r"^\| file \| content \|\n(.*?)\n\n", text, flags=re.DOTALL | re.MULTILINE).group(1)
    files = {name for row in table.splitlines()[1:] for name in re.findall(r"`([\w.]+\.\w+)`", row.split("|")[1])}
    assert files
    assert files <= {path.name for path in folder.iterdir()}
