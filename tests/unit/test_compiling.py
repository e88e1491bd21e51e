"""The collector of cyclic garbage waits while kernels are compiled, and is afterwards as it was."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import numba
import pytest
from numba.core import event

import bayesflex.compiling  # noqa: F401  # what is tested is that importing it is enough


class _Watch(event.Listener):
    """Notes whether the collector is on as each kernel begins and has ended."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, bool]] = []

    def on_start(self, event: event.Event) -> None:
        self.seen.append(("start", gc.isenabled()))

    def on_end(self, event: event.Event) -> None:
        self.seen.append(("end", gc.isenabled()))


@pytest.fixture
def watch() -> Iterator[_Watch]:
    watching = _Watch()
    with event.install_listener("numba:compile", watching):
        yield watching
    gc.enable()


def test_the_collector_waits_until_the_outermost_kernel_is_done(watch):
    inner = numba.njit(lambda x: x + 1)
    outer = numba.njit(lambda x: inner(x) + 1)
    assert outer(1) == 3
    assert watch.seen == [("start", False), ("start", False), ("end", False), ("end", True)]
    assert gc.isenabled()


def test_the_collector_comes_back_after_a_failure(watch):
    with pytest.raises(numba.TypingError):
        numba.njit(lambda x: x + "one")(1)
    assert watch.seen[0] == ("start", False)
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off(watch):
    gc.disable()
    assert numba.njit(lambda x: x + 1)(1) == 2
    assert watch.seen == [("start", False), ("end", False)]
    assert not gc.isenabled()


def test_several_threads_leave_the_collector_on(watch):
    n_threads = 4
    together = threading.Barrier(n_threads)

    def compile_one() -> None:
        together.wait()
        assert numba.njit(lambda x: 2 * x)(1) == 2

    threads = [threading.Thread(target=compile_one) for _ in range(n_threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [on for what, on in watch.seen if what == "start"] == [False] * n_threads
    assert gc.isenabled()
