"""``bayesflex report`` and the page that ``fit`` writes, from real folders, whole, unfinished and damaged."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from bayesflex.errors import InputError
from bayesflex.io.structures import read_structure
from bayesflex.workflows.report import command_of, read_run, write_report

SHORT = ["--resolution", 8, "--stages", 12, "--stage-iterations", 2, "--warmup-iterations", 4, "--iterations", 4]
SETTINGS = [*SHORT, "--chains", 2, "--steps", 3, "--modes", 1]
#: What a shell, HTML and a script would each take for their own.
NAME = "a\"'<b>&amp; $(x) é</script>".replace("/", "|")


@pytest.fixture(scope="module")
def made(run, files, tmp_path_factory) -> Path:
    """A folder with a fit, whose inputs have names that need care; not to be changed."""
    folder = tmp_path_factory.mktemp("report")
    shutil.copy(files / "model.cif", folder / f"{NAME}.cif")
    shutil.copy(files / "map.mrc", folder / f"{NAME}.mrc")
    arguments = [folder / f"{NAME}.cif", folder / f"{NAME}.mrc", "-o", folder / "out"]
    outcome = run("fit", *arguments, "--reference", folder / f"{NAME}.cif", *SETTINGS)
    assert outcome.code == 0, outcome.err
    assert "report.html was not written" not in outcome.out
    return folder / "out"


@pytest.fixture
def folder(made, tmp_path) -> Path:
    """A copy of the fit's folder, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "out"))


def test_the_command_writes_what_the_fit_wrote(run, made):
    before = (made / "report.html").read_bytes()
    outcome = run("report", made)
    assert outcome.code == 0, outcome.err
    assert outcome.out == f"Wrote {made / 'report.html'}\n"
    assert (made / "report.html").read_bytes() == before
    assert not [path.name for path in made.iterdir() if path.name.startswith(".")]


def test_everything_of_a_whole_run_is_found(made):
    found = read_run(made)
    assert found.notes == ()
    assert found.start.n_atoms == found.fitted.n_atoms
    assert found.density.name == f"{NAME}.mrc"
    assert found.ensemble.shape == (8, 80, 3)
    assert set(found.residues) == {
        "sd", "radius_90", "support", "contraction", "prior_only", "smoc", "cc_residue", "q_score",
        "ca_distance_outlier", "ca_angle_outlier", "ca_clash", "ramachandran_outlier",
    }  # fmt: skip
    assert found.contour is None
    assert {"frequency", "start_masked", "fitted_masked", "fitted_unmasked"} <= set(found.shells)
    assert set(found.validation) == {"start", "fitted"}
    assert len(found.residues["sd"]) == found.fitted.n_residues
    assert found.metrics.has("cc_centred")


def test_the_command_shown_repeats_the_fit(run, made, tmp_path, monkeypatch):
    words = shlex.split(read_run(made).command)
    assert words[0] == "bayesflex"
    monkeypatch.chdir(tmp_path)
    outcome = run(*words[1:])
    assert outcome.code == 0, outcome.err
    first, again = (read_structure(path / "fitted.cif").coords for path in (made, tmp_path / "again"))
    assert (first == again).all()


def test_the_start_of_a_docked_fit_is_where_docking_put_it(made, folder):
    text = (folder / "config.toml").read_text(encoding="utf-8")
    pose = "dock = true\npose = [0.0, 0.0, 0.5, 10.0, -20.0, 30.0]"
    text = text.replace("dock = false\n", "").replace("pose = []\n", "")
    (folder / "config.toml").write_text(text.replace("[fit]", f"[fit]\n{pose}"), encoding="utf-8")
    before, after = (read_run(path).start.coords for path in (made, folder))
    turn = np.array([[np.cos(0.5), -np.sin(0.5), 0.0], [np.sin(0.5), np.cos(0.5), 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(after, before @ turn.T + [10.0, -20.0, 30.0], atol=1e-6)


def test_inputs_that_moved_are_found_beside_the_run_and_others_are_not_taken(made, folder):
    original = made.parent / f"{NAME}.mrc"
    records = (folder / "config.toml").read_text(encoding="utf-8")
    elsewhere = records.replace(str(made.parent).replace("\\", "\\\\"), str(folder.parent / "elsewhere"))
    assert elsewhere != records
    (folder / "config.toml").write_text(elsewhere, encoding="utf-8")

    found = read_run(folder)
    assert found.start is None
    assert found.density_name.startswith("fitted.mrc")
    assert [note for note in found.notes if "was not found" in note and "model" in note]
    assert [note for note in found.notes if "was not found" in note and "map" in note]

    (folder / f"{NAME}.mrc").write_bytes(original.read_bytes()[:-4] + b"\0\0\0\0")
    assert [note for note in read_run(folder).notes if "other content" in note]
    assert read_run(folder).density_name.startswith("fitted.mrc")

    shutil.copy(original, folder / f"{NAME}.mrc")
    assert read_run(folder).density_name == f"{NAME}.mrc"


def test_an_unfinished_run_has_a_page(run, folder):
    for path in folder.iterdir():
        if path.name not in ("config.toml", "metrics.csv", "log.txt"):
            path.unlink()
    (folder / "metrics.csv").rename(folder / "metrics.csv.part")
    outcome = run("report", folder)
    assert outcome.code == 0, outcome.err
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "The run is not finished" in text
    assert 'id="show-start"' in text
    assert 'id="show-fitted"' not in text
    assert 'data-run-chart="0"' in text


def test_a_run_that_just_began_has_a_page(run, folder):
    for path in folder.iterdir():
        if path.name != "config.toml":
            path.unlink()
    assert run("report", folder).code == 0


def test_settings_of_another_version_are_no_reason_to_fail(folder):
    text = (folder / "config.toml").read_text(encoding="utf-8")
    (folder / "config.toml").write_text(text.replace("[fit]", "[fit]\nnot_yet_known = 3"), encoding="utf-8")
    found = read_run(folder)
    assert found.settings == {}
    assert "not_yet_known" in found.notes[0]
    assert found.fitted is not None


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("summary.json", "{", "summary.json"),
        ("summary.json", "[]", "an object"),
        ("uncertainty.csv", "a,b\n1,2\n", "uncertainty.csv"),
        ("uncertainty.csv", "chain,number\nA\n", "line 2"),
        ("validation_residues.csv", "", "is empty"),
        ("validation.json", "3", "an object"),
        ("metrics.csv", "nothing", "metrics.csv"),
        ("trace.nc", "nothing", "trace.nc"),
        ("fitted.cif", "", "fitted.cif"),
        ("config.toml", "= 3", "config.toml"),
    ],
)
def test_a_damaged_file_is_named(run, folder, file, content, said):
    (folder / file).write_text(content, encoding="utf-8")
    before = (folder / "report.html").read_bytes()
    outcome = run("report", folder)
    assert outcome.code == 2
    assert outcome.err.startswith("Error: ")
    assert said in outcome.err
    assert (folder / "report.html").read_bytes() == before


def test_a_cell_that_is_no_number_is_named(run, folder):
    text = (folder / "uncertainty.csv").read_text(encoding="utf-8")
    (folder / "uncertainty.csv").write_text(text.replace(",sampled,", ",sampled,x", 1), encoding="utf-8")
    outcome = run("report", folder)
    assert outcome.code == 2
    assert "column sd holds something that is no number" in outcome.err


def test_a_folder_without_a_run_is_refused(run, tmp_path):
    for path, said in ((tmp_path, "without config.toml"), (tmp_path / "none", "no such folder")):
        outcome = run("report", path)
        assert outcome.code == 2
        assert said in outcome.err


def test_tables_that_do_not_go_together_are_not_shown(folder):
    text = (folder / "uncertainty.csv").read_text(encoding="utf-8")
    (folder / "uncertainty.csv").write_text(text.replace("A,1,,", "A,5000,,", 1), encoding="utf-8")
    found = read_run(folder)
    assert "sd" not in found.residues
    assert "smoc" in found.residues
    assert "uncertainty.csv" in found.notes[0]


def test_a_page_that_fails_costs_no_result(run, files, tmp_path, monkeypatch):
    def fail(data):
        raise RuntimeError("of all things")

    monkeypatch.setattr("bayesflex.workflows.report.render_page", fail)
    outcome = run("fit", files / "model.cif", files / "map.mrc", "-o", tmp_path / "out", *SETTINGS)
    assert outcome.code == 0, outcome.err
    said = " ".join(outcome.out.split())
    assert "Warning: report.html was not written (of all things)" in said
    assert json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert not (tmp_path / "out" / "report.html").exists()
    with pytest.raises(RuntimeError):
        write_report(tmp_path / "out")


def test_a_fit_from_python_has_no_command():
    assert command_of({"model": "a name", "map": "another"}, Path("config.toml")) is None


def test_a_page_that_cannot_be_written_is_told(folder):
    (folder / "report.html").unlink()
    (folder / "report.html").mkdir()
    with pytest.raises(InputError, match=r"report\.html"):
        write_report(folder)
