"""No run is lost: it goes on from its folder alone, whatever ended it, and two never write one folder."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bayesflex.config_files import load_config
from bayesflex.io.folder_lock import FolderLock

ROOT = Path(__file__).resolve().parents[2]
SHORT = ("--chains", 2, "--iterations", 4, "--stages", 12, "--stage-iterations", 3, "--warmup-iterations", 6)
FIT = ("--resolution", 6.5, *SHORT, "--modes", 2, "--steps", 4)


@pytest.fixture(scope="module")
def inputs(files, tmp_path_factory):
    """A folder whose name no shell likes, with ``a model's.cif`` and ``map é.mrc``."""
    folder = tmp_path_factory.mktemp("inputs") / 'my "best" maps, d\'été 北京'
    folder.mkdir()
    shutil.copy(files / "model.cif", folder / "a model's.cif")
    shutil.copy(files / "map.mrc", folder / "map é.mrc")
    return folder


@pytest.fixture(scope="module")
def whole(run, inputs):
    """An uninterrupted fit."""
    outcome = run("fit", inputs / "a model's.cif", inputs / "map é.mrc", *FIT, "-o", inputs / "whole fit")
    assert outcome.code == 0, outcome.err
    return inputs / "whole fit"


def interrupted(run, inputs, out, monkeypatch, writer, error):
    """A fit that ends by an error when it writes a certain file."""
    with monkeypatch.context() as patch:

        def fails(*arguments, **keywords):
            raise error

        patch.setattr(f"bayesflex.workflows.{writer}", fails)
        return run("fit", inputs / "a model's.cif", inputs / "map é.mrc", *FIT, "-o", out)


#: Files that hold the time, or the way to the map from where they are.
OWN = ("log.txt", "summary.json", "trajectory.dcd", "trace.nc", "report.html", "view.tcl", "view.cxc")


def assert_same_results(out, whole):
    """All files but those that are each fit's own."""
    assert {path.name for path in out.iterdir()} == {path.name for path in whole.iterdir()}
    for path in whole.iterdir():
        if path.name not in OWN:
            assert (out / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.parametrize(
    ("writer", "error", "code"),
    [
        ("fit.conclude", KeyboardInterrupt(), 130),
        ("results.write_ensemble", KeyboardInterrupt(), 130),
        ("fit.write_summary", OSError(errno.ENOSPC, "No space left on device", "summary.json"), 2),
    ],
)
def test_a_fit_goes_on_from_its_folder_alone(run, inputs, whole, tmp_path, monkeypatch, writer, error, code):
    out = tmp_path / "it's out"
    outcome = interrupted(run, inputs, out, monkeypatch, writer, error)
    assert outcome.code == code
    command = f"bayesflex fit --resume {shlex.quote(str(out))}"
    assert outcome.err.rstrip("\n").split("\n")[-1].endswith(f"What was done is kept; to go on: {command}")
    monkeypatch.chdir("/")
    # As the user's shell would read what was printed.
    resumed = run(*shlex.split(command)[1:])
    assert resumed.code == 0, resumed.err
    assert_same_results(out, whole)
    again = run("fit", "--resume", out)
    assert again.code == 2
    assert "complete" in again.err


def test_the_folder_may_also_be_named_by_o_and_the_whole_command_repeated(run, inputs, whole, tmp_path, monkeypatch):
    arguments = ("fit", inputs / "a model's.cif", inputs / "map é.mrc", *FIT)
    for number, command in enumerate([("fit", "--resume", "-o"), (*arguments, "--resume", "-o")]):
        out = tmp_path / str(number)
        assert interrupted(run, inputs, out, monkeypatch, "fit.conclude", KeyboardInterrupt()).code == 130
        assert run(*command, out).code == 0
        assert_same_results(out, whole)


def test_only_what_changes_no_result_can_be_another(run, inputs, tmp_path, monkeypatch):
    out = tmp_path / "out"
    interrupted(run, inputs, out, monkeypatch, "fit.conclude", KeyboardInterrupt())
    for flags, named in (
        (("--seed", 2), "seed"),
        (("--reference", "a.cif"), "--reference"),
        (("-o", "b"), "one folder"),
    ):
        outcome = run("fit", "--resume", out, *flags)
        assert outcome.code == 2
        assert named in outcome.err
    assert run("fit", "--resume", out, "--threads", 2, "--uncertainty-as-b-factors").code == 0


def test_an_input_that_changed_or_went_away_is_said(run, inputs, tmp_path, monkeypatch):
    moved = tmp_path / "moved"
    shutil.copytree(inputs, moved, ignore=shutil.ignore_patterns("whole fit"))
    out = tmp_path / "out"
    interrupted(run, moved, out, monkeypatch, "fit.conclude", KeyboardInterrupt())
    model = moved / "a model's.cif"
    text = model.read_text()
    model.write_text(text + "#\n")
    changed = run("fit", "--resume", out)
    assert changed.code == 2
    assert "the content of the model" in changed.err
    model.rename(moved / "elsewhere.cif")
    missing = run("fit", "--resume", out)
    assert missing.code == 2
    assert "no longer there" in missing.err
    (moved / "elsewhere.cif").write_text(text)
    assert run("fit", moved / "elsewhere.cif", moved / "map é.mrc", *FIT, "-o", out, "--resume").code == 0


def test_the_settings_as_asked_are_taken_up_and_a_warning_is_said_again(run, inputs, tmp_path, monkeypatch):
    """4 Å is finer than two voxels of 3 Å: the fit uses 6 Å and says so, also where it goes on."""
    out = tmp_path / "out"
    fit = ("fit", inputs / "a model's.cif", inputs / "map é.mrc", *SHORT, "--resolution", 4, "--modes", 2, "-o", out)
    with monkeypatch.context() as patch:
        patch.setattr("bayesflex.workflows.fit.conclude", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(*fit).code == 130
    assert load_config(out / "config.toml", {}).resolution == 6.0
    assert "two voxels" in run("fit", "--resume", out).out


def test_what_a_kill_left_before_the_fit_began_is_no_obstacle(run, inputs, whole, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / ".lock").write_text("")
    (out / ".writing-1-config.toml").write_text("half of i")
    assert run("fit", inputs / "a model's.cif", inputs / "map é.mrc", *FIT, "-o", out).code == 0
    assert_same_results(out, whole)


def test_a_second_fit_in_the_folder_is_refused(run, inputs, tmp_path, monkeypatch):
    out = tmp_path / "out"
    interrupted(run, inputs, out, monkeypatch, "fit.conclude", KeyboardInterrupt())
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with FolderLock(out):
        for arguments in (("fit", "--resume", out), ("fit", inputs / "a model's.cif", inputs / "map é.mrc", "-o", out)):
            outcome = run(*arguments, *(FIT if len(arguments) > 3 else ()))
            assert outcome.code == 2
            assert "--resume" in outcome.err
        assert f"process {os.getpid()} on this machine" in run("fit", "--resume", out).err
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_folder_that_fills_at_once_belongs_to_the_first(run, inputs, tmp_path, monkeypatch):
    """Two fits find the folder empty; the second finds the first there when it begins to write."""
    out = tmp_path / "out"
    out.mkdir()
    from bayesflex.workflows import fit as workflow

    real = workflow.prepare

    def slow(*arguments):
        held.take()
        return real(*arguments)

    held = FolderLock(out)
    monkeypatch.setattr(workflow, "prepare", slow)
    try:
        outcome = run("fit", inputs / "a model's.cif", inputs / "map é.mrc", *FIT, "-o", out)
    finally:
        held.give_back()
    assert outcome.code == 2
    assert "writes this folder" in outcome.err
    assert list(out.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(run, inputs, tmp_path):
    out = tmp_path / "out"
    out.mkdir(mode=0o500)
    outcome = run("fit", inputs / "a model's.cif", inputs / "map é.mrc", *FIT, "-o", out)
    assert outcome.code == 2
    assert str(out) in outcome.err


@pytest.mark.parametrize("arguments", [("fit", "m.cif"), ("fit", "m.cif", "m.mrc"), ("fit", "--resume")])
def test_what_is_missing_is_said_as_for_any_command(run, arguments):
    outcome = run(*arguments)
    assert outcome.code == 2
    assert "Usage: bayesflex fit" in outcome.err
    assert "bayesflex fit --resume OUT" in " ".join(outcome.err.replace("│", " ").split())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_to_end_leaves_a_fit_that_goes_on(inputs, whole, tmp_path, name, heeds_signals):
    out = tmp_path / "out"
    program = [*heeds_signals, "fit"]
    # So many steps that it does not end by itself.
    fit = [inputs / "a model's.cif", inputs / "map é.mrc", *FIT[:-2], "--steps", 20_000, "-o", out]
    with subprocess.Popen(
        [*program, *map(str, fit)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            while "warmup" not in process.stdout.readline():
                assert process.poll() is None
            process.send_signal(getattr(signal, name))
            _, said = process.communicate(timeout=120)
        finally:
            process.kill()
    assert process.returncode == 128 + getattr(signal, name)
    assert "What was done is kept" in said
    # Of the two chains one may not have begun: it has nothing to keep, and begins when the fit goes on.
    assert list((out / "checkpoint").glob("chain-*.npz"))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_killed_at_random_moments(tmp_path):
    code = "import sys; from pathlib import Path; from benchmarks.kill import run_trials\n"
    code += f"sys.exit(any(made.problems for made in run_trials(Path({str(tmp_path)!r}), 4, seed=2)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("same numbers") == 4
