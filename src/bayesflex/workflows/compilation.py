"""Saying that kernels are being compiled, so that nobody takes the wait for a hang."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from numba.core import event


class _FirstCompilation(event.Listener):  # type: ignore[misc]  # Numba comes without types
    """Speaks once, when Numba begins to compile something that its cache does not hold."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._lock = threading.Lock()
        self._said = False

    def on_start(self, event: event.Event) -> None:
        with self._lock:
            said, self._said = self._said, True
        if not said:
            self._say("Compiling kernels, once per machine: some seconds at each step that needs new ones.")

    def on_end(self, event: event.Event) -> None:
        pass


@contextmanager
def announced_compilation(say: Callable[[str], None]) -> Iterator[None]:
    """Tell ``say``, once, when kernels are compiled inside the block; kernels loaded from the cache are not told."""
    with event.install_listener("numba:compile", _FirstCompilation(say)):
        yield
