"""What a user sees of the compilation of kernels: that it goes on, and not for long.

It is told once, and a process beside compiles what is needed later: see :mod:`bayesflex.workflows.compile_ahead`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numba.core import event

from bayesflex.deformation_kernels import pull_back

#: What the process beside runs.
_AHEAD = "bayesflex.workflows.compile_ahead"


class _FirstCompilation(event.Listener):  # type: ignore[misc]  # Numba comes without types
    """Speaks once, when Numba begins to compile something that its cache does not hold, and has others compile too."""

    def __init__(self, say: Callable[[str], None], beside: bool) -> None:
        self._say = say
        self._beside = beside
        self._lock = threading.Lock()
        self._said = False
        self._helper: subprocess.Popen[bytes] | None = None

    def on_start(self, event: event.Event) -> None:
        with self._lock:
            said, self._said = self._said, True
        if not said:
            self._say("Compiling kernels, once per machine: some seconds at each step that needs new ones.")
            if self._beside:
                self._helper = _started()

    def on_end(self, event: event.Event) -> None:
        pass

    def close(self) -> None:
        """End the process beside: what it has not compiled by now is needed no more, or has been compiled here."""
        if self._helper is not None:
            self._helper.terminate()
            self._helper.wait()


def _started() -> subprocess.Popen[bytes] | None:
    """Return the process beside, or None where there is no use in one or no way to have one: nothing depends on it."""
    # A program with a Python inside goes by another name: it would be started as a whole.
    if _is_cached(pull_back) or not Path(sys.executable).name.lower().startswith("python"):
        return None
    # It imports what this process would, and nothing from the folder it happens to be in.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    nowhere = subprocess.DEVNULL
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", _AHEAD], stdin=nowhere, stdout=nowhere, stderr=nowhere, env=environment
        )
    except OSError:
        return None


def _is_cached(kernel: Any) -> bool:
    """Return whether Numba's cache has a kernel for some arguments, or can have none."""
    folder = kernel.stats.cache_path
    return folder is None or any(Path(folder).glob(f"*.{kernel.py_func.__name__}-*.nbi"))


@contextmanager
def announced_compilation(say: Callable[[str], None], n_threads: int = 1) -> Iterator[None]:
    """Tell ``say``, once, when kernels are compiled inside the block; kernels loaded from the cache are not told.

    Parameters
    ----------
    say
        Takes one line.
    n_threads
        Threads that the block may use. With more than one, a process beside compiles what a fit needs later.
    """
    listener = _FirstCompilation(say, n_threads > 1)
    with event.install_listener("numba:compile", listener):
        try:
            yield
        finally:
            listener.close()
