"""What a fit reports of the poses of domains: numbers, a table, and sentences for the user."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import numpy as np
import pytest

from bayesflex.sampling import DomainPose, Starts
from bayesflex.workflows.domain_poses import summary_of_starts, warnings_of_starts, write_domain_poses

TAKEN = DomainPose(1, "A 225-318", 94, True, 5.2, -0.6, 65.0, 83.0, 18.0, 0.0)
RIVAL = DomainPose(1, "A 225-297", 73, False, 6.0, -0.1, 26.0, 152.0, 42.0, 47.0)
WORSE = DomainPose(1, "A 225-318", 94, False, 4.3, -0.6, 50.0, 10.0, 12.0, 14.0)
ALONE = DomainPose(2, "B 1-80", 80, True, 9.0, 0.0, math.nan, 90.0, 20.0, 0.0)
STRUCTURES = tuple(np.full((4, 3), shift) for shift in (0.0, 3.0, 6.0))


def test_a_pose_that_the_map_does_not_decide_is_a_warning():
    (text,) = warnings_of_starts(Starts(STRUCTURES[:1], (1.0,), (TAKEN, RIVAL, WORSE, ALONE)))
    for words in (
        "A 225-318",
        "turned by 83°",
        "1 other pose",
        "score 5.2, another 6.0",
        "39 nats",
        "domain_poses.csv",
    ):
        assert words in text
    # A pose with 0.83 of the score is none, nor one that nothing came near to.
    assert warnings_of_starts(Starts(STRUCTURES[:1], (1.0,), (TAKEN, WORSE, ALONE))) == []
    assert warnings_of_starts(Starts(STRUCTURES[:1])) == []


def test_several_starts_are_a_warning():
    (text,) = warnings_of_starts(Starts(STRUCTURES, (1.0, 0.5, 0.0), (ALONE,)))
    assert "3 arrangements" in text
    assert "up to 10 Å RMSD apart" in text


def test_the_summary_tells_which_chains_start_where():
    found = summary_of_starts(Starts(STRUCTURES, (1.0, 0.5, 0.0), (TAKEN,)), 4)
    assert [start["chains"] for start in found["starts"]] == [[0, 3], [1], [2]]
    assert [start["rmsd"] for start in found["starts"]] == pytest.approx([0.0, 3.0 * 3.0**0.5, 6.0 * 3.0**0.5])
    assert [start["log_density"] for start in found["starts"]] == [1.0, 0.5, 0.0]
    assert found["domain_poses"][0]["residues"] == "A 225-318"


def test_the_table_has_the_columns_that_the_page_names(tmp_path):
    write_domain_poses((TAKEN, RIVAL, ALONE), tmp_path / "poses.csv")
    with (tmp_path / "poses.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    page = (Path(__file__).resolve().parents[2] / "docs" / "outputs.md").read_text(encoding="utf-8")
    table = re.search(r"<!-- domain_poses: begin -->\n(.*?)<!-- domain_poses: end -->", page, flags=re.DOTALL).group(1)
    named = [name for line in table.splitlines()[2:] for name in re.findall(r"`([^`]+)`", line.split("|")[1])]
    assert named == list(rows[0])
    assert [row["taken"] for row in rows] == ["1", "0", "1"]
    assert [row["log_density"] for row in rows] == ["65", "26", ""]
