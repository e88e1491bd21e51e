"""What users get wrong: one line that names the input and says what to do, exit code 2, and no output left behind."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from bayesflex.density_map import DensityMap
from bayesflex.io.maps import write_map
from bayesflex.io.structures import write_structure

#: A fit that would end soon if it began.
SHORT = ("--chains", "1", "--iterations", "2", "--no-anneal", "--warmup-iterations", "5", "--modes", "3")


@pytest.fixture
def inputs(files, tmp_path):
    """A folder of one's own with ``model.cif`` and ``map.mrc``."""
    for name in ("model.cif", "map.mrc"):
        shutil.copy(files / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def fit_fails(run, inputs):
    """Runs a fit that must fail for a reason of its input, and returns the message."""

    def fails(*flags: object, model="model.cif", density="map.mrc", resolution: object = 6, out="out") -> str:
        given = () if resolution is None else ("--resolution", resolution)
        outcome = run("fit", inputs / model, inputs / density, *given, "-o", inputs / out, *SHORT, *flags)
        return check_failed(outcome, inputs / out)

    return fails


def check_failed(outcome, out=None) -> str:
    assert outcome.code == 2, outcome
    last = outcome.err.rstrip("\n").split("\n")[-1]
    assert last.startswith("Error: ")
    assert "Traceback" not in outcome.err
    if out is not None:
        assert not out.exists() or not any(out.iterdir()), "the next try needs the folder to be empty"
    return last


def edited_header(path, at: int, values: np.ndarray) -> None:
    """Overwrite words of a map's header, counted from 0."""
    content = bytearray(path.read_bytes())
    content[4 * at : 4 * at + values.nbytes] = values.tobytes()
    path.write_bytes(content)


def test_a_missing_model(fit_fails):
    assert "missing.cif" in fit_fails(model="missing.cif")


def test_a_missing_map(fit_fails):
    assert "missing.mrc" in fit_fails(density="missing.mrc")


@pytest.mark.parametrize("flag", ["--reference", "--mask", "--fixed", "--config"])
def test_a_missing_file_of_a_flag(fit_fails, inputs, flag):
    name = "missing.toml" if flag == "--config" else "missing.mrc" if flag == "--mask" else "missing.cif"
    assert name in fit_fails(flag, inputs / name)


@pytest.mark.parametrize("name", ["notes.pdb", "notes.cif"])
def test_a_text_that_is_not_a_model(fit_fails, inputs, name):
    (inputs / name).write_text("To do: buy milk.\n")
    assert name in fit_fails(model=name)


def test_a_map_where_the_model_belongs(fit_fails):
    assert "map.mrc" in fit_fails(model="map.mrc", density="model.cif")


def test_a_model_where_the_map_belongs(fit_fails):
    message = fit_fails(density="model.cif")
    assert "model.cif" in message
    assert "not a map" in message


@pytest.mark.parametrize("name", ["empty.mrc", "empty.cif"])
def test_an_empty_file(fit_fails, inputs, name):
    (inputs / name).write_bytes(b"")
    message = fit_fails(model=name) if name.endswith("cif") else fit_fails(density=name)
    assert name in message
    assert "empty" in message


def test_a_map_without_voxels(fit_fails, inputs):
    edited_header(inputs / "map.mrc", 0, np.zeros(3, dtype="<i4"))
    assert "map.mrc" in fit_fails()


def test_a_map_cut_short(fit_fails, inputs):
    content = (inputs / "map.mrc").read_bytes()
    (inputs / "map.mrc").write_bytes(content[: len(content) // 2])
    assert "map.mrc" in fit_fails()


@pytest.mark.parametrize("value", [0.0, 1.5])
def test_a_constant_map(fit_fails, inputs, density, value):
    write_map(replace(density, values=np.full_like(density.values, value)), inputs / "flat.mrc")
    message = fit_fails(density="flat.mrc")
    assert "flat.mrc" in message
    assert "constant" in message or "same value" in message


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_map_with_values_that_are_no_numbers(fit_fails, inputs, density, value):
    nx, ny, nz = density.shape_xyz
    position = 256 + (nz // 2 * ny + ny // 2) * nx + nx // 2
    edited_header(inputs / "map.mrc", position, np.array([value], dtype="<f4"))
    message = fit_fails()
    assert "map.mrc" in message
    assert "finite" in message or "NaN" in message


def test_a_model_without_ca(fit_fails, inputs, structure):
    write_structure(structure.select(structure.atom_name == "N"), inputs / "bare.pdb")
    message = fit_fails(model="bare.pdb")
    assert "bare.pdb" in message
    assert "CA" in message


def test_a_model_with_too_few_residues(fit_fails, inputs, structure):
    write_structure(structure.select(structure.residue_index < 2), inputs / "tiny.pdb")
    message = fit_fails(model="tiny.pdb")
    assert "tiny.pdb" in message or "2 sites (CA or C4')" in message


def test_a_model_outside_the_map(fit_fails, inputs, structure):
    write_structure(structure.with_coords(structure.coords + 400.0), inputs / "away.cif")
    message = fit_fails(model="away.cif")
    assert "away.cif" in message or "map.mrc" in message
    assert "outside" in message or "inside" in message


def test_a_mask_on_another_grid(fit_fails, inputs, density):
    write_map(DensityMap(np.ones((4, 5, 6), dtype=np.float32), density.voxel_size, density.origin), inputs / "m.mrc")
    assert "m.mrc" in fit_fails("--mask", inputs / "m.mrc")


def test_a_reference_of_another_molecule(fit_fails, inputs, structure):
    one = structure.select(structure.residue_index == 0)
    write_structure(one.select(one.atom_name == "N"), inputs / "other.pdb")
    assert "other.pdb" in fit_fails("--reference", inputs / "other.pdb")


def test_no_resolution(fit_fails):
    message = fit_fails(resolution=None)
    assert "resolution" in message
    assert "--resolution" in message


@pytest.mark.parametrize("resolution", [0, -3, "nan", "inf"])
def test_a_resolution_that_is_not_positive(fit_fails, resolution):
    message = fit_fails(resolution=resolution)
    assert "--resolution" in message
    assert str(resolution) in message


def test_a_resolution_finer_than_one_voxel(fit_fails):
    message = fit_fails(resolution=2.9)  # voxels of 3 Å
    assert "resolution" in message
    assert "2.9" in message
    assert "voxel" in message


@pytest.mark.parametrize("voxel", [0, -1.5, "nan", "inf"])
def test_a_voxel_size_that_is_not_positive(fit_fails, voxel):
    message = fit_fails("--voxel", voxel)
    assert "--voxel" in message
    assert str(voxel) in message


@pytest.mark.parametrize("edge", [0.0, -10.0, np.nan, np.inf])
def test_a_header_whose_voxel_size_is_not_positive(fit_fails, inputs, edge):
    edited_header(inputs / "map.mrc", 10, np.full(3, edge, dtype="<f4"))  # words 11 to 13: the cell
    message = fit_fails()
    assert "map.mrc" in message
    assert "--voxel" in message


def test_a_voxel_size_of_exactly_one_with_a_model_larger_than_the_box(fit_fails, inputs, density):
    unset = DensityMap(density.values, np.ones(3), density.origin)
    write_map(unset, inputs / "unset.mrc")
    message = fit_fails(density="unset.mrc")
    assert "unset.mrc" in message
    assert "--voxel" in message


def test_more_modes_than_there_are(fit_fails):
    message = fit_fails("--modes", "1000")  # 80 residues: 3 · 80 - 6 = 234
    assert "modes" in message
    assert "234" in message


def test_an_unknown_key_of_the_configuration(fit_fails, inputs):
    (inputs / "fit.toml").write_text("iteration = 5\n")
    message = fit_fails("--config", inputs / "fit.toml")
    assert "fit.toml" in message
    assert "Did you mean iterations?" in message


@pytest.mark.parametrize("flag", ["--origin", "--stages", "--deformation", "--likelihood", "--bead", "--evaluation"])
def test_a_word_that_is_none_of_the_choices(fit_fails, flag):
    message = fit_fails(flag, "nonsense")
    assert flag.removeprefix("--") in message
    assert "nonsense" in message


def test_an_output_folder_that_is_not_empty(run, inputs):
    (inputs / "out").mkdir()
    (inputs / "out" / "thesis.txt").write_text("the only copy")
    outcome = run("fit", inputs / "model.cif", inputs / "map.mrc", "--resolution", 6, "-o", inputs / "out", *SHORT)
    message = check_failed(outcome)
    assert str(inputs / "out") in message
    assert "--resume" in message
    assert [path.name for path in (inputs / "out").iterdir()] == ["thesis.txt"]


def test_an_output_folder_that_is_a_file(fit_fails, inputs, run):
    (inputs / "out").write_text("the only copy")
    outcome = run("fit", inputs / "model.cif", inputs / "map.mrc", "--resolution", 6, "-o", inputs / "out", *SHORT)
    assert str(inputs / "out") in check_failed(outcome)
    assert (inputs / "out").read_text() == "the only copy"


def test_nothing_to_resume(run, inputs):
    arguments = ("--resolution", 6, "-o", inputs / "out", *SHORT, "--resume")
    message = check_failed(run("fit", inputs / "model.cif", inputs / "map.mrc", *arguments), inputs / "out")
    assert str(inputs / "out") in message


@pytest.fixture
def full_disk(monkeypatch):
    """No file can take its name: as at a full disk, at the latest moment."""

    replace = os.replace

    def refuse(source, target, **_):
        # Compiled kernels are kept elsewhere, on a disk of their own.
        if "__pycache__" in str(target):
            return replace(source, target)
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr("bayesflex.io.atomic.os.replace", refuse)


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_while_a_fit_writes(run, inputs):
    outcome = run("fit", inputs / "model.cif", inputs / "map.mrc", "--resolution", 6, "-o", inputs / "out", *SHORT)
    message = check_failed(outcome)
    assert str(inputs / "out") in message
    assert "No space left on device" in message
    assert not list((inputs / "out").glob(".writing-*"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits of file sizes are POSIX's")
def test_a_disk_that_fills_up_later_leaves_a_fit_that_goes_on(inputs):
    arguments = ["fit", inputs / "model.cif", inputs / "map.mrc", "--resolution", 6, *SHORT, "-o"]
    fit = [str(argument) for argument in arguments]
    start = [sys.executable, "-m", "bayesflex"]
    subprocess.run([*start, *fit, inputs / "whole"], check=True, capture_output=True, timeout=300)

    limit = (inputs / "whole" / "fitted.mrc").stat().st_size - 1
    code = f"import resource, bayesflex.cli; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
    limited = [sys.executable, "-c", code + "bayesflex.cli.main()"]
    done = subprocess.run([*limited, *fit, inputs / "out"], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2, done.stderr
    last = done.stderr.rstrip("\n").split("\n")[-1]
    assert last.startswith(f"Error: {inputs / 'out'}")
    assert "File too large" in last
    assert not list((inputs / "out").glob(".writing-*"))
    assert not (inputs / "out" / "summary.json").exists()

    subprocess.run([*start, *fit, inputs / "out", "--resume"], check=True, capture_output=True, timeout=300)
    assert {path.name for path in (inputs / "out").iterdir()} == {path.name for path in (inputs / "whole").iterdir()}


def test_a_disk_too_full_for_anything_else_is_an_error_too(run, inputs, monkeypatch):
    def refuse(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "kernels.nbi")

    monkeypatch.setattr("bayesflex.workflows.info.describe", refuse)
    message = check_failed(run("info", inputs / "map.mrc"))
    assert "kernels.nbi" in message
    assert "No space left on device" in message


@pytest.mark.usefixtures("full_disk")
def test_a_full_disk_while_a_map_is_written(run, inputs):
    outcome = run("simulate", inputs / "model.cif", "-o", inputs / "new.mrc", "--resolution", 8)
    message = check_failed(outcome)
    assert "new.mrc" in message
    assert "No space left on device" in message
    assert sorted(path.name for path in inputs.iterdir()) == ["map.mrc", "model.cif"]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--resolution", -1), "resolution"),
        (("--resolution", "nan"), "resolution"),
        (("--resolution", 8, "--voxel", 0), "voxel"),
        (("--resolution", 8, "--voxel", "inf"), "voxel"),
        (("--resolution", 8, "--box", 0), "box"),
        (("--resolution", 8, "--noise", -0.5), "noise"),
        (("--resolution", 8, "--noise-spectrum", "pink"), "pink"),
        (("--resolution", 8, "--kernel", "square"), "square"),
        (("--resolution", 8, "--kernel", "gaussian", "--atoms", "some"), "some"),
    ],
)
def test_a_simulation_that_cannot_be_made(run, inputs, flags, named):
    message = check_failed(run("simulate", inputs / "model.cif", "-o", inputs / "new.mrc", *flags))
    assert named in message
    assert not (inputs / "new.mrc").exists()


def test_a_simulation_of_no_model(run, inputs):
    outcome = run("simulate", inputs / "missing.cif", "-o", inputs / "new.mrc", "--resolution", 8)
    assert "missing.cif" in check_failed(outcome)


@pytest.mark.parametrize(
    ("flags", "named"), [(("-n", 1000), "234"), (("--cutoff", 0), "cut"), (("--cutoff", "nan"), "cut")]
)
def test_modes_that_cannot_be_computed(run, inputs, flags, named):
    message = check_failed(run("modes", inputs / "model.cif", "-o", inputs / "out", *flags), inputs / "out")
    assert named in message


def test_modes_into_a_folder_that_is_not_empty(run, inputs):
    (inputs / "out").mkdir()
    (inputs / "out" / "thesis.txt").write_text("the only copy")
    assert str(inputs / "out") in check_failed(run("modes", inputs / "model.cif", "-n", 3, "-o", inputs / "out"))


@pytest.mark.parametrize("name", ["missing.cif", "missing.mrc", "notes.txt", "notes.pdb", "."])
def test_info_on_what_is_neither_model_nor_map(run, inputs, name):
    (inputs / "notes.txt").write_text("To do: buy milk.\n" * 100)
    (inputs / "notes.pdb").write_text("To do: buy milk.\n" * 100)
    assert str(inputs / name) in check_failed(run("info", inputs / name))
