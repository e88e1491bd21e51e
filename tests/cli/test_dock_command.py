"""``bayesflex dock`` and ``bayesflex fit --dock`` from end to end."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest

from bayesflex.config import FitConfig
from bayesflex.config_files import load_config
from bayesflex.docking.pose import moved
from bayesflex.geometry import rmsd
from bayesflex.io.maps import read_map, write_map
from bayesflex.io.structures import read_structure, write_structure
from bayesflex.workflows.fit import resume_fit, run_fit
from unit.small_fit import Interrupter, Interruption

SHORT = ("--chains", "2", "--iterations", "3", "--no-anneal", "--warmup-iterations", "10", "--modes", "3")
MOTION = [1.2, -0.7, 1.9, 250.0, -180.0, 90.0]


@pytest.fixture(scope="module")
def inputs(files, structure, tmp_path_factory):
    """The map, the answer, and a start turned and shifted so that it lies outside the map."""
    folder = tmp_path_factory.mktemp("dock")
    shutil.copy(files / "map.mrc", folder / "map.mrc")
    shutil.copy(files / "model.cif", folder / "answer.cif")
    write_structure(structure.with_coords(moved(structure.coords, MOTION)), folder / "start.cif")
    return folder


@pytest.fixture(scope="module")
def docked(run, inputs):
    outcome = run("dock", inputs / "start.cif", inputs / "map.mrc", "--resolution", 8, "-o", inputs / "docked")
    assert outcome.code == 0, outcome.err
    return inputs / "docked", outcome


def test_it_writes_its_files_and_nothing_half_done(docked):
    out, _ = docked
    names = {path.name for path in out.iterdir()}
    with (out / "poses.csv").open(newline="") as file:
        n_solutions = max(int(row["rank"]) for row in csv.DictReader(file))
    models = {"docked.cif"} | {f"docked-{rank}.cif" for rank in range(2, n_solutions + 1)}
    assert names == models | {"docked.pdb", "poses.csv", "summary.json", "log.txt"}


def test_the_whole_model_lies_in_its_map(docked, structure):
    out, _ = docked
    placed = read_structure(out / "docked.cif")
    assert placed.n_atoms == structure.n_atoms
    assert rmsd(placed.coords, structure.coords) < 1.0
    assert rmsd(read_structure(out / "docked.pdb").coords, structure.coords) < 1.0


def test_it_says_what_was_searched_and_what_was_found(docked):
    out, outcome = docked
    said = " ".join(outcome.out.split())
    assert "orientations, none farther than" in said
    assert "cc_local" in said
    assert f"Wrote {out}" in said
    assert "cc_local" in (out / "log.txt").read_text()


def test_poses_and_summary_agree_with_the_models(docked, inputs):
    out, _ = docked
    start = read_structure(inputs / "start.cif")
    with (out / "poses.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    summary = json.loads((out / "summary.json").read_text())
    assert float(rows[0]["cc_local"]) == pytest.approx(summary["cc_local"], abs=1e-6)
    scores = [float(row["cc_local"]) for row in rows if row["place"] == "1"]
    assert scores == sorted(scores, reverse=True)
    for row in rows:
        if row["place"] != "1":
            continue
        name = "docked.cif" if row["rank"] == "1" else f"docked-{row['rank']}.cif"
        motion = [float(row[key]) for key in ("rx", "ry", "rz", "tx", "ty", "tz")]
        np.testing.assert_allclose(moved(start.coords, motion), read_structure(out / name).coords, atol=2e-3)
        quaternion = np.array([float(row[key]) for key in ("qw", "qx", "qy", "qz")])
        assert np.linalg.norm(quaternion) == pytest.approx(1.0)
        assert 2.0 * np.arccos(quaternion[0]) == pytest.approx(np.linalg.norm(motion[:3]), abs=1e-6)
    assert float(rows[0]["ca_inside"]) == 1.0
    assert summary["n_equivalents"] == 1
    assert len(summary["input"]["map_sha256"]) == 64


def test_solutions_can_be_fewer(run, inputs, tmp_path):
    given = ("dock", inputs / "start.cif", inputs / "map.mrc", "--resolution", 8, "-o", tmp_path / "one")
    assert run(*given, "--solutions", 1).code == 0
    assert not list((tmp_path / "one").glob("docked-*.cif"))
    assert json.loads((tmp_path / "one" / "summary.json").read_text())["gap"] is not None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("--resolution", "2"), "finer than one voxel"),
        (("--resolution", "-1"), "resolution"),
        (("--resolution", "8", "--voxel", "0.5"), "larger than the map"),
        (("--resolution", "8", "--origin", "there"), "origin"),
        (("--resolution", "8", "--mask", "absent.mrc"), "absent.mrc"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(run, inputs, tmp_path, change, said):
    outcome = run("dock", inputs / "start.cif", inputs / "map.mrc", *change, "-o", tmp_path / "out")
    assert outcome.code == 2
    last = outcome.err.rstrip("\n").split("\n")[-1]
    assert last.startswith("Error: ")
    assert said in last
    assert not (tmp_path / "out").exists()


def test_a_map_without_density(run, inputs, tmp_path):
    density = read_map(inputs / "map.mrc")
    write_map(density.with_values(np.zeros_like(density.values)), tmp_path / "flat.mrc")
    outcome = run("dock", inputs / "start.cif", tmp_path / "flat.mrc", "--resolution", 8, "-o", tmp_path / "out")
    assert outcome.code == 2
    assert "got a constant one" in outcome.err


def test_a_folder_that_is_not_empty(run, inputs, docked):
    outcome = run("dock", inputs / "start.cif", inputs / "map.mrc", "--resolution", 8, "-o", docked[0])
    assert outcome.code == 2
    assert "new or empty" in outcome.err


def test_a_fit_docks_first(run, inputs, tmp_path):
    given = ("fit", inputs / "start.cif", inputs / "map.mrc", "--reference", inputs / "answer.cif", *SHORT)
    assert run(*given, "--resolution", 8, "-o", tmp_path / "undocked").code == 2  # it lies outside
    outcome = run(*given, "--resolution", 8, "--dock", "-o", tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert "solution 1 moves the model by" in " ".join(outcome.out.split())
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    # The start is the docked model, not the one that was given.
    assert summary["rmsd_to_reference"]["start"] < 1.0
    assert summary["rmsd_to_reference"]["fitted"] < 1.5
    config = load_config(tmp_path / "out" / "config.toml", {})
    assert config.dock
    assert len(config.pose) == 6
    with (tmp_path / "out" / "poses.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(rows[0][name]) for name in ("rx", "ry", "rz", "tx", "ty", "tz")] == pytest.approx(config.pose)
    assert not (tmp_path / "out" / "domain_poses.csv").exists()


@pytest.mark.slow
def test_a_docked_fit_is_resumed(inputs, tmp_path):
    config = FitConfig(
        resolution=8.0, dock=True, chains=1, iterations=6, anneal=False, warmup_iterations=6, steps=4, modes=(7, 8)
    )
    paths = (inputs / "start.cif", inputs / "map.mrc")
    run_fit(*paths, tmp_path / "whole", config)
    with pytest.raises(Interruption):
        run_fit(*paths, tmp_path / "parts", config, reporter=Interrupter(9))
    resume_fit(tmp_path / "parts", {})
    whole, parts = ((tmp_path / name / "metrics.csv").read_bytes() for name in ("whole", "parts"))
    assert whole == parts
    poses = [load_config(tmp_path / name / "config.toml", {}).pose for name in ("whole", "parts")]
    assert poses[0] == poses[1]
    # The configuration that was written docks to the same place without a search.
    said = Interrupter(1000)
    run_fit(*paths, tmp_path / "again", load_config(tmp_path / "whole" / "config.toml", {}), reporter=said)
    assert any("nothing is searched" in text for text in said.texts)
    assert (tmp_path / "again" / "metrics.csv").read_bytes() == whole


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--pose", "1,2,3,4,5,6"), "without --dock"),
        (("--dock", "--pose", "1,2,3"), "six numbers"),
        (("--dock", "--pose", "here"), "six numbers"),
    ],
)
def test_a_wrong_pose(run, inputs, tmp_path, flags, said):
    given = ("fit", inputs / "start.cif", inputs / "map.mrc", "--resolution", 8, "-o", tmp_path / "out")
    outcome = run(*given, *flags)
    assert outcome.code == 2
    assert said in outcome.err
