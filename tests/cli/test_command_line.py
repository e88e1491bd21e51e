"""The frame of the command line: flags, help, errors and exit codes, with the workflows replaced."""

from __future__ import annotations

import subprocess
import sys
import time
import types
from dataclasses import fields
from pathlib import Path

import pytest

import bayesflex
from bayesflex.config import FitConfig
from bayesflex.errors import InputError
from bayesflex.settings import flag_of, setting_of


@pytest.fixture
def calls(monkeypatch):
    """What ``fit`` was called with, instead of a fit."""
    seen = []

    def run_fit(*arguments, **keywords):
        seen.append((arguments, keywords))

    replace_fit(monkeypatch, run_fit)
    return seen


def replace_fit(monkeypatch, run_fit):
    module = types.ModuleType("bayesflex.workflows.fit")
    module.run_fit = run_fit
    monkeypatch.setitem(sys.modules, "bayesflex.workflows.fit", module)


def test_flags_reach_the_workflow(run, calls):
    outcome = run(
        *("fit", "model.cif", "map.mrc", "--resolution", "5", "-o", "out", "--modes", "7-9", "--rigid", "--no-anneal"),
        *("--stages", "20,12", "--sigma", "2", "--reference", "answer.cif", "--mask", "mask.mrc"),
        *("--fixed", "other.cif", "--resume"),
    )
    assert outcome.code == 0, outcome.err
    [(arguments, keywords)] = calls
    config = FitConfig(resolution=5.0, modes=(7, 8, 9), rigid=True, anneal=False, stages=(20.0, 12.0), sigma=2.0)
    assert arguments == (Path("model.cif"), Path("map.mrc"), Path("out"), config)
    assert {name: keywords[name] for name in ("reference", "mask", "fixed", "resume")} == {
        "reference": Path("answer.cif"),
        "mask": Path("mask.mrc"),
        "fixed": Path("other.cif"),
        "resume": True,
    }


def test_flags_win_over_the_file_and_those_not_given_leave_it(run, calls, tmp_path):
    path = tmp_path / "fit.toml"
    path.write_text("resolution = 8\nrigid = true\nchains = 2\n")
    assert run("fit", "m.cif", "d.mrc", "-o", "out", "--config", path, "--no-rigid", "--steps", "7").code == 0
    assert calls[0][0][3] == FitConfig(resolution=8.0, rigid=False, chains=2, steps=7)


@pytest.mark.parametrize("item", fields(FitConfig), ids=lambda item: item.name)
def test_every_setting_is_a_flag_under_its_heading(run, item, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("TERM", "dumb")
    text = run("fit", "--help").out
    heading = "Options" if setting_of(item).topic == "main" else f"Advanced: {setting_of(item).topic}"
    panel = text[text.index(f"─ {heading} ─") :]
    panel = panel[: panel.index("╰")]
    assert f" {flag_of(item.name)} " in panel
    assert setting_of(item).help in panel


def test_an_expected_error_is_one_line_and_exit_code_2(run, monkeypatch):
    def run_fit(*arguments, **keywords):
        raise InputError("model.cif: no such file; check the name.")

    replace_fit(monkeypatch, run_fit)
    outcome = run("fit", "model.cif", "map.mrc", "-o", "out", "--resolution", "5")
    assert (outcome.code, outcome.err) == (2, "Error: model.cif: no such file; check the name.\n")


def test_debug_shows_the_traceback_too(run, monkeypatch):
    def run_fit(*arguments, **keywords):
        raise InputError("model.cif: no such file; check the name.")

    replace_fit(monkeypatch, run_fit)
    outcome = run("fit", "model.cif", "map.mrc", "-o", "out", "--resolution", "5", "--debug")
    assert outcome.code == 2
    assert "Traceback" in outcome.err
    assert "in run_fit" in outcome.err
    assert outcome.err.endswith("Error: model.cif: no such file; check the name.\n")


def test_a_defect_keeps_its_traceback(run, monkeypatch):
    def run_fit(*arguments, **keywords):
        raise ZeroDivisionError("a defect")

    replace_fit(monkeypatch, run_fit)
    with pytest.raises(ZeroDivisionError, match="a defect"):
        run("fit", "model.cif", "map.mrc", "-o", "out", "--resolution", "5")


def test_an_interruption_says_how_to_go_on(run, monkeypatch):
    def run_fit(*arguments, **keywords):
        raise KeyboardInterrupt

    replace_fit(monkeypatch, run_fit)
    outcome = run("fit", "model.cif", "map.mrc", "-o", "out", "--resolution", "5")
    assert outcome.code == 130
    assert outcome.err.startswith("Interrupted.")
    assert "--resume" in outcome.err


@pytest.mark.parametrize(
    "arguments", [(), ("fit",), ("fit", "a", "b", "-o", "c", "--resolution", "five"), ("nothing",)]
)
def test_what_cannot_be_parsed_is_exit_code_2(run, arguments):
    outcome = run(*arguments)
    assert outcome.code == 2
    assert "Usage: bayesflex" in outcome.err + outcome.out


def process(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bayesflex", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_version():
    done = process("--version")
    assert (done.returncode, done.stdout) == (0, f"bayesflex {bayesflex.__version__}\n")


def test_help_answers_at_once():
    process("--help")  # compiles the sources, once
    start = time.perf_counter()
    done = process("--help")
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("fit", "simulate", "modes", "info", "demo"))
    assert time.perf_counter() - start < 5.0, "half a second on a quiet machine"


def test_help_and_import_load_nothing_heavy():
    source = (
        "import sys, bayesflex, bayesflex.cli\n"
        "heavy = {'numpy', 'numba', 'scipy', 'gemmi', 'matplotlib', 'arviz', 'mdtraj', 'xarray', 'pandas'}\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "[]\n"


def test_the_end_of_a_process_collects_no_garbage():
    """Millions of objects of a compilation would be looked through first; all goes with the process."""
    source = (
        "import os, sys\n"
        "from bayesflex.cli import main\n"
        "class Cycle:\n"
        "    def __del__(self, write=os.write):\n"
        "        write(1, b'collected')\n"
        "cycle = Cycle()\n"
        "cycle.itself = cycle\n"
        "sys.argv = ['bayesflex', '--version']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == f"bayesflex {bayesflex.__version__}\n"
    without = source.replace("main()", "'no command'")
    done = subprocess.run([sys.executable, "-c", without], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "collected"


def test_a_missing_file_as_a_process(tmp_path):
    done = process("info", str(tmp_path / "missing.cif"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("Error: ")
    assert done.stderr.count("\n") == 1
    assert "missing.cif" in done.stderr


def test_public_names_can_be_listed_and_others_are_refused():
    assert set(bayesflex.__all__) <= set(dir(bayesflex))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        bayesflex.nothing  # noqa: B018


@pytest.mark.parametrize("name", [name for name in bayesflex.__all__ if name != "__version__"])
def test_a_public_name_is_found_where_it_is_said_to_live(name):
    value = getattr(bayesflex, name)
    home = value.__name__ if isinstance(value, types.ModuleType) else value.__module__
    assert home.startswith("bayesflex.")
