"""``--quiet`` and ``--verbose`` mean the same for every command that takes longer than a moment."""

from __future__ import annotations

import inspect
import types

import pytest

from bayesflex.cli import COMMANDS
from bayesflex.protocols import Record
from bayesflex.workflows import batch, calibrate, compare, demo, dock, fit

#: Commands that answer at once have neither flag; ``get`` is quiet and no more.
AT_ONCE = {"info", "doctor", "get"}
SETTINGS = ["--resolution", "8"]


def flags_of(command) -> set[str]:
    return {"quiet", "verbose"} & set(inspect.signature(command).parameters)


def test_every_command_that_takes_time_has_both():
    assert {command.__name__ for command in COMMANDS if flags_of(command) != {"quiet", "verbose"}} == AT_ONCE


@pytest.fixture
def reporting(monkeypatch):
    """Workflows of minutes are replaced by one that tells what they all tell: a warning, a line, iterations."""

    def told(*arguments, reporter=None, **keywords):
        reporter = reporter or next(one for one in arguments if hasattr(one, "message"))
        reporter.start(1, 3)
        for iteration in range(3):
            reporter.record(Record(0, iteration, "sampling", {"cc_centred": 0.5}))
        reporter.finish()
        reporter.message("something")
        reporter.message("Warning: beware")
        return types.SimpleNamespace(rows=lambda: [("a", "b"), ("c", "d")], verdict="a verdict")

    for module, name in [(fit, "run_fit"), (dock, "run_dock"), (compare, "run_compare"), (demo, "run_demo")]:
        monkeypatch.setattr(module, name, told)
    monkeypatch.setattr(calibrate, "run_calibrate", told)
    monkeypatch.setattr(batch, "run_batch", lambda *arguments, **keywords: told(**keywords) and ())


def arguments_of(name, files, out):
    model, density = files / "model.cif", files / "map.mrc"
    if name == "batch":
        (out.parent / "jobs.csv").write_text(f"name,model,map,resolution\none,{model},{density},8\n")
        return [name, out.parent / "jobs.csv", "-o", out]
    if name in ("calibrate", "demo"):
        return [name, "-o", out]
    return [name, model, density, "-o", out, *SETTINGS]


@pytest.mark.parametrize("name", ["fit", "batch", "dock", "compare", "calibrate", "demo"])
def test_commands_of_minutes(run, reporting, files, tmp_path, name):
    arguments = arguments_of(name, files, tmp_path / "out")
    usual, quiet, verbose = (run(*arguments, *flags) for flags in ([], ["--quiet"], ["--verbose"]))
    assert [outcome.code for outcome in (usual, quiet, verbose)] == [0, 0, 0]
    assert (quiet.out, quiet.err) == ("", "Warning: beware\n")
    for outcome in (usual, verbose):
        assert "something" in outcome.out
        assert "Warning: beware" in outcome.out
        assert f"Wrote {tmp_path / 'out'}" in outcome.out
    assert verbose.out.count("sampling") > usual.out.count("sampling")
    assert usual.err == ""


@pytest.fixture(scope="module")
def fitted(run, files, tmp_path_factory):
    """The folder of a fit of two draws."""
    out = tmp_path_factory.mktemp("fitted") / "out"
    few = ["--no-anneal", "--warmup-iterations", 2, "--iterations", 2, "--chains", 1, "--steps", 2, "--modes", 1]
    assert run("fit", files / "model.cif", files / "map.mrc", "-o", out, *SETTINGS, *few).code == 0
    return out


@pytest.mark.parametrize("name", ["simulate", "modes", "validate", "report"])
def test_commands_of_seconds(run, files, fitted, tmp_path, name):
    model, density = files / "model.cif", files / "map.mrc"

    def called(word, *flags):
        out = tmp_path / word
        words = {
            "simulate": [model, "-o", out.with_suffix(".mrc"), *SETTINGS],
            "modes": [model, "-o", out, "-n", 2],
            "validate": [model, density, "-o", out, *SETTINGS],
            "report": [fitted],
        }[name]
        return run(name, *words, *flags)

    usual, quiet, verbose = called("usual"), called("quiet", "--quiet"), called("verbose", "--verbose")
    assert [outcome.code for outcome in (usual, quiet, verbose)] == [0, 0, 0]
    assert (quiet.out, quiet.err) == ("", "")
    assert "Wrote " in usual.out
    assert len(verbose.out.splitlines()) == len(usual.out.splitlines())
    details = [line for line in verbose.err.splitlines() if " s  " in line]
    assert len(details) >= 1
    assert all(float(line.split()[0]) >= 0.0 for line in details)
    assert not [line for line in usual.err.splitlines() if not line.startswith("Note: ")]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.__name__ not in AT_ONCE], ids=lambda c: c.__name__)
def test_one_of_the_two_at_a_time(run, files, tmp_path, command):
    name = command.__name__
    arguments = {
        "simulate": [name, files / "model.cif", "-o", tmp_path / "out.mrc", *SETTINGS],
        "modes": [name, files / "model.cif", "-o", tmp_path / "out"],
        "report": [name, tmp_path],
    }.get(name) or arguments_of(name, files, tmp_path / "out")
    outcome = run(*arguments, "--quiet", "--verbose")
    assert outcome.code == 2
    assert "expected one of the two" in outcome.err
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.mrc").exists()


@pytest.mark.parametrize("flag", ["--quiet", "--verbose"])
def test_an_error_is_told_and_has_its_exit_code_whatever_is_shown(run, files, tmp_path, flag):
    outcome = run("validate", tmp_path / "none.cif", files / "map.mrc", "-o", tmp_path / "out", *SETTINGS, flag)
    assert outcome.code == 2
    assert outcome.err.splitlines()[-1].startswith("Error: ")
