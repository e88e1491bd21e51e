"""What a user sees of the compilation of kernels, and the process beside that shortens it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest
from small_fit import SMALL, pair_and_map

from bayesflex.deformation_kernels import pull_back
from bayesflex.io.maps import write_map
from bayesflex.io.structures import write_structure
from bayesflex.workflows import compilation
from bayesflex.workflows.compilation import announced_compilation


def compile_one() -> None:
    assert numba.njit(lambda x: x + 1)(1) == 2


def test_it_is_announced_once():
    said = []
    with announced_compilation(said.append):
        compile_one()
        compile_one()
    compile_one()
    assert len(said) == 1
    assert "Compiling" in said[0]


class _Beside:
    """Stands for the processes beside: notes what is started and what is ended."""

    def __init__(self) -> None:
        self.started: list[tuple[list[str], dict[str, str]]] = []
        self.ended: list[str] = []

    def __call__(self, command, env, **_):
        self.started.append((command, env))
        return self

    def terminate(self) -> None:
        self.ended.append("told")

    def wait(self) -> None:
        self.ended.append("gone")


@pytest.fixture
def beside(monkeypatch) -> _Beside:
    made = _Beside()
    monkeypatch.setattr(compilation.subprocess, "Popen", made)
    monkeypatch.setattr(compilation, "_is_cached", lambda kernel: False)
    monkeypatch.setattr(compilation.sys, "executable", "/usr/bin/python3")
    return made


def test_a_process_beside_lives_as_long_as_the_block(beside):
    with announced_compilation(lambda text: None, n_threads=2):
        assert not beside.started
        compile_one()
        compile_one()
        assert len(beside.started) == 1
        assert not beside.ended
    assert beside.ended == ["told", "gone"]
    command, environment = beside.started[0]
    assert command[-1] == "bayesflex.workflows.compile_ahead"
    assert environment["PYTHONPATH"].split(os.pathsep) == [path for path in sys.path if path]


def test_it_ends_where_the_block_fails(beside):
    def interrupted() -> None:
        with announced_compilation(lambda text: None, n_threads=2):
            compile_one()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert beside.ended == ["told", "gone"]


def test_one_thread_has_no_process_beside(beside):
    with announced_compilation(lambda text: None):
        compile_one()
    assert not beside.started


def test_nothing_to_compile_needs_no_process_beside(beside):
    with announced_compilation(lambda text: None, n_threads=2):
        pass
    assert not beside.started


def test_compiled_before_needs_no_process_beside(beside, monkeypatch):
    monkeypatch.setattr(compilation, "_is_cached", lambda kernel: kernel is pull_back)
    with announced_compilation(lambda text: None, n_threads=2):
        compile_one()
    assert not beside.started


def test_a_program_with_a_python_inside_is_not_started_again(beside, monkeypatch):
    monkeypatch.setattr(compilation.sys, "executable", "/opt/Viewer/bin/Viewer")
    with announced_compilation(lambda text: None, n_threads=2):
        compile_one()
    assert not beside.started


def test_a_system_that_starts_none_is_no_error(beside, monkeypatch):
    def refuse(*_, **__):
        raise OSError("no more processes")

    monkeypatch.setattr(compilation.subprocess, "Popen", refuse)
    with announced_compilation(lambda text: None, n_threads=2):
        compile_one()


SOURCE = """
from numba import njit

@njit(cache=True)
def kernel(x):
    return x + 1
"""


def test_what_the_cache_has_is_seen(tmp_path, monkeypatch):
    (tmp_path / "kernel_alone.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    from kernel_alone import kernel

    assert not compilation._is_cached(kernel)
    assert kernel(1) == 2
    assert compilation._is_cached(kernel)


#: Runs what its first argument says, and tells which kernels are compiled.
WATCHED = """
import sys
from numba.core import event

class Watch(event.Listener):
    def on_start(self, event):
        function = event.data["dispatcher"].py_func
        print("compiled", f"{function.__module__}.{function.__qualname__}")

    def on_end(self, event):
        pass

event.register("numba:compile", Watch())
exec(sys.argv[1])
"""

AHEAD = "from bayesflex.workflows.compile_ahead import compile_ahead; compile_ahead()"

FIT = """
from pathlib import Path
from small_fit import SMALL
from bayesflex.workflows.fit import run_fit
folder = Path(sys.argv[2])
run_fit(folder / "start.cif", folder / "map.mrc", folder / "fit", SMALL)
"""


def compiled_by(source: str, folder: Path) -> set[str]:
    """Return our kernels that a process compiles, which has what others before it left in the cache of the folder."""
    paths = [str(Path(__file__).parent), *sys.path]
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, source, str(folder)],
        env=os.environ | {"NUMBA_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = [line.removeprefix("compiled ") for line in done.stdout.splitlines() if line.startswith("compiled ")]
    return {name for name in names if name.startswith("bayesflex.")}


@pytest.mark.slow
def test_what_is_compiled_ahead_is_what_a_fit_needs(tmp_path):
    assert SMALL.threads == 1  # no process beside: what is compiled ahead is compiled before
    start, _, density = pair_and_map()
    write_structure(start, tmp_path / "start.cif")
    write_map(density, tmp_path / "map.mrc")
    ahead = compiled_by(AHEAD, tmp_path)
    then = compiled_by(FIT, tmp_path)
    assert "bayesflex.posterior_kernels.integrate" in then
    assert "bayesflex.deformation_kernels.pull_back" in ahead
    assert len(ahead) > 15
    assert not ahead & then
    assert not compiled_by(AHEAD, tmp_path)
