"""The command that checks the installation, shell completion, and how much commands say."""

from __future__ import annotations

import pytest

from bayesflex.posterior import Posterior
from bayesflex.workflows import doctor


def test_a_whole_installation_is_found_whole(run):
    outcome = run("doctor")
    assert outcome.code == 0, outcome.out
    assert "WRONG" not in outcome.out
    for name in (
        "package numpy",
        "compiled kernels are kept",
        "against NumPy",
        "against differences",
        "ms on one core",
    ):
        assert name in outcome.out


def test_kernels_that_compute_something_else_are_noticed(run, monkeypatch):
    right = doctor.render
    monkeypatch.setattr(doctor, "render", lambda *arguments: right(*arguments) * (1.0 + 1e-6))
    outcome = run("doctor")
    assert outcome.code == 1
    assert "WRONG  density of beads" in outcome.out
    assert "1 checks found something wrong" in outcome.err


def test_a_gradient_of_something_else_is_noticed(monkeypatch):
    right = Posterior.__call__

    def wrong(self, position):
        evaluation = right(self, position)
        return evaluation._replace(gradient=evaluation.gradient * 1.001)

    monkeypatch.setattr(Posterior, "__call__", wrong)
    assert not doctor.guarded("gradient", doctor._gradient).ok


def test_packages_that_are_missing_or_old_are_noticed(monkeypatch):
    assert doctor._package("no-such-package", "1.0") == (
        False,
        "missing: run python -m pip install 'no-such-package>=1.0'",
    )
    assert not doctor._package("numpy", "999.1")[0]
    assert doctor._package("numpy", "1.26")[0]


def test_an_optional_package_that_is_missing_is_told_and_no_fault(monkeypatch):
    assert doctor._optional("numpy", "any", "nothing is missing") == doctor.version("numpy")
    text = doctor._optional("no-such-package", "batch", "there is no bayesflex batch")
    assert text == "not installed, so there is no bayesflex batch: python -m pip install 'bayesflex[batch]' adds it"
    monkeypatch.setattr(doctor, "_OPTIONAL", {"no-such-package": ("batch", "something is not there")})
    monkeypatch.setattr(doctor, "guarded", lambda name, check: doctor.Check(name, True, ""))
    assert all(check.ok for check in doctor.examine())


def test_a_cache_that_cannot_be_written_is_noticed(monkeypatch):
    monkeypatch.setattr(doctor.os, "access", lambda *_: False)
    check = doctor.guarded("cache", doctor._cache)
    assert not check.ok
    assert "NUMBA_CACHE_DIR" in check.found


def test_a_check_that_fails_is_what_was_found():
    def fails():
        raise OSError("no disk")

    assert doctor.guarded("disk", fails) == doctor.Check("disk", False, "OSError: no disk")


def test_shells_can_complete(run):
    text = run("--help").out
    assert "--install-completion" in text
    assert "--show-completion" in text


SHORT = ("--resolution", 8, "--chains", 1, "--iterations", 4, "--no-anneal", "--warmup-iterations", 4, "--modes", 2)


@pytest.mark.parametrize(("flag", "lines"), [("--quiet", 0), ("--verbose", 9)])
def test_how_much_is_said(run, files, tmp_path, flag, lines):
    outcome = run("fit", files / "model.cif", files / "map.mrc", "-o", tmp_path / "out", *SHORT, flag)
    assert outcome.code == 0, outcome.err
    assert sum(", iteration " in line for line in outcome.out.splitlines()) >= lines
    if not lines:
        assert outcome.out == ""
        assert "Warning" in outcome.err


def test_quiet_and_verbose_contradict(run, files, tmp_path):
    outcome = run("fit", files / "model.cif", files / "map.mrc", "-o", tmp_path / "out", *SHORT, "--quiet", "--verbose")
    assert outcome.code == 2
    assert not (tmp_path / "out").exists()
