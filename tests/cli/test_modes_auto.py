"""``fit --modes auto``: what users see, what is written, and what they get wrong."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from bayesflex.config_files import load_config

SHORT = ("--resolution", 8, "--bead", "ca", "--no-anneal", "--warmup-iterations", 8, "--iterations", 3, "--steps", 4)


def test_the_number_of_modes_is_chosen_shown_and_kept(run, files, tmp_path):
    out = tmp_path / "out"
    flags = ("--chains", 1, "--deformation", "global", "--modes", "auto")
    outcome = run("fit", files / "model.cif", files / "map.mrc", "-o", out, *SHORT, *flags)
    assert outcome.code == 0, outcome.err
    said = " ".join(outcome.out.split())
    for expected in ("predict data that they do not see", "log predictive density", "modes: 20 tried"):
        assert expected in said
    with (out / "mode_scores.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    page = (Path(__file__).resolve().parents[2] / "docs" / "outputs.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- mode_scores: begin -->\n(.*?)<!-- mode_scores: end -->", page, flags=re.DOTALL).group(1)
    assert {line.split("`")[1] for line in table.splitlines()[2:]} == rows[0].keys()
    assert [row["modes"] for row in rows][:4] == ["0", "4", "10", "20"]
    (chosen,) = (int(row["modes"]) for row in rows if row["chosen"] == "1")
    # The model is where the map shows it: no modes are needed, and global takes the fewest.
    assert chosen == 0
    assert "may be noise" in said
    config = load_config(out / "config.toml", {})
    assert config.modes == (7, 8, 9, 10)
    assert "may be noise" in json.loads((out / "summary.json").read_text(encoding="utf-8"))["warnings"][0]
    assert "log predictive density" in (out / "log.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--modes", "auto", "--deformation", "local"), ["modes: auto", "deformation local", "--deformation local"]),
        (("--modes", "automatic"), ["modes: expected a count", "or auto, got 'automatic'"]),
    ],
)
def test_what_cannot_be(run, files, tmp_path, flags, named):
    outcome = run("fit", files / "model.cif", files / "map.mrc", "-o", tmp_path / "out", *SHORT, *flags)
    assert outcome.code == 2
    (line,) = outcome.err.rstrip("\n").split("\n")
    for words in named:
        assert words in line
    assert not (tmp_path / "out").exists()


def test_compare_wants_a_number(run, files, tmp_path):
    arguments = (files / "model.cif", files / "map.mrc", "-o", tmp_path / "out", "--resolution", 8)
    outcome = run("compare", *arguments, "--modes", "auto", "--runs", 1)
    assert outcome.code == 2
    assert "modes: auto is chosen by `bayesflex fit`" in outcome.err
