"""The table of jobs of a batch, and the table and page of what they found."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from bayesflex.config import FitConfig
from bayesflex.errors import ConfigError, InputError
from bayesflex.workflows.batch_jobs import read_jobs
from bayesflex.workflows.batch_results import COLUMNS, DONE, FAILED, WAITING, BatchRow, page, row_of, write_batch


@pytest.fixture
def table(tmp_path):
    """Writes a table of jobs and reads it."""

    def read(text, **keywords):
        path = tmp_path / "my jobs.csv"
        path.write_text(text, encoding="utf-8")
        return read_jobs(path, **keywords)

    return read


def test_jobs_with_settings_of_every_kind(table, tmp_path):
    first, second = table(
        "name, model, map, resolution, rigid, modes, stages, seed, half1, half2, sigma\n"
        '"a b",m.cif,/maps/1.mrc,5,yes,7-9,"20,12",3,h1.mrc,h2.mrc,\n'
        "\n"
        "été,sub/m.cif,2.mrc,6.5,false,4,,,,,1.5\n"
    )
    assert (first.name, second.name) == ("a b", "été")
    assert first.files.model == tmp_path / "m.cif"
    assert first.files.map == Path("/maps/1.mrc")
    assert first.files.half_maps == (tmp_path / "h1.mrc", tmp_path / "h2.mrc")
    assert first.config == FitConfig(resolution=5.0, rigid=True, modes=(7, 8, 9), stages=(20.0, 12.0), seed=3)
    assert second.config == FitConfig(resolution=6.5, modes=(7, 8, 9, 10), sigma=1.5)
    assert second.files.half_maps is None
    assert json.loads(json.dumps(first.record())) == first.record() != second.record()


def test_settings_of_all_jobs(table, tmp_path):
    (tmp_path / "all.toml").write_text("resolution = 5\nchains = 2\n")
    first, second = table("name,model,map,chains\na,m,d,\nb,m,d,3\n", config=tmp_path / "all.toml")
    assert first.config == FitConfig(resolution=5.0, chains=2)
    assert second.config == FitConfig(resolution=5.0, chains=3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "columns name, model, map"),
        ("name,model\na,b\n", "columns"),
        ("name,model,map,colour\na,b,c,red\n", "colour"),
        ("name,model,map,map\na,b,c,d\n", "each once"),
        ("name,model,map\n", "at least one job"),
        ("name,model,map\na,b\n", "line 2: expected 3 cells"),
        ("name,model,map\n,b,c\n", "line 2: expected a name"),
        ("name,model,map\na,b,\n", "line 2: expected a map"),
        ("name,model,map,resolution\na,b,c,5\nA,b,c,5\n", "line 3: the name 'A' is there twice"),
        ("name,model,map,resolution,half1\na,b,c,5,h\n", "both half maps"),
        ('name,model,map\n"a,b,c\n', "cannot be read"),
    ],
)
def test_tables_that_are_none(table, text, said):
    with pytest.raises(InputError, match=re.escape(said)):
        table(text)


@pytest.mark.parametrize("name", ["../up", "/root", ".", "..", ".hidden", "a/b", "a\\b", "c:", "batch.csv", "end."])
def test_names_that_leave_the_folder_are_refused(table, name):
    with pytest.raises(InputError, match="cannot be the name of a folder"):
        table(f'name,model,map,resolution\n"{name}",b,c,5\n')


@pytest.mark.parametrize(
    ("column", "value"),
    [("resolution", "five"), ("rigid", "perhaps"), ("chains", "2.5"), ("seed", "-1"), ("modes", "x")],
)
def test_settings_that_cannot_be_used_name_their_line(table, column, value):
    heading, row = ("name,model,map,resolution", "a,b,c,5") if column != "resolution" else ("name,model,map", "a,b,c")
    with pytest.raises(ConfigError, match=rf"line 2: .*{column}"):
        table(f"{heading},{column}\n{row},{value}\n")


def test_a_table_of_something_else(tmp_path):
    (tmp_path / "jobs.csv").write_bytes(b"\xff\xfe\x00\x01" * 50)
    for path in (tmp_path / "jobs.csv", tmp_path / "missing.csv", tmp_path):
        with pytest.raises(InputError, match="cannot be read as a table of jobs"):
            read_jobs(path)


HOSTILE = "<script>alert(1)</script>&\"'"


def test_the_page_escapes_what_files_hold(tmp_path):
    (tmp_path / "a'b").mkdir()
    (tmp_path / "a'b" / "report.html").write_text("")
    rows = [BatchRow("a'b", DONE, "", {"cc_centred": 0.5}, (HOSTILE,)), BatchRow("x", FAILED, HOSTILE)]
    text = page(rows, tmp_path)
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 2
    assert 'href="./a%27b/report.html"' in text
    assert "1 done, 1 failed" in text


def test_rows_are_read_from_summaries_and_written_whole(tmp_path):
    (tmp_path / "good").mkdir()
    summary = {
        "cc_centred": {"start": 0.1, "fitted": 0.9},
        "r_hat_max": None,
        "seconds": {"total": 3},
        "warnings": ["w"],
    }
    (tmp_path / "good" / "summary.json").write_text(json.dumps(summary))
    good, missing = row_of("good", tmp_path), row_of("missing", tmp_path)
    assert good.in_words() == "good done in 3 s, cc_centred 0.100 -> 0.900, 1 warnings"
    assert missing.state == FAILED
    write_batch([good, missing, BatchRow("later", WAITING)], tmp_path)
    with (tmp_path / "batch.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["state"] for row in rows] == [DONE, FAILED, WAITING]
    assert (rows[0]["cc_centred"], rows[0]["r_hat_max"], rows[0]["warnings"]) == ("0.9", "", "1")
