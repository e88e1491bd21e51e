"""Timing: processor time of one thread, functions taking turns, medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

from numba import njit

#: Does its work so many times over.
Repeated = Callable[[int], object]

#: A function that takes longer than this is called once per sample, and gives few samples.
_SLOW, _FEW = 0.05, 5

#: Turns before a sample that do not count. After something else has been through the caches, it takes some four turns
#: until a gradient of p97 is as quick as in a chain: a cache keeps what it has seen more than once.
_WARMING = 6


def in_compiled_code(kernel: Callable, arguments: tuple) -> Repeated:
    """Return the kernel in a compiled loop: called from Python a short kernel would take as long as its call."""

    # Not cached on disk: a loop made with an older kernel would be taken for the new one's.
    @njit(nogil=True, error_model="numpy")
    def loop(turns, arguments):  # type: ignore[no-untyped-def]
        for _ in range(turns):
            kernel(*arguments)

    return lambda turns: loop(turns, arguments)


def in_python(function: Callable, arguments: tuple = ()) -> Repeated:
    """Return the function in a loop of the interpreter, whose calls count."""

    def loop(turns: int) -> None:
        for _ in range(turns):
            function(*arguments)

    return loop


def median_seconds(functions: Mapping[str, Repeated], repeats: int, sample: float) -> dict[str, float]:
    """Return the median processor time of one turn of each function.

    The functions take turns, so that a busy machine slows all of them alike: trust ratios more than times. Before each
    sample of a function that is not slow come turns that do not count: the caches then hold what the function leaves in
    them, as they do in a chain, and not what another one has left.

    Parameters
    ----------
    functions
        By name.
    repeats
        Number of samples of each; fewer of slow ones.
    sample
        Seconds that a sample takes at least, unless the function is slow.
    """
    turns = {}
    for name, function in functions.items():
        function(1)
        count, taken = 1, _seconds(function, 1)
        while taken < 0.5 * sample:
            count = max(2 * count, int(count * 0.75 * sample / max(taken, 1e-7)))
            taken = _seconds(function, count)
        turns[name] = count, taken > _SLOW
    times: dict[str, list[float]] = {name: [] for name in functions}
    for round_ in range(repeats):
        for name, function in functions.items():
            count, slow = turns[name]
            if slow and round_ >= _FEW:
                continue
            if not slow:
                function(_WARMING)
            times[name].append(_seconds(function, count) / count)
    return {name: statistics.median(taken) for name, taken in times.items()}


def _seconds(function: Repeated, turns: int) -> float:
    begin = time.thread_time()
    function(turns)
    return time.thread_time() - begin
