"""Cold starts: what a user waits for before anything is computed, measured in processes of their own."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

#: What is started, by the name in the table.
STARTS = {
    "python -c pass": ("-c", "pass"),
    "import bayesflex": ("-c", "import bayesflex"),
    "bayesflex --help": ("-m", "bayesflex", "--help"),
}


def seconds_of(arguments: tuple[str, ...], environment: dict[str, str] | None = None) -> tuple[float, float]:
    """Return the seconds on the clock, and of processor time, of a Python started with these arguments."""
    before, begin = os.times(), time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=os.environ | (environment or {})
    )
    taken, after = time.perf_counter() - begin, os.times()
    return taken, (after.children_user - before.children_user) + (after.children_system - before.children_system)


def cold_starts(repeats: int) -> dict[str, dict[str, float]]:
    """Return the median seconds of each start, on the clock and of processor time; they take turns."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in STARTS}
    for _ in range(repeats):
        for name, arguments in STARTS.items():
            taken[name].append(seconds_of(arguments))
    return {
        name: {"clock": statistics.median(t[0] for t in times), "processor": statistics.median(t[1] for t in times)}
        for name, times in taken.items()
    }


def first_run(
    arguments: tuple[str, ...] = ("-m", "bayesflex", "demo"), repeats: int = 3
) -> dict[str, dict[str, float]]:
    """Return median seconds of a whole demo without compiled kernels, and again with those that it left."""
    taken: dict[str, list[tuple[float, float]]] = {"first": [], "second": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            cache = {"NUMBA_CACHE_DIR": str(Path(folder) / "cache")}
            for name, times in taken.items():
                times.append(seconds_of((*arguments, "-o", str(Path(folder) / name)), cache))
    return {
        name: {"clock": statistics.median(t[0] for t in times), "processor": statistics.median(t[1] for t in times)}
        for name, times in taken.items()
    }
