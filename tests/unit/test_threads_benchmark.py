"""The benchmark of chains on threads, on a fit of a few iterations; the page that shows it."""

from __future__ import annotations

import os

import pytest
from benchmarks import threads
from benchmarks.cases import AK
from benchmarks.sections import thread_lines


@pytest.fixture(scope="module")
def seconds() -> dict[str, float]:
    return threads.measure(threads.make_fit(AK, 0.01), 1)


def test_every_way_runs(seconds):
    assert list(seconds) == list(threads.WAYS)
    assert all(time > 0.0 for time in seconds.values())


def test_the_page_compares_with_one_thread():
    seconds = dict(zip(threads.WAYS, (8.0, 4.0, 5.0, 6.0, 4.0), strict=True))
    lines = thread_lines({"load": 0.5, "cores": os.cpu_count(), "seconds": {"AdK": seconds}})
    rows = [line for line in lines if line.startswith(("| one chain", "| two chains"))]
    assert [row.split("|")[3].strip() for row in rows] == ["1.00 ×", "2.00 ×", "1.60 ×", "1.00 ×", "1.50 ×"]


def test_a_process_that_fails_is_told_of():
    class Failing:
        def run(self, *arguments: int) -> None:
            raise SystemExit(3)

    with pytest.raises(RuntimeError, match="a process of the benchmark failed"):
        threads.in_processes(Failing())
