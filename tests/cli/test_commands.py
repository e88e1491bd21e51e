"""Each command from end to end, on a small model and its map."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from bayesflex.config_files import load_config
from bayesflex.geometry import rmsd
from bayesflex.io.maps import read_map
from bayesflex.io.structures import read_structure, write_structure

SHORT = ("--chains", "2", "--iterations", "3", "--no-anneal", "--warmup-iterations", "10", "--modes", "3")
FILES = (
    *("mean.cif", "fitted.cif", "fitted.pdb", "ensemble.cif", "fitted.mrc", "metrics.csv", "trace.nc", "summary.json"),
    *("config.toml", "log.txt", "cc.png", "energy.png", "amplitudes.png"),
)
SUMMARY = (
    *("cc_uncentred", "cc_centred", "rmsd_to_reference", "seconds", "n_gradients", "milliseconds_per_gradient"),
    *("n_atoms", "n_ca", "grid", "voxel_size", "acceptance", "n_divergent", "r_hat_max", "ess_min", "seed", "version"),
)


@pytest.fixture(scope="module")
def inputs(files, structure, tmp_path_factory):
    """The model, its map, and a start that lies 1 Å beside the answer."""
    folder = tmp_path_factory.mktemp("fit")
    shutil.copy(files / "map.mrc", folder / "map.mrc")
    shutil.copy(files / "model.cif", folder / "answer.cif")
    write_structure(structure.with_coords(structure.coords + [1.0, 0.0, 0.0]), folder / "start.cif")
    return folder


@pytest.fixture(scope="module")
def fitted(run, inputs):
    """A short fit with a known answer, and what it said."""
    outcome = run(
        *("fit", inputs / "start.cif", inputs / "map.mrc", "--resolution", 8, "-o", inputs / "out", *SHORT, "--rigid"),
        *("--reference", inputs / "answer.cif"),
    )
    assert outcome.code == 0, outcome.err
    return inputs / "out", outcome


def test_a_fit_writes_all_its_files_and_nothing_half_done(fitted):
    out, _ = fitted
    names = {path.name for path in out.iterdir()}
    assert set(FILES) <= names
    assert names & {"trajectory.dcd", "trajectory.xtc"}
    assert not [name for name in names if name.startswith(".") or name.endswith(".part")]


def test_a_fit_says_what_was_read_and_where_it_wrote(fitted):
    out, outcome = fitted
    assert "start.cif" in outcome.out
    assert "map.mrc" in outcome.out
    assert str(out) in outcome.out


def test_the_summary_holds_what_is_promised(fitted):
    out, _ = fitted
    summary = json.loads((out / "summary.json").read_text())
    assert set(SUMMARY) <= summary.keys()
    for name in ("cc_uncentred", "cc_centred", "rmsd_to_reference"):
        assert {"start", "fitted"} <= summary[name].keys()
    assert {"total", "modes", "sampling"} <= summary["seconds"].keys()
    assert summary["rmsd_to_reference"]["start"] == pytest.approx(1.0, abs=0.01)
    assert summary["rmsd_to_reference"]["fitted"] < 1.0
    assert summary["n_ca"] == 80


def test_the_whole_model_comes_out_and_overlays_the_map(fitted, structure, inputs):
    out, _ = fitted
    model = read_structure(out / "fitted.cif")
    for column in ("element", "atom_name", "residue_name", "residue_number", "chain"):
        np.testing.assert_array_equal(getattr(model, column), getattr(structure, column))
    assert rmsd(model.coords, structure.coords) < 2.0
    simulated, target = read_map(out / "fitted.mrc"), read_map(inputs / "map.mrc")
    assert simulated.values.shape == target.values.shape
    np.testing.assert_allclose(simulated.origin, target.origin, atol=1e-3)


def test_the_metrics_have_a_row_per_chain_and_iteration(fitted):
    out, _ = fitted
    with (out / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    kept = [row for row in rows if row["stage"] == "sampling"]
    assert sorted({row["chain"] for row in kept}) == ["0", "1"]
    assert len(kept) == 6
    assert {"cc_uncentred", "cc_centred", "log_density", "energy", "acceptance", "rmsd_to_reference"} <= rows[0].keys()


def test_the_saved_configuration_repeats_the_fit(run, fitted, inputs):
    out, _ = fitted
    config = load_config(out / "config.toml", {})
    assert (config.resolution, config.rigid, config.modes) == (8.0, True, (7, 8, 9))
    arguments = ("--config", out / "config.toml", "-o", inputs / "again", "--reference", inputs / "answer.cif")
    assert run("fit", inputs / "start.cif", inputs / "map.mrc", *arguments).code == 0
    assert (inputs / "again" / "metrics.csv").read_bytes() == (out / "metrics.csv").read_bytes()


def test_a_resolution_between_one_and_two_voxels_is_a_warning(run, files, tmp_path):
    arguments = ("--resolution", 4, "-o", tmp_path / "out", *SHORT)  # voxels of 3 Å
    outcome = run("fit", files / "model.cif", files / "map.mrc", *arguments)
    assert outcome.code == 0, outcome.err
    said = outcome.out + outcome.err + (tmp_path / "out" / "log.txt").read_text()
    assert "two voxels" in said or "6 Å" in said


def wait_for_rows(path, number: int, process: subprocess.Popen) -> None:
    """Wait until a running fit has written that many lines."""
    for _ in range(1200):
        if path.is_file() and path.read_text().count("\n") > number:
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    raise AssertionError(f"{path} did not grow to {number} lines in two minutes")


@pytest.mark.slow
def test_an_interrupted_fit_goes_on_as_if_nothing_had_happened(inputs, tmp_path, heeds_signals):
    settings = ("--resolution", "8", "--chains", "2", "--no-anneal", "--modes", "3", "--iterations", "60")
    common = (*heeds_signals, "fit", str(inputs / "start.cif"), str(inputs / "map.mrc"), *settings)
    steps = ("--steps", "2000")  # so that there is time to interrupt
    whole = [*common, *steps, "-o", str(tmp_path / "whole")]
    subprocess.run(whole, check=True, capture_output=True, timeout=300)

    parts = [*common, *steps, "-o", str(tmp_path / "parts")]
    with subprocess.Popen(parts, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        wait_for_rows(tmp_path / "parts" / "metrics.csv.part", 2 * 70, process)  # 60 of warm-up, then 10 draws
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in said

    subprocess.run([*parts, "--resume"], check=True, capture_output=True, timeout=300)
    assert (tmp_path / "parts" / "metrics.csv").read_bytes() == (tmp_path / "whole" / "metrics.csv").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_the_demo_finds_the_known_truth_and_has_nothing_to_warn_of(run, tmp_path, seed):
    outcome = run("demo", "-o", tmp_path / "demo", "--seed", seed)
    assert outcome.code == 0, outcome.err
    names = {path.name for path in (tmp_path / "demo").iterdir()}
    assert set(FILES) <= names
    summary = json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert summary["rmsd_to_reference"]["start"] > 6.0
    assert summary["rmsd_to_reference"]["fitted"] < 1.0
    assert summary["warnings"] == []
    assert "Warning" not in outcome.out
    line = next(line for line in outcome.out.splitlines() if line.startswith("opening of the hinge"))
    _, fitted, truth = map(float, line.split()[-3:])
    assert abs(fitted - truth) < 2.0


def test_simulate_writes_a_map_that_the_model_overlays(run, files, tmp_path, structure):
    outcome = run("simulate", files / "model.cif", "-o", tmp_path / "new.mrc", "--resolution", 8, "--voxel", 2)
    assert outcome.code == 0, outcome.err
    density = read_map(tmp_path / "new.mrc")
    np.testing.assert_allclose(density.voxel_size, 2.0)
    index = np.rint(density.to_index(structure.ca_trace().coords)).astype(int)
    at_ca = density.values[index[:, 2], index[:, 1], index[:, 0]]
    assert at_ca.mean() > density.values.mean() + 2 * density.values.std()


def test_simulate_repeats_its_noise_and_takes_another_map_s_grid(run, files, tmp_path):
    for name, seed in (("a.mrc", 1), ("b.mrc", 1), ("c.mrc", 2)):
        arguments = ("--resolution", 8, "--noise", 0.5, "--seed", seed, "--grid-of", files / "map.mrc")
        assert run("simulate", files / "model.cif", "-o", tmp_path / name, *arguments).code == 0
    first, same, other, grid = (
        read_map(path) for path in (tmp_path / "a.mrc", tmp_path / "b.mrc", tmp_path / "c.mrc", files / "map.mrc")
    )
    np.testing.assert_array_equal(first.values, same.values)
    assert not np.array_equal(first.values, other.values)
    assert first.values.shape == grid.values.shape
    np.testing.assert_allclose(first.origin, grid.origin, atol=1e-3)


def test_modes_lists_them_from_seven_on(run, files, tmp_path):
    outcome = run("modes", files / "model.cif", "-n", 4, "-o", tmp_path / "modes")
    assert outcome.code == 0, outcome.err
    assert [line.split()[0] for line in outcome.out.splitlines()[1:5]] == ["7", "8", "9", "10"]
    assert (tmp_path / "modes" / "modes.nmd").is_file()


def test_info_describes_a_model(run, files):
    outcome = run("info", files / "model.cif")
    assert outcome.code == 0
    assert "80, of which 80 with a CA atom" in outcome.out
    assert "1: A (80)" in outcome.out


def test_info_describes_a_map(run, files, density):
    outcome = run("info", files / "map.mrc")
    assert outcome.code == 0
    nx, ny, nz = density.shape_xyz
    assert f"{nx} × {ny} × {nz} voxels" in outcome.out
