"""File names with blanks, quotes, letters of other alphabets and leading dashes, for every command that takes files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from view_scripts import chimerax_commands, run_in_tcl

from bayesflex.io.maps import read_map
from bayesflex.io.structures import read_structure
from bayesflex.io.tables import read_json

#: What shells, TOML, CSV, HTML, Tcl, ChimeraX and option parsers each take for their own.
NAMES = ['it\'s a "model"; $HOME [exec ls] {x} #1 é ß 蛋白 α', "-o"]
RESOLUTION = ["--resolution", 8]


@pytest.fixture(params=NAMES, ids=["hostile", "dash"])
def named(request, files, tmp_path, monkeypatch):
    """The stem of a model and a map in the working folder, which has a name of the kind too."""
    folder = tmp_path / f"{request.param} dir"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for suffix, source in ((".cif", "model.cif"), (".mrc", "map.mrc")):
        shutil.copy(files / source, folder / f"{request.param}{suffix}")
    return request.param


def after_options(*words):
    """Positional arguments after what ends the options, as every command line wants names with dashes."""
    return ["--", *words]


def test_info(run, named):
    for suffix in (".cif", ".mrc"):
        outcome = run("info", *after_options(f"{named}{suffix}"))
        assert outcome.code == 0, outcome.err
        assert f"{named}{suffix}" in outcome.out


def test_simulate(run, named):
    out = f"{named} simulated.mrc"
    outcome = run("simulate", f"--out={out}", *RESOLUTION, f"--grid-of={named}.mrc", *after_options(f"{named}.cif"))
    assert outcome.code == 0, outcome.err
    assert read_map(out).shape_xyz == read_map(f"{named}.mrc").shape_xyz
    assert f"Wrote {out}" in outcome.out


def test_modes(run, named):
    outcome = run("modes", "-n", 3, f"--out={named}", *after_options(f"{named}.cif"))
    assert outcome.code == 0, outcome.err
    assert {"modes.csv", "domains.csv", "modes.nmd", "modes.png"} <= set(os.listdir(named))


def test_validate_with_half_maps_and_mask(run, named):
    maps = [f"--{flag}={named}.mrc" for flag in ("half1", "half2", "mask")]
    outcome = run("validate", *RESOLUTION, *maps, f"--out={named}", *after_options(f"{named}.cif", f"{named}.mrc"))
    assert outcome.code == 0, outcome.err
    found = read_json(Path(named) / "validation.json")["model"]
    assert (found["model"], found["map"]) == (f"{named}.cif", f"{named}.mrc")


@pytest.mark.slow
def test_fit_and_report(run, named):
    few = ["--no-anneal", "--warmup-iterations", 2, "--iterations", 2, "--chains", 1, "--steps", 2, "--modes", 1]
    files = after_options(f"{named}.cif", f"{named}.mrc")
    outcome = run("fit", *RESOLUTION, *few, f"--reference={named}.cif", f"--out={named}", *files)
    assert outcome.code == 0, outcome.err
    assert "report.html was not written" not in outcome.out
    out = Path(named)
    before = (out / "report.html").read_bytes()
    outcome = run("report", *after_options(named))
    assert outcome.code == 0, outcome.err
    assert (out / "report.html").read_bytes() == before
    # What the scripts open is there, as the rules of each program read its name.
    opened = [words[1] for words in chimerax_commands(out / "view.cxc") if words[0] == "open"]
    assert [(out / name).resolve() for name in opened] == [
        Path(f"{named}.mrc").resolve(),
        (out / "fitted.cif").resolve(),
        (out / "uncertainty.defattr").resolve(),
        Path(f"{named}.cif").resolve(),
    ]
    assert all((out / name).is_file() for name in opened)
    loaded = [Path(call[2]) for call in run_in_tcl(out / "view.tcl") if call[:2] == ("mol", "new")]
    assert [path.name for path in loaded] == [f"{named}.mrc", f"{named}.cif", "fitted.pdb"]
    assert all(path.is_file() for path in loaded)


@pytest.mark.slow
def test_dock(run, named):
    files = after_options(f"{named}.cif", f"{named}.mrc")
    outcome = run("dock", "--resolution", 12, "--solutions", 1, f"--out={named}", f"--mask={named}.mrc", *files)
    assert outcome.code == 0, outcome.err
    assert read_structure(Path(named) / "docked.cif").n_atoms == read_structure(f"{named}.cif").n_atoms
    assert read_json(Path(named) / "summary.json")["input"]["map"].endswith(f"{named}.mrc")


@pytest.mark.slow
def test_compare(run, named):
    few = ["--runs", 1, "--iterations", 4, "--approaches", "global", "--modes", "7-8"]
    files = after_options(f"{named}.cif", f"{named}.mrc")
    outcome = run("compare", *RESOLUTION, *few, f"--reference={named}.cif", f"--out={named}", *files)
    assert outcome.code == 0, outcome.err
    assert {"comparison.csv", "comparison.json"} <= set(os.listdir(named))


@pytest.mark.slow
def test_calibrate(run, named):
    outcome = run("calibrate", "--replicates", 1, f"--out={named}")
    assert outcome.code == 0, outcome.err
    assert f"Wrote {named}" in outcome.out
